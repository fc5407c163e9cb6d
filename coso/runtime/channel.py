"""The socket pair between the runtime and the container's first process.

Messages are a kind and words, with descriptors where needed.  Both ends are
CLOEXEC: the end of the conversation, without an `error` before it, means that
execve has succeeded.
"""

from __future__ import annotations

import os
from _socket import AF_UNIX, MSG_CMSG_CLOEXEC, SCM_RIGHTS, SOCK_CLOEXEC, SOCK_SEQPACKET, SOL_SOCKET, socketpair
from _socket import socket as _socket
from _struct import calcsize, pack, unpack

TYPE_CHECKING = False
if TYPE_CHECKING:
    from _socket import socket
    from collections.abc import Callable

    Message = tuple[str, list[str], list[int]]

_SEPARATOR = "\x1f"
# Seconds between two looks at a peer that says nothing.
PATIENCE = 0.5
_LARGEST = 65536
_MOST_DESCRIPTORS = 253


class Channel:
    """One end of the conversation."""

    def __init__(self, end: socket) -> None:
        self._end = end
        self._watch: Callable[[], None] | None = None

    def watch(self, look: Callable[[], None]) -> None:
        """Look now and then, while a message is awaited, whether the other side can still speak; it may raise."""
        self._watch = look
        self._end.settimeout(PATIENCE)

    def send(self, kind: str, *words: object, fds: tuple[int, ...] = ()) -> None:
        """Send a message; a peer that is gone is no error, its end is noticed by receive."""
        clean = (str(word).replace(_SEPARATOR, "?") for word in words)
        text = _SEPARATOR.join((kind, *clean)).encode(errors="surrogateescape")
        rights = [(SOL_SOCKET, SCM_RIGHTS, pack(f"{len(fds)}i", *fds))] if fds else []
        try:
            self._end.sendmsg([text[:_LARGEST]], rights)
        except (BrokenPipeError, ConnectionResetError):
            pass

    def receive(self) -> Message | None:
        """The next message, or None at the end of the conversation."""
        room = _MOST_DESCRIPTORS * calcsize("i") + 16
        while True:
            try:
                data, ancillary, _, _ = self._end.recvmsg(_LARGEST, room, MSG_CMSG_CLOEXEC)
                break
            except ConnectionResetError:
                return None
            except TimeoutError:
                if self._watch:
                    self._watch()
        if not data:
            return None
        kind, *words = data.decode(errors="surrogateescape").split(_SEPARATOR)
        fds: list[int] = []
        for _, _, rights in ancillary:
            fds += unpack(f"{len(rights) // calcsize('i')}i", rights)
        return kind, words, fds

    def fileno(self) -> int:
        """The descriptor, for poll and for closing all others."""
        return self._end.fileno()

    def close(self) -> None:
        """Close this end."""
        self._end.close()


def pair() -> tuple[Channel, Channel]:
    """Two connected ends."""
    ours, theirs = socketpair(AF_UNIX, SOCK_SEQPACKET | SOCK_CLOEXEC)
    return Channel(ours), Channel(theirs)


def listen(path: str) -> socket:
    """A socket that waits at a path for one conversation at a time."""
    gate = _socket(AF_UNIX, SOCK_SEQPACKET | SOCK_CLOEXEC)
    with _short(path) as place:
        gate.bind(place)
    gate.listen(1)
    return gate


def accept(gate: socket) -> Channel:
    """The next conversation at a gate."""
    fd, _ = gate._accept()  # type: ignore[attr-defined]
    return Channel(_socket(fileno=fd))


def connect(path: str) -> Channel:
    """Begin a conversation with whoever waits at a path; raises OSError."""
    end = _socket(AF_UNIX, SOCK_SEQPACKET | SOCK_CLOEXEC)
    with _short(path) as place:
        end.connect(place)
    return Channel(end)


class _short:  # noqa: N801  # reads as the verb it is
    """A path by way of its open directory: the address of a socket has 107 bytes (unix(7))."""

    def __init__(self, path: str) -> None:
        self._directory, self._name = os.path.split(path)

    def __enter__(self) -> str:
        self._fd = os.open(self._directory, os.O_PATH | os.O_DIRECTORY | os.O_CLOEXEC)
        return f"/proc/self/fd/{self._fd}/{self._name}"

    def __exit__(self, *_: object) -> None:
        os.close(self._fd)
