"""From config.json to a Spec: what is read, what is refused, and that nothing else happens."""

from __future__ import annotations

import json
import os
from typing import Any

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from coso.errors import SpecError
from coso.spec import (
    NAMESPACES,
    VERSION,
    BlockIo,
    Capabilities,
    Cpu,
    CpuAffinity,
    Device,
    DeviceRate,
    DeviceRule,
    Hook,
    Hooks,
    HugepageLimit,
    IdMapping,
    IoPriority,
    Joined,
    Memory,
    Mount,
    Network,
    Personality,
    Process,
    Rdma,
    Resources,
    Rlimit,
    Root,
    Scheduler,
    Seccomp,
    SeccompArg,
    SeccompRule,
    Spec,
    TimeOffset,
    User,
)
from coso.spec.example import example
from coso.spec.features import features
from coso.spec.lists import numbers
from coso.spec.read import parse, process_from, read

GONE = object()
UINT64 = 2**64 - 1
MAPS = [{"containerID": 0, "hostID": 100000, "size": 65536}]

FULL: dict[str, Any] = {
    "ociVersion": "1.2.0",
    "process": {
        "terminal": True,
        "consoleSize": {"height": 25, "width": 80},
        "user": {"uid": 1, "gid": 2, "umask": 0o077, "additionalGids": [5, 6]},
        "args": ["sh", "-c", "true"],
        "env": ["PATH=/bin", "EMPTY="],
        "cwd": "/root",
        "capabilities": {
            "bounding": ["CAP_KILL", "CAP_CHOWN"],
            "permitted": ["CAP_KILL"],
            "effective": ["CAP_KILL"],
            "inheritable": ["CAP_CHOWN"],
            "ambient": [],
        },
        "rlimits": [{"type": "RLIMIT_NOFILE", "soft": 1024, "hard": UINT64}],
        "noNewPrivileges": True,
        "apparmorProfile": "profile",
        "selinuxLabel": "label",
        "oomScoreAdj": -100,
        "scheduler": {
            "policy": "SCHED_DEADLINE",
            "flags": ["SCHED_FLAG_RECLAIM"],
            "runtime": 1,
            "deadline": 2,
            "period": 3,
        },
        "ioPriority": {"class": "IOPRIO_CLASS_BE", "priority": 4},
        "execCPUAffinity": {"initial": "7", "final": "0-3, 7"},
    },
    "root": {"path": "rootfs", "readonly": True},
    "hostname": "slartibartfast",
    "domainname": "example.org",
    "mounts": [
        {"destination": "/proc", "type": "proc", "source": "proc"},
        {"destination": "/data", "type": "none", "source": "data", "options": ["rbind", "", "ro"]},
        {
            "destination": "/mapped",
            "type": "bind",
            "source": "/srv",
            "options": ["idmap"],
            "uidMappings": MAPS,
            "gidMappings": MAPS,
        },
    ],
    "hooks": {
        "prestart": [{"path": "/a"}],
        "createRuntime": [{"path": "/b", "args": ["b", "1"], "env": ["A=1"], "timeout": 5}],
        "createContainer": [{"path": "/c"}],
        "startContainer": [{"path": "/d"}],
        "poststart": [{"path": "/e"}],
        "poststop": [{"path": "/f"}],
    },
    "annotations": {"com.example.key": "value", "empty": ""},
    "linux": {
        "namespaces": [
            *({"type": kind} for kind in ("time", "mount", "pid", "uts", "ipc", "user", "cgroup")),
            {"type": "network", "path": "/run/netns/a"},
        ],
        "uidMappings": MAPS,
        "gidMappings": [*MAPS, {"containerID": 65536, "hostID": 5, "size": 1}],
        "timeOffsets": {"boottime": {"secs": -5, "nanosecs": 7}, "monotonic": {"secs": 9}},
        "devices": [
            {"path": "/dev/fuse", "type": "c", "major": 10, "minor": 229, "fileMode": 0o20660, "uid": 3, "gid": 4},
            {"path": "/pipe", "type": "p"},
        ],
        "netDevices": {"eth7": {"name": "inside"}, "eth8": {}},
        "cgroupsPath": "/coso/box",
        "resources": {
            "devices": [
                {"allow": False},
                {"allow": True, "type": "c", "major": 10, "minor": -1, "access": "rw"},
            ],
            "memory": {
                "limit": 1 << 29,
                "reservation": -1,
                "swap": 1 << 30,
                "kernel": -1,
                "kernelTCP": 0,
                "swappiness": 100,
                "disableOOMKiller": False,
                "useHierarchy": True,
                "checkBeforeUpdate": True,
            },
            "cpu": {
                "shares": 1024,
                "quota": 1000,
                "burst": 1000,
                "period": 5000,
                "realtimeRuntime": 9,
                "realtimePeriod": 10,
                "cpus": "2-3",
                "mems": "0-7",
                "idle": 1,
            },
            "pids": {"limit": 32771},
            "blockIO": {
                "weight": 10,
                "leafWeight": 11,
                "weightDevice": [
                    {"major": 8, "minor": 0, "weight": 500, "leafWeight": 300},
                    {"major": 8, "minor": 16, "weight": 400},
                ],
                "throttleReadBpsDevice": [{"major": 8, "minor": 0, "rate": 1}],
                "throttleWriteBpsDevice": [{"major": 8, "minor": 0, "rate": 2}],
                "throttleReadIOPSDevice": [{"major": 8, "minor": 0, "rate": 3}],
                "throttleWriteIOPSDevice": [{"major": 8, "minor": 0, "rate": 4}],
            },
            "hugepageLimits": [{"pageSize": "2MB", "limit": 209715200}],
            "network": {"classID": 1048577, "priorities": [{"name": "eth0", "priority": 500}]},
            "rdma": {"mlx5_1": {"hcaHandles": 3, "hcaObjects": 10000}},
            "unified": {"memory.high": "max"},
        },
        "rootfsPropagation": "rslave",
        "seccomp": {
            "defaultAction": "SCMP_ACT_ERRNO",
            "defaultErrnoRet": 38,
            "architectures": ["SCMP_ARCH_X86_64", "SCMP_ARCH_X32"],
            "flags": ["SECCOMP_FILTER_FLAG_LOG"],
            "listenerPath": "/run/agent",
            "listenerMetadata": "data",
            "syscalls": [
                {"names": ["read", "write"], "action": "SCMP_ACT_ALLOW"},
                {"names": ["mknod"], "action": "SCMP_ACT_NOTIFY"},
                {
                    "names": ["personality"],
                    "action": "SCMP_ACT_ERRNO",
                    "errnoRet": 1,
                    "args": [{"index": 0, "value": UINT64, "valueTwo": 1, "op": "SCMP_CMP_MASKED_EQ"}],
                },
            ],
        },
        "sysctl": {"net.core.somaxconn": "256", "net/ipv4/conf/eno2.100/rp_filter": "1", "kernel.sem": "1 2 3 4"},
        "maskedPaths": ["/proc/kcore"],
        "readonlyPaths": ["/proc/sys"],
        "mountLabel": "mount label",
        "personality": {"domain": "LINUX32"},
    },
}


