"""Whose an address is: a process's, by number and start time; or, under CNI, a network namespace's, by its path.

An owner is text: `PID:START` or `cni:CONTAINER-INTERFACE`.  A pid with its
start time names one process for good, so an owner that is gone is recognised
even when the number is in use again.
"""

from __future__ import annotations

import os

from coso.kernel.process import start_time
from coso.state import RUN, make_directories

# A link for each namespace that is an owner, to its path.
NAMESPACES = f"{RUN}/network/namespaces"
CNI = "cni"


def of_process(pid: int, started: int = 0) -> str:
    """A process as an owner; the one that has the number now, unless told otherwise."""
    return f"{pid}:{started or start_time(pid)}"


def of_namespace(container: str, interface: str) -> str:
    """A container's namespace as an owner."""
    return f"{CNI}:{container}-{interface}"


def remember(who: str, path: str) -> None:
    """Write down where the namespace of an owner is."""
    make_directories(NAMESPACES)
    link = _link(who)
    if os.path.lexists(link):
        os.unlink(link)
    os.symlink(path, link)


def forget(who: str) -> None:
    """Forget where the namespace of an owner was."""
    if pid_of(who) == 0 and os.path.lexists(_link(who)):
        os.unlink(_link(who))


def is_alive(who: str) -> bool:
    """Whether an owner is still there."""
    pid, _, started = who.partition(":")
    if pid == CNI:
        return os.path.exists(_link(who))
    return started != "0" and start_time(int(pid)) == int(started)


def namespace_of(who: str) -> str:
    """The path of an owner's network namespace."""
    pid = pid_of(who)
    return f"/proc/{pid}/ns/net" if pid else os.readlink(_link(who))


def give_back(link: str, who: str) -> None:
    """Remove a link to an owner, such as a lease, if it still leads to that one."""
    try:
        if os.readlink(link) == who:
            os.unlink(link)
    except FileNotFoundError:
        pass


def pid_of(who: str) -> int:
    """The number of a process; 0 for a namespace."""
    kind = who.partition(":")[0]
    return 0 if kind == CNI else int(kind)


def name_of(who: str) -> str:
    """An owner in words."""
    pid = pid_of(who)
    return f"process {pid}" if pid else f"container {who.partition(':')[2].rpartition('-')[0]}"


def _link(who: str) -> str:
    return f"{NAMESPACES}/{who.partition(':')[2]}"
