"""Whoever looks after a container may be killed at any moment: the container goes on, and is looked after again."""

from __future__ import annotations

import os
import random
import signal
import subprocess
import time
from pathlib import Path

from coso import state
from tests.integration.conftest import Coso, eventually, what_is_left
from tests.integration.containers.conftest import ok, remove_all

LOOP = "i=0; while :; do i=$((i+1)); echo $i; sleep 0.05; done"
KILLS = int(os.environ.get("COSO_KILLS", "300"))


def of_coso(programs: Path) -> list[int]:
    """Every process that runs the program, the zygote and monitors among them."""
    found = []
    for pid in filter(str.isdecimal, os.listdir("/proc")):
        try:
            words = Path(f"/proc/{pid}/cmdline").read_bytes().split(b"\0")
        except OSError:
            continue
        # A command of a container may well have inherited nothing of it.
        if b"coso-zygote" in words or any(word == f"{programs}/coso".encode() for word in words[:4]):
            found.append(int(pid))
    return found


def kill_all(programs: Path) -> None:
    for pid in of_coso(programs):
        try:
            os.kill(pid, signal.SIGKILL)
        except ProcessLookupError:
            continue


def kill_monitors(programs: Path) -> None:
    """Kill all but the zygote, which listens at sockets with its name."""
    for pid in of_coso(programs):
        if not any("zygote" in path for path in _sockets(pid)):
            os.kill(pid, signal.SIGKILL)


def test_a_killed_monitor_is_replaced_and_no_output_is_lost(c: Coso, programs: Path) -> None:
    ok(c("run", "-d", "--name", "a", "--network", "none", "I", "sh", "-c", LOOP))
    pid = ok(c("inspect", "-f", "{{.State.Pid}}", "a"))
    for _ in range(3):
        time.sleep(0.3)
        kill_all(programs)
    time.sleep(0.3)
    assert ok(c("inspect", "-f", "{{.State.Pid}} {{.State.Status}}", "a")) == f"{pid} running"
    assert eventually(lambda: len(ok(c("logs", "a")).splitlines()) > 20)
    ok(c("kill", "a"))
    assert ok(c("wait", "a")) == "137"
    numbers = [int(line) for line in ok(c("logs", "a")).splitlines()]
    assert numbers == list(range(1, len(numbers) + 1))


def test_a_container_that_ends_unwatched_is_found_ended(c: Coso, programs: Path) -> None:
    ok(c("run", "-d", "--name", "a", "--network", "none", "I", "sh", "-c", "sleep 0.5; exit 4"))
    kill_all(programs)
    time.sleep(1)
    assert ok(c("ps", "-a", "--format", "{{.State}}")) == "exited"
    assert c("start", "-a", "a").returncode == 4


def test_a_policy_holds_for_a_container_whose_monitor_was_killed(c: Coso, programs: Path) -> None:
    ok(c("run", "-d", "--name", "a", "--restart", "always", "--network", "none", "I", "sleep", "0.4"))
    kill_all(programs)
    time.sleep(1)
    ok(c("ps"))
    assert eventually(lambda: ok(c("inspect", "-f", "{{.State.Status}}", "a")) == "running")
    ok(c("rm", "-f", "a"))


def test_a_terminal_outlives_the_monitor(c: Coso, programs: Path) -> None:
    ok(c("run", "-dit", "--name", "t", "--network", "none", "I", "sh", "-c", "while :; do echo tick; sleep 0.1; done"))
    kill_monitors(programs)
    before = len(ok(c("logs", "t")).splitlines())
    assert eventually(lambda: len(ok(c("logs", "t")).splitlines()) > before + 3)


def test_input_outlives_the_monitor(c: Coso, programs: Path) -> None:
    ok(c("run", "-di", "--name", "i", "--network", "none", "I", "cat"))
    kill_monitors(programs)
    time.sleep(0.2)
    assert ok(c("ps", "--format", "{{.State}}")) == "running"
    assert ok(c("attach", "i", input="still here\n")) == "still here"
    assert ok(c("wait", "i")) == "0"


def _sockets(pid: int) -> list[str]:
    table = {
        line.split()[6]: line.split()[7]
        for line in Path("/proc/net/unix").read_text().splitlines()
        if len(line.split()) > 7
    }
    found = []
    for fd in os.listdir(f"/proc/{pid}/fd"):
        try:
            link = os.readlink(f"/proc/{pid}/fd/{fd}")
        except OSError:
            continue
        found.append(table.get(link.removeprefix("socket:[").removesuffix("]"), ""))
    return found


