"""What is written to which control file, on cgroup v1 and v2, and what systemd is told."""

from __future__ import annotations

import struct
from pathlib import Path

import pytest

from coso import cgroups
from coso.cgroups import Hierarchy, devices, files, more, statistics, systemd, v1, v2
from coso.errors import LimitError
from coso.spec import (
    BlockIo,
    Cpu,
    DeviceRate,
    DeviceRule,
    HugepageLimit,
    Memory,
    Network,
    Rdma,
    Resources,
)
from coso.spec.defaults import DEVICE_RULES

MEBIBYTE = 1 << 20
MAX = (1 << 64) - 1


def texts(settings: list[files.Setting]) -> list[tuple[str, str]]:
    assert all(setting.file for setting in settings), settings
    return [(setting.file, setting.text) for setting in settings]


def impossible(settings: list[files.Setting]) -> list[str]:
    return [setting.field for setting in settings if not setting.file]


@pytest.mark.parametrize(
    ("memory", "first", "second"),
    [
        (Memory(), [], []),
        (Memory(limit=0, swap=0, reservation=0), [], []),
        (Memory(limit=MEBIBYTE), [("memory.limit_in_bytes", "1048576")], [("memory.max", "1048576")]),
        (
            Memory(limit=MEBIBYTE, swap=3 * MEBIBYTE),
            [("memory.limit_in_bytes", "1048576"), ("memory.memsw.limit_in_bytes", "3145728")],
            [("memory.max", "1048576"), ("memory.swap.max", "2097152")],
        ),
        (
            Memory(limit=MEBIBYTE, swap=MEBIBYTE),
            [("memory.limit_in_bytes", "1048576"), ("memory.memsw.limit_in_bytes", "1048576")],
            [("memory.max", "1048576"), ("memory.swap.max", "0")],
        ),
        (
            Memory(limit=-1),
            [("memory.limit_in_bytes", "-1"), ("memory.memsw.limit_in_bytes", "-1")],
            [("memory.max", "max"), ("memory.swap.max", "max")],
        ),
        (
            Memory(swap=-1, reservation=-1),
            [("memory.memsw.limit_in_bytes", "-1"), ("memory.soft_limit_in_bytes", "-1")],
            [("memory.swap.max", "max"), ("memory.low", "max")],
        ),
    ],
)
def test_memory(memory: Memory, first: list[tuple[str, str]], second: list[tuple[str, str]]) -> None:
    assert texts(v1.settings(Resources(memory=memory))) == first
    assert texts(v2.settings(Resources(memory=memory))) == second


def test_what_only_v1_has_for_memory_is_refused_on_v2() -> None:
    memory = Memory(kernel_tcp=5, swappiness=30, disable_oom_killer=True, use_hierarchy=False)
    assert texts(v1.settings(Resources(memory=memory))) == [
        ("memory.kmem.tcp.limit_in_bytes", "5"),
        ("memory.swappiness", "30"),
        ("memory.oom_control", "1"),
        ("memory.use_hierarchy", "0"),
    ]
    fields = ["kernelTCP", "swappiness", "disableOOMKiller", "useHierarchy"]
    assert impossible(v2.settings(Resources(memory=memory))) == [f"memory.{field}" for field in fields]
    harmless = Memory(swappiness=MAX, disable_oom_killer=False, use_hierarchy=True)
    assert v2.settings(Resources(memory=harmless)) == []


@pytest.mark.parametrize("memory", [Memory(swap=MEBIBYTE), Memory(limit=2 * MEBIBYTE, swap=MEBIBYTE)])
def test_swap_that_v2_cannot_work_out_is_refused(memory: Memory) -> None:
    assert "memory.swap" in impossible(v2.settings(Resources(memory=memory)))


