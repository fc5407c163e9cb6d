"""`linux.cgroupsPath` and `linux.resources`, `update` and `events`, read back from the control groups."""

from __future__ import annotations

import json
import os
from pathlib import Path
from typing import Any

import pytest

from tests.integration.oci import groups
from tests.integration.oci.bundle import Bundle, eventually

MIB = 1 << 20


def test_memory_is_limited(bundle: Bundle) -> None:
    bundle.resources["memory"] = {"limit": 64 * MIB, "reservation": 32 * MIB}
    pid = bundle.up().pid
    assert groups.memory(pid) == 64 * MIB
    assert groups.reservation(pid) == 32 * MIB


def test_swap_is_memory_and_swap_together(bundle: Bundle) -> None:
    bundle.resources["memory"] = {"limit": 64 * MIB, "swap": 96 * MIB}
    assert groups.swap(bundle.up().pid) == 96 * MIB


def test_a_container_beyond_its_memory_is_killed(bundle: Bundle) -> None:
    bundle.resources["memory"] = {"limit": 16 * MIB, "swap": 16 * MIB}
    bundle.without("pid").sh("exec tail /dev/zero")
    assert bundle.run().status == 137


def test_swappiness_is_set(bundle: Bundle) -> None:
    if not groups.is_v1("memory"):
        pytest.skip("version 2 has no swappiness")
    bundle.resources["memory"] = {"swappiness": 7}
    assert (groups.of(bundle.up().pid, "memory") / "memory.swappiness").read_text().strip() == "7"


def test_no_limit_is_minus_one(bundle: Bundle) -> None:
    bundle.resources.update(memory={"limit": -1}, pids={"limit": -1}, cpu={"quota": -1})
    pid = bundle.up().pid
    assert groups.pids(pid) == "max"
    assert groups.read(pid, "cpu", "cpu.cfs_quota_us", "cpu.max").split()[0] in ("-1", "max")


def test_cpu_time_is_limited(bundle: Bundle) -> None:
    bundle.resources["cpu"] = {"quota": 50_000, "period": 200_000}
    assert groups.quota(bundle.up().pid) == (50_000, 200_000)


def test_cpu_shares_are_set(bundle: Bundle) -> None:
    bundle.resources["cpu"] = {"shares": 512}
    assert groups.shares(bundle.up().pid) in groups.weight_of(512)


def test_cpus_are_chosen(bundle: Bundle) -> None:
    bundle.resources["cpu"] = {"cpus": "0", "mems": "0"}
    bundle.up()
    assert groups.cpus(bundle.pid) == "0"
    assert "Cpus_allowed_list:\t0\n" in bundle.proc("status")


def test_a_cpu_that_is_not_there_is_an_error(bundle: Bundle) -> None:
    bundle.resources["cpu"] = {"cpus": "4000"}
    bundle.refused()


def test_processes_are_limited(bundle: Bundle) -> None:
    bundle.resources["pids"] = {"limit": 4}
    done = bundle.sh("cat /proc/self/status >/dev/null; for i in 1 2 3 4 5 6; do sleep 1 & done; wait").run()
    assert "fork" in done.err


def test_the_weight_of_block_devices_is_set(bundle: Bundle) -> None:
    names = ("blkio.weight", "blkio.bfq.weight") if groups.is_v1("blkio") else ("io.weight", "io.bfq.weight")
    root = groups.mounted()["blkio" if groups.is_v1("blkio") else ""]
    if not any(found for name in names for found in root.glob(f"*/{name}")):
        bundle.up()
        group = groups.of(bundle.pid, "blkio" if groups.is_v1("blkio") else "io")
        if not any((group / name).exists() for name in names):
            pytest.skip("this kernel has no weights of block devices")
        bundle.delete("--force").ok()
    bundle.resources["blockIO"] = {"weight": 300}
    group = groups.of(bundle.up().pid, "blkio" if groups.is_v1("blkio") else "io")
    assert any("300" in (group / name).read_text() for name in names if (group / name).exists())


