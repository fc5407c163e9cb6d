"""Control groups and the cgroup namespace: limits, and no view of the host's groups (cgroup_namespaces(7))."""

from __future__ import annotations

import os

from coso import cgroups
from coso.kernel.process import CLONE_NEWCGROUP, unshare
from coso.runtime.container import Container
from coso.steps import Step


def name(container_id: str) -> str:
    """The directory of a container in each hierarchy."""
    return f"coso-{container_id}"


def create(container: Container) -> None:
    """Make the groups and set the limits."""
    container.hierarchies = cgroups.hierarchies()
    spec = container.spec
    # In a user namespace no device node can be made, and none is there but ours, unless a volume brings one.
    filter_devices = not container.has("user") or bool(spec.volumes)
    container.membership = cgroups.create(
        name(container.id),
        container.hierarchies,
        spec.resources,
        container.journal.record,
        filter_devices=filter_devices,
    )


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
    if container.has("cgroup"):
        unshare(CLONE_NEWCGROUP)


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
