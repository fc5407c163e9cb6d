"""Control groups and the cgroup namespace: limits, and no view of the host's groups (cgroup_namespaces(7))."""

from __future__ import annotations

import os

from coso import cgroups
from coso.errors import CosoError
from coso.kernel.process import CLONE_NEWCGROUP, unshare
from coso.runtime.container import Container
from coso.spec import Resources
from coso.steps import Step


def create(container: Container) -> None:
    """Make the groups and set the limits, unless the caller sees to groups itself."""
    container.hierarchies = cgroups.hierarchies()
    if not container.cgroup:
        return
    try:
        container.membership = cgroups.create(
            container.cgroup, container.hierarchies, container.spec.resources, container.journal.record
        )
    except (CosoError, OSError):
        # An ordinary user may make groups only where somebody has handed one over. Without limits none is needed.
        if not container.spec.limited or container.spec.resources != Resources():
            raise
        container.cgroup = ""
        return
    hand_over(container)


def hand_over(container: Container) -> None:
    """Give the group to the container's user where it sees nothing but its own, and may write there."""
    spec = container.spec
    shown = any(
        item.type in ("cgroup", "cgroup2") and item.destination == "/sys/fs/cgroup" and "ro" not in item.options
        for item in spec.mounts
    )
    if container.joins("user"):
        return  # Who is who there is not known yet.
    if shown and "cgroup" in spec.namespaces and (owner := container.host_uid(spec.process.user.uid)) != 0:
        from coso.cgroups.delegate import delegate

        delegate(container.cgroup, container.hierarchies, owner)


def enter(container: Container) -> None:
    """Enter the groups, then make the namespace whose roots they become.

    A process writes itself into v1 groups: for another process the kernel
    waits out an RCU grace period, 16 ms.  The descriptors were opened by the
    parent, whose right it is that counts.
    """
    if container.membership:
        for fd in container.membership.tasks:
            os.write(fd, b"0")
            os.close(fd)
    if "cgroup" in container.spec.namespaces:
        unshare(CLONE_NEWCGROUP)


def make_unit(container: Container) -> None:
    """Have systemd make a unit around the first process, and set the limits in its group."""
    from coso.cgroups import systemd

    container.hierarchies = cgroups.hierarchies()
    unit, resources = systemd.unit_of(container.spec.cgroups_path, container.id), container.spec.resources
    systemd.check_free(unit.name)
    container.unit = unit.name
    container.journal.record("stop-unit", unit.name)
    container.cgroup = systemd.start_unit(unit, container.pid, resources).strip("/")
    container.membership = cgroups.create(
        container.cgroup, container.hierarchies, resources, container.journal.record, existing=True
    )
    hand_over(container)


UNIT = Step(
    "make a unit",
    "have systemd make a scope around the first process, and set the limits in its group",
    "StartTransientUnit()",
    "where systemd owns the groups, it alone may make them",
    "org.freedesktop.systemd1(5), systemd.resource-control(5)",
    make_unit,
)
CREATE = Step(
    "make control groups",
    "make a group in every hierarchy and set the limits",
    "mkdir(), write()",
    "limits hold from the first instruction on, so they come before the process",
    "cgroups(7)",
    create,
)
ENTER = Step(
    "enter control groups",
    "enter the groups and make them the roots of a new cgroup namespace",
    "write(tasks, 0), unshare(CLONE_NEWCGROUP)",
    "the namespace takes the groups of the moment as its roots, so it cannot be made by the clone",
    "cgroup_namespaces(7)",
    enter,
)
