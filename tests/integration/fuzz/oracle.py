"""Is a container what its configuration says?  Asked of the kernel, about its process, from outside."""

from __future__ import annotations

import os
from collections.abc import Iterator
from pathlib import Path
from typing import Any

from coso.kernel import capability
from coso.kernel.process import CLONE_NEWUTS, setns
from coso.runtime.security import LIMITS
from tests.integration.oci.bundle import fields
from tests.integration.oci.test_namespaces import FILES

Config = dict[str, Any]
# The words of /proc/PID/limits, in the order of the limits' numbers.
NAMES = (
    "cpu time,file size,data size,stack size,core file size,resident set,processes,open files,locked memory,"
    "address space,file locks,pending signals,msgqueue size,nice priority,realtime priority,realtime timeout"
).split(",")


def differences(config: Config, pid: int, warnings: list[str]) -> list[str]:
    """What is not as the configuration says, in words, after its command has started."""
    status = fields(Path(f"/proc/{pid}/status").read_text())
    parts = (
        _namespaces(config, pid),
        _identity(config["process"], status, pid),
        _privileges(config, status),
        _limits(config["process"], pid, warnings),
        _names(config, pid),
        _groups(config, pid),
        _paths(config, pid),
    )
    return [line for part in parts for line in part]


def _namespaces(config: Config, pid: int) -> Iterator[str]:
    wanted = {item["type"]: item.get("path") for item in config.get("linux", {}).get("namespaces", [])}
    for kind, name in FILES.items():
        ours, theirs = os.readlink(f"/proc/self/ns/{name}"), os.readlink(f"/proc/{pid}/ns/{name}")
        if kind not in wanted and ours != theirs:
            yield f"a namespace of its own: {kind}"
        if kind in wanted and not wanted[kind] and ours == theirs:
            yield f"no namespace of its own: {kind}"
        if kind in wanted and wanted[kind] and os.stat(wanted[kind]).st_ino != os.stat(f"/proc/{pid}/ns/{name}").st_ino:
            yield f"not the namespace that was named: {kind}"


def _identity(process: Config, status: dict[str, str], pid: int) -> Iterator[str]:
    user = process.get("user", {})
    inside = Path(f"/proc/{pid}/uid_map").read_text().split()
    if inside[:2] == ["0", "0"]:  # Otherwise the numbers are others out here.
        for name, wanted in (("Uid", user.get("uid", 0)), ("Gid", user.get("gid", 0))):
            if status[name].split() != [str(wanted)] * 4:
                yield f"{name} is {status[name]}, not {wanted}"
        if not set(map(str, user.get("additionalGids", []))) <= set(status["Groups"].split()):
            yield f"groups are {status['Groups']}"
    if "umask" in user and int(status["Umask"], 8) != user["umask"] & 0o777:
        yield f"the umask is {status['Umask']}"
    if (adjusted := process.get("oomScoreAdj")) is not None:
        found = Path(f"/proc/{pid}/oom_score_adj").read_text().strip()
        if found != str(adjusted):
            yield f"oom_score_adj is {found}"
    words = Path(f"/proc/{pid}/cmdline").read_bytes().split(b"\0")[:-1]
    if words != [word.encode() for word in process["args"]]:
        yield f"its command is {words}"
    environment = set(Path(f"/proc/{pid}/environ").read_bytes().split(b"\0"))
    # Of two values of one name the later holds.
    named = {text.partition("=")[0]: text.encode() for text in process.get("env") or []}
    if not set(named.values()) <= environment:
        yield f"its environment is {environment}"


def _privileges(config: Config, status: dict[str, str]) -> Iterator[str]:
    process = config["process"]
    sets = process.get("capabilities") or {}
    own_users = any(item["type"] == "user" for item in config.get("linux", {}).get("namespaces", []))
    most = (1 << 41) - 1 if own_users else capability.permitted_mask()
    for name, kind in (("CapBnd", "bounding"), ("CapInh", "inheritable")):
        known = tuple(text for text in sets.get(kind) or [] if text in capability.NUMBERS)
        if int(status[name], 16) != capability.mask(known) & most:
            yield f"{name} is {status[name]}, not of {known}"
    if status["NoNewPrivs"] != str(int(process.get("noNewPrivileges") or False)):
        yield f"NoNewPrivs is {status['NoNewPrivs']}"
    if "seccomp" in config.get("linux", {}) and status["Seccomp"] != "2":
        yield "no filter of system calls"