def test_cpu_time() -> None:
    cpu = Cpu(shares=1024, quota=50000, period=20000, burst=0, cpus="0-1", mems="0", idle=0)
    assert texts(v1.settings(Resources(cpu=cpu))) == [
        ("cpu.shares", "1024"),
        ("cpu.cfs_quota_us", "50000"),
        ("cpu.cfs_period_us", "20000"),
        ("cpu.cfs_burst_us", "0"),
        ("cpu.idle", "0"),
        ("cpuset.cpus", "0-1"),
        ("cpuset.mems", "0"),
    ]
    assert texts(v2.settings(Resources(cpu=cpu))) == [
        ("cpu.weight", "39"),
        ("cpu.max", "50000 20000"),
        ("cpu.max.burst", "0"),
        ("cpu.idle", "0"),
        ("cpuset.cpus", "0-1"),
        ("cpuset.mems", "0"),
    ]


@pytest.mark.parametrize(
    ("cpu", "text"),
    [(Cpu(quota=-1), "max 100000"), (Cpu(period=5000), "max 5000"), (Cpu(quota=7000), "7000 100000")],
)
def test_half_a_cpu_quota_gets_the_kernels_other_half(cpu: Cpu, text: str) -> None:
    assert texts(v2.settings(Resources(cpu=cpu))) == [("cpu.max", text)]


def test_real_time_is_v1_only() -> None:
    resources = Resources(cpu=Cpu(realtime_runtime=100, realtime_period=1000))
    assert texts(v1.settings(resources)) == [("cpu.rt_period_us", "1000"), ("cpu.rt_runtime_us", "100")]
    assert impossible(v2.settings(resources)) == ["cpu.realtimePeriod", "cpu.realtimeRuntime"]


def test_shares_and_weights_meet_at_both_ends() -> None:
    assert [v2.weight(shares) for shares in (2, 262144)] == [1, 10000]
    assert [more.io_weight(weight) for weight in (10, 1000)] == [1, 10000]
    for shares in (1, 262145):
        assert "cpu.shares" in impossible(v1.settings(Resources(cpu=Cpu(shares=shares))))
        assert impossible(v2.settings(Resources(cpu=Cpu(shares=shares)))) == ["cpu.shares"]


@pytest.mark.parametrize(("limit", "text"), [(10, "10"), (0, "max"), (-1, "max")])
def test_the_number_of_processes(limit: int, text: str) -> None:
    for version in (v1, v2):
        assert texts(version.settings(Resources(pids=limit))) == [("pids.max", text)]


def test_block_devices() -> None:
    rate = (DeviceRate(8, 16, 4096),)
    limits = BlockIo(
        weight=500,
        weight_device=(DeviceRate(8, 0, 10),),
        throttle_read_bps_device=rate,
        throttle_write_bps_device=(DeviceRate(8, 16, 0),),
        throttle_read_iops_device=rate,
        throttle_write_iops_device=rate,
    )
    assert texts(v1.settings(Resources(block_io=limits))) == [
        ("blkio.weight", "500"),
        ("blkio.weight_device", "8:0 10"),
        ("blkio.throttle.read_bps_device", "8:16 4096"),
        ("blkio.throttle.write_bps_device", "8:16 0"),
        ("blkio.throttle.read_iops_device", "8:16 4096"),
        ("blkio.throttle.write_iops_device", "8:16 4096"),
    ]
    found = v2.settings(Resources(block_io=limits))
    assert texts(found) == [
        ("io.bfq.weight", "500"),
        ("io.bfq.weight", "8:0 10"),
        ("io.max", "8:16 rbps=4096"),
        ("io.max", "8:16 wbps=max"),
        ("io.max", "8:16 riops=4096"),
        ("io.max", "8:16 wiops=4096"),
    ]
    assert [setting.instead for setting in found[:2]] == [("io.weight", "4950"), ("io.weight", "8:0 1")]


def test_weights_that_no_scheduler_keeps_are_refused() -> None:
    assert "blockIO.weight" in impossible(v2.settings(Resources(block_io=BlockIo(weight=9))))
    assert impossible(v2.settings(Resources(block_io=BlockIo(leaf_weight=10)))) == ["blockIO.leafWeight"]


