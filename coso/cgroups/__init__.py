"""Control groups: one directory per container in every hierarchy the machine has mounted.

Version 1, version 2, and both at once (hybrid) are told apart by what is
mounted, controller by controller.  A container gets a group of the same path in
each v1 hierarchy, so that its cgroup namespace shows no path of the host, and in
the v2 hierarchy.  See cgroups(7), Documentation/admin-guide/cgroup-v1 and -v2.

A path is that of `linux.cgroupsPath`, below the root of each hierarchy as this
mount namespace shows it: inside a container, below the container's own group.
A path without a slash in front means the same, as crun has it (runc would
begin at its own group, see `own_path`).

Here is what a start needs; `members` lists, freezes and kills processes,
`statistics` counts, `systemd` has systemd make the groups.
"""

from __future__ import annotations

import errno
import os

from coso.cgroups.files import OPTIONS, Setting, apply, named, number, put, read, table
from coso.errors import LimitError
from coso.value import value

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Callable

    from coso.spec import Memory, Resources

V1_CONTROLLERS = frozenset(
    "blkio cpu cpuacct cpuset devices freezer hugetlb memory misc net_cls net_prio perf_event pids rdma".split()
)


@value
class Hierarchy:
    """A mounted cgroup hierarchy: version 1 or 2, where, and the controllers it has."""

    version: int
    path: str
    controllers: tuple[str, ...]


@value
class Membership:
    """What a process needs to enter a container's cgroups: v1 `tasks` descriptors, a v2 directory (or -1)."""

    tasks: tuple[int, ...]
    unified: int


def hierarchies() -> list[Hierarchy]:
    """The hierarchies in this mount namespace, read from /proc/self/mounts."""
    found: list[Hierarchy] = []
    seen: set[tuple[str, ...]] = set()
    for line in filter(None, read("/proc/self/mounts").split("\n")):
        _, path, kind, options = line.split(" ")[:4]
        if kind == "cgroup2":
            controllers = read(f"{path}/cgroup.controllers").split()
        elif kind == "cgroup":
            words = options.split(",")
            controllers = [word for word in words if word in V1_CONTROLLERS or word.startswith("name=")]
        else:
            continue
        key = (kind, *(controllers if kind == "cgroup" else ()))
        # A hierarchy may be mounted more than once (a chroot's /sys); the first place is as good as any.
        if key not in seen:
            seen.add(key)
            found.append(Hierarchy(2 if kind == "cgroup2" else 1, path, tuple(controllers)))
    return found


def own_path(hierarchy: Hierarchy) -> str:
    """The group of this process in a hierarchy (/proc/self/cgroup, cgroups(7)); "" when it is in none."""
    for line in filter(None, read("/proc/self/cgroup").split("\n")):
        _, controllers, path = line.split(":", 2)
        mine = (
            not controllers if hierarchy.version == 2 else bool(set(controllers.split(",")) & {*hierarchy.controllers})
        )
        if mine:
            return path
    return ""


def create(
    path: str, here: list[Hierarchy], resources: Resources, record: Callable[..., None], *, existing: bool = False
) -> Membership:
    """Make the groups in the hierarchies `here`, set the limits, and open what a process needs to enter them.

    `record` is told how to undo each directory before it is made.  A group that
    is there is used when it is empty, or with `existing`, as when systemd has
    made it around the container's first process.  Raises LimitError for a limit
    that cannot be set.
    """
    path = relative(path)
    plan = _plan(here, resources)
    if not existing:
        for hierarchy in here:
            _refuse_used(f"{hierarchy.path}/{path}")
    tasks, unified = [], -1
    for hierarchy, settings in plan:
        # Next to v1 a controller that v2 does not use stays free for a v1 hierarchy.
        every = all(other.version == 2 for other in here)
        group = _make_all(hierarchy, path, {setting.controller for setting in settings}, record, every=every)
        _set(hierarchy, group, settings, resources, here)
        if hierarchy.version == 1:
            tasks.append(os.open(f"{group}/tasks", os.O_WRONLY | os.O_CLOEXEC))
        else:
            unified = os.open(group, os.O_RDONLY | os.O_DIRECTORY | os.O_CLOEXEC)
    return Membership(tuple(tasks), unified)


def enter(membership: Membership) -> None:
    """Bring this process into its groups; before it leaves its cgroup namespace, whose edge v2 lets nobody cross."""
    for fd in membership.tasks:
        os.write(fd, b"0")
    if membership.unified >= 0:
        fd = os.open("cgroup.procs", os.O_WRONLY | os.O_CLOEXEC, dir_fd=membership.unified)
        os.write(fd, b"0")
        os.close(fd)


