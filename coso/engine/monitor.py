"""The monitor of a container: carries its output and waits for its end.

One small process for each, and it stays small by doing almost nothing: to use
an object is to write to its page, and every page that is written to becomes a
copy of the zygote's.  So a start, an end and checks of health are the deeds of
its children (coso.engine.deeds).  The one that starts a container leaves the
descriptors to be watched as a message in a socket, and ties them to a bell
(epoll(7)); the monitor does not even look at the message until the bell rings.

Killed, it takes nothing with it: the container's output waits in named pipes,
and the next command makes another monitor, which adopts it.
"""

from __future__ import annotations

import os
import select
from _socket import AF_UNIX, MSG_CMSG_CLOEXEC, SOCK_CLOEXEC, SOCK_SEQPACKET, socket, socketpair
from _struct import calcsize, unpack
from time import monotonic

from coso.engine import deeds
from coso.engine.clients import Clients
from coso.engine.logs import Log

CHUNK = 65536
ROOM = 4096
UNKNOWN = -1
AGAIN = 1
P_PIDFD, CLD_EXITED = 3, 1


def main(conversation: int) -> None:
    """Start or adopt a container, as the conversation says, and stay until its end."""
    count, container = 0, b""
    while True:
        ours, theirs = socketpair(AF_UNIX, SOCK_SEQPACKET | SOCK_CLOEXEC)
        bell = select.epoll()
        pid = os.fork()
        if pid == 0:
            deeds.begin(conversation, container, bell, theirs)
        if conversation >= 0:
            os.close(conversation)
            conversation = -1
        if os.waitpid(pid, 0)[1]:
            return  # It was in vain, and whoever asked has been told.
        begun = monotonic()
        bell.poll(-1, 1)  # Room for one event: that for a thousand would be three pages.
        watch = _Watch(ours, theirs)
        bell.close()
        status = watch.until_end()
        count = 0 if monotonic() - begun >= deeds.GOOD_RUN else count + 1
        container = watch.container
        code, again = _end(watch, status, count)
        watch.close(code)
        if not again:
            return


class _Watch:
    """What a container has open, from the first time that something happens on."""

    def __init__(self, ours: socket, theirs: socket) -> None:
        data, rights, _, _ = ours.recvmsg(ROOM, ROOM, MSG_CMSG_CLOEXEC)
        ours.close()
        theirs.close()
        size = calcsize(deeds.HEAD)
        container, most_bytes, most_files, *there = unpack(deeds.HEAD, data[:size])
        self.container: bytes = container
        found = list(unpack(f"{len(rights[0][2]) // 4}i", rights[0][2]))
        fds = [found.pop(0) if is_there else -1 for is_there in there]
        self.journal, self.pidfd, self._server, log, out, errors, self._input, self._terminal, first = fds
        self._held = found
        self._outputs = {fd: stream for fd, stream in ((out, 1), (errors, 2), (self._terminal, 1)) if fd >= 0}
        self._log = Log(data[size:].decode(), log, most_bytes, most_files)
        self._clients = Clients(first)
        self._typed: list[bytes] = []

    def until_end(self) -> int:
        """Carry output and input until the container ends; its wait status, or UNKNOWN."""
        while True:
            ready = dict(self._all_of_them().poll())
            for fd in [fd for fd in self._outputs if ready.get(fd, 0) & ~select.POLLOUT]:
                if not self._copy(fd):
                    self._forget(fd)
            if self._server in ready:
                self._clients.accept(self._server)
            for kind, data in self._clients.receive(ready):
                self._take_in(kind, data)
            if self._typed:
                self._type()
            if self.pidfd in ready:
                return self._reap()

    def _all_of_them(self) -> select.poll:
        """What to wait for now."""
        poll = select.poll()
        poll.register(self.pidfd, select.POLLIN)
        poll.register(self._server, select.POLLIN)
        if self._typed and self._target >= 0:
            poll.register(self._target, select.POLLOUT)
        for fd in self._outputs:
            # Not while somebody who is attached cannot follow: then the container waits, as with a pipe.
            wanted = 0 if self._clients.are_full else select.POLLIN
            poll.register(fd, wanted | (select.POLLOUT if self._typed and fd == self._target else 0))
        self._clients.watch(poll, takes_input=not self._typed)
        return poll

    def _copy(self, fd: int, *, at_end: bool = False) -> bool:
        """Copy one piece of output; False when there is no more."""
        try:
            data = os.read(fd, CHUNK)
        except BlockingIOError:
            return not at_end
        except OSError:
            return False  # A terminal whose other side is closed.
        if data:
            self._log.write(self._outputs[fd], data)
            self._clients.send(self._outputs[fd], data)
        return bool(data)

    def _forget(self, fd: int) -> None:
        del self._outputs[fd]
        os.close(fd)
        if fd == self._terminal:
            self._terminal = -1

    @property
    def _target(self) -> int:
        """Where input goes; -1 for nowhere."""
        return self._terminal if self._terminal >= 0 else self._input

    def _take_in(self, kind: bytes, data: bytes) -> None:
        """Give the container what somebody who is attached has typed, or the size of that one's window."""
        if kind == b"w" and self._terminal >= 0:
            deeds.set_size(self._terminal, data)
        elif kind == b"e" or (kind == b"i" and data):
            self._typed.append(data if kind == b"i" else b"")

    def _type(self) -> None:
        """Give the container as much as it takes; an empty piece is the end of input."""
        while self._typed and self._target >= 0:
            if self._typed[0]:
                rest = deeds.type_in(self._target, self._typed[0])
                if rest:
                    self._typed[0] = rest
                    return
            elif self._input >= 0:
                deeds.end_input(self.container.decode(), self._input)
                self._input = -1
            del self._typed[0]
        self._typed = []

    def _reap(self) -> int:
        """Take what is left of the output, and the wait status of the container that has ended."""
        for fd in self._outputs:
            os.set_blocking(fd, False)
            while self._copy(fd, at_end=True):
                pass
        self._log.flush()
        try:
            found = os.waitid(P_PIDFD, self.pidfd, os.WEXITED)
        except ChildProcessError:
            return UNKNOWN
        if found is None:
            return UNKNOWN
        return found.si_status << 8 if found.si_code == CLD_EXITED else found.si_status

    def close(self, code: int) -> None:
        """Close all that is open, and tell who is attached the exit status."""
        for fd in (*self._outputs, self._log.fd, self._input, self._server, self.pidfd, *self._held, self.journal):
            if fd >= 0:
                os.close(fd)
        self._clients.end(code)


def _end(watch: _Watch, status: int, count: int) -> tuple[int, bool]:
    """Have the end written down and everything taken back, by a child: the exit status, and whether to start again."""
    reading, writing = os.pipe2(os.O_CLOEXEC)
    child = os.fork()
    if child == 0:
        deeds.end(watch.container.decode(), watch.journal, watch.pidfd, status, count, writing)
    os.close(writing)
    said = os.read(reading, 16)
    os.close(reading)
    _, result = os.waitpid(child, 0)
    try:
        while os.waitpid(-1, os.WNOHANG)[0]:
            pass  # Who checked its health has ended too.
    except ChildProcessError:
        pass
    return int(said or b"255"), os.waitstatus_to_exitcode(result) == AGAIN