def test_huge_pages_packets_and_rdma() -> None:
    resources = Resources(
        hugepage_limits=(HugepageLimit("2MB", 4096),),
        network=Network(1048577, (("eth0", 5), ("lo", 1))),
        rdma=(Rdma("mlx5_0", 3, None), Rdma("mlx5_1", None, 0)),
    )
    rdma = [("rdma.max", "mlx5_0 hca_handle=3"), ("rdma.max", "mlx5_1 hca_object=0")]
    assert texts(v1.settings(resources)) == [
        ("hugetlb.2MB.limit_in_bytes", "4096"),
        ("hugetlb.2MB.rsvd.limit_in_bytes", "4096"),
        ("net_cls.classid", "1048577"),
        ("net_prio.ifpriomap", "eth0 5"),
        ("net_prio.ifpriomap", "lo 1"),
        *rdma,
    ]
    assert texts(v2.settings(resources)) == [("hugetlb.2MB.max", "4096"), ("hugetlb.2MB.rsvd.max", "4096"), *rdma]


def test_files_of_v2_by_name() -> None:
    resources = Resources(
        unified=(("memory.high", "5"), ("io.max", "8:0 rbps=1\n8:16 rbps=2\n"), ("cgroup.freeze", "0"))
    )
    assert texts(v2.settings(resources)) == [
        ("memory.high", "5"),
        ("io.max", "8:0 rbps=1"),
        ("io.max", "8:16 rbps=2"),
        ("cgroup.freeze", "0"),
    ]
    assert v1.settings(resources) == []


@pytest.mark.parametrize("name", ["../memory.max", "memory/max", "memory", "memory.", ".max", ""])
def test_a_name_that_is_none_of_a_file_is_refused(name: str) -> None:
    assert impossible(v2.settings(Resources(unified=((name, "1"),)))) == [f"unified.{name}"]


@pytest.mark.parametrize(
    ("resources", "words"),
    [
        (Resources(memory=Memory(limit=MEBIBYTE)), "linux.resources.memory.limit (--memory) cannot be kept"),
        (Resources(cpu=Cpu(quota=5)), "leave --cpus out"),
        (Resources(pids=5), "leave --pids-limit out"),
        (Resources(network=Network(class_id=5)), "no net_cls controller"),
        (Resources(unified=(("hugetlb.1GB.max", "5"),)), "no cgroup v2 hierarchy with the hugetlb controller"),
        (Resources(devices=DEVICE_RULES), "linux.resources.devices cannot be kept"),
    ],
)
def test_a_limit_without_its_controller_is_an_error_that_names_it(resources: Resources, words: str) -> None:
    with pytest.raises(LimitError) as caught:
        cgroups.create("cosotest-none", [Hierarchy(1, "/nowhere", ("freezer", "hugetlb"))], resources, print)
    assert words in str(caught.value)


@pytest.mark.parametrize("path", ["", "/", "..", "/a/../../b", "."])
def test_a_path_that_leads_out_of_the_hierarchy_is_refused(path: str) -> None:
    with pytest.raises(LimitError, match="cgroupsPath"):
        cgroups.relative(path)
    assert cgroups.relative("//machine/./libpod-1/container/") == "machine/libpod-1/container"