def test_published_ports_go_on_and_stay_bound(c: Coso, programs: Path) -> None:
    serve = "while :; do echo served | nc -l -p 80; done"
    ok(c("run", "-d", "--name", "s", "-p", "8094:80", "I", "sh", "-c", serve))
    kill_all(programs)
    ok(c("ps"))
    done = c("run", "--rm", "-p", "8094:80", "I", "true")
    assert done.returncode != 0
    assert "8094" in done.stderr
    ok(c("rm", "-f", "s"))
    # Who looks after networks without members was killed too.
    ok(c("gc"))


def test_gc_leaves_what_is_kept_alone(c: Coso, programs: Path) -> None:
    ok(c("run", "-d", "--name", "a", "--network", "none", "I", "sleep", "100"))
    ok(c("create", "--name", "b", "--network", "none", "I", "true"))
    kill_all(programs)
    ok(c("gc"))
    assert sorted(ok(c("ps", "-a", "--format", "{{.Names}} {{.State}}")).splitlines()) == ["a running", "b created"]


def test_whatever_is_killed_when_the_store_is_readable_and_states_are_true(
    coso: Coso, alpine: str, programs: Path, tmp_path: Path
) -> None:
    chance = random.Random(20261125)
    (tmp_path / "Dockerfile").write_text(f"FROM {alpine}\nRUN echo $RANDOM > /f\nCOPY Dockerfile /d\n")
    archive = tmp_path / "image.tar"
    ok(coso("save", "-o", str(archive), alpine))
    acts: list[list[str]] = [
        ["run", "-d", "--network", "none", alpine, "sleep", "2"],
        ["run", "-d", "--rm", "--network", "none", "-v", "vol:/v", alpine, "sleep", "1"],
        ["run", "-d", "--restart", "on-failure:3", "--network", "none", alpine, "false"],
        ["run", "--rm", "--network", "none", alpine, "true"],
        ["run", "--network", "none", "-v", "/nameless", alpine, "true"],
        ["create", "--network", "none", alpine, "true"],
        ["container", "prune", "-f"],
        ["build", "-q", "--no-cache", "--network", "none", "-t", "built", str(tmp_path)],
        ["load", "-q", "-i", str(archive)],
        ["tag", alpine, "another"],
        ["rmi", "-f", "built"],
        ["image", "prune", "-f"],
        ["volume", "prune", "-f"],
        ["system", "prune", "-f"],
    ]
    program = str(programs / "coso")
    for number in range(KILLS):
        words = chance.choice(acts)
        process = subprocess.Popen(
            [program, *words], stdin=subprocess.DEVNULL, stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL
        )
        time.sleep(chance.expovariate(1 / 0.04))
        everyone = of_coso(programs)
        # Sometimes the command alone, sometimes one of all, sometimes all of them.
        for pid in chance.choice(
            ([process.pid], everyone[-1:], [chance.choice(everyone)] if everyone else [], everyone)
        ):
            try:
                os.kill(pid, signal.SIGKILL)
            except ProcessLookupError:
                continue
        process.wait()
        if number % 10 == 9:
            _check(coso, f"after {number + 1}: {words}")
    ok(coso("gc"))
    remove_all(coso)
    for name in ("built", "another"):
        coso("rmi", "-f", name)
    ok(coso("image", "prune", "-f"))
    ok(coso("gc"))
    assert not what_is_left()
    assert ok(coso("system", "check")).startswith("the store is whole")
    assert not [name for name in os.listdir(state.TREES) if name.startswith(":")]
    assert not [name for name in os.listdir(f"{state.IMAGES}/blobs/sha256") if name.endswith(".new")]


def _check(coso: Coso, when: str) -> None:
    """Containers and images can be read, and what is said of processes is so."""
    assert coso("images").returncode == 0, when
    done = coso("ps", "-a", "--format", "{{.ID}}")
    assert done.returncode == 0, (when, done.stderr)
    for container in done.stdout.split():
        assert eventually(lambda one=container: _is_true(coso, one), 5), (when, coso("inspect", container).stdout)  # type: ignore[misc]


def _is_true(coso: Coso, container: str) -> bool:
    """Whether a container that is said to run has a process, and one that is said not to has none."""
    shown = coso("inspect", "-f", "{{.State.Pid}} {{.State.Status}}", container)
    if shown.returncode:
        return True  # Gone meanwhile.
    pid, status = shown.stdout.split()
    return (status in ("running", "paused")) == (pid != "0" and Path(f"/proc/{pid}").exists())