def bent(path: str, value: object) -> dict[str, Any]:
    """FULL with one value changed; `mounts.2.source` is the way there."""
    config = json.loads(json.dumps(FULL))
    *way, last = path.split(".")
    item: Any = config
    for step in way:
        item = item[int(step)] if isinstance(item, list) else item[step]
    key: Any = int(last) if isinstance(item, list) else last
    if value is GONE:
        del item[key]
    else:
        item[key] = value
    return config


def spec_of(config: dict[str, Any], **options: Any) -> Spec:
    return read(json.dumps(config), bundle="/bundle", **options)


def refusal(config: dict[str, Any]) -> str:
    with pytest.raises(SpecError) as caught:
        spec_of(config)
    return caught.value.message


def test_every_field_of_the_specification_is_read() -> None:
    ranges = (IdMapping(0, 100000, 65536),)
    assert spec_of(FULL) == Spec(
        process=Process(
            args=("sh", "-c", "true"),
            env=("PATH=/bin", "EMPTY="),
            capabilities=Capabilities(
                bounding=("CAP_KILL", "CAP_CHOWN"),
                effective=("CAP_KILL",),
                permitted=("CAP_KILL",),
                inheritable=("CAP_CHOWN",),
            ),
            cwd="/root",
            user=User(uid=1, gid=2, additional_gids=(5, 6), umask=0o077),
            terminal=True,
            console_size=(25, 80),
            no_new_privileges=True,
            rlimits=(Rlimit("RLIMIT_NOFILE", 1024, UINT64),),
            apparmor_profile="profile",
            selinux_label="label",
            oom_score_adj=-100,
            scheduler=Scheduler("SCHED_DEADLINE", 0, 0, ("SCHED_FLAG_RECLAIM",), 1, 2, 3),
            io_priority=IoPriority("IOPRIO_CLASS_BE", 4),
            exec_cpu_affinity=CpuAffinity((7,), (0, 1, 2, 3, 7)),
        ),
        root=Root("/bundle/rootfs", readonly=True),
        hostname="slartibartfast",
        domainname="example.org",
        mounts=(
            Mount("/proc", "proc", "proc"),
            Mount("/data", "none", "/bundle/data", ("rbind", "ro")),
            Mount("/mapped", "bind", "/srv", ("idmap",), ranges, ranges),
        ),
        hooks=Hooks(
            prestart=(Hook("/a"),),
            create_runtime=(Hook("/b", ("b", "1"), ("A=1",), 5),),
            create_container=(Hook("/c"),),
            start_container=(Hook("/d"),),
            poststart=(Hook("/e"),),
            poststop=(Hook("/f"),),
        ),
        annotations=(("com.example.key", "value"), ("empty", "")),
        namespaces=("user", "pid", "mount", "uts", "ipc", "cgroup", "time"),
        joined=(Joined("network", "/run/netns/a"),),
        uid_mappings=ranges,
        gid_mappings=(*ranges, IdMapping(65536, 5, 1)),
        time_offsets=(("boottime", TimeOffset(-5, 7)), ("monotonic", TimeOffset(9))),
        devices=(Device("/dev/fuse", "c", 10, 229, 0o660, 3, 4), Device("/pipe", "p")),
        net_devices=(("eth7", "inside"), ("eth8", "eth8")),
        cgroups_path="/coso/box",
        resources=Resources(
            devices=(DeviceRule(False), DeviceRule(True, "c", 10, None, "rw")),
            memory=Memory(1 << 29, -1, 1 << 30, -1, 0, 100, False, True, True),
            cpu=Cpu(1024, 1000, 1000, 5000, 9, 10, "2-3", "0-7", 1),
            pids=32771,
            block_io=BlockIo(
                weight=10,
                leaf_weight=11,
                weight_device=(DeviceRate(8, 0, 500), DeviceRate(8, 16, 400)),
                leaf_weight_device=(DeviceRate(8, 0, 300),),
                throttle_read_bps_device=(DeviceRate(8, 0, 1),),
                throttle_write_bps_device=(DeviceRate(8, 0, 2),),
                throttle_read_iops_device=(DeviceRate(8, 0, 3),),
                throttle_write_iops_device=(DeviceRate(8, 0, 4),),
            ),
            hugepage_limits=(HugepageLimit("2MB", 209715200),),
            network=Network(1048577, (("eth0", 500),)),
            rdma=(Rdma("mlx5_1", 3, 10000),),
            unified=(("memory.high", "max"),),
        ),
        rootfs_propagation="rslave",
        seccomp=Seccomp(
            "SCMP_ACT_ERRNO",
            38,
            ("SCMP_ARCH_X86_64", "SCMP_ARCH_X32"),
            ("SECCOMP_FILTER_FLAG_LOG",),
            "/run/agent",
            "data",
            (
                SeccompRule(("read", "write"), "SCMP_ACT_ALLOW"),
                SeccompRule(("mknod",), "SCMP_ACT_NOTIFY"),
                SeccompRule(("personality",), "SCMP_ACT_ERRNO", 1, (SeccompArg(0, UINT64, "SCMP_CMP_MASKED_EQ", 1),)),
            ),
        ),
        sysctl=(
            ("net.core.somaxconn", "256"),
            ("net.ipv4.conf.eno2/100.rp_filter", "1"),
            ("kernel.sem", "1 2 3 4"),
        ),
        masked_paths=("/proc/kcore",),
        readonly_paths=("/proc/sys",),
        mount_label="mount label",
        personality=Personality("LINUX32"),
    )