def test_the_burst_of_cpu_time_is_set(bundle: Bundle) -> None:
    bundle.resources["cpu"] = {"quota": 50_000, "period": 100_000, "burst": 20_000}
    assert groups.read(bundle.up().pid, "cpu", "cpu.cfs_burst_us", "cpu.max.burst") == "20000"


def test_a_container_may_have_the_cpu_only_when_it_is_idle(bundle: Bundle) -> None:
    bundle.resources["cpu"] = {"idle": 1}
    assert groups.read(bundle.up().pid, "cpu", "cpu.idle", "cpu.idle") == "1"


def test_the_end_of_memory_may_wait_instead_of_killing(bundle: Bundle) -> None:
    if not groups.is_v1("memory"):
        pytest.skip("version 2 cannot switch the killing off")
    bundle.resources["memory"] = {"limit": 64 * MIB, "disableOOMKiller": True}
    group = groups.of(bundle.up().pid, "memory")
    assert "oom_kill_disable 1" in (group / "memory.oom_control").read_text()


def whole_disk() -> str:
    """A disk that the kernel can throttle, `major:minor`."""
    for name in sorted(os.listdir("/sys/block")):
        if not name.startswith(("loop", "ram", "zram")):
            return Path(f"/sys/block/{name}/dev").read_text().strip()
    pytest.skip("there is no disk")


@pytest.mark.parametrize(
    ("field", "v1", "v2"),
    [
        ("throttleReadBpsDevice", "blkio.throttle.read_bps_device", "rbps"),
        ("throttleWriteBpsDevice", "blkio.throttle.write_bps_device", "wbps"),
        ("throttleReadIOPSDevice", "blkio.throttle.read_iops_device", "riops"),
        ("throttleWriteIOPSDevice", "blkio.throttle.write_iops_device", "wiops"),
    ],
)
def test_reads_and_writes_are_throttled(bundle: Bundle, field: str, v1: str, v2: str) -> None:
    disk = whole_disk()
    major, minor = map(int, disk.split(":"))
    bundle.resources["blockIO"] = {field: [{"major": major, "minor": minor, "rate": 1_000_000}]}
    found = groups.read(bundle.up().pid, "blkio" if groups.is_v1("blkio") else "io", v1, "io.max")
    assert found == f"{disk} 1000000" or f"{v2}=1000000" in found


def test_packets_have_a_class_and_a_priority(bundle: Bundle) -> None:
    if not (groups.is_v1("net_cls") and groups.is_v1("net_prio")):
        pytest.skip("net_cls and net_prio are not mounted")
    bundle.resources["network"] = {"classID": 0x100001, "priorities": [{"name": "lo", "priority": 5}]}
    pid = bundle.up().pid
    assert groups.read(pid, "net_cls", "net_cls.classid", "") == str(0x100001)
    assert "lo 5" in groups.read(pid, "net_prio", "net_prio.ifpriomap", "")


@pytest.mark.parametrize(
    "wrong",
    [{"memory": {"limit": -2}}, {"cpu": {"cpus": "one"}}, {"cpu": {"shares": -1}}, {"pids": {"limit": "many"}}],
    ids=["limit", "cpus", "shares", "pids"],
)
def test_a_limit_that_makes_no_sense_is_an_error(bundle: Bundle, wrong: dict[str, Any]) -> None:
    bundle.resources.update(wrong)
    bundle.refused()


def test_a_container_without_resources_runs(bundle: Bundle) -> None:
    del bundle.linux["resources"]
    bundle.up()


def test_huge_pages_are_limited(bundle: Bundle) -> None:
    if not groups.is_v1("hugetlb"):
        pytest.skip("no hugetlb controller is mounted")
    bundle.resources["hugepageLimits"] = [{"pageSize": "2MB", "limit": 4 * MIB}]
    group = groups.of(bundle.up().pid, "hugetlb")
    assert (group / "hugetlb.2MB.limit_in_bytes").read_text().strip() == str(4 * MIB)


