"""Limits in cgroup version 1 (Documentation/admin-guide/cgroup-v1)."""

from __future__ import annotations

import os

from coso.cgroups import Hierarchy, _read, write

TYPE_CHECKING = False
if TYPE_CHECKING:
    from coso.spec import Resources

PERIOD = 100_000

# What a container's device nodes may be (OCI config-linux.md, "Default Devices"): null, zero, full,
# random, urandom, tty, console, ptmx, and the terminals of its own devpts; mknod of any, opening of none.
DEVICES = (
    "c *:* m",
    "b *:* m",
    *(f"c 1:{minor} rwm" for minor in (3, 5, 7, 8, 9)),
    *("c 5:0 rwm", "c 5:1 rwm", "c 5:2 rwm", "c 136:* rwm"),
)


def set_limits(hierarchy: Hierarchy, path: str, resources: Resources) -> None:
    """Set what this hierarchy's controllers can limit; raise LimitError."""
    controllers = hierarchy.controllers
    if "cpuset" in controllers:
        _copy_cpuset(path)
    if "memory" in controllers and resources.memory is not None:
        write(f"{path}/memory.limit_in_bytes", str(resources.memory))
        # Without this a container on a machine with swap would go on past its limit.
        if os.path.exists(f"{path}/memory.memsw.limit_in_bytes"):
            write(f"{path}/memory.memsw.limit_in_bytes", str(resources.memory))
    if "cpu" in controllers and resources.cpus is not None:
        write(f"{path}/cpu.cfs_period_us", str(PERIOD))
        write(f"{path}/cpu.cfs_quota_us", str(int(resources.cpus * PERIOD)))
    if "pids" in controllers and resources.pids is not None:
        write(f"{path}/pids.max", str(resources.pids))


def filter_devices(path: str) -> None:
    """Allow the devices of DEVICES and no other."""
    write(f"{path}/devices.deny", "a")
    for rule in DEVICES:
        write(f"{path}/devices.allow", rule)


def _copy_cpuset(path: str) -> None:
    """A new v1 cpuset has no CPU and no memory node, and refuses processes until it has both."""
    parent = os.path.dirname(path)
    for file in ("cpuset.cpus", "cpuset.mems"):
        if not _read(f"{path}/{file}"):
            write(f"{path}/{file}", _read(f"{parent}/{file}"))