SMALL: dict[str, Any] = {"ociVersion": "1.0.0", "process": {"args": ["sh"], "cwd": "/"}, "root": {"path": "/r"}}


def test_a_process_may_come_to_be_missing() -> None:
    config = example(rootless=False)
    del config["process"]
    assert spec_of(config).process.args == ()


def test_what_is_not_said_is_not_done() -> None:
    bare = Spec(process=Process(args=("sh",), cwd="/"), root=Root("/r"), namespaces=())
    assert spec_of(SMALL) == bare
    nothing = {"hostname": None, "mounts": None, "hooks": None, "annotations": None, "linux": None, "windows": {}}
    assert spec_of(SMALL | nothing) == bare
    assert spec_of(SMALL | {"linux": dict.fromkeys(FULL["linux"])}) == bare


@pytest.mark.parametrize(
    ("path", "value", "message"),
    [
        # The file as a whole.
        ("ociVersion", GONE, "ociVersion: missing"),
        ("ociVersion", None, "ociVersion: missing"),
        ("ociVersion", 1.2, "ociVersion: a string is wanted, not 1.2"),
        ("ociVersion", "1.2", 'ociVersion: a version such as 1.2.0 is wanted, not "1.2"'),
        ("ociVersion", "1.02.0", "ociVersion: a version such as"),
        ("ociVersion", "1.2.0 ", "ociVersion: a version such as"),
        ("ociVersion", "1.2.0-", "ociVersion: a version such as"),
        ("ociVersion", "1.2.²", "ociVersion: a version such as"),
        ("ociVersion", "2.0.0", 'ociVersion: "2.0.0" is not supported'),
        ("ociVersion", "0.9.0", 'ociVersion: "0.9.0" is not supported'),
        ("root", GONE, "root: missing"),
        ("root", [], "root: an object is wanted, not a list"),
        ("root.path", GONE, "root.path: missing"),
        ("root.path", "", "root.path: missing"),
        ("root.readonly", 1, "root.readonly: true or false is wanted, not 1"),
        ("hostname", "x" * 65, "hostname: longer than 64 bytes"),
        ("domainname", "ä" * 33, "domainname: longer than 64 bytes"),
        ("annotations", {"": "x"}, "annotations: an empty key"),
        ("annotations", {"a": 1}, 'annotations["a"]: a string is wanted, not 1'),
        # process
        ("process", "sh", 'process: an object is wanted, not "sh"'),
        ("process.args", GONE, "process.args: missing"),
        ("process.args", [], "process.args: empty"),
        ("process.args", [""], "process.args[0]: empty"),
        ("process.args", "sh", 'process.args: a list is wanted, not "sh"'),
        ("process.args.1", None, "process.args[1]: a string is wanted, not null"),
        ("process.args.1", "a\0b", r'process.args[1]: "a\x00b" has a NUL inside'),
        ("process.args.1", "\ud800", r'process.args[1]: "\ud800" has half of a surrogate pair inside'),
        ("process.cwd", GONE, "process.cwd: missing"),
        ("process.cwd", "root", 'process.cwd: an absolute path is wanted, not "root"'),
        ("process.env.0", "=x", "process.env[0]: NAME=value is wanted"),
        ("process.env.1", "PATH", "process.env[1]: NAME=value is wanted"),
        ("process.user", 0, "process.user: an object is wanted, not 0"),
        ("process.user.uid", "x", 'process.user.uid: a whole number from 0 to 4294967294 is wanted, not "x"'),
        ("process.user.uid", True, "process.user.uid: a whole number from 0 to 4294967294 is wanted, not true"),
        ("process.user.uid", 1.0, "process.user.uid: a whole number"),
        ("process.user.uid", -1, "process.user.uid: a whole number"),
        ("process.user.gid", 2**32 - 1, "process.user.gid: a whole number from 0 to 4294967294"),
        ("process.user.gid", 10**4000, "process.user.gid: a whole number from 0 to 4294967294 is wanted, not a huge"),
        ("process.user.umask", 0o1000, "process.user.umask: a whole number from 0 to 511"),
        ("process.user.additionalGids.1", -1, "process.user.additionalGids[1]: a whole number"),
        ("process.consoleSize.height", GONE, "process.consoleSize.height: missing"),
        ("process.consoleSize.width", 65536, "process.consoleSize.width: a whole number from 0 to 65535"),
        ("process.capabilities", ["CAP_KILL"], "process.capabilities: an object is wanted, not a list"),
        ("process.capabilities.ambient", "CAP_KILL", "process.capabilities.ambient: a list is wanted"),
        ("process.rlimits.0.type", "RLIMIT_TEST", 'process.rlimits[0].type: "RLIMIT_TEST" is not one of RLIMIT_AS'),
        ("process.rlimits.0.soft", GONE, "process.rlimits[0].soft: missing"),
        ("process.rlimits.0.hard", -1, "process.rlimits[0].hard: a whole number"),
        ("process.rlimits.0.hard", 2**64, "process.rlimits[0].hard: a whole number"),
        ("process.rlimits.0.hard", 1, "process.rlimits[0].soft: 1024 is above the hard limit, 1"),
        (
            "process.rlimits",
            [{"type": "RLIMIT_AS", "soft": 1, "hard": 1}] * 2,
            "process.rlimits[1].type: RLIMIT_AS is given twice",
        ),
        ("process.noNewPrivileges", "yes", "process.noNewPrivileges: true or false is wanted"),
        ("process.oomScoreAdj", 1001, "process.oomScoreAdj: a whole number from -1000 to 1000"),
        ("process.scheduler", {}, "process.scheduler.policy: missing"),
        ("process.scheduler.policy", "SCHED_NORMAL", 'process.scheduler.policy: "SCHED_NORMAL" is not one of'),
        ("process.scheduler.nice", 20, "process.scheduler.nice: a whole number from -20 to 19"),
        ("process.scheduler.flags.0", "X", 'process.scheduler.flags[0]: "X" is not one of'),
        ("process.scheduler", {"policy": "SCHED_OTHER", "priority": 1}, "process.scheduler.priority: SCHED_OTHER has"),
        ("process.scheduler", {"policy": "SCHED_RR"}, "process.scheduler.priority: SCHED_RR needs one"),
        ("process.scheduler", {"policy": "SCHED_RR", "priority": 100}, "process.scheduler.priority: a whole number"),
        ("process.scheduler", {"policy": "SCHED_IDLE", "runtime": 1}, "process.scheduler.runtime: SCHED_IDLE has none"),
        ("process.ioPriority.class", GONE, "process.ioPriority.class: missing"),
        ("process.ioPriority.class", "BE", 'process.ioPriority.class: "BE" is not one of'),
        ("process.ioPriority.priority", 8, "process.ioPriority.priority: a whole number from 0 to 7"),
        ("process.execCPUAffinity.initial", "0-", "process.execCPUAffinity.initial: a list such as 0-3,7 is wanted"),
        ("process.execCPUAffinity.final", "8192", "process.execCPUAffinity.final: numbers are below 8192"),
        ("process.execCPUAffinity.final", "3-1", "process.execCPUAffinity.final: 3-1 runs backwards"),
        # mounts and hooks
        ("mounts", {}, "mounts: a list is wanted, not an object"),
        ("mounts.2", None, "mounts[2]: an object is wanted, not null"),
        ("mounts.2.destination", GONE, "mounts[2].destination: missing"),
        ("mounts.2.destination", "", "mounts[2].destination: missing"),
        ("mounts.1.source", GONE, "mounts[1].source: missing; a bind mount has one"),
        ("mounts.1.options", "ro", "mounts[1].options: a list is wanted"),
        ("mounts.2.uidMappings", GONE, "mounts[2].uidMappings: missing"),
        ("mounts.2.gidMappings", [], "mounts[2].gidMappings: missing"),
        ("mounts.2.uidMappings.0.size", 0, "mounts[2].uidMappings[0].size: a whole number"),
        ("hooks.poststart.0.path", GONE, "hooks.poststart[0].path: missing"),
        ("hooks.createRuntime.0.path", "bin/x", "hooks.createRuntime[0].path: an absolute path is wanted"),
        ("hooks.createRuntime.0.args", [""], "hooks.createRuntime[0].args[0]: empty"),
        ("hooks.createRuntime.0.timeout", 0, "hooks.createRuntime[0].timeout: a whole number from 1"),
        ("hooks.createRuntime.0.env.0", "A", "hooks.createRuntime[0].env[0]: NAME=value is wanted"),
        # linux
        ("linux.namespaces.0.type", GONE, "linux.namespaces[0].type: missing"),
        ("linux.namespaces.0.type", "net", 'linux.namespaces[0].type: "net" is not one of'),
        ("linux.namespaces.1.type", "time", "linux.namespaces[1].type: time is given twice"),
        ("linux.namespaces.7.path", "netns", "linux.namespaces[7].path: an absolute path is wanted"),
        ("linux.uidMappings", GONE, "linux.uidMappings: missing; a new user namespace"),
        ("linux.gidMappings", [], "linux.gidMappings: missing; a new user namespace"),
        ("linux.uidMappings.0.size", 0, "linux.uidMappings[0].size: a whole number from 1"),
        ("linux.uidMappings.0.containerID", 2**32 - 1, "linux.uidMappings[0].containerID: a whole number"),
        ("linux.uidMappings.0.size", 2**32 - 1, "linux.uidMappings[0].size: 4294967295 ids from there on lead beyond"),
        ("linux.gidMappings.1.containerID", 65535, "linux.gidMappings[1].containerID: the range overlaps that of"),
        ("linux.gidMappings.1.hostID", 100001, "linux.gidMappings[1].hostID: the range overlaps that of"),
        (
            "linux.uidMappings",
            [{"containerID": i, "hostID": i, "size": 1} for i in range(341)],
            "linux.uidMappings: 341 ranges; the kernel takes 340",
        ),
        ("linux.timeOffsets.realtime", {}, 'linux.timeOffsets["realtime"]: boottime and monotonic can be set'),
        ("linux.timeOffsets.boottime.secs", 2**63, 'linux.timeOffsets["boottime"].secs: a whole number'),
        ("linux.timeOffsets.boottime.nanosecs", 10**9, 'linux.timeOffsets["boottime"].nanosecs: a whole number'),
        ("linux.namespaces.0.path", "/proc/1/ns/time", "linux.timeOffsets: needs a new time namespace"),
        ("linux.devices.0.path", "dev/fuse", "linux.devices[0].path: an absolute path is wanted"),
        ("linux.devices.0.path", "/dev/../x", "linux.devices[0].path: "),
        ("linux.devices.0.type", "x", 'linux.devices[0].type: "x" is not one of'),
        ("linux.devices.0.major", GONE, "linux.devices[0].major: missing"),
        ("linux.devices.0.minor", 1 << 20, "linux.devices[0].minor: a whole number from 0 to 1048575"),
        ("linux.devices.0.fileMode", -1, "linux.devices[0].fileMode: a whole number"),
        ("linux.devices.1.path", "/dev/fuse", 'linux.devices[1].path: "/dev/fuse" is given twice'),
        ("linux.netDevices.eth7.name", "a/b", 'linux.netDevices["eth7"].name: "a/b" cannot be the name'),
        ("linux.netDevices.eth7.name", "x" * 16, 'linux.netDevices["eth7"].name: '),
        ("linux.netDevices.eth7.name", "eth8", 'linux.netDevices["eth8"].name: "eth8" is given twice'),
        ("linux.netDevices", {"..": {}}, 'linux.netDevices[".."]: ".." cannot be the name'),
        ("linux.cgroupsPath", "/a/../b", 'linux.cgroupsPath: "/a/../b" leads upwards'),
        ("linux.rootfsPropagation", "public", 'linux.rootfsPropagation: "public" is not one of'),
        ("linux.intelRdt", {}, "linux.intelRdt: not supported"),
        ("linux.maskedPaths.0", "proc", "linux.maskedPaths[0]: an absolute path is wanted"),
        ("linux.readonlyPaths.0", "", "linux.readonlyPaths[0]: an absolute path is wanted"),
        ("linux.personality.domain", GONE, "linux.personality.domain: missing"),
        ("linux.personality.domain", "BSD", 'linux.personality.domain: "BSD" is not one of LINUX LINUX32'),
        ("linux.personality.flags", ["X"], "linux.personality.flags: the specification knows none"),
        ("linux.sysctl", {"kernel.hostname": "x"}, 'linux.sysctl["kernel.hostname"]: use hostname'),
        ("linux.sysctl", {"vm.swappiness": "1"}, 'linux.sysctl["vm.swappiness"]: no namespace keeps it'),
        ("linux.sysctl", {"net..x": "1"}, 'linux.sysctl["net..x"]: not the name'),
        ("linux.sysctl", {"net/../vm/x": "1"}, 'linux.sysctl["net/../vm/x"]: not the name'),
        ("linux.sysctl", {"net.//.vm": "1"}, 'linux.sysctl["net.//.vm"]: not the name'),
        ("linux.sysctl", {"net.a": "1", "net/a": "2"}, 'linux.sysctl["net/a"]: given twice'),
        ("linux.sysctl", {"net.a": 1}, 'linux.sysctl["net.a"]: a string is wanted, not 1'),
        # linux.resources
        ("linux.resources.devices.0.allow", GONE, "linux.resources.devices[0].allow: missing"),
        ("linux.resources.devices.1.type", "p", 'linux.resources.devices[1].type: "p" is not one of a b c'),
        ("linux.resources.devices.1.access", "rx", "linux.resources.devices[1].access: some of r, w and m"),
        ("linux.resources.devices.1.major", 4096, "linux.resources.devices[1].major: a whole number from -1 to 4095"),
        ("linux.resources.memory.limit", -2, "linux.resources.memory.limit: a whole number from -1"),
        ("linux.resources.memory.limit", 2**63, "linux.resources.memory.limit: a whole number from -1"),
        ("linux.resources.memory.swap", 1, "linux.resources.memory.swap: 1 is memory and swap together"),
        ("linux.resources.memory.swappiness", 101, "linux.resources.memory.swappiness: a whole number from 0 to 100"),
        ("linux.resources.memory.disableOOMKiller", 0, "linux.resources.memory.disableOOMKiller: true or false"),
        ("linux.resources.cpu.shares", -1, "linux.resources.cpu.shares: a whole number from 0"),
        ("linux.resources.cpu.quota", "max", "linux.resources.cpu.quota: a whole number"),
        ("linux.resources.cpu.burst", 1001, "linux.resources.cpu.burst: 1001 is above the quota, 1000"),
        ("linux.resources.cpu.idle", 2, "linux.resources.cpu.idle: a whole number from 0 to 1"),
        ("linux.resources.cpu.cpus", "0;1", "linux.resources.cpu.cpus: a list such as 0-3,7 is wanted"),
        ("linux.resources.cpu.mems", "a", "linux.resources.cpu.mems: a list such as 0-3,7 is wanted"),
        ("linux.resources.pids", {}, "linux.resources.pids.limit: missing"),
        ("linux.resources.pids.limit", 1.5, "linux.resources.pids.limit: a whole number"),
        ("linux.resources.blockIO.weight", 9, "linux.resources.blockIO.weight: a whole number from 10 to 1000"),
        ("linux.resources.blockIO.weight", 1001, "linux.resources.blockIO.weight: a whole number"),
        ("linux.resources.blockIO.weightDevice.1.weight", GONE, "linux.resources.blockIO.weightDevice[1].weight: miss"),
        (
            "linux.resources.blockIO.throttleReadBpsDevice.0.rate",
            GONE,
            "linux.resources.blockIO.throttleReadBpsDevice[0].rate: missing",
        ),
        ("linux.resources.hugepageLimits.0.pageSize", "2M", "linux.resources.hugepageLimits[0].pageSize: a size such"),
        ("linux.resources.hugepageLimits.0.pageSize", "MB", "linux.resources.hugepageLimits[0].pageSize: a size such"),
        ("linux.resources.hugepageLimits.0.pageSize", "../1GB", "linux.resources.hugepageLimits[0].pageSize: a size"),
        ("linux.resources.hugepageLimits.0.limit", GONE, "linux.resources.hugepageLimits[0].limit: missing"),
        ("linux.resources.network.classID", 2**32, "linux.resources.network.classID: a whole number"),
        ("linux.resources.network.priorities.0.name", "", "linux.resources.network.priorities[0].name: "),
        ("linux.resources.network.priorities.0.priority", GONE, "linux.resources.network.priorities[0].priority: miss"),
        ("linux.resources.rdma.mlx5_1", {}, 'linux.resources.rdma["mlx5_1"].hcaHandles: missing'),
        ("linux.resources.rdma", {"a b": {"hcaObjects": 1}}, 'linux.resources.rdma["a b"].hcaHandles: "a b" cannot'),
        ("linux.resources.unified", {"../x": "1"}, 'linux.resources.unified["../x"]: the name of a file'),
        ("linux.resources.unified", {".": "1"}, 'linux.resources.unified["."]: the name of a file'),
        ("linux.resources.unified", {"memory.max": 5}, 'linux.resources.unified["memory.max"]: a string is wanted'),
        # linux.seccomp
        ("linux.seccomp", {}, "linux.seccomp.defaultAction: missing"),
        ("linux.seccomp.defaultAction", "ALLOW", 'linux.seccomp.defaultAction: "ALLOW" is not one of'),
        ("linux.seccomp.defaultAction", "SCMP_ACT_NOTIFY", "linux.seccomp.defaultAction: SCMP_ACT_NOTIFY would"),
        ("linux.seccomp.defaultAction", "SCMP_ACT_KILL", "linux.seccomp.defaultErrnoRet: SCMP_ACT_KILL answers no"),
        ("linux.seccomp.defaultErrnoRet", 4096, "linux.seccomp.defaultErrnoRet: a whole number from 0 to 4095"),
        ("linux.seccomp.architectures.0", "x86_64", 'linux.seccomp.architectures[0]: "x86_64" is not one of'),
        ("linux.seccomp.flags.0", "LOG", 'linux.seccomp.flags[0]: "LOG" is not one of'),
        ("linux.seccomp.syscalls.0.names", GONE, "linux.seccomp.syscalls[0].names: missing"),
        ("linux.seccomp.syscalls.0.names", [], "linux.seccomp.syscalls[0].names: missing"),
        ("linux.seccomp.syscalls.0.names.1", "", "linux.seccomp.syscalls[0].names[1]: empty"),
        ("linux.seccomp.syscalls.0.action", GONE, "linux.seccomp.syscalls[0].action: missing"),
        ("linux.seccomp.syscalls.0.action", "SCMP_ACT_NOTIFY", "linux.seccomp.syscalls[0].action: SCMP_ACT_NOTIFY for"),
        ("linux.seccomp.syscalls.0.errnoRet", 1, "linux.seccomp.syscalls[0].errnoRet: SCMP_ACT_ALLOW answers no errno"),
        ("linux.seccomp.syscalls.2.args.0.index", 6, "linux.seccomp.syscalls[2].args[0].index: a whole number from 0"),
        ("linux.seccomp.syscalls.2.args.0.value", GONE, "linux.seccomp.syscalls[2].args[0].value: missing"),
        ("linux.seccomp.syscalls.2.args.0.op", "EQ", 'linux.seccomp.syscalls[2].args[0].op: "EQ" is not one of'),
        ("linux.seccomp.listenerPath", GONE, "linux.seccomp.listenerMetadata: useless without listenerPath"),
    ],
)
def test_a_wrong_value_is_refused_by_the_name_of_its_field(path: str, value: object, message: str) -> None:
    assert refusal(bent(path, value)).startswith(message)