def _limits(process: Config, pid: int, warnings: list[str]) -> Iterator[str]:
    lines = Path(f"/proc/{pid}/limits").read_text().splitlines()[1:]
    found = {line[4:26].strip(): line[26:].split()[:2] for line in lines}
    for limit in process.get("rlimits") or []:
        name = NAMES[LIMITS.index(limit["type"])]
        soft = limit["soft"]
        if limit["type"] == "RLIMIT_CPU" and soft == 0:
            soft = (
                1  # To the kernel a limit of no time means that none was set, so it makes a second of it (do_prlimit).
            )
        if found[name] != [str(soft), str(limit["hard"])] and not any(limit["type"] in said for said in warnings):
            yield f"{limit['type']} is {found[name]}"


def _names(config: Config, pid: int) -> Iterator[str]:
    own = [item for item in config.get("linux", {}).get("namespaces", []) if item["type"] == "uts"]
    if config.get("hostname") and own and not own[0].get("path"):
        fd = os.open(f"/proc/{pid}/ns/uts", os.O_RDONLY | os.O_CLOEXEC)
        setns(fd, CLONE_NEWUTS)
        os.close(fd)
        if os.uname().nodename != config["hostname"]:
            yield f"its name is {os.uname().nodename}"


# Version 1: what is written there, and the field that says it; only where the value can be read back as it was.
FILES_OF_GROUPS = (
    ("pids", "pids.max", ("pids", "limit")),
    ("memory", "memory.limit_in_bytes", ("memory", "limit")),
    ("cpu", "cpu.cfs_quota_us", ("cpu", "quota")),
    ("cpuset", "cpuset.cpus", ("cpu", "cpus")),
)


def _groups(config: Config, pid: int) -> Iterator[str]:
    path = config.get("linux", {}).get("cgroupsPath")
    lines = [line.split(":", 2) for line in Path(f"/proc/{pid}/cgroup").read_text().splitlines()]
    where = {name: place for _, names, place in lines for name in names.split(",")}
    if path and path.strip("/") and where.get("pids", "").strip("/") != path.strip("/"):
        yield f"its group is {where.get('pids')}, not {path}"
    resources = config.get("linux", {}).get("resources") or {}
    for controller, file, (part, field) in FILES_OF_GROUPS:
        wanted = (resources.get(part) or {}).get(field)
        place = Path(f"/sys/fs/cgroup/{controller}{where.get(controller, '')}/{file}")
        if not wanted or wanted == -1 or not place.exists():
            continue
        found = place.read_text().strip()
        if found not in (str(wanted), str(wanted & -4096 if isinstance(wanted, int) else wanted)):
            yield f"{file} is {found}, not {wanted}"


def _paths(config: Config, pid: int) -> Iterator[str]:
    kinds = [item["type"] for item in config.get("linux", {}).get("namespaces", [])]
    if "mount" not in kinds:
        return
    # A name may hold whatever else ends a line.
    lines = [line.split(" ") for line in Path(f"/proc/{pid}/mountinfo").read_bytes().decode().split("\n")[:-1]]
    points = {line[4]: line[5] for line in lines}
    if "/" not in points:
        yield f"no mount for the root: {list(points)}"
    readonly = (config.get("root") or {}).get("readonly")
    if readonly and "ro" not in points.get("/", "").split(","):
        yield f"its root is {points.get('/')}"
    for item in config.get("mounts") or []:
        # Of others the place depends on links, or a later mount covers it.
        if item["destination"] in ("/mnt", "/new", "/new/deep/down") and item["destination"] not in points:
            yield f"no mount at {item['destination']}"
    for path in config.get("linux", {}).get("readonlyPaths") or []:
        if path in ("/tmp", "/mnt") and "ro" not in points.get(path, "").split(","):
            yield f"{path} can be written to: {points.get(path)}"
