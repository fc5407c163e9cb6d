"""Each step made to fail, and the process killed at each step: nothing is left, at once or after gc."""

from __future__ import annotations

import os
import signal
import subprocess
import time
from collections.abc import Callable

import pytest

from coso.errors import NetworkError
from coso.spawn import find, spawn
from coso.steps import Step
from cosonet import attach, elements, member, network, owner, release
from cosonet.attach import Wishes
from cosonet.publish import parse_publish
from tests.integration.conftest import eventually, leftovers, what_is_left
from tests.integration.network.conftest import Box, Cosonet

STEPS = [step.name for step in attach.plan(network.Network("", bridge="x"))]
PORTS = tuple(parse_publish("8080:80"))


def wishes(hosts: str = "") -> Wishes:
    return Wishes(names=("one",), publish=PORTS, hosts=hosts)


def failing(at: str, when: str) -> Callable[[str, Step], None]:
    def observe(moment: str, step: Step) -> None:
        if (moment, step.name) == (when, at):
            raise NetworkError(f"no luck {moment} {step.name}")

    return observe


def hosts_of(tmp_path: object) -> str:
    path = f"{tmp_path}/hosts"
    with open(path, "w") as file:
        file.write("127.0.0.1 localhost\n")
    return path


@pytest.mark.parametrize("step", STEPS)
@pytest.mark.parametrize("when", ["before", "after"])
def test_a_step_that_fails_leaves_nothing(box: Callable[[], Box], tmp_path: object, step: str, when: str) -> None:
    one, hosts = box(), hosts_of(tmp_path)
    with pytest.raises(NetworkError, match=f"no luck {when} {step}"):
        attach.attach(one.pid, wishes(hosts), failing(step, when))
    # Of the test before somebody may be there who is dead by now.
    assert eventually(lambda: member.everybody() == [])
    assert one.ip("-o", "link").count("\n") == 1
    with open(hosts) as file:
        assert file.read() == "127.0.0.1 localhost\n"
    release.remove_unused()
    assert not what_is_left()
    # The control: without the fault there is something to undo.
    done = attach.attach(one.pid, wishes(hosts))
    assert member.everybody() == [done.record] and one.addresses()
    for end in done.held:
        end.close()


def killed(one: Box, hosts: str, moment: int) -> tuple[int, str]:
    """Connect in a process that kills itself at the moment-th word of its observer; how many words there were."""
    reading, writing = os.pipe()
    pid = os.fork()
    if pid == 0:
        count = 0

        def observe(when: str, step: Step) -> None:
            nonlocal count
            count += 1
            os.write(writing, f"{when} {step.name}\n".encode())
            if count == moment:
                os.kill(os.getpid(), signal.SIGKILL)

        try:
            attach.attach(one.pid, wishes(hosts), observe)
        finally:
            os._exit(0)
    os.close(writing)
    os.waitpid(pid, 0)
    with os.fdopen(reading) as pipe:
        words = pipe.read().splitlines()
    return len(words), words[-1]


def test_killed_at_each_step_gc_leaves_nothing(box: Callable[[], Box], tmp_path: object) -> None:
    hosts, dirty = hosts_of(tmp_path), 0
    for moment in range(1, 50):
        one = box()
        seen, last = killed(one, hosts, moment)
        dirty += bool(leftovers())
        one.end()
        release.collect()
        assert not what_is_left(), last
        if seen < moment:
            break
    assert seen == 2 * len(STEPS)
    # The control: before gc there was something.
    assert dirty > 10


def test_killed_at_any_moment_gc_leaves_nothing(box: Callable[[], Box], programs: object) -> None:
    for delay in range(0, 60, 4):
        one = box()
        process = subprocess.Popen([f"{programs}/cosonet", "-pid", str(one.pid), "-publish", "8080:80", "-name", "x"])
        time.sleep(delay / 1000)
        process.kill()
        process.wait()
        one.end()
        release.collect()
        assert not what_is_left(), delay


def test_a_release_goes_on_after_an_error_and_reports_it(
    box: Callable[[], Box], monkeypatch: pytest.MonkeyPatch, tmp_path: object
) -> None:
    one, hosts = box(), hosts_of(tmp_path)
    done = attach.attach(one.pid, wishes(hosts))
    for end in done.held:
        end.close()
    kept = elements.delete

    def broken(_: object) -> None:
        raise NetworkError("the first thing that went wrong")

    monkeypatch.setattr(elements, "delete", broken)
    with pytest.raises(Exception, match="the first thing that went wrong"):
        release.release(owner.of_process(one.pid))
    # All else is gone; the record stays, for the next attempt.
    assert not os.listdir(f"{network.DIRECTORY}/leases/coso") and not os.listdir(f"{network.DIRECTORY}/ports")
    assert member.everybody() == [done.record]
    monkeypatch.setattr(elements, "delete", kept)
    release.release(owner.of_process(one.pid))
    assert member.everybody() == []


def test_a_namespace_that_is_gone_already_is_no_obstacle(box: Callable[[], Box], cosonet: Cosonet) -> None:
    one = box()
    assert cosonet("-pid", str(one.pid), "-publish", "8080:80")[0] == 0
    one.end()
    assert cosonet("gc")[0] == 0
    assert not what_is_left()


def test_release_works_though_somebody_has_flushed_everything(box: Callable[[], Box], cosonet: Cosonet) -> None:
    one = box()
    assert cosonet("-pid", str(one.pid), "-publish", "8080:80")[0] == 0
    spawn([find("nft"), "flush", "ruleset"])
    spawn([find("ip"), "link", "del", "coso0"])
    assert cosonet("release", "-pid", str(one.pid))[0] == 0
    one.end()
    assert eventually(lambda: not leftovers()), leftovers()
