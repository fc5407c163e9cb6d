"""coso as a library: in this process, beside the command line's tests."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

import pytest

import coso
from coso.api import client
from tests.integration.conftest import what_is_left
from tests.integration.containers import conftest as containers

alpine, debian = containers.alpine, containers.debian


@pytest.fixture(scope="package", autouse=True)
def _helper(programs: Path) -> Iterator[None]:
    """Networks are those of this tree's cosonet."""
    with pytest.MonkeyPatch.context() as patch:
        patch.setenv("COSO_NETWORK", str(programs / "cosonet"))
        yield
        client.close()


@pytest.fixture
def starter(_helper: None, alpine: str) -> Iterator[coso.Starter]:
    """A starter of the test's own; when it has ended nothing is left."""
    with coso.Starter() as one:
        yield one
    client.close()
    assert not what_is_left()
