"""Sockets with a name in a directory, however long its path is."""

from __future__ import annotations

import os
from _socket import AF_UNIX, SOCK_CLOEXEC, SOCK_SEQPACKET, socket

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Callable


def _by_descriptor(path: str, act: Callable[[str], None]) -> None:
    """Do something with a short path for a long one: a socket's address has room for 107 bytes (unix(7))."""
    directory, name = os.path.split(path)
    fd = os.open(directory, os.O_PATH | os.O_DIRECTORY | os.O_CLOEXEC)
    try:
        act(f"/proc/self/fd/{fd}/{name}")
    finally:
        os.close(fd)


def listen(path: str, backlog: int) -> socket:
    """Listen at a path where nothing is yet; raises OSError."""
    server = socket(AF_UNIX, SOCK_SEQPACKET | SOCK_CLOEXEC)
    _by_descriptor(path, server.bind)
    server.listen(backlog)
    return server


def connect(path: str) -> socket | None:
    """A conversation with whoever listens at a path, None when nobody does."""
    end = socket(AF_UNIX, SOCK_SEQPACKET | SOCK_CLOEXEC)
    try:
        _by_descriptor(path, end.connect)
        return end
    except OSError:
        end.close()
        return None
