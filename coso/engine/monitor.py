"""The monitor of a container: carries its output and waits for its end.

One small process for each, and it stays small by doing almost nothing itself:
every page that Python touches is a copy of the zygote's.  What takes more,
the start, the end, checks of health, is done by children of it
(coso.engine.deeds), and goes with them.

Killed, it takes nothing with it: the container's output waits in named pipes,
and the next command makes another monitor, which adopts it.
"""

from __future__ import annotations

import fcntl
import os
import select
from _socket import AF_UNIX, MSG_CMSG_CLOEXEC, SOCK_CLOEXEC, SOCK_SEQPACKET, socket, socketpair
from _struct import calcsize, unpack
from time import monotonic

from coso.engine import deeds
from coso.engine.clients import Clients
from coso.engine.logs import Log
from coso.engine.zygote import ADOPT, START
from coso.state import JOURNALS

CHUNK = 65536
ROOM = 4096
HEAD, HEAD_SIZE = deeds.HEAD, calcsize(deeds.HEAD)
UNKNOWN = -1
SIGKILL = 9
AGAIN = 1
# The descriptors that a start gives to the monitor, in this order; what is left are published ports.
PIDFD, SERVER, LOG, OUT, ERROR, INPUT, TERMINAL = range(7)
OUTPUTS = ((OUT, 1), (ERROR, 2), (TERMINAL, 1))


def main(container: str, act: bytes, attached: bool, conversation: socket) -> None:
    """Start or adopt a container and stay until its end, as often as its restart policy has it."""
    journal = os.open(f"{JOURNALS}/{container}", os.O_CREAT | os.O_RDWR | os.O_CLOEXEC, 0o600)
    try:
        fcntl.lockf(journal, fcntl.LOCK_EX | fcntl.LOCK_NB)
        if os.fstat(journal).st_nlink == 0:
            return
    except OSError:
        deeds.refuse(conversation)
        return
    clients = Clients(conversation if attached else None)
    told: socket | None = conversation
    count = 0
    while True:
        given = _begin(container, act, journal, told)
        if told and not attached:
            told.close()
        told = None
        if given is None:
            break
        begun = monotonic()
        status = _watch(given, clients)
        count = 0 if monotonic() - begun >= deeds.GOOD_RUN else count + 1
        if given.health:
            os.kill(given.health, SIGKILL)
            os.waitpid(given.health, 0)
        code, again = _end(container, journal, status, given.fds[PIDFD], count)
        given.close()
        clients.end(code)
        if not again:
            break
        act = START
    clients.end(0)


class _Given:
    """What a start has given: the process, and descriptors, -1 for what there is none of."""

    def __init__(self, pid: int, health: int, most_bytes: int, most_files: int, path: str, fds: list[int]) -> None:
        self.pid = pid
        self.health = health
        self.fds = fds
        self.log = Log(path, fds[LOG], most_bytes, most_files)

    def close(self) -> None:
        """Close all that is open."""
        for fd in self.fds:
            if fd >= 0:
                os.close(fd)


def _begin(container: str, act: bytes, journal: int, told: socket | None) -> _Given | None:
    """Have the container started or adopted, by a child; None, and nothing is left to do, when that was in vain."""
    ours, theirs = socketpair(AF_UNIX, SOCK_SEQPACKET | SOCK_CLOEXEC)
    child = os.fork()
    if child == 0:
        deeds.begin(container, act == ADOPT, journal, told, theirs)
    theirs.close()
    data, rights, _, _ = ours.recvmsg(ROOM, ROOM, MSG_CMSG_CLOEXEC)
    ours.close()
    if not data:
        os.waitpid(child, 0)
        return None
    numbers = unpack(HEAD, data[:HEAD_SIZE])
    found = [fd for _, _, packed in rights for fd in unpack(f"{len(packed) // 4}i", packed)]
    fds = [found.pop(0) if there else -1 for there in numbers[4:]]
    # A check of health is what the child goes on as; otherwise it ends.
    if not numbers[3]:
        os.waitpid(child, 0)
    return _Given(
        numbers[0], child if numbers[3] else 0, numbers[1], numbers[2], data[HEAD_SIZE:].decode(), fds + found
    )


def _watch(given: _Given, clients: Clients) -> int:
    """Carry output and input until the container ends; its wait status, or UNKNOWN."""
    fds, log = given.fds, given.log
    poll = select.poll()
    poll.register(fds[PIDFD], select.POLLIN)
    poll.register(fds[SERVER], select.POLLIN)
    while True:
        for place, _ in OUTPUTS:
            if fds[place] >= 0:
                # Not while somebody who is attached cannot follow: then the container waits, as with a pipe.
                poll.register(fds[place], 0 if clients.are_full else select.POLLIN)
        clients.watch(poll)
        ready = dict(poll.poll())
        for place, stream in OUTPUTS:
            if fds[place] in ready and not _copy(fds[place], stream, log, clients):
                poll.unregister(fds[place])
                os.close(fds[place])
                fds[place] = -1
        if fds[SERVER] in ready:
            clients.accept(fds[SERVER])
        for kind, data in clients.receive(poll, ready):
            deeds.take_in(kind, data, fds, INPUT, TERMINAL)
        if fds[PIDFD] in ready:
            break
    for place, stream in OUTPUTS:
        if fds[place] >= 0:
            os.set_blocking(fds[place], False)
            while _copy(fds[place], stream, log, clients, at_end=True):
                pass
    log.flush()
    fds[LOG] = log.fd
    try:
        return os.waitpid(given.pid, 0)[1]
    except ChildProcessError:
        return UNKNOWN


def _copy(fd: int, stream: int, log: Log, clients: Clients, *, at_end: bool = False) -> bool:
    """Copy one piece of output; False when there is no more."""
    try:
        data = os.read(fd, CHUNK)
    except BlockingIOError:
        return not at_end
    except OSError:
        return False  # A terminal whose other side is closed.
    if data:
        log.write(stream, data)
        clients.send(stream, data)
    return bool(data)


def _end(container: str, journal: int, status: int, pidfd: int, count: int) -> tuple[int, bool]:
    """Have the end written down and everything taken back, by a child: the exit status, and whether to start again."""
    reading, writing = os.pipe2(os.O_CLOEXEC)
    child = os.fork()
    if child == 0:
        deeds.end(container, journal, status, pidfd, count, writing)
    os.close(writing)
    said = os.read(reading, 16)
    os.close(reading)
    _, result = os.waitpid(child, 0)
    return int(said or b"255"), os.waitstatus_to_exitcode(result) == AGAIN
