"""Configurations: a sound one, changed in up to three places, mostly in ways that could be meant."""

from __future__ import annotations

import json
from typing import Any

from hypothesis import strategies as st

from coso.kernel.capability import NUMBERS
from coso.runtime.security import LIMITS
from coso.spec.features import MOUNT_OPTIONS
from tests.integration.oci.bundle import NAMESPACES, default

Config = dict[str, Any]
Way = tuple[str | int, ...]

GONE = object()
# What a group's path begins with, so that no group of anybody else's is meant.
MARK = "coso-fuzz"

ODD = st.sampled_from(["", "\0", "\ud800", "..", "/", "a/b", "=", "-", 2**64, -(2**63) - 1, 1e300, -1, 0, True, None])
JUNK = st.recursive(
    ODD | st.integers() | st.floats(allow_nan=False) | st.text(max_size=8),
    lambda inner: st.lists(inner, max_size=3) | st.dictionaries(st.text(max_size=4), inner, max_size=3),
    max_leaves=4,
)
NUMBER = st.sampled_from([0, 1, 5, 77, 1000, 65535, 65536, 2**31 - 1, 2**32 - 1, 2**32])
PATHS = st.sampled_from(
    "/ /tmp /mnt /new /new/deep/down /etc/passwd /link /loop /up /dangling /proc /proc/self /proc/1/ns /sys /dev "
    "/dev/null /dev/shm /dev/pts /tmp/../../etc ../tmp relative . /tmp/ //tmp".split()
)
SOURCES = st.sampled_from("/tmp /etc /etc/hostname /dev/null /proc /nosuch rootfs config.json tmpfs none . ..".split())
TYPES = st.sampled_from("bind tmpfs proc sysfs mqueue devpts cgroup cgroup2 ext4 overlay none nosuch".split())
OPTIONS = st.sampled_from([*MOUNT_OPTIONS, "size=1m", "mode=700", "size=x", "nosuch", "uid=1", "gid=5", "bind", "ro"])
NAMES = st.sampled_from("pid network mount ipc uts user cgroup time".split())
CAPABILITIES = st.lists(st.sampled_from([*NUMBERS, "CAP_NOSUCH"]), max_size=6)
ACTIONS = st.sampled_from("ALLOW ERRNO KILL KILL_PROCESS TRAP LOG NOTIFY NOSUCH".split()).map("SCMP_ACT_{}".format)
CALLS = st.lists(
    st.sampled_from("mkdir mkdirat ptrace nosuch reboot umask setpriority".split()), min_size=1, max_size=3
)


def objects(required: dict[str, Any], **optional: Any) -> st.SearchStrategy[Config]:
    """Objects with these fields; `_` at the end of a name is left out."""
    return st.fixed_dictionaries(required, optional={name.rstrip("_"): value for name, value in optional.items()})


MOUNTS = objects({"destination": PATHS}, type_=TYPES, source=SOURCES, options=st.lists(OPTIONS, max_size=4))
LIMIT = objects({"type": st.sampled_from([*LIMITS, "RLIMIT_NOSUCH"]), "soft": NUMBER, "hard": NUMBER})
DEVICE = objects(
    {"path": st.sampled_from(["/dev/mine", "/dev/null", "/tmp/node", "/new/node", "mine", "/etc/passwd"])},
    type_=st.sampled_from("c b p u x".split()),
    major=st.sampled_from([1, 0, 5000]),
    minor=st.sampled_from([3, 0, 2**20]),
    fileMode=st.sampled_from([0o600, 0o666, 0o7777, 2**32]),
    uid=NUMBER,
    gid=NUMBER,
)
MAPPING = st.lists(
    objects({"containerID": NUMBER, "hostID": st.sampled_from([100000, 0, 2**32 - 1]), "size": NUMBER}), max_size=2
)
RULE = objects(
    {"allow": st.booleans()},
    type_=st.sampled_from("acbx"),
    major=NUMBER,
    minor=NUMBER,
    access=st.sampled_from(["r", "rwm", "x", ""]),
)
FILTER = objects(
    {"defaultAction": st.sampled_from(["SCMP_ACT_ALLOW", "SCMP_ACT_LOG", "SCMP_ACT_NOSUCH"])},
    architectures=st.lists(st.sampled_from(["SCMP_ARCH_X86_64", "SCMP_ARCH_ARM", "SCMP_ARCH_NOSUCH"]), max_size=2),
    syscalls=st.lists(objects({"names": CALLS, "action": ACTIONS}, errnoRet=NUMBER), max_size=3),
)
HOOK = objects(
    {"path": st.sampled_from(["/bin/true", "/bin/false", "/nosuch", "bin/true", "/tmp"])},
    args=st.lists(st.text(max_size=3), max_size=2),
    timeout=st.sampled_from([1, 0, -1]),
)
SYSCTL = st.dictionaries(
    st.sampled_from(
        "kernel.msgmax kernel.shm_rmid_forced net.ipv4.ip_forward fs.mqueue.msg_max vm.swappiness x ..".split()
    ),
    st.sampled_from(["0", "1", "4096", "nosuch", ""]),
    max_size=2,
)

