"""Files that make no sense: one clear message each, with the place, and nothing is started."""

from __future__ import annotations

import re
from pathlib import Path

import pytest

from tests.integration.compose.bad import BAD
from tests.integration.conftest import Coso
from tests.integration.containers.conftest import ok

# What can be known only when it is carried out has no place in a file.
LATER = {"missing-image", "missing-dockerfile", "empty", "deep"}


@pytest.mark.parametrize("case", list(BAD))
def test_a_bad_file_is_refused_with_one_message_and_nothing_is_started(
    coso: Coso,
    alpine: str,
    case: str,
    tmp_path: Path,
) -> None:
    text, wanted = BAD[case]
    file = tmp_path / "compose.yaml"
    file.write_text(re.sub(r"image: t\b", f"image: {alpine}", text))
    named = () if case == "project-name" else ("-p", "bad")
    done = coso("compose", "-f", str(file), *named, "up", "-d")
    assert done.returncode == 125, done.stderr
    assert wanted in done.stderr
    assert "Traceback" not in done.stderr
    assert done.stderr.count("coso: ") == 1
    if case not in LATER:
        assert f"{file}:" in done.stderr
    made = ok(coso("ps", "-aq"))
    coso("compose", "-p", "bad", "down", "-v")
    assert made == ""
    assert "bad" not in coso("network", "ls", "-q").stdout
