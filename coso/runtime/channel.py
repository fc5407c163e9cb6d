"""The conversation between the runtime and the container's first process.

Messages are a kind and words, with descriptors where needed.  Both ends are
CLOEXEC: the end of the conversation, without an `error` before it, means that
execve has succeeded.  It runs over a socket pair, and later, with a process
that comes to say "go", over two named pipes.  A filter of system calls may be
in force by then: words alone need no more than read(2) and write(2).
"""

from __future__ import annotations

import os
from _socket import AF_UNIX, MSG_CMSG_CLOEXEC, SCM_RIGHTS, SOCK_CLOEXEC, SOCK_SEQPACKET, SOL_SOCKET, socketpair
from _socket import socket as _socket
from _struct import calcsize, pack, unpack

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Callable, Iterator
    from typing import TypeVar

    Read = TypeVar("Read")
    Message = tuple[str, list[str], list[int]]

_SEPARATOR = "\x1f"
# Milliseconds between two looks at a peer that says nothing.
PATIENCE = 500
# Longer ones would be torn apart in a pipe (PIPE_BUF, pipe(7)); a socket takes what its buffer holds.
_LARGEST_IN_PIPE = 4096
_LARGEST = 65536
_MOST_DESCRIPTORS = 253


class Channel:
    """One end of the conversation: a socket, or a pipe for each direction."""

    def __init__(self, reading: int, writing: int = -1) -> None:
        self._reading = reading
        self._writing = reading if writing < 0 else writing
        self._watch: Callable[[], None] | None = None

    def watch(self, look: Callable[[], None]) -> None:
        """Look now and then, while a message is awaited, whether the other side can still speak; it may raise."""
        self._watch = look

    def send(self, kind: str, *words: object, fds: tuple[int, ...] = ()) -> bool:
        """Send a message; False where the peer is gone, which is no error: its end is noticed by receive too."""
        clean = (str(word).replace(_SEPARATOR, "?") for word in words)
        text = _SEPARATOR.join((kind, *clean)).encode(errors="surrogateescape")
        text = text[: _LARGEST if self._writing == self._reading else _LARGEST_IN_PIPE]
        try:
            if fds:
                self._send_descriptors(text, fds)
            else:
                os.write(self._writing, text)
        except (BrokenPipeError, ConnectionResetError):
            return False
        return True

    def _send_descriptors(self, text: bytes, fds: tuple[int, ...]) -> None:
        end = _socket(AF_UNIX, SOCK_SEQPACKET, 0, self._writing)
        try:
            end.sendmsg([text], [(SOL_SOCKET, SCM_RIGHTS, pack(f"{len(fds)}i", *fds))])
        finally:
            end.detach()

    def receive(self) -> Message | None:
        """The next message, or None at the end of the conversation."""
        end = _socket(AF_UNIX, SOCK_SEQPACKET, 0, self._reading)
        room = _MOST_DESCRIPTORS * calcsize("i") + 16
        try:
            data, ancillary, _, _ = self._again(lambda: end.recvmsg(_LARGEST, room, MSG_CMSG_CLOEXEC))
        finally:
            end.detach()
        fds: list[int] = []
        for _, _, rights in ancillary:
            fds += unpack(f"{len(rights) // calcsize('i')}i", rights)
        return _message(data, fds)

    def hear(self) -> Message | None:
        """The next message, which has no descriptors, or None at the end of the conversation."""
        return _message(self._again(lambda: os.read(self._reading, _LARGEST)), [])

    def _again(self, read: Callable[[], Read]) -> Read:
        """Read, and once more after an error: that the peer left something unread is told before what it said."""
        self._await()
        try:
            return read()
        except ConnectionResetError:
            return read()

    def last_words(self) -> Iterator[Message]:
        """What has come and was not received yet; waits for nothing."""
        from select import POLLIN, poll

        waiting = poll()
        waiting.register(self._reading, POLLIN)
        while waiting.poll(0) and (message := self.receive()) is not None:
            yield message

    def _await(self) -> None:
        if self._watch:
            from select import POLLIN, poll

            waiting = poll()
            waiting.register(self._reading, POLLIN)
            while not waiting.poll(PATIENCE):
                self._watch()

    def filenos(self) -> set[int]:
        """The descriptors it is made of, for closing all others."""
        return {self._reading, self._writing}

    def close(self) -> None:
        """Close this end."""
        for fd in self.filenos() - {-1}:
            os.close(fd)
        self._reading = self._writing = -1


def _message(data: bytes, fds: list[int]) -> Message | None:
    if not data:
        return None
    kind, *words = data.decode(errors="surrogateescape").split(_SEPARATOR)
    return kind, words, fds


def pair() -> tuple[Channel, Channel]:
    """Two connected ends."""
    ours, theirs = socketpair(AF_UNIX, SOCK_SEQPACKET | SOCK_CLOEXEC)
    return Channel(ours.detach()), Channel(theirs.detach())


def _answer(path: str) -> str:
    return f"{path}.answer"


def gate(path: str) -> Channel:
    """An end that waits at a path for whoever comes to talk.

    Each pipe is opened for both directions: so neither call waits for
    another party, and what is read does not end before somebody has come
    (fifo(7)).  The writer gone, the other side reads the end.
    """
    from fcntl import F_SETFL, fcntl

    os.mkfifo(path, 0o600)
    os.mkfifo(_answer(path), 0o600)
    reading = os.open(path, os.O_RDWR | os.O_CLOEXEC)
    writing = os.open(_answer(path), os.O_RDWR | os.O_CLOEXEC)
    # Messages stay apart (pipe(2), O_DIRECT).
    fcntl(writing, F_SETFL, os.O_DIRECT)
    return Channel(reading, writing)


def connect(path: str) -> Channel:
    """Begin a conversation with whoever waits at a path; raises OSError when nobody does."""
    writing = os.open(path, os.O_WRONLY | os.O_NONBLOCK | os.O_CLOEXEC)
    reading = os.open(_answer(path), os.O_RDONLY | os.O_NONBLOCK | os.O_CLOEXEC)
    os.set_blocking(reading, True)
    return Channel(reading, writing)
