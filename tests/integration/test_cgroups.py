"""Control groups on this machine's own hierarchies, whichever version they are: limits, freezing, killing, counting."""

from __future__ import annotations

import os
import signal
import subprocess
import time
from collections.abc import Callable, Iterator

import pytest

from coso import cgroups
from coso.cgroups import Hierarchy, Membership, members
from coso.cgroups.files import number, put, read
from coso.cgroups.statistics import statistics
from coso.errors import LimitError
from coso.runtime.undo import ACTIONS
from coso.spec import BlockIo, Cpu, DeviceRule, Memory, Resources
from coso.spec.defaults import DEVICE_RULES

MEBIBYTE = 1 << 20
Make = Callable[..., Membership]


@pytest.fixture
def here() -> Iterator[list[Hierarchy]]:
    """The hierarchies, whose own controllers are afterwards given to as many children as before."""
    found = cgroups.hierarchies()
    files = {f"{item.path}/cgroup.subtree_control" for item in found if item.version == 2}
    before = {file: set(read(file).split()) for file in files}
    yield found
    for file, enabled in before.items():
        for controller in set(read(file).split()) - enabled:
            put(file, f"-{controller}")


@pytest.fixture
def path() -> str:
    return f"cosotest-{os.getpid()}/above/box"


@pytest.fixture
def make(here: list[Hierarchy], path: str) -> Iterator[Make]:
    """Make the groups; afterwards everything is undone as a journal would, and nothing may be left."""
    done: list[tuple[str, ...]] = []

    def begin(resources: Resources) -> Membership:
        return cgroups.create(path, here, resources, lambda *words: done.append(words))

    yield begin
    for kind, *words in reversed(done):
        ACTIONS[kind](*words)
    top = path.partition("/")[0]
    assert [item.path for item in here if os.path.exists(f"{item.path}/{top}")] == []


def start(membership: Membership, script: str) -> subprocess.Popen[str]:
    def enter() -> None:
        for fd in membership.tasks:
            os.write(fd, b"0")
        if membership.unified >= 0:
            put(f"/proc/self/fd/{membership.unified}/cgroup.procs", "0")

    words = ["/bin/sh", "-c", script]
    pipe = subprocess.PIPE
    return subprocess.Popen(words, preexec_fn=enter, stdout=pipe, stderr=subprocess.STDOUT, text=True)


def value(here: list[Hierarchy], path: str, first: str, second: str) -> str:
    """The text of a control file, which v1 and v2 name differently."""
    controller = first.partition(".")[0]
    for item in here:
        if controller in item.controllers:
            return read(f"{item.path}/{path}/{first if item.version == 1 else second}")
    pytest.skip(f"this machine has no {controller} controller")


def test_limits_are_set_and_changed_whichever_order_that_takes(make: Make, here: list[Hierarchy], path: str) -> None:
    def limits(memory: int, quota: int, period: int, burst: int) -> Resources:
        size = memory * MEBIBYTE
        return Resources(memory=Memory(limit=size, swap=size), cpu=Cpu(quota=quota, period=period, burst=burst), pids=9)

    make(limits(64, 50000, 100000, 50000))
    for memory, quota, period, burst in ((256, 5000, 5000, 5000), (32, 1000, 10000, 0), (64, 900000, 1000000, 800000)):
        cgroups.update(path, here, limits(memory, quota, period, burst))
        assert value(here, path, "memory.limit_in_bytes", "memory.max") == str(memory * MEBIBYTE)
        assert value(here, path, "cpu.cfs_quota_us", "cpu.max").split()[0] == str(quota)
        assert value(here, path, "cpu.cfs_burst_us", "cpu.max.burst") == str(burst)
    assert value(here, path, "pids.max", "pids.max") == "9"
    cgroups.update(path, here, Resources(pids=0, memory=Memory(limit=-1)))
    assert value(here, path, "pids.max", "pids.max") == "max"


def test_cpus_are_chosen_below_new_parents(make: Make, here: list[Hierarchy], path: str) -> None:
    make(Resources(cpu=Cpu(cpus="0", mems="0")))
    assert value(here, path, "cpuset.cpus", "cpuset.cpus") == "0"


def test_a_refused_value_names_the_field_and_the_file(make: Make) -> None:
    with pytest.raises(LimitError, match=r"linux\.resources\.pids\.limit \(--pids-limit\): cannot write '9{18}' to /"):
        make(Resources(pids=int("9" * 18)))


def test_a_limit_below_the_use_is_refused_when_asked(make: Make, here: list[Hierarchy], path: str) -> None:
    process = start(make(Resources()), "a=$(head -c 8000000 /dev/zero | tr '\\0' a); echo ready; kill -STOP $$")
    assert process.stdout and process.stdout.readline() == "ready\n"
    with pytest.raises(LimitError, match="bytes are in use"):
        cgroups.update(path, here, Resources(memory=Memory(limit=MEBIBYTE, check_before_update=True)))
    process.kill()
    process.communicate()