def test_a_missing_file_is_an_error_a_warning_or_another_file(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    (tmp_path / "there").touch()
    files.apply(str(tmp_path), [files.Setting("a", "c", "absent", "1", ("there", "2"))])
    assert (tmp_path / "there").read_text() == "2"
    files.apply(str(tmp_path), [files.Setting("a", "c", "absent", "1", None, "")])
    assert capsys.readouterr().err == ""
    files.apply(str(tmp_path), [files.Setting("memory.kernel", "c", "absent", "1", None, "gone")])
    assert capsys.readouterr().err == "coso: linux.resources.memory.kernel: gone\n"
    with pytest.raises(LimitError, match=r"there is no .*/absent"):
        files.apply(str(tmp_path), [files.Setting("a", "c", "absent", "1")])
    with pytest.raises(LimitError, match="cannot be kept: because"):
        files.apply(str(tmp_path), [files.impossible("a", "c", "because")])


# What a program may do with a device: (type, major, minor, access as the kernel has it) -> allowed.
ACCESSES = {"m": 1, "r": 2, "w": 4, "rw": 6, "rwm": 7}


def runs(code: bytes, kind: str, major: int, minor: int, access: str) -> bool:
    """Run a device program: the few instructions that it has, as include/uapi/linux/bpf.h numbers them."""
    context = struct.pack("III", ACCESSES[access] << 16 | {"b": 1, "c": 2}[kind], major, minor)
    registers = [0] * 11
    at = steps = 0
    while steps < 10_000:
        operation, both, offset, number = struct.unpack_from("BBhi", code, at * 8)
        target, source = both & 15, both >> 4
        at, steps = at + 1, steps + 1
        match operation:
            case 0x61:
                registers[target] = struct.unpack_from("I", context, offset)[0]
            case 0x54:
                registers[target] &= number & 0xFFFFFFFF
            case 0x74:
                registers[target] >>= number
            case 0xBC:
                registers[target] = registers[source]
            case 0xB7:
                registers[target] = number
            case 0x15 | 0x55:
                if (registers[target] == number) == (operation == 0x15):
                    at += offset
            case 0x95:
                return registers[0] == 1
            case _:
                raise AssertionError(f"instruction {operation:#x}")
    raise AssertionError("no end")


@pytest.mark.parametrize("kind", ["b", "c"])
@pytest.mark.parametrize("access", ACCESSES)
def test_the_default_rules_allow_the_default_devices_and_making_any(kind: str, access: str) -> None:
    code = devices.program(DEVICE_RULES)
    usable = {(1, minor) for minor in (3, 5, 7, 8, 9)} | {(5, minor) for minor in (0, 1, 2)} | {(136, 0), (136, 77)}
    for place in usable | {(1, 1), (1, 11), (5, 3), (8, 0), (10, 200), (135, 0), (137, 1)}:
        assert runs(code, kind, *place, access) == (access == "m" or (kind == "c" and place in usable))


def test_the_last_rule_for_a_device_decides_about_each_access() -> None:
    code = devices.program(
        (
            DeviceRule(True, "c", 1, 3),
            DeviceRule(False),  # Starts anew.
            DeviceRule(True, "c", 10, access="r"),
            DeviceRule(True, "c", 10, 5, access="w"),
            DeviceRule(False, "c", 10, 6, access="r"),
            DeviceRule(True, "a", 8, 0, access="r"),
            DeviceRule(True, "u", -1, 9),
        )
    )
    assert not runs(code, "c", 1, 3, "r")
    assert runs(code, "c", 10, 5, "rw") and not runs(code, "c", 10, 5, "rwm")
    assert runs(code, "c", 10, 7, "r") and not runs(code, "c", 10, 7, "rw")
    assert not runs(code, "c", 10, 6, "r")
    assert runs(code, "b", 8, 0, "r") and runs(code, "c", 8, 0, "r") and not runs(code, "b", 8, 0, "m")
    assert runs(code, "c", 77, 9, "rwm")


def test_with_everything_allowed_a_denied_access_is_denied_together_with_others() -> None:
    code = devices.program((DeviceRule(True), DeviceRule(False, "b", 8, access="w")))
    assert runs(code, "b", 8, 1, "r") and not runs(code, "b", 8, 1, "rw") and runs(code, "c", 8, 1, "rwm")


def test_no_rule_at_all_denies_all() -> None:
    assert not runs(devices.program(()), "c", 1, 3, "r")


def test_device_rules_of_v1() -> None:
    assert devices.v1_rules(DEVICE_RULES) == (
        ("devices.deny", "a"),
        *(("devices.allow", f"{kind} *:* m") for kind in "cb"),
        *(("devices.allow", f"c 1:{minor} rwm") for minor in (3, 5, 7, 8, 9)),
        *(("devices.allow", f"c 5:{minor} rwm") for minor in (0, 1, 2)),
        ("devices.allow", "c 136:* rwm"),
    )
    rules = (DeviceRule(True, "c", 10, 1), DeviceRule(True, "c", 10, 2, "r"), DeviceRule(False, "c", 10, access="rm"))
    assert devices.v1_rules(rules) == (("devices.deny", "a"), ("devices.allow", "c 10:1 w"))
    assert devices.v1_rules((DeviceRule(True), DeviceRule(False, "b", 8, access="w"))) == (
        ("devices.allow", "a"),
        ("devices.deny", "b 8:* w"),
    )


def test_a_hole_that_v1_would_not_make_is_refused() -> None:
    with pytest.raises(LimitError, match="cannot take 'c 10:5 w' out of"):
        devices.v1_rules((DeviceRule(True, "c", 10), DeviceRule(False, "c", 10, 5, "w")))


@pytest.mark.parametrize("rule", [DeviceRule(True, "p"), DeviceRule(True, access="x"), DeviceRule(True, "c", 1 << 31)])
def test_a_rule_that_makes_no_sense_is_refused(rule: DeviceRule) -> None:
    with pytest.raises(LimitError, match=r"linux\.resources\.devices"):
        devices.flatten((rule,))


def test_the_default_devices_survive_a_mere_deny_all() -> None:
    assert devices.complete((DeviceRule(False),)) == DEVICE_RULES
    assert devices.complete(DEVICE_RULES) == DEVICE_RULES


def test_statistics_read_what_the_kernel_writes() -> None:
    assert statistics.numbers_of("0-2,7\n") == [0, 1, 2, 7]
    assert statistics.numbers_of("") == []
    assert statistics.block_entries("8:0 Read 5\n8:0 Total 5\nTotal 5") == [
        {"major": 8, "minor": 0, "op": "Read", "value": 5},
        {"major": 8, "minor": 0, "op": "Total", "value": 5},
    ]
    assert statistics.rdma_entries("mlx4_0 hca_handle=2 hca_object=max") == [
        {"device": "mlx4_0", "hcaHandles": 2, "hcaObjects": (1 << 32) - 1}
    ]


def test_statistics_of_v2_are_told_in_the_terms_of_v1(tmp_path: Path) -> None:
    group = tmp_path / "box"
    group.mkdir()
    for file, text in {
        "cpu.stat": "usage_usec 30\nuser_usec 20\nsystem_usec 10\nnr_periods 3\nnr_throttled 2\nthrottled_usec 4",
        "cpu.pressure": "some avg10=0.50 avg60=0.00 avg300=0.00 total=7",
        "memory.current": "100",
        "memory.max": "max",
        "memory.swap.current": "5",
        "memory.swap.max": "50",
        "memory.stat": "anon 60\nfile 40",
        "memory.events": "low 0\nmax 9\noom_kill 1",
        "pids.current": "2",
        "pids.max": "max",
        "io.stat": "8:0 rbytes=1 wbytes=2 rios=3 wios=4 dbytes=0 dios=0",
        "hugetlb.2MB.current": "4096",
        "hugetlb.2MB.rsvd.current": "1",
        "hugetlb.2MB.events": "max 6",
    }.items():
        (group / file).write_text(f"{text}\n")
    here = [Hierarchy(2, str(tmp_path), ("cpu", "memory", "pids", "io", "hugetlb"))]
    found = statistics.statistics("/box", here)
    assert found["cpu"]["usage"] == {"total": 30000, "kernel": 10000, "user": 20000}
    assert found["cpu"]["throttling"] == {"periods": 3, "throttledPeriods": 2, "throttledTime": 4000}
    assert found["cpu"]["psi"]["some"]["total"] == 7
    assert found["memory"]["usage"] == {"limit": MAX, "usage": 100, "max": 0, "failcnt": 9}
    assert found["memory"]["swap"] == {"limit": MAX, "usage": 105, "failcnt": 0}
    assert found["memory"]["cache"] == 40
    assert found["pids"] == {"current": 2, "limit": 0}
    assert found["blkio"]["ioServicedRecursive"][1] == {"major": 8, "minor": 0, "op": "Write", "value": 4}
    assert found["hugetlb"] == {"2MB": {"usage": 4096, "max": 0, "failcnt": 6}}


@pytest.mark.parametrize(
    ("given", "user", "slice_", "name", "path"),
    [
        ("machine.slice:libpod:1", False, "machine.slice", "libpod-1.scope", "machine.slice/libpod-1.scope"),
        (":runc:1", False, "system.slice", "runc-1.scope", "system.slice/runc-1.scope"),
        (":runc:1", True, "user.slice", "runc-1.scope", "user.slice/runc-1.scope"),
        ("a-b.slice:p:1", False, "a-b.slice", "p-1.scope", "a.slice/a-b.slice/p-1.scope"),
        ("-.slice:p:1", False, "-.slice", "p-1.scope", "p-1.scope"),
        ("a.slice::1", False, "a.slice", "1.scope", "a.slice/1.scope"),
        ("a.slice:x:a-b.slice", False, "a.slice", "a-b.slice", "a.slice/a-b.slice"),
        ("", False, "system.slice", "coso-box.scope", "system.slice/coso-box.scope"),
    ],
)
def test_names_of_units(given: str, user: bool, slice_: str, name: str, path: str) -> None:
    assert systemd.unit_of(given, "box", user=user) == systemd.Unit(slice_, name)
    assert systemd.path_of(given, "box", user=user) == path


@pytest.mark.parametrize(
    "given", ["/a/b", "a:b", "a:b:c", "a.slice:b:", "a--b.slice:p:1", ".slice:p:1", "a/b.slice:p:1"]
)
def test_what_is_no_unit_is_refused(given: str) -> None:
    with pytest.raises(LimitError, match="cgroupsPath"):
        systemd.unit_of(given, "box")


def test_what_systemd_is_told_of_a_scope_and_of_a_slice() -> None:
    told = dict(systemd.properties(systemd.Unit("a.slice", "p-1.scope"), 42, Resources(pids=0)))
    assert told["Slice"] == ("s", "a.slice") and told["PIDs"] == ("au", [42]) and told["Delegate"] == ("b", True)
    assert told["DefaultDependencies"] == ("b", False) and told["TasksMax"] == ("t", MAX)
    told = dict(systemd.properties(systemd.Unit("a.slice", "a-b.slice"), 42, Resources()))
    assert told["Wants"] == ("as", ["a.slice"]) and not {"PIDs", "Slice", "Delegate"} & told.keys()


def test_limits_in_systemds_words() -> None:
    resources = Resources(
        memory=Memory(limit=MEBIBYTE, swap=3 * MEBIBYTE, reservation=5),
        cpu=Cpu(shares=1024, quota=1, period=3000, cpus="0,9", mems="0"),
        pids=7,
        block_io=BlockIo(weight=1000),
        unified=(("memory.high", "max"), ("io.max", "8:0 rbps=1")),
        devices=(DeviceRule(False), DeviceRule(True, "b", 0, 2, "r")),
    )
    told = dict(systemd.limits(resources))
    assert told["MemoryMax"] == ("t", MEBIBYTE) and told["MemorySwapMax"] == ("t", 2 * MEBIBYTE)
    assert told["MemoryLow"] == ("t", 5) and told["MemoryHigh"] == ("t", MAX)
    assert told["CPUWeight"] == ("t", 39) and told["TasksMax"] == ("t", 7) and told["IOWeight"] == ("t", 10000)
    assert told["CPUQuotaPerSecUSec"] == ("t", 10000) and told["CPUQuotaPeriodUSec"] == ("t", 3000)
    assert told["AllowedCPUs"] == ("ay", b"\x01\x02") and told["AllowedMemoryNodes"] == ("ay", b"\x01")
    assert told["DevicePolicy"] == ("s", "strict")
    allowed = [("/dev/block/0:2", "r"), ("char-*", "m"), ("/dev/char/1:3", "rwm"), ("char-136", "rwm")]
    assert set(allowed) <= set(told["DeviceAllow"][1])  # type: ignore[call-overload]


@pytest.mark.parametrize(("quota", "period", "told"), [(-1, 1000, -1), (50000, 100000, 500000), (1, 100000, 10000)])
def test_a_quota_is_rounded_up_to_whole_percents(quota: int, period: int, told: int) -> None:
    assert systemd.per_second(quota, period) == told


def test_one_file_of_v2_keeps_quota_and_period() -> None:
    here = [Hierarchy(2, "/sys/fs/cgroup", ("cpu", "memory", "pids"))]
    (_, settings), *_ = cgroups._plan(here, Resources(cpu=Cpu(quota=20_000, period=100_000)))
    assert [(setting.file, setting.text) for setting in settings] == [("cpu.max", "20000 100000")]
