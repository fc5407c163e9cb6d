"""What every engine is used for, with the same words for all of them."""

from __future__ import annotations

import shlex
from collections.abc import Iterator

import pytest

from tests.integration.conftest import what_is_left
from tests.integration.engines.conftest import Place, words
from tests.integration.engines.engines import Engine

testinfra_hosts = ["local://"]

# script(1) types an end of file when its own input ends, and podman, if that comes early, shows no output at all.
TERMINAL = """python3 -c 'import os, pty, sys
sys.exit(os.waitstatus_to_exitcode(pty.spawn(["sh", "-c", sys.argv[1]])))' {}"""


def test_a_command_runs_as_process_1(engine: Engine) -> None:
    assert words(engine.run("", "echo hello $$")) == ["hello", "1"]


def test_the_status_is_the_commands(engine: Engine) -> None:
    assert engine.run("", "exit 3").rc == 3


def test_memory_and_processor_time_are_limited(engine: Engine, place: Place) -> None:
    files = "memory/memory.limit_in_bytes cpu/cpu.cfs_quota_us"
    if place.unified:
        own = "$(sed -n s/^0:://p /proc/self/cgroup)"  # Without a namespace for it, all groups are shown.
        files = f".{own}/memory.max .{own}/cpu.max"
    found = words(engine.run("--memory=64m --cpus=0.5", f"cd /sys/fs/cgroup; cat {files}"))
    assert found[:2] == ["67108864", "50000"]


def test_a_root_can_be_read_only(engine: Engine) -> None:
    done = engine.run("--read-only", "touch /file")
    assert done.rc == 1 and "Read-only" in done.stderr


def test_capabilities_are_dropped(engine: Engine) -> None:
    assert words(engine.run("--cap-drop=all", "grep CapBnd /proc/self/status")) == ["CapBnd:", "0" * 16]


def test_a_directory_of_the_host_is_a_volume(engine: Engine, place: Place) -> None:
    place.ok("mkdir -p data; echo shown > data/file; rm -f data/new")
    volume = f"--volume={place.directory}/data:/data"
    assert words(engine.run(f"{volume}:ro", "cat /data/file")) == ["shown"]
    assert engine.run(f"{volume}:ro", "touch /data/new").rc == 1
    assert engine.run(volume, "touch /data/new").rc == 0
    assert place.host.file(f"{place.directory}/data/new").exists


@pytest.fixture
def life(engine: Engine) -> Iterator[str]:
    """A container that goes on until it is told to end, and then ends with 5."""
    script = "trap 'echo ended; exit 5' TERM; echo begun; while :; do sleep 0.1; done"
    done = engine.start("life", "", script)
    try:
        assert done.rc == 0, done.stderr
        yield "life"
    finally:
        engine.on("life", "remove")


def test_another_command_enters_a_container(engine: Engine, life: str) -> None:
    assert words(engine.exec(life, "", "cat /proc/1/comm")) == ["sh"]
    assert words(engine.exec(life, "--user=7 --workdir=/tmp", "sh -c 'id -u; pwd'")) == ["7", "/tmp"]
    assert engine.exec(life, "", "sh -c 'exit 9'").rc == 9
    assert engine.exec(life, "", "nosuch").rc != 0


def test_a_container_is_paused_and_goes_on(engine: Engine, life: str) -> None:
    assert engine.on(life, "pause").rc == 0
    assert engine.status(life) == "paused"
    assert engine.on(life, "unpause").rc == 0
    assert engine.status(life) == "running"


def test_the_processes_of_a_container_are_listed(engine: Engine, life: str) -> None:
    assert len(engine.on(life, "top").stdout.splitlines()) > 1


def test_a_container_ends_when_it_is_told_to(engine: Engine, life: str, place: Place) -> None:
    assert engine.on(life, "stop").rc == 0
    assert eventually_exited(engine, life, place)


def test_a_container_is_killed(engine: Engine, life: str, place: Place) -> None:
    assert engine.on(life, "kill").rc == 0
    assert eventually_exited(engine, life, place)


def eventually_exited(engine: Engine, name: str, place: Place) -> bool:
    for _ in range(50):
        if engine.status(name) == "exited":
            return True
        place.sh("sleep 0.1")
    return False


def test_a_terminal_is_the_commands(engine: Engine, place: Place) -> None:
    plain = engine.shell  # type: ignore[attr-defined]
    engine.shell = lambda line: plain(TERMINAL.format(shlex.quote(line)))  # type: ignore[attr-defined]
    try:
        done = engine.run("-t" if engine.name == "containerd" else "--interactive --tty", "tty; stty size")
    finally:
        engine.shell = plain  # type: ignore[attr-defined]
    assert done.rc == 0 and "/dev/pts/" in done.stdout, done.stdout + done.stderr


def test_nothing_is_left(engine: Engine, place: Place, runtime: str) -> None:
    assert engine.run("", "true").rc == 0
    # Not the search itself, which has the path in brackets.
    assert place.sh(f"pgrep -f '[{runtime[0]}]{runtime[1:]} .*(create|run|start|exec|delete)'").rc == 1
    if place.local:
        assert not what_is_left()