def test_a_group_with_processes_is_not_shared(make: Make, here: list[Hierarchy], path: str) -> None:
    process = start(make(Resources()), "exec sleep 60")
    with pytest.raises(LimitError, match="has processes already"):
        cgroups.create(path, here, Resources(), lambda *_: None)
    assert process.poll() is None
    process.kill()
    process.communicate()


def test_devices_are_filtered(make: Make, here: list[Hierarchy], path: str) -> None:
    script = "cat </dev/null && echo null; (true </dev/kmsg) && echo kmsg"
    membership = make(Resources(devices=(DeviceRule(False),)))
    assert start(membership, f"{script}; true").communicate()[0].splitlines()[0] == "null"
    assert "kmsg\n" not in start(membership, script).communicate()[0].splitlines(keepends=True)
    cgroups.update(path, here, Resources(devices=(*DEVICE_RULES, DeviceRule(True, "c", 1, 11))))
    assert start(membership, script).communicate()[0] == "null\nkmsg\n"


def test_devices_are_filtered_by_a_program_on_v2(make: Make, here: list[Hierarchy], path: str) -> None:
    """Also where v1's controller is in use, since v2 needs none for its programs."""
    from coso.cgroups import devices

    membership = make(Resources())
    if membership.unified < 0:
        pytest.skip("no cgroup v2 here")
    script = "cat </dev/null && echo null; (true </dev/kmsg) && echo kmsg"
    devices.filter_devices(membership.unified, DEVICE_RULES)
    first = devices.attached(membership.unified)
    assert "kmsg\n" not in start(membership, script).communicate()[0].splitlines(keepends=True)
    devices.filter_devices(membership.unified, (*DEVICE_RULES, DeviceRule(True, "c", 1, 11)))
    second = devices.attached(membership.unified)
    assert len(first) == len(second) == 1 and first != second
    assert start(membership, script).communicate()[0] == "null\nkmsg\n"


def test_a_frozen_group_stands_still_until_it_is_thawed(make: Make, here: list[Hierarchy], path: str) -> None:
    process = start(make(Resources()), "while :; do :; done & wait")

    def spent() -> int:
        total: int = statistics(path, here)["cpu"]["usage"]["total"]
        return total

    time.sleep(0.1)
    members.freeze(path, here)
    assert members.is_frozen(path, here)
    before = spent()
    time.sleep(0.1)
    assert spent() == before > 0
    members.thaw(path, here)
    assert not members.is_frozen(path, here)
    time.sleep(0.1)
    assert spent() > before
    members.kill_all(path, here, signal.SIGKILL)
    assert process.wait(10) == -signal.SIGKILL
    process.communicate()


def test_a_frozen_group_can_be_removed(make: Make, here: list[Hierarchy], path: str) -> None:
    process = start(make(Resources()), "exec sleep 60")
    members.freeze(path, here)
    for item in sorted(here, key=lambda item: "freezer" not in item.controllers):
        cgroups.remove(f"{item.path}/{path}")
    assert process.wait(10) == -signal.SIGKILL
    process.communicate()


def test_no_process_escapes_a_signal_to_all(make: Make, here: list[Hierarchy], path: str) -> None:
    process = start(make(Resources()), "while :; do sleep 0.05 & sleep 0.001; done")
    time.sleep(0.2)
    assert process.pid in members.processes(path, here)
    members.kill_all(path, here, signal.SIGKILL)
    process.communicate()
    end = time.monotonic() + 5
    while members.processes(path, here) and time.monotonic() < end:
        time.sleep(0.01)
    assert members.processes(path, here) == []


def test_statistics_count(make: Make, here: list[Hierarchy], path: str) -> None:
    process = start(make(Resources(pids=5, memory=Memory(limit=64 * MEBIBYTE))), "echo ready; exec sleep 60")
    assert process.stdout and process.stdout.readline() == "ready\n"
    found = statistics(path, here)
    assert found["pids"] == {"current": 2, "limit": 5} or found["pids"] == {"current": 1, "limit": 5}
    assert found["memory"]["usage"]["limit"] == 64 * MEBIBYTE
    assert 0 < found["memory"]["usage"]["usage"] < 64 * MEBIBYTE
    assert found["cpu"]["usage"]["total"] > 0
    assert cgroups.out_of_memory_kills(path) == 0
    process.kill()
    process.communicate()


def test_the_weight_of_block_devices_finds_its_file(make: Make, here: list[Hierarchy], path: str) -> None:
    try:
        make(Resources(block_io=BlockIo(weight=300)))
    except LimitError as error:
        pytest.skip(error.message)
    for item in here:
        found = number(f"{item.path}/{path}/blkio.bfq.weight")
        assert found in (None, 300)


def test_a_path_of_another_process_is_found(here: list[Hierarchy]) -> None:
    lines = read("/proc/self/cgroup").splitlines()
    assert all(cgroups.own_path(item) in [line.split(":", 2)[2] for line in lines] for item in here)