@pytest.mark.parametrize(
    ("kind", "linux", "more", "message"),
    [
        ("uts", {}, {"hostname": "x"}, "hostname: needs a uts namespace"),
        ("uts", {}, {"domainname": "x"}, "domainname: needs a uts namespace"),
        ("uts", {"sysctl": {"kernel.domainname": "x"}}, {}, 'linux.sysctl["kernel.domainname"]: needs'),
        ("ipc", {"sysctl": {"kernel.shmmax": "1"}}, {}, 'linux.sysctl["kernel.shmmax"]: needs'),
        ("ipc", {"sysctl": {"fs.mqueue.msg_max": "1"}}, {}, 'linux.sysctl["fs.mqueue.msg_max"]: needs'),
        ("network", {"sysctl": {"net.x": "1"}}, {}, 'linux.sysctl["net.x"]: needs'),
        ("network", {"netDevices": {"eth0": {}}}, {}, "linux.netDevices: needs a network namespace"),
        ("user", {"uidMappings": MAPS}, {}, "linux.uidMappings: needs a user namespace"),
        ("user", {"gidMappings": MAPS}, {}, "linux.gidMappings: needs a user namespace"),
        ("mount", {"maskedPaths": ["/x"]}, {}, "linux.maskedPaths: needs a mount namespace"),
        ("mount", {"readonlyPaths": ["/x"]}, {}, "linux.readonlyPaths: needs a mount namespace"),
        (
            "user",
            {},
            {"mounts": [{"destination": "/x", "source": "/y", "options": ["bind", "idmap"]}]},
            "mounts[0].options: idmap needs",
        ),
    ],
)
def test_what_needs_a_namespace_is_refused_without_and_taken_with_one_that_exists(
    kind: str, linux: dict[str, Any], more: dict[str, Any], message: str
) -> None:
    assert refusal({**SMALL, **more, "linux": linux}).startswith(message)
    joined = {"namespaces": [{"type": kind, "path": f"/proc/1/ns/{kind}"}]}
    assert spec_of({**SMALL, **more, "linux": {**linux, **joined}}).joined[0].type == kind