def test_rdma_is_limited(bundle: Bundle) -> None:
    if not Path("/sys/class/infiniband").is_dir():
        pytest.skip("no RDMA device")
    device = next(Path("/sys/class/infiniband").iterdir()).name
    bundle.resources["rdma"] = {device: {"hcaHandles": 3}}
    bundle.up()


def test_cache_allocation_is_set(bundle: Bundle) -> None:
    if not Path("/sys/fs/resctrl/schemata").exists():
        pytest.skip("no resctrl filesystem: the processor or the kernel lacks RDT")
    bundle.linux["intelRdt"] = {"closID": bundle.id}
    bundle.up()


def test_unified_values_are_written(bundle: Bundle) -> None:
    if groups.is_v1("memory") or groups.is_v1("pids"):
        pytest.skip("controllers are of version 1 here")
    bundle.resources["unified"] = {"pids.max": "77"}
    assert groups.pids(bundle.up().pid) == "77"


# Where the group is.


def test_an_absolute_path_is_from_the_top(bundle: Bundle) -> None:
    bundle.linux["cgroupsPath"] = f"/{bundle.id}-top/inner/{bundle.id}"
    bundle.up()
    paths = groups.paths(bundle.pid)
    assert paths["pids" if groups.is_v1("pids") else ""] == f"/{bundle.id}-top/inner/{bundle.id}"
    bundle.delete("--force").ok()
    for group in groups.named(bundle.id):
        # Whether the parents, which it has made, go along is not said.
        assert group.name != bundle.id
    for group in [*groups.named("inner"), *groups.named(f"{bundle.id}-top")]:
        if f"{bundle.id}-top" in str(group):
            group.rmdir()


def test_a_relative_path_ends_in_what_was_said(bundle: Bundle) -> None:
    bundle.linux["cgroupsPath"] = f"{bundle.id}-relative"
    path = groups.of(bundle.up().pid, "pids")
    assert path.name == f"{bundle.id}-relative"


def test_every_controller_has_a_group_of_the_container(bundle: Bundle) -> None:
    bundle.linux["cgroupsPath"] = f"/{bundle.id}"
    paths = groups.paths(bundle.up().pid)
    controllers = [names for names in paths if names]
    assert {paths[names] for names in controllers} == {f"/{bundle.id}"} or paths[""] == f"/{bundle.id}"


def test_a_group_with_processes_of_others_is_not_removed(bundle: Bundle) -> None:
    """What belongs to the container alone goes; a parent that was there before stays."""
    controller = "pids" if groups.is_v1("pids") else ""
    parent = groups.mounted()[controller] / f"{bundle.id}-parent"
    parent.mkdir()
    try:
        bundle.linux["cgroupsPath"] = f"/{parent.name}/{bundle.id}"
        bundle.up().delete("--force").ok()
        assert parent.exists()
        assert not (parent / bundle.id).exists()
    finally:
        for group in groups.named(parent.name):
            group.rmdir()


def test_a_path_that_climbs_stays_below_the_top(bundle: Bundle) -> None:
    bundle.linux["cgroupsPath"] = f"/../../{bundle.id}"
    if bundle.sh("exec sleep 100").create().status == 0:
        assert ".." not in groups.paths(bundle.pid)["pids" if groups.is_v1("pids") else ""]


# Changes.


def update(bundle: Bundle, *flags: str, **more: Any) -> None:
    bundle.runtime("update", *flags, bundle.id, **more).ok()