# The places that a person changes, and what could come there.
MEANT: list[tuple[Way, st.SearchStrategy[Any]]] = [
    (
        ("process", "args"),
        st.sampled_from(
            [["sleep", "100"], ["/bin/sleep", "9"], ["nosuch"], ["/etc/passwd"], ["/tmp"], [], ["../bin/sleep", "9"]]
        ),
    ),
    (("process", "cwd"), PATHS),
    (
        ("process", "env"),
        st.lists(st.sampled_from(["A=1", "A=2", "PATH=/nosuch", "PATH=", "novalue", "=", ""]), max_size=4),
    ),
    (
        ("process", "user"),
        objects({"uid": NUMBER, "gid": NUMBER}, umask=NUMBER, additionalGids=st.lists(NUMBER, max_size=3)),
    ),
    (("process", "rlimits"), st.lists(LIMIT, max_size=3)),
    *(
        ((("process", "capabilities", kind)), CAPABILITIES)
        for kind in ("bounding", "effective", "permitted", "inheritable", "ambient")
    ),
    (("process", "noNewPrivileges"), st.booleans()),
    (("process", "terminal"), st.booleans()),
    (("process", "oomScoreAdj"), st.sampled_from([0, 1, 1000, 1001, -1, -1000])),
    (("process", "apparmorProfile"), st.sampled_from(["", "nosuch"])),
    (
        ("process", "scheduler"),
        objects(
            {"policy": st.sampled_from(["SCHED_OTHER", "SCHED_BATCH", "SCHED_IDLE", "SCHED_FIFO", "SCHED_X"])},
            nice=st.sampled_from([0, 19, -20, 99]),
            priority=NUMBER,
        ),
    ),
    (
        ("process", "ioPriority"),
        objects(
            {"class": st.sampled_from(["IOPRIO_CLASS_BE", "IOPRIO_CLASS_IDLE", "IOPRIO_CLASS_X"])},
            priority=st.sampled_from([0, 7, 8]),
        ),
    ),
    (("root", "path"), st.sampled_from(["rootfs", "rootfs/../rootfs", "link", "nosuch", "config.json", "", "/"])),
    (("root", "readonly"), st.booleans()),
    (("hostname",), st.sampled_from(["host", "", "a" * 64, "a" * 65, "a b"])),
    (("domainname",), st.sampled_from(["domain", "", "a" * 65])),
    (("mounts",), st.just(GONE)),
    *[(("mounts", "+"), MOUNTS)] * 6,
    (("annotations",), st.dictionaries(st.sampled_from(["a", "", "b.c"]), st.sampled_from(["", "x"]))),
    (("hooks", "createRuntime"), st.lists(HOOK, max_size=2)),
    (("hooks", "createContainer"), st.lists(HOOK, max_size=2)),
    (("hooks", "poststop"), st.lists(HOOK, max_size=2)),
    *[
        (
            ("linux", "namespaces", "+"),
            objects(
                {"type": NAMES}, path=st.sampled_from(["", "/proc/self/ns/net", "/proc/self/ns/ipc", "/nosuch", "/tmp"])
            ),
        )
    ]
    * 2,
    (("linux", "namespaces"), st.lists(NAMES, unique=True).map(lambda kinds: [{"type": kind} for kind in kinds])),
    (("linux", "namespaces"), st.just([{"type": kind} for kind in (*NAMESPACES, "cgroup", "user")])),
    (("linux", "uidMappings"), MAPPING),
    (("linux", "gidMappings"), MAPPING),
    (
        ("linux", "timeOffsets"),
        st.dictionaries(
            st.sampled_from(["monotonic", "boottime", "real"]),
            objects({}, secs=st.sampled_from([5, -(10**12)]), nanosecs=NUMBER),
        ),
    ),
    (("linux", "devices"), st.lists(DEVICE, max_size=2)),
    (
        ("linux", "cgroupsPath"),
        st.sampled_from([f"/{MARK}/one", f"{MARK}", f"/{MARK}/a/b/c", f"{MARK}/../{MARK}", f"/{MARK}/"]),
    ),
    (("linux", "resources", "devices"), st.lists(RULE, max_size=3)),
    (
        ("linux", "resources", "memory"),
        objects(
            {},
            limit=st.sampled_from([64 << 20, -1, 1, 2**63]),
            swap=st.sampled_from([64 << 20, -1]),
            reservation=NUMBER,
            swappiness=NUMBER,
            disableOOMKiller=st.booleans(),
        ),
    ),
    (("linux", "resources", "pids"), objects({"limit": st.sampled_from([5, 0, -1, 2**63])})),
    (
        ("linux", "resources", "cpu"),
        objects(
            {},
            shares=NUMBER,
            quota=st.sampled_from([10_000, -1, 0, 1]),
            period=st.sampled_from([100_000, 1, 0]),
            cpus=st.sampled_from(["0", "0-1", "99", "x", ""]),
            mems=st.sampled_from(["0", "9"]),
            idle=NUMBER,
        ),
    ),
    (("linux", "resources", "blockIO"), objects({}, weight=NUMBER)),
    (
        ("linux", "resources", "hugepageLimits"),
        st.lists(objects({"pageSize": st.sampled_from(["2MB", "1KB", "x"]), "limit": NUMBER}), max_size=1),
    ),
    (
        ("linux", "resources", "unified"),
        st.dictionaries(st.sampled_from(["pids.max", "nosuch", "a/b"]), st.sampled_from(["5", "x"]), max_size=1),
    ),
    (
        ("linux", "rootfsPropagation"),
        st.sampled_from(["private", "shared", "slave", "unbindable", "rprivate", "x", ""]),
    ),
    (("linux", "seccomp"), FILTER),
    (("linux", "sysctl"), SYSCTL),
    (("linux", "maskedPaths"), st.lists(PATHS, max_size=3)),
    (("linux", "readonlyPaths"), st.lists(PATHS, max_size=3)),
    (("linux", "mountLabel"), st.sampled_from(["", "label", "a,b"])),
    (("linux", "personality"), objects({"domain": st.sampled_from(["LINUX", "LINUX32", "X"])})),
]


