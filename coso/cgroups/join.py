"""The groups of a container that runs, opened for one more process (cgroups(7))."""

from __future__ import annotations

import os

from coso.cgroups import Hierarchy, Membership
from coso.errors import CosoError, UsageError


def groups_of(pid: int, here: list[Hierarchy], below: str = "") -> Membership:
    """What a process needs to enter the groups that another is in now, or the groups `below` those.

    Asked of the process and not of the configuration: an init system inside
    moves itself down on v2, where only leaves may hold processes.
    """
    if ".." in below.split("/"):
        raise UsageError(f"--cgroup {below}: `..` would lead out of the container's group")
    with open(f"/proc/{pid}/cgroup") as file:
        lines = [line.rstrip("\n").split(":", 2) for line in file]
    paths = {tuple(sorted(names.split(","))) if names else (): path for _, names, path in lines}
    tasks, unified = [], -1
    for hierarchy in here:
        key = tuple(sorted(hierarchy.controllers)) if hierarchy.version == 1 else ()
        path = _path(paths, key, hierarchy)
        if path is None:
            continue
        group = os.path.normpath(f"{hierarchy.path}{path}/{below}")
        try:
            if hierarchy.version == 1:
                tasks.append(os.open(f"{group}/tasks", os.O_WRONLY | os.O_CLOEXEC))
            else:
                unified = os.open(group, os.O_RDONLY | os.O_DIRECTORY | os.O_CLOEXEC)
        except OSError as error:
            raise CosoError(f"the control group {group} cannot be entered: {error.strerror}") from None
    return Membership(tuple(tasks), unified)


def _path(paths: dict[tuple[str, ...], str], key: tuple[str, ...], hierarchy: Hierarchy) -> str | None:
    if key in paths:
        return paths[key]
    # Options of the mount name a hierarchy's controllers and sometimes more than /proc/PID/cgroup does.
    return next((path for names, path in paths.items() if names and set(names) <= set(hierarchy.controllers)), None)