def update(path: str, here: list[Hierarchy], resources: Resources) -> None:
    """Set the limits of groups that are there; raise LimitError with the field that failed.

    What was set before the one that failed stays set.
    """
    path = relative(path)
    plan = _plan(here, resources)
    for hierarchy, settings in plan:
        group = f"{hierarchy.path}/{path}"
        if settings and not os.path.isdir(group):
            raise LimitError(f"there is no control group {group}", hint="the container has ended, or is another's")
    for hierarchy, settings in plan:
        _check_usage(hierarchy, f"{hierarchy.path}/{path}", resources.memory)
        _set(hierarchy, f"{hierarchy.path}/{path}", settings, resources, here)


def relative(path: str) -> str:
    """A path below the root of a hierarchy, without slashes around it; raise LimitError for one that leads out."""
    parts = [part for part in path.split("/") if part not in ("", ".")]
    if not parts or ".." in parts:
        raise LimitError(
            f"linux.cgroupsPath: {path!r} is no group below the root of a hierarchy",
            hint="write it as /machine/name; slice:prefix:name is for --systemd-cgroup",
        )
    return "/".join(parts)


def _plan(here: list[Hierarchy], resources: Resources) -> list[tuple[Hierarchy, list[Setting]]]:
    """What each hierarchy is told; raise LimitError when there is none for a limit."""
    from coso.cgroups import v1, v2

    wanted = {1: v1.settings(resources), 2: v2.settings(resources)}
    # Whoever is frozen is thawed in the freezer's hierarchy: the last that is made is the first that is removed.
    ordered = sorted(here, key=lambda hierarchy: "freezer" in hierarchy.controllers)
    plan = [
        (hierarchy, [setting for setting in wanted[hierarchy.version] if keeps(hierarchy, setting.controller)])
        for hierarchy in ordered
    ]
    kept = {setting.field for _, settings in plan for setting in settings}
    if "cpu.quota" in kept:
        kept.add("cpu.period")  # One file of v2 keeps both.
    for setting in (*wanted[1], *wanted[2]):
        if setting.field not in kept:
            raise _no_controller(setting.field, setting.controller)
    if resources.devices and not any(keeps(hierarchy, "devices") or hierarchy.version == 2 for hierarchy in here):
        raise _no_controller("devices", "devices")
    return plan


def keeps(hierarchy: Hierarchy, controller: str) -> bool:
    """Whether a hierarchy has a controller; `cgroup` is the core of v2, whose files are everywhere."""
    return controller in hierarchy.controllers or (controller == "cgroup" and hierarchy.version == 2)


def _no_controller(field: str, controller: str) -> LimitError:
    # Files by name are those of v2, whatever v1 may have.
    what = "cgroup v2 hierarchy with the" if field.startswith("unified.") else ""
    return LimitError(
        f"{named(field)} cannot be kept: this machine has no {what} {controller} controller".replace("  ", " "),
        cause="no mounted cgroup hierarchy offers it (see /proc/cgroups and /proc/self/mounts)",
        hint=f"boot with the {controller} controller enabled, or leave {OPTIONS.get(field, 'the limit')} out",
    )


def _refuse_used(group: str) -> None:
    """Refuse a group that is somebody's: with processes, or frozen, as those that enter it would be."""
    if not os.path.isdir(group):
        return
    inside = any(read(f"{directory}/cgroup.procs") for directory, _, _ in os.walk(group))
    frozen = read(f"{group}/freezer.self_freezing") == "1" or read(f"{group}/cgroup.freeze") == "1"
    if inside or frozen:
        raise LimitError(
            f"the control group {group} {'has processes already' if inside else 'is frozen'}",
            cause="another container has the same path, or was not removed",
            hint=f"choose another linux.cgroupsPath; see `cat {group}/cgroup.procs`",
        )


def _make_all(hierarchy: Hierarchy, path: str, needed: set[str], record: Callable[..., None], *, every: bool) -> str:
    """Make a group and the groups above it, with the controllers that are needed, or every one there is."""
    from coso.cgroups import v1, v2

    group, parts = hierarchy.path, path.split("/")
    for depth, part in enumerate(parts, 1):
        if hierarchy.version == 2:
            v2.enable(group, needed, every=every)
        group += f"/{part}"
        if depth == len(parts):
            record("remove-cgroup", group)
        elif not os.path.isdir(group):
            record("remove-cgroup-if-empty", group)
        _make(group)
        if "cpuset" in hierarchy.controllers and hierarchy.version == 1:
            v1.fill_cpuset(group)
    return group


