"""The process that starts containers for another one, and nothing else: small, without threads, all modules loaded.

It is executed anew, not forked, so it is as small beside a program of a
gigabyte and fifty threads as beside an empty one.  Requests are answered by
workers that are forked from it.  It ends with the process it works for, which is
seen by the end of the conversation and by a pidfd: whatever that process has
forked may have the conversation open too.
"""

from __future__ import annotations

import _signal
import gc
import os
import select
from _socket import socket
from _struct import calcsize, iter_unpack

from coso import bundle

TYPE_CHECKING = False
if TYPE_CHECKING:
    from typing import NoReturn

NAME = "coso-starter"
MOST_DESCRIPTORS = 1 << 16
# Workers that wait for the next request at any time.
SPARE = 2
BUSY, IDLE = b"b", b"i"
RECORD = calcsize("=ci")
# What a container's first process needs, and so all that is copied for it.
FOR_CONTAINERS = "resource coso.runtime.cloner coso.runtime.copyup coso.runtime.namespaces coso.spec.seccomp_compiled"
FOR_WORKERS = (
    "coso.api.runner coso.cgroups.files coso.cgroups.members coso.cgroups.v1 coso.cgroups.v2 coso.engine.front "
    "coso.engine.inside coso.engine.one_file coso.engine.record coso.engine.volumes coso.images.source "
    "coso.runtime.blank coso.runtime.running cosonet.attach cosonet.cli cosonet.release"
)


def become(conversation: int, owner: int) -> NoReturn:
    """Serve the process `owner` at the other end of a conversation, until it ends."""
    try:
        _detach(conversation)
        pidfd = os.pidfd_open(owner)
        _load(FOR_CONTAINERS)
        _serve(socket(fileno=conversation), pidfd)
    finally:
        os._exit(1)


def _load(names: str) -> None:
    """Import modules; what is here then is never looked at by the collector: looking would copy it into every child."""
    for name in names.split():
        __import__(name)
    gc.collect()
    gc.freeze()


def _detach(kept: int) -> None:
    """Leave the terminal, the directory and the descriptors of whoever began this; what it says goes on to there."""
    os.setsid()
    os.chdir("/")
    os.umask(0o022)
    null = os.open("/dev/null", os.O_RDWR)
    for fd in (0, 1):
        os.dup2(null, fd)
    os.closerange(3, kept)
    os.closerange(kept + 1, MOST_DESCRIPTORS)
    _signal.pthread_sigmask(_signal.SIG_SETMASK, set())
    for number in (1, 2, 3, 15):
        _signal.signal(number, _signal.SIG_DFL)
    _signal.signal(_signal.SIGPIPE, _signal.SIG_IGN)


def _serve(conversation: socket, owner: int) -> NoReturn:
    """See to it that there is always a worker who waits for the next request.

    All of them wait at the same socket, and the kernel gives each request to
    one. Through a pipe they say when they begin and when they are idle again.
    """
    news, tell = os.pipe2(os.O_CLOEXEC)
    poll = select.poll()
    poll.register(news, select.POLLIN)
    poll.register(owner, select.POLLIN)
    # The end of the conversation is seen without taking part in it.
    poll.register(conversation.fileno(), 0)
    workers: dict[int, int] = {}
    idle: set[int] = set()
    conversation.sendmsg([b"ready"])
    while True:
        while len(idle) < SPARE:
            pid = _worker(conversation, (news, owner, *workers), tell)
            idle.add(pid)
            workers[os.pidfd_open(pid)] = pid
            poll.register(next(reversed(workers)), select.POLLIN)
        ready = {fd for fd, _ in poll.poll()}
        if ready & {owner, conversation.fileno()}:
            break
        if news in ready:
            said = os.read(news, RECORD * 64)
            for act, pid in iter_unpack("=ci", said):
                idle.add(pid) if act == IDLE else idle.discard(pid)
        for ended in ready & workers.keys():
            poll.unregister(ended)
            os.close(ended)
            idle.discard(workers[ended])
            os.waitpid(workers.pop(ended), 0)
    # Those who still take something back are waited for, so that the last to end is this process.
    conversation.close()
    os.close(tell)
    for pid in workers.values():
        os.waitpid(pid, 0)
    os._exit(0)


def _worker(conversation: socket, others: tuple[int, ...], tell: int) -> int:
    """Fork a process that answers requests; its number."""
    pid = os.fork()
    if pid == 0:
        try:
            for fd in others:
                os.close(fd)
            from coso.runtime.cloner import Cloner

            cloner = Cloner()
            _load(FOR_WORKERS)
            bundle.write()
            from coso.api import runner

            runner.main(conversation, tell, cloner)
        finally:
            os._exit(1)
    return pid