def test_a_listener_is_wanted_where_a_rule_notifies() -> None:
    rules = [{"names": ["mknod"], "action": "SCMP_ACT_NOTIFY"}]
    filter_ = {"defaultAction": "SCMP_ACT_ALLOW", "syscalls": rules}
    assert refusal({**SMALL, "linux": {"seccomp": filter_}}).startswith("linux.seccomp.listenerPath: missing")


@pytest.mark.parametrize("version", ["1.0.0", "1.0.2-dev", "1.1.0-rc.2", "1.3.0", "1.2.0+build.5", "1.10.11-a-b"])
def test_every_version_1_is_read(version: str) -> None:
    assert spec_of(SMALL | {"ociVersion": version})


@pytest.mark.parametrize(
    ("text", "message"),
    [
        (b"", "not JSON"),
        (b"{", "not JSON"),
        (b"[]", "an object is wanted, not a list"),
        (b"null", "an object is wanted, not null"),
        (b'"\xff"', "not UTF-8: the byte at offset 1"),
        (json.dumps(SMALL).encode("utf-16"), "not UTF-8"),
        (b'{"ociVersion": NaN}', "not JSON: NaN is no number"),
        (b'{"ociVersion": -Infinity}', "not JSON: -Infinity is no number"),
        (b'{"x": ' + b"1" * 5000 + b"}", "not JSON: "),
        (b'{"x": ' + b"[" * 100_000, "not JSON that can be read: nested too deeply"),
        ('{"x": ' + '{"a":' * 100_000, "not JSON that can be read: nested too deeply"),
    ],
)
def test_a_file_that_holds_no_object_is_refused(text: bytes | str, message: str) -> None:
    with pytest.raises(SpecError) as caught:
        read(text, bundle="/b")
    assert caught.value.message.startswith(message)