def _make(path: str) -> None:
    try:
        os.mkdir(path, 0o755)
    except FileExistsError:
        return
    except OSError as error:
        raise LimitError(
            f"cannot make the control group {path}: {error.strerror}",
            cause="the cgroup filesystem is mounted read-only, or belongs to somebody else",
            hint="run as root outside of another container, or remount it read-write",
        ) from None


def _set(
    hierarchy: Hierarchy, group: str, settings: list[Setting], resources: Resources, here: list[Hierarchy]
) -> None:
    """Write a hierarchy's settings, and the device filter where it is this one's."""
    apply(group, settings)
    in_v1 = any(keeps(other, "devices") for other in here)
    if not resources.devices or (hierarchy.version == 1) != in_v1 or (in_v1 and not keeps(hierarchy, "devices")):
        return
    from coso.cgroups import devices, v1

    rules = devices.complete(resources.devices)
    if in_v1:
        v1.filter_devices(group, devices.v1_rules(rules))
        return
    fd = os.open(group, os.O_RDONLY | os.O_DIRECTORY | os.O_CLOEXEC)
    try:
        devices.filter_devices(fd, rules)
    finally:
        os.close(fd)


def _check_usage(hierarchy: Hierarchy, group: str, memory: Memory) -> None:
    """Refuse a limit below what is in use, where that was asked for: v2 would kill until it fits."""
    if not memory.check_before_update or not memory.limit or memory.limit < 0 or not keeps(hierarchy, "memory"):
        return
    used = number(f"{group}/{'memory.usage_in_bytes' if hierarchy.version == 1 else 'memory.current'}") or 0
    if used > memory.limit:
        raise LimitError(
            f"{named('memory.limit')} is not set to {memory.limit}: {used} bytes are in use",
            cause="linux.resources.memory.checkBeforeUpdate asks for this check",
            hint="give more, or let the container free memory first",
        )


def remove(path: str) -> None:
    """Kill every process in a cgroup and remove it; nothing to do when it is gone.

    A cgroup stays busy for a moment after its last process was reaped, hence the patience.
    """
    import time

    for attempt in range(200):
        try:
            os.rmdir(path)
            return
        except FileNotFoundError:
            return
        except OSError as error:
            if not os.path.isdir(path):
                return  # On a read-only mount, rmdir says EROFS of what was never made.
            if error.errno != errno.EBUSY:
                raise
        _kill_members(path)
        time.sleep(0.0005 * (attempt + 1))
    raise LimitError(f"the control group {path} is still busy", hint=f"see `cat {path}/cgroup.procs`")


def remove_if_empty(path: str) -> None:
    """Remove a group that was made on the way to another, unless somebody else has come to use it."""
    try:
        os.rmdir(path)
    except FileNotFoundError:
        return
    except OSError as error:
        if error.errno not in (errno.EBUSY, errno.ENOTEMPTY, errno.EROFS):
            raise


def _kill_members(path: str) -> None:
    for child in os.listdir(path):
        if os.path.isdir(f"{path}/{child}"):
            remove(f"{path}/{child}")
    for pid in read(f"{path}/cgroup.procs").split():
        try:
            # 0 is a process outside of this PID namespace, and would mean our own process group.
            if pid != "0":
                os.kill(int(pid), 9)
        except ProcessLookupError:
            continue
    if read(f"{path}/freezer.self_freezing") == "1":
        # A process that v1 has frozen dies only when it is thawed.
        put(f"{path}/freezer.state", "THAWED")


def out_of_memory_kills(path: str) -> int:
    """How often the kernel killed a process of this container for its memory limit."""
    for hierarchy in hierarchies():
        if "memory" not in hierarchy.controllers:
            continue
        file = "memory.oom_control" if hierarchy.version == 1 else "memory.events"
        return table(f"{hierarchy.path}/{path}/{file}").get("oom_kill", 0)
    return 0


def check_memory(path: str) -> None:
    """Raise LimitError when a group's processes wait for memory that nobody will free.

    Without the OOM killer the kernel stops them instead (v1 only,
    Documentation/admin-guide/cgroup-v1/memory.rst, "OOM Control").
    """
    for hierarchy in hierarchies():
        if hierarchy.version == 2 or "memory" not in hierarchy.controllers:
            continue
        if table(f"{hierarchy.path}/{path}/memory.oom_control").get("under_oom"):
            raise LimitError(
                "the container's first process waits for memory, and would wait forever",
                cause="the memory limit is too small to start in, and disableOOMKiller is set",
                hint="raise linux.resources.memory.limit, or let the OOM killer work",
            )
