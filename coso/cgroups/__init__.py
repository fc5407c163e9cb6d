"""Control groups: one directory per container in every hierarchy the machine has mounted.

Version 1, version 2, and both at once (hybrid) are told apart by what is
mounted, controller by controller.  A container gets `coso-<id>` in each v1
hierarchy, so that its cgroup namespace shows no path of the host, and in the
v2 hierarchy.  See cgroups(7), Documentation/admin-guide/cgroup-v1 and -v2.
"""

from __future__ import annotations

import errno
import os

from coso.errors import LimitError
from coso.value import value

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Callable

    from coso.spec import Resources

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
    for line in _read("/proc/self/mounts").splitlines():
        _, path, kind, options = line.split(" ")[:4]
        if kind == "cgroup2":
            controllers = _read(f"{path}/cgroup.controllers").split()
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


def create(
    name: str, here: list[Hierarchy], resources: Resources, record: Callable[..., None], *, filter_devices: bool
) -> Membership:
    """Make the cgroups in the hierarchies `here`, set the limits, and open what a process needs to enter them.

    `record` is told how to undo each directory before it is made.  With
    `filter_devices` only harmless device nodes can be opened, whoever made them.
    Raises LimitError for a limit that cannot be set.
    """
    from coso.cgroups import v1, v2

    _require_controllers(here, resources)
    tasks, unified = [], -1
    for hierarchy in here:
        path = f"{hierarchy.path}/{name}"
        record("remove-cgroup", path)
        _make(path)
        if hierarchy.version == 1:
            v1.set_limits(hierarchy, path, resources)
            if filter_devices and "devices" in hierarchy.controllers:
                v1.filter_devices(path)
            tasks.append(os.open(f"{path}/tasks", os.O_WRONLY | os.O_CLOEXEC))
        else:
            v2.set_limits(hierarchy, path, resources)
            unified = os.open(path, os.O_RDONLY | os.O_DIRECTORY | os.O_CLOEXEC)
            if filter_devices and not any("devices" in other.controllers for other in here):
                from coso.cgroups import devices

                devices.filter_devices(unified)
    return Membership(tuple(tasks), unified)


def _make(path: str) -> None:
    try:
        os.mkdir(path, 0o755)
    except OSError as error:
        raise LimitError(
            f"cannot make the control group {path}: {error.strerror}",
            cause="the cgroup filesystem is mounted read-only, or belongs to somebody else",
            hint="run as root outside of another container, or remount it read-write",
        ) from None


def _require_controllers(here: list[Hierarchy], resources: Resources) -> None:
    available = {controller for hierarchy in here for controller in hierarchy.controllers}
    wanted = (("memory", resources.memory, "--memory"), ("cpu", resources.cpus, "--cpus"))
    for controller, limit, flag in (*wanted, ("pids", resources.pids, "--pids-limit")):
        if limit is not None and controller not in available:
            raise LimitError(
                f"{flag} cannot be kept: this machine has no {controller} controller",
                cause="no mounted cgroup hierarchy offers it (see /proc/cgroups and /proc/self/mounts)",
                hint=f"boot with the {controller} controller enabled, or leave {flag} out",
            )


def write(path: str, text: str) -> None:
    """Write a control file; raise LimitError with the file, the value and the errno."""
    try:
        fd = os.open(path, os.O_WRONLY | os.O_CLOEXEC)
        try:
            os.write(fd, text.encode())
        finally:
            os.close(fd)
    except OSError as error:
        raise LimitError(
            f"cannot write {text!r} to {path}: {error.strerror}",
            cause="the kernel refuses this value, or a group above allows less",
            hint=f"compare with `cat {path}` and the limits of the groups above",
        ) from None


def _read(path: str) -> str:
    try:
        fd = os.open(path, os.O_RDONLY | os.O_CLOEXEC)
    except OSError:
        return ""
    try:
        text = b""
        while part := os.read(fd, 65536):
            text += part
        return text.decode(errors="surrogateescape").strip()
    finally:
        os.close(fd)


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


def _kill_members(path: str) -> None:
    for child in os.listdir(path):
        if os.path.isdir(f"{path}/{child}"):
            remove(f"{path}/{child}")
    for pid in _read(f"{path}/cgroup.procs").split():
        try:
            os.kill(int(pid), 9)
        except ProcessLookupError:
            continue


def out_of_memory_kills(name: str) -> int:
    """How often the kernel killed a process of this container for its memory limit."""
    for hierarchy in hierarchies():
        if "memory" not in hierarchy.controllers:
            continue
        file = "memory.oom_control" if hierarchy.version == 1 else "memory.events"
        for line in _read(f"{hierarchy.path}/{name}/{file}").splitlines():
            key, _, number = line.partition(" ")
            if key == "oom_kill":
                return int(number)
    return 0
