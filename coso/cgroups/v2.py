"""Limits in cgroup version 2 (Documentation/admin-guide/cgroup-v2.rst)."""

from __future__ import annotations

import os

from coso.cgroups import Hierarchy, _read, write
from coso.errors import LimitError

TYPE_CHECKING = False
if TYPE_CHECKING:
    from coso.spec import Resources

PERIOD = 100_000


def set_limits(hierarchy: Hierarchy, path: str, resources: Resources) -> None:
    """Enable the controllers that are needed and set the limits; raise LimitError."""
    limits = {}
    if resources.memory is not None and "memory" in hierarchy.controllers:
        limits["memory"] = [("memory.max", str(resources.memory)), ("memory.swap.max", "0")]
    if resources.cpus is not None and "cpu" in hierarchy.controllers:
        limits["cpu"] = [("cpu.max", f"{int(resources.cpus * PERIOD)} {PERIOD}")]
    if resources.pids is not None and "pids" in hierarchy.controllers:
        limits["pids"] = [("pids.max", str(resources.pids))]
    for controller in limits:
        _enable(hierarchy.path, controller)
    for files in limits.values():
        for file, text in files:
            # A kernel without swap accounting has no such file, and no swap to limit.
            if file != "memory.swap.max" or os.path.exists(f"{path}/{file}"):
                write(f"{path}/{file}", text)


def _enable(parent: str, controller: str) -> None:
    """Make a controller available to the children of a cgroup."""
    if controller in _read(f"{parent}/cgroup.subtree_control").split():
        return
    try:
        write(f"{parent}/cgroup.subtree_control", f"+{controller}")
    except LimitError as error:
        raise LimitError(
            f"the {controller} controller cannot be enabled below {parent}: {error.message}",
            cause="the group has processes of its own, as inside another container (cgroups(7), "
            '"no internal processes")',
            hint="run coso on the host itself, or in a delegated group without processes",
        ) from None