def test_what_is_accepted_with_doubt_is_warned_about() -> None:
    said: list[str] = []
    config = bent("process.capabilities.ambient", ["CAP_MAGIC", "CAP_KILL", "CAP_KILL"])
    config["mounts"].append({"destination": "relative", "type": "tmpfs"})
    spec = spec_of(config, warn=said.append)
    assert spec.process.capabilities.ambient == ("CAP_KILL",)
    assert spec.mounts[-1].destination == "/relative"
    assert [line.partition(":")[0] for line in said] == ["process.capabilities.ambient[0]", "mounts[3].destination"]


def test_unknown_fields_are_no_error_and_can_be_listed() -> None:
    names: list[str] = []
    config = bent("linux.resources.memory.newer", 1)
    config["mounts"][1]["shiny"] = config["mounts"][1]["\udead name"] = config["windows"] = {}
    assert spec_of(config, ignored=names.append) == spec_of(FULL)
    assert sorted(names) == [
        "linux.resources.memory.newer",
        r'mounts[1].["\udead name"]',
        "mounts[1].shiny",
        "windows",
    ]
    names.clear()
    spec_of(FULL, ignored=names.append)
    assert names == []


def test_the_size_of_a_console_without_a_terminal_is_ignored() -> None:
    config = bent("process.terminal", False)
    config["process"]["consoleSize"] = "nonsense"
    assert spec_of(config).process.console_size is None


