"""A process that makes first processes for its parent, which is then never copied itself.

After a fork the kernel copies each page that either side writes to, and an
interpreter writes to nearly all that it looks at, for it counts references.  To
who starts one container after the other that costs more time than its own
work; so it leaves the clone to a process which does nothing else.  What that
makes is its parent's child (CLONE_PARENT, clone(2)), to be waited for there.
"""

from __future__ import annotations

import os
from _pickle import dumps, loads
from _socket import AF_UNIX, MSG_CMSG_CLOEXEC, SCM_RIGHTS, SOCK_CLOEXEC, SOCK_SEQPACKET, SOL_SOCKET, socket, socketpair
from _struct import Struct, pack, unpack

from coso.cgroups import Membership
from coso.errors import KernelError
from coso.kernel.process import clone3
from coso.runtime import child, plan
from coso.runtime.channel import Channel
from coso.runtime.container import Container

TYPE_CHECKING = False
if TYPE_CHECKING:
    from typing import NoReturn

    from coso.runtime.journal import Journal

LARGEST, MOST_DESCRIPTORS = 1 << 17, 64
# The namespaces to make, how many descriptors of v1 groups follow that of the channel, whether one of v2 comes last.
HEAD = Struct("QII")


class Cloner:
    """The way to such a process, which ends with this one; descriptors in the order in which they are sent."""

    def __init__(self) -> None:
        ours, theirs = socketpair(AF_UNIX, SOCK_SEQPACKET | SOCK_CLOEXEC)
        if os.fork() == 0:
            try:
                ours.close()
                _serve(theirs)
            finally:
                os._exit(1)
        theirs.close()
        self._end = ours

    def clone(self, container: Container) -> None:
        """Make the first process of a container that is given its Spec later. Raises KernelError and OSError."""
        entry = container.membership or Membership((), -1)
        unified = [entry.unified] if entry.unified >= 0 else []
        known = (container.spec, container.id, container.cgroup, container.hierarchies, container.rooted)
        mappings = (container.uid_mappings, container.gid_mappings)
        head = HEAD.pack(plan.clone_flags(container.spec), len(entry.tasks), len(unified))
        fds = [*container.theirs.filenos(), *entry.tasks, *unified]
        self._end.sendmsg([head, dumps((*known, *mappings))], [(SOL_SOCKET, SCM_RIGHTS, pack(f"{len(fds)}i", *fds))])
        answer, found = _receive(self._end)
        if not answer:
            raise OSError("the process that clones others has ended")
        pid, number = unpack("ii", answer)
        if number:
            raise KernelError("clone3", number)
        container.pid, container.pidfd = pid, found[0]

    def close(self) -> None:
        """Let it end."""
        self._end.close()


def _receive(end: socket) -> tuple[bytes, list[int]]:
    data, ancillary, _, _ = end.recvmsg(LARGEST, MOST_DESCRIPTORS * 4 + 64, MSG_CMSG_CLOEXEC)
    return data, [fd for _, _, rights in ancillary for fd in unpack(f"{len(rights) // 4}i", rights)]


def _serve(end: socket) -> NoReturn:
    """Do as little as can be: all that is looked at here is copied each time."""
    while True:
        words, fds = _receive(end)
        if not words:
            os._exit(0)
        flags, tasks, unified = HEAD.unpack_from(words)
        try:
            pid, pidfd = clone3(flags, fds[1 + tasks] if unified else -1, sibling=True)
        except KernelError as error:
            end.send(pack("ii", 0, error.errno))
        else:
            if pid == 0:
                _become_first(end, words, fds)
            end.sendmsg([pack("ii", pid, 0)], [(SOL_SOCKET, SCM_RIGHTS, pack("i", pidfd))])
            os.close(pidfd)
        for fd in fds:
            os.close(fd)


def _become_first(end: socket, words: bytes, fds: list[int]) -> NoReturn:
    try:
        end.close()
        child.run_blank(_container(words, fds))
    finally:
        os._exit(125)


class _Named:
    """Of a journal what a first process needs: whose it is."""

    def __init__(self, container: str) -> None:
        self.container = container


def _container(words: bytes, fds: list[int]) -> Container:
    """The container as its first process shall know it."""
    _, tasks, unified = HEAD.unpack_from(words)
    spec, name, cgroup, hierarchies, rooted, uid_mappings, gid_mappings = loads(memoryview(words)[HEAD.size :])
    journal: Journal = _Named(name)  # type: ignore[assignment]
    container = Container(spec, journal, Channel(-1), Channel(fds[0]))
    container.cgroup, container.hierarchies, container.rooted = cgroup, hierarchies, rooted
    container.uid_mappings, container.gid_mappings = uid_mappings, gid_mappings
    if tasks or unified:
        container.membership = Membership(tuple(fds[1 : 1 + tasks]), fds[1 + tasks] if unified else -1)
    return container
