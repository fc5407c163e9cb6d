"""coso-oci is killed while it creates or deletes a container: another call, or `coso gc`, leaves nothing."""

from __future__ import annotations

import json
import os
import random
import subprocess
import time
from collections.abc import Callable
from pathlib import Path

import pytest

from coso.oci import store
from coso.spec.example import example
from tests.integration.conftest import leftovers, what_is_left

Oci = Callable[..., int]
TIMES = 15


@pytest.fixture
def bundle(rootfs: Path, tmp_path: Path) -> Path:
    """The example's bundle, with a command that stays."""
    config = example(rootless=False)
    config["process"] |= {"terminal": False, "args": ["sleep", "100"]}  # type: ignore[operator]
    config["root"] = {"path": str(rootfs)}
    config["linux"]["cgroupsPath"] = "/coso-killed"  # type: ignore[index]
    (tmp_path / "config.json").write_text(json.dumps(config))
    return tmp_path


@pytest.fixture
def oci(programs: Path, bundle: Path) -> Oci:
    """Call it; with `within`, kill it after so many seconds."""

    def call(*words: str, within: float = 20.0) -> int:
        quiet = {"stdin": subprocess.DEVNULL, "stdout": subprocess.DEVNULL, "stderr": subprocess.DEVNULL}
        with subprocess.Popen([str(programs / "coso-oci"), *words], cwd=bundle, **quiet) as process:  # type: ignore[call-overload]
            try:
                return int(process.wait(within))
            except subprocess.TimeoutExpired:
                process.kill()
                return int(process.wait())

    return call


def at_any_moment() -> list[float]:
    """Moments of a create's time, most of them while it changes something."""
    chance = random.Random(4)
    return [chance.uniform(0.0, 0.15) for _ in range(TIMES)]


def is_whole() -> bool:
    return Path(store.ROOT, "killed", "state.json").exists()


def test_a_killed_create_is_cleared_away_by_gc(oci: Oci, coso) -> None:  # type: ignore[no-untyped-def]
    dirty = 0
    for moment in at_any_moment():
        oci("create", "killed", within=moment)
        dirty += bool(leftovers())
        assert coso("gc").returncode == 0
        if is_whole():
            # It was made before the kill came: gc leaves it alone.
            assert oci("delete", "--force", "killed") == 0
        assert not what_is_left(), moment
    assert dirty > 3


def test_after_a_killed_create_the_id_is_free(oci: Oci) -> None:
    for moment in at_any_moment():
        oci("create", "killed", within=moment)
        if is_whole():
            assert oci("delete", "--force", "killed") == 0
        assert oci("create", "killed") == 0
        assert oci("delete", "--force", "killed") == 0
        assert not what_is_left(), moment


def test_a_killed_delete_is_ended_by_another(oci: Oci) -> None:
    for moment in at_any_moment():
        assert oci("create", "killed") == 0
        oci("delete", "--force", "killed", within=moment)
        oci("delete", "--force", "killed")
        assert not what_is_left(), moment


def test_gc_leaves_what_is_being_made_alone(oci: Oci, coso, bundle: Path) -> None:  # type: ignore[no-untyped-def]
    config = json.loads((bundle / "config.json").read_text())
    wait = f"touch {bundle}/waits; while [ -e {bundle}/waits ]; do sleep 0.02; done"
    config["hooks"] = {"createRuntime": [{"path": "/bin/sh", "args": ["sh", "-c", wait]}]}
    (bundle / "config.json").write_text(json.dumps(config))
    pid = os.fork()
    if pid == 0:
        os._exit(oci("create", "killed"))
    while not (bundle / "waits").exists():
        time.sleep(0.01)
    assert coso("gc").stdout == ""
    (bundle / "waits").unlink()
    assert os.waitstatus_to_exitcode(os.waitpid(pid, 0)[1]) == 0
    assert oci("delete", "--force", "killed") == 0
    assert not what_is_left()