def test_a_device_given_twice_alike_is_made_once_and_the_later_mode_holds() -> None:
    device = {"path": "/dev/x", "type": "c", "major": 1, "minor": 3}
    spec = spec_of({**SMALL, "linux": {"devices": [device, {**device, "fileMode": 0o600}]}})
    assert spec.devices == (Device("/dev/x", "c", 1, 3, 0o600),)


def test_zero_and_minus_one_mean_what_they_mean_for_others() -> None:
    resources = {"blockIO": {"weight": 0}, "memory": {"limit": -1, "swap": -1}, "pids": {"limit": -1}}
    read_back = spec_of({**SMALL, "linux": {"resources": resources}}).resources
    assert read_back.block_io.weight is None
    assert read_back == Resources(memory=Memory(limit=-1, swap=-1), pids=-1)


def test_the_file_of_an_exec_is_a_process_alone() -> None:
    assert process_from(parse(b'{"args": ["id"], "cwd": "/"}')) == Process(args=("id",), cwd="/")
    with pytest.raises(SpecError, match=r"^user\.uid: a whole number"):
        process_from({"args": ["id"], "cwd": "/", "user": {"uid": -1}})


def test_a_list_of_cpus_may_repeat_itself_and_stays_small() -> None:
    assert numbers("") == numbers("  ") == ()
    assert numbers("3, 0-1,1") == (0, 1, 3)
    assert len(numbers(",".join(["0-8191"] * 10_000))) == 8192


