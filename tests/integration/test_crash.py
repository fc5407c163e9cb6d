"""The runtime is killed at every step, and at any moment; `coso gc` leaves nothing."""

from __future__ import annotations

import os
import random
import select
import signal
import socket
import time
from pathlib import Path

import pytest

from coso.cli.run import OPTIONS
from coso.flags import parse
from coso.runtime.gc import collect
from coso.runtime.start import run as run_container
from coso.spec.build import spec_from
from coso.steps import Step
from tests.integration.conftest import Start, leftovers, what_is_left

MOST_STEPS = 200


def killed_at(moment: int, rootfs: Path, helper: str) -> list[str]:
    """Run a container in a process that is killed at the moment-th word of its observer; the words until then.

    The observer is asked on both sides of the clone, and waits for leave to
    go on, so that the kill comes exactly between two steps.
    """
    # Both sides of the clone speak through it: messages must not run into each other.
    ours, theirs = socket.socketpair(socket.AF_UNIX, socket.SOCK_SEQPACKET)
    pid = os.fork()
    if pid == 0:
        _contain(theirs, rootfs, helper)
    theirs.close()
    seen: list[str] = []
    while word := ours.recv(256):
        seen.append(word.decode())
        if len(seen) == moment:
            os.kill(pid, signal.SIGKILL)
            os.waitpid(pid, 0)
            ours.close()
            return seen
        ours.send(b"!")
    os.waitpid(pid, 0)
    ours.close()
    return seen


def _contain(theirs: socket.socket, rootfs: Path, helper: str, *command: str) -> None:
    def observe(when: str, step: Step) -> None:
        try:
            theirs.send(f"{when} {step.name}".encode())
            theirs.recv(1)
        except OSError:
            pass  # The child has closed every descriptor by then.

    try:
        words = parse(OPTIONS, ["-network", helper, "--", *(command or ("/bin/true",))], "run")
        run_container(spec_from(words, str(rootfs), words.rest, on_terminal=False), observe=observe)
    finally:
        os._exit(0)


@pytest.mark.parametrize("network", ["none", "cosonet"])
def test_killed_at_every_step_nothing_is_left_after_gc(rootfs: Path, programs: Path, network: str) -> None:
    helper = str(programs / "cosonet") if network == "cosonet" else "none"
    dirty = 0
    for moment in range(1, MOST_STEPS):
        seen = killed_at(moment, rootfs, helper)
        dirty += bool(leftovers())
        collected = collect()
        assert collected.failures == [], (moment, seen[-1])
        assert not what_is_left(), (moment, seen[-1])
        if len(seen) < moment:
            break
    assert "after clone" in seen and "before enter the root" in seen
    # The control: without gc there would have been something to find.
    assert dirty > 10


def test_no_command_begins_once_its_runtime_is_gone(rootfs: Path) -> None:
    """The first process may have been told to go before it was ready for that."""
    ours, theirs = socket.socketpair(socket.AF_UNIX, socket.SOCK_SEQPACKET)
    pid = os.fork()
    if pid == 0:
        _contain(theirs, rootfs, "none", "/bin/sleep", "100")
    theirs.close()
    seen: list[str] = []
    while (word := ours.recv(256).decode()) != "before enter the root":
        seen.append(word)
        ours.send(b"!")
    assert "after write the address" in seen
    time.sleep(0.1)  # By now the runtime has said so, and waits.
    pidfd = os.pidfd_open(int(Path(f"/proc/{pid}/task/{pid}/children").read_text().split()[0]))
    os.kill(pid, signal.SIGKILL)
    os.waitpid(pid, 0)
    ours.send(b"!")
    while ours.recv(256).decode() != "before enter the directory":  # Which closes the other end of this.
        ours.send(b"!")
    ours.send(b"!")
    assert select.select([pidfd], [], [], 5)[0]
    ours.close()
    os.close(pidfd)
    assert collect().failures == []


def test_killed_at_any_moment_nothing_is_left_after_gc(start: Start) -> None:
    chance = random.Random(4)
    for _ in range(25):
        process = start("sleep 0.02", network="cosonet")
        time.sleep(chance.uniform(0.0, 0.12))
        process.kill()
        process.communicate()
        assert collect().failures == []
    assert not what_is_left()


def test_gc_leaves_living_containers_alone(start: Start, coso) -> None:  # type: ignore[no-untyped-def]
    process = start("-i", "echo up; cat", stdin=-1)
    assert process.stdout.readline() == "up\n"
    assert coso("gc").stdout == ""
    out, _ = process.communicate("still here\n", timeout=10)
    assert (out, process.returncode) == ("still here\n", 0)


def test_the_container_dies_with_its_runtime(start: Start) -> None:
    process = start("echo up; exec sleep 100")
    process.stdout.readline()
    child = int(Path(f"/proc/{process.pid}/task/{process.pid}/children").read_text().split()[0])
    pidfd = os.pidfd_open(child)
    process.kill()
    assert select.select([pidfd], [], [], 5)[0]
    os.close(pidfd)
