"""The processes of a container's groups: listed, frozen, thawed and killed.

v1 has a controller for freezing (freezer-subsystem.rst), v2 a file in every
group (cgroup-v2.rst, Core Interface Files).
"""

from __future__ import annotations

import os
import time

from coso.cgroups import Hierarchy
from coso.cgroups.files import put, read, table, write
from coso.errors import LimitError

SIGKILL = 9
# Rounds in which a v1 group may be caught while its processes make new ones.
ROUNDS = 1000
PATIENCE = 10.0


def processes(path: str, here: list[Hierarchy]) -> list[int]:
    """The processes in the groups of a path and in those below, as this PID namespace numbers them."""
    _refuse_root(path)
    found: set[int] = set()
    for hierarchy in here:
        found |= _below(f"{hierarchy.path}/{path}")
    return sorted(found)


def _refuse_root(path: str) -> None:
    """Without a group of its own a container would be taken for the whole machine."""
    if not path.strip("/"):
        raise LimitError("the container has no control group of its own", cause="--cgroup-manager disabled, say")


def _below(group: str) -> set[int]:
    found: set[int] = set()
    for directory, _, _ in os.walk(group):
        found.update(int(pid) for pid in read(f"{directory}/cgroup.procs").split())
    return found - {0}  # 0 is a process that this PID namespace does not show (cgroup_namespaces(7)).


def freezer(path: str, here: list[Hierarchy]) -> tuple[int, str]:
    """The version and the group that freezing goes through: v1's controller where it is mounted, else v2."""
    _refuse_root(path)
    for hierarchy in sorted(here, key=lambda item: item.version):
        group = f"{hierarchy.path}/{path}"
        if ("freezer" in hierarchy.controllers or hierarchy.version == 2) and os.path.isdir(group):
            return hierarchy.version, group
    raise LimitError(
        f"the group {path} cannot be frozen: it is in no hierarchy with a freezer",
        hint="mount cgroup v2, or the freezer controller of v1",
    )


def freeze(path: str, here: list[Hierarchy]) -> None:
    """Stop every process of a group until it is thawed, and wait until all have stopped; raise LimitError."""
    version, group = freezer(path, here)
    try:
        if version == 1:
            _freeze_v1(group)
        else:
            write(f"{group}/cgroup.freeze", "1")
            _wait_for_v2(group, frozen=1)
    except LimitError:
        # Half frozen is the worst: nothing goes on and nothing can be killed.
        _thaw(version, group)
        raise


def _freeze_v1(group: str) -> None:
    """Ask until it holds: a process that is being made while the kernel freezes its siblings escapes."""
    for attempt in range(ROUNDS):
        if attempt % 50 == 49:
            # Thawed for a moment they get on with what keeps them from freezing, a fork or a vfork(2).
            write(f"{group}/freezer.state", "THAWED")
            time.sleep(0.01)
        write(f"{group}/freezer.state", "FROZEN")
        if attempt % 10 == 9:
            time.sleep(0.0001 * attempt)
        if read(f"{group}/freezer.state") == "FROZEN":
            return
    raise LimitError(
        f"{group} does not freeze",
        cause="its processes make new ones all the time, or one is stuck in the kernel",
        hint=f"see `cat {group}/cgroup.procs`, and `cat /proc/PID/stack` of those in state D",
    )


def _wait_for_v2(group: str, *, frozen: int) -> None:
    """Wait for cgroup.events; polling is enough for what takes a millisecond."""
    end = time.monotonic() + PATIENCE
    while table(f"{group}/cgroup.events").get("frozen") != frozen:
        if time.monotonic() > end:
            raise LimitError(
                f"{group} does not {'freeze' if frozen else 'thaw'}",
                cause="a process is stuck in the kernel" if frozen else "a group above is frozen",
                hint=f"see `cat {group}/cgroup.events` and `cat {group}/cgroup.procs`",
            )
        time.sleep(0.001)


def thaw(path: str, here: list[Hierarchy]) -> None:
    """Let the processes of a group go on; raise LimitError."""
    version, group = freezer(path, here)
    _thaw(version, group)
    if version == 2:
        _wait_for_v2(group, frozen=0)


def _thaw(version: int, group: str) -> None:
    write(*((f"{group}/freezer.state", "THAWED") if version == 1 else (f"{group}/cgroup.freeze", "0")))


def is_frozen(path: str, here: list[Hierarchy]) -> bool:
    """Whether a group was frozen itself; with a frozen group above, its processes stand still as well."""
    try:
        version, group = freezer(path, here)
    except LimitError:
        return False
    file = "freezer.self_freezing" if version == 1 else "cgroup.freeze"
    return read(f"{group}/{file}") == "1"


def kill_all(path: str, here: list[Hierarchy], signal: int) -> None:
    """Send a signal to every process of a group, none of which can escape by making another.

    v2 has cgroup.kill for SIGKILL (Linux 5.14).  Otherwise the group is frozen
    meanwhile; what was frozen before stays so, but for SIGKILL, since a process
    that v1 has frozen dies only when it is thawed.
    """
    _refuse_root(path)
    if signal == SIGKILL and _kill_v2(path, here):
        _thaw_quietly(path, here)
        return
    frozen = is_frozen(path, here)
    try:
        if not frozen:
            freeze(path, here)
        _signal(processes(path, here), signal)
    except LimitError:
        _signal_all_seen(path, here, signal)
    if not frozen or signal == SIGKILL:
        _thaw_quietly(path, here)


def _kill_v2(path: str, here: list[Hierarchy]) -> bool:
    """Kill through cgroup.kill; False where v1 may have processes that v2 has not."""
    if not here or any(hierarchy.version == 1 for hierarchy in here):
        return False
    try:
        put(f"{here[0].path}/{path}/cgroup.kill", "1")
    except OSError:
        return False
    return True


def _thaw_quietly(path: str, here: list[Hierarchy]) -> None:
    try:
        version, group = freezer(path, here)
        _thaw(version, group)
    except LimitError:
        pass  # Nothing to thaw: the last process has gone, and the group with it.


def _signal(pids: list[int], signal: int) -> None:
    for pid in pids:
        try:
            os.kill(pid, signal)
        except ProcessLookupError:
            continue


def _signal_all_seen(path: str, here: list[Hierarchy], signal: int) -> None:
    """Without a freezer: again for those that were made meanwhile, each once."""
    seen: set[int] = set()
    for _ in range(ROUNDS):
        more = set(processes(path, here)) - seen
        if not more:
            return
        _signal(sorted(more), signal)
        seen |= more