def sound() -> Config:
    """The configuration that the changes are made to."""
    config = default()
    config["process"]["args"] = ["sleep", "100"]
    config["linux"]["cgroupsPath"] = f"/{MARK}/one"
    return config


def places(item: object, way: Way = ()) -> list[Way]:
    """The ways to every value of a configuration."""
    inside = item.items() if isinstance(item, dict) else enumerate(item) if isinstance(item, list) else ()
    return [way, *(deeper for key, value in inside for deeper in places(value, (*way, key)))]


CHANGE: st.SearchStrategy[tuple[Way, Any]] = st.sampled_from(MEANT).flatmap(
    lambda meant: st.tuples(st.just(meant[0]), meant[1])
)
BEND = st.tuples(st.sampled_from(places(sound())[1:]), st.just(GONE) | JUNK)
CHANGES = st.lists(st.one_of(CHANGE, CHANGE, CHANGE, CHANGE, BEND), max_size=3)


def changed(changes: list[tuple[Way, Any]]) -> Config:
    """A sound configuration with these changes, those that fit."""
    config: Config = json.loads(json.dumps(sound()))
    for way, value in changes:
        try:
            _change(config, way, value)
        except (LookupError, TypeError, AttributeError):
            continue  # An earlier change has taken the place away.
    _stay_apart(config)
    return config


def _change(config: Config, way: Way, value: Any) -> None:
    item: Any = config
    for step in way[:-1]:
        item = item.setdefault(step, {}) if isinstance(item, dict) and step not in item else item[step]
    if value is GONE:
        del item[way[-1]]
    elif way[-1] == "+":
        item.append(value)
    else:
        item[way[-1]] = value


def _stay_apart(config: Config) -> None:
    """Whatever was bent: no limits for groups of others."""
    linux = config.get("linux")
    path = linux.get("cgroupsPath") if isinstance(linux, dict) else None
    if isinstance(path, str) and not path.strip("/").startswith(MARK):
        linux["cgroupsPath"] = f"{MARK}/{path}"
