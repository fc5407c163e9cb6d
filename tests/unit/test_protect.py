"""From whom the interpreter's binary has to be kept."""

from __future__ import annotations

import os

import pytest

from coso.runtime.protect import is_exposed

BINARY = os.stat("/proc/self/exe")
# Nobody in here owns the binary.
AWAY = (BINARY.st_uid + 1, 1 << 16)


@pytest.mark.skipif(bool(BINARY.st_mode & 0o022), reason="everybody may write to this interpreter")
@pytest.mark.parametrize(
    ("namespaces", "uids", "exposed"),
    [
        (("pid", "user"), [AWAY], False),
        (("pid", "user"), [], False),
        (("pid",), [AWAY], True),
        (("user",), [AWAY], True),
        (("pid", "user"), [AWAY, (0, 1)], True),
        (("pid", "user"), [(BINARY.st_uid, 1)], True),
    ],
)
def test_the_binary_is_exposed_to_its_owner_root_and_neighbours(
    namespaces: tuple[str, ...], uids: list[tuple[int, int]], exposed: bool
) -> None:
    assert is_exposed(namespaces, uids) is exposed