@pytest.mark.parametrize("rootless", [True, False])
def test_the_example_is_read_without_a_doubt(rootless: bool) -> None:
    said: list[str] = []
    spec = spec_of(example(rootless=rootless), warn=said.append, ignored=said.append)
    assert said == []
    assert ("user" in spec.namespaces, "network" in spec.namespaces) == (rootless, not rootless)
    if rootless:
        assert spec.uid_mappings == (IdMapping(0, os.geteuid(), 1),)


def test_the_features_are_those_that_are_read() -> None:
    document: dict[str, Any] = features()
    assert document["ociVersionMax"] == VERSION
    assert document["mountOptions"] == sorted(set(document["mountOptions"]))
    assert document["linux"]["namespaces"] == sorted(NAMESPACES)
    for version in (document["ociVersionMin"], document["ociVersionMax"]):
        assert spec_of(SMALL | {"ociVersion": version})
    known = document["linux"]["seccomp"]
    filter_ = {"defaultAction": "SCMP_ACT_ALLOW", "architectures": known["archs"], "flags": known["knownFlags"]}
    assert spec_of({**SMALL, "linux": {"seccomp": filter_}})
    capabilities = {"bounding": document["linux"]["capabilities"]}
    process = {**SMALL["process"], "capabilities": capabilities}
    assert list(spec_of({**SMALL, "process": process}).process.capabilities.bounding) == capabilities["bounding"]


def places(item: object, way: tuple[str | int, ...] = ()) -> list[tuple[str | int, ...]]:
    """The ways to every value of a configuration."""
    inside = item.items() if isinstance(item, dict) else enumerate(item) if isinstance(item, list) else ()
    return [way, *(deeper for key, value in inside for deeper in places(value, (*way, key)))]


ODD = st.sampled_from(
    ["", "\0", "\ud800", "..", "/", "a/b", "=", "-", "0-9999999999999", "²", "1.2.0", 2**64, -(2**63) - 1, 1e300, -1]
)
VALUES = st.recursive(
    st.none() | st.booleans() | st.integers() | st.floats() | st.text(max_size=8) | ODD,
    lambda inner: st.lists(inner, max_size=3) | st.dictionaries(st.text(max_size=4) | ODD.map(str), inner, max_size=3),
    max_leaves=5,
)
CHANGES = st.lists(st.tuples(st.sampled_from(places(FULL)[1:]), st.just(GONE) | VALUES | ODD), min_size=1, max_size=4)


def changed(changes: list[tuple[tuple[str | int, ...], object]]) -> dict[str, Any]:
    config = json.loads(json.dumps(FULL))
    for way, value in changes:
        item: Any = config
        try:
            for step in way[:-1]:
                item = item[step]
            if value is GONE:
                del item[way[-1]]
            else:
                item[way[-1]] = value
        except (LookupError, TypeError):
            continue  # An earlier change has taken the place away.
    return config


@settings(max_examples=400, deadline=None, suppress_health_check=[HealthCheck.too_slow], database=None)
@given(CHANGES)
def test_a_bent_configuration_gives_a_spec_or_a_refusal_and_nothing_else(
    changes: list[tuple[tuple[str | int, ...], object]],
) -> None:
    try:
        spec = read(json.dumps(changed(changes)), bundle="/b", warn=str.encode, ignored=str.encode)
    except SpecError as error:
        assert error.message.encode()
    else:
        assert isinstance(spec, Spec)


@settings(max_examples=200, deadline=None, database=None)
@given(st.binary(max_size=64) | st.text(max_size=64) | VALUES.map(json.dumps))
def test_any_bytes_give_a_spec_or_a_refusal_and_nothing_else(text: bytes | str) -> None:
    with pytest.raises(SpecError):
        read(text, bundle="/b")
