"""The process that starts containers for another one, and nothing else: small, without threads, all modules loaded.

It is executed anew, not forked, so it is as small beside a program of a
gigabyte and fifty threads as beside an empty one.  Each request has a process
of its own forked from it.  It ends with the process it works for, which is
seen by the end of the conversation and by a pidfd: whatever that process has
forked may have the conversation open too.
"""

from __future__ import annotations

import _signal
import gc
import os
import select
from _socket import MSG_CMSG_CLOEXEC, socket
from _struct import unpack

TYPE_CHECKING = False
if TYPE_CHECKING:
    from typing import NoReturn

NAME = "coso-starter"
MOST_DESCRIPTORS = 1 << 16
LOADED = (
    "resource coso.api.runner coso.cgroups.files coso.cgroups.members coso.cgroups.v1 coso.cgroups.v2 "
    "coso.engine.files coso.engine.front coso.engine.inside coso.engine.record coso.engine.volumes coso.images.source "
    "coso.runtime.copyup coso.runtime.namespaces coso.runtime.running coso.spec.seccomp_compiled cosonet.attach "
    "cosonet.cli cosonet.release"
)


def become(conversation: int, owner: int) -> NoReturn:
    """Serve the process `owner` at the other end of a conversation, until it ends."""
    try:
        _detach(conversation)
        pidfd = os.pidfd_open(owner)
        for name in LOADED.split():
            __import__(name)
        # What is here now is never looked at by the collector: looking would copy it into every child.
        gc.collect()
        gc.freeze()
        _serve(socket(fileno=conversation), pidfd)
    finally:
        os._exit(1)


def _detach(kept: int) -> None:
    """Leave the terminal, the directory and the descriptors of whoever began this; what it says goes on to there."""
    os.setsid()
    os.chdir("/")
    null = os.open("/dev/null", os.O_RDWR)
    for fd in (0, 1):
        os.dup2(null, fd)
    os.closerange(3, kept)
    os.closerange(kept + 1, MOST_DESCRIPTORS)
    _signal.pthread_sigmask(_signal.SIG_SETMASK, set())
    for number in (1, 2, 3, 15):
        _signal.signal(number, _signal.SIG_DFL)
    _signal.signal(_signal.SIGPIPE, _signal.SIG_IGN)


def _serve(conversation: socket, pidfd: int) -> NoReturn:
    """Fork a child for each request: a message with its descriptors."""
    from coso.api import runner

    conversation.sendmsg([b"ready"])
    poll = select.poll()
    poll.register(conversation.fileno(), select.POLLIN)
    poll.register(pidfd, select.POLLIN)
    while True:
        ready = {fd for fd, _ in poll.poll()}
        fds = _receive(conversation) if conversation.fileno() in ready else []
        if pidfd in ready or not fds:
            break
        if os.fork() == 0:
            runner.main(fds, (conversation.fileno(), pidfd))
        for fd in fds:
            os.close(fd)
        _reap()
    # Those who still take something back are waited for, so that the last to end is this process.
    while _reap(wait=True):
        pass
    os._exit(0)


def _receive(conversation: socket) -> list[int]:
    try:
        _, rights, _, _ = conversation.recvmsg(1, 256, MSG_CMSG_CLOEXEC)
    except OSError:
        return []
    return [fd for _, _, packed in rights for fd in unpack(f"{len(packed) // 4}i", packed)]


def _reap(*, wait: bool = False) -> bool:
    """Take notice of children that have ended; whether there are others."""
    try:
        while os.waitpid(-1, 0 if wait else os.WNOHANG)[0]:
            pass
        return True
    except ChildProcessError:
        return False
