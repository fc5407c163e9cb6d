"""The receiving end of a console socket: what holds the terminal of a container (runc's terminals.md)."""

from __future__ import annotations

import array
import fcntl
import os
import select
import socket
import struct
import termios
import time
from pathlib import Path


class Console:
    """A socket on which a runtime leaves a terminal, and then that terminal."""

    def __init__(self, path: Path) -> None:
        self.path = str(path)
        self._socket = socket.socket(socket.AF_UNIX, socket.SOCK_STREAM)
        self._socket.bind(self.path)
        self._socket.listen(1)
        self._socket.settimeout(5)
        self.fd = -1

    def receive(self) -> Console:
        """Take the terminal."""
        connection, _ = self._socket.accept()
        with connection:
            self.fd = received(connection)[1][0]
        return self

    def read_until(self, text: str, seconds: float = 5.0) -> str:
        """What is printed there, up to some text or the end."""
        found, end = "", time.monotonic() + seconds
        while text not in found and time.monotonic() < end:
            if not select.select([self.fd], [], [], 0.1)[0]:
                continue
            try:
                read = os.read(self.fd, 4096)
            except OSError:  # Nobody holds the other end any more.
                break
            found += read.decode(errors="replace")
        return found

    def type(self, text: str) -> None:
        """Type something."""
        os.write(self.fd, text.encode())

    def resize(self, rows: int, columns: int) -> None:
        """Change its size."""
        fcntl.ioctl(self.fd, termios.TIOCSWINSZ, struct.pack("HHHH", rows, columns, 0, 0))

    def close(self) -> None:
        """Hang up; that may be done twice."""
        self._socket.close()
        if self.fd >= 0:
            os.close(self.fd)
            self.fd = -1


def received(connection: socket.socket) -> tuple[bytes, list[int]]:
    """One message and the descriptors that came with it."""
    connection.settimeout(5)
    size = array.array("i").itemsize
    data, extra, _, _ = connection.recvmsg(65536, socket.CMSG_SPACE(8 * size))
    found = array.array("i")
    for level, kind, packed in extra:
        if (level, kind) == (socket.SOL_SOCKET, socket.SCM_RIGHTS):
            found.frombytes(packed[: len(packed) - len(packed) % size])
    return data, list(found)