def test_update_by_flags(bundle: Bundle) -> None:
    bundle.resources.update(memory={"limit": 64 * MIB}, pids={"limit": 50}, cpu={"shares": 100})
    pid = bundle.up().pid
    update(bundle, "--memory", str(128 * MIB), "--pids-limit", "20", "--cpu-share", "200")
    assert groups.memory(pid) == 128 * MIB
    assert groups.pids(pid) == "20"
    assert groups.shares(pid) in groups.weight_of(200)
    update(bundle, "--cpu-quota", "30000", "--cpu-period", "90000")
    assert groups.quota(pid) == (30_000, 90_000)
    assert groups.memory(pid) == 128 * MIB, "what was not named has changed"
    update(bundle, "--cpuset-cpus", "0")
    assert groups.cpus(pid) == "0"


@pytest.mark.parametrize("origin", ["file", "-"])
def test_update_by_resources(bundle: Bundle, origin: str) -> None:
    resources = json.dumps({"memory": {"limit": 96 * MIB}, "pids": {"limit": 30}, "cpu": {"quota": 40_000}})
    bundle.resources["cpu"] = {"quota": 50_000, "period": 100_000}
    pid = bundle.up().pid
    if origin == "file":
        (bundle.path / "resources.json").write_text(resources)
        update(bundle, "--resources", str(bundle.path / "resources.json"))
    else:
        update(bundle, "--resources", "-", stdin=resources)
    assert (groups.memory(pid), groups.pids(pid)) == (96 * MIB, "30")
    assert groups.quota(pid) == (40_000, 100_000)


def test_update_of_memory_takes_units(bundle: Bundle) -> None:
    bundle.resources.update(memory={"limit": 64 * MIB})
    pid = bundle.up().pid
    update(bundle, "--memory", "96M")
    assert groups.memory(pid) == 96 * MIB


def test_update_to_nothing_changes_nothing(bundle: Bundle) -> None:
    bundle.resources.update(memory={"limit": 64 * MIB})
    pid = bundle.up().pid
    update(bundle, "--resources", "-", stdin="{}")
    assert groups.memory(pid) == 64 * MIB


def test_update_of_a_created_container(bundle: Bundle) -> None:
    bundle.create().ok()
    update(bundle, "--pids-limit", "33")
    assert groups.pids(bundle.pid) == "33"


def test_update_of_what_does_not_exist_is_an_error(bundle: Bundle) -> None:
    assert bundle.runtime("update", "--pids-limit", "33", "nobody").status != 0


def test_devices_still_work_after_an_update(bundle: Bundle) -> None:
    """runc's old bug: an update wrote the devices' rules anew, and /dev/null could not be opened for a moment."""
    bundle.up()
    update(bundle, "--pids-limit", "33")
    bundle.exec("sh", "-c", "echo > /dev/null").ok()


def test_one_look_at_the_statistics(bundle: Bundle) -> None:
    bundle.resources.update(memory={"limit": 64 * MIB}, pids={"limit": 50})
    bundle.up("i=0; while [ $i -lt 20000 ]; do i=$((i+1)); done; echo done; exec sleep 100")
    assert bundle.prints("done")
    event = json.loads(bundle.runtime("events", "--stats", bundle.id).ok().out)
    assert event["type"] == "stats"
    assert event["id"] == bundle.id
    assert event["data"]["cpu"]["usage"]["total"] > 0
    assert event["data"]["memory"]["usage"]["limit"] == 64 * MIB
    assert event["data"]["memory"]["usage"]["usage"] > 0
    assert event["data"]["pids"] == {"current": 1, "limit": 50}


def test_the_end_of_memory_can_be_seen_from_the_group(bundle: Bundle) -> None:
    bundle.resources["memory"] = {"limit": 16 * MIB, "swap": 16 * MIB}
    bundle.up("tail /dev/zero; echo killed $?; exec sleep 100")
    assert bundle.prints("killed 137")
    file = "memory.oom_control" if groups.is_v1("memory") else "memory.events"
    group = groups.of(bundle.pid, "memory")
    assert eventually(lambda: "oom_kill 1" in (group / file).read_text())
