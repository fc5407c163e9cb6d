"""Who answers system calls of a container in its stead (SCMP_ACT_NOTIFY; seccomp_unotify(2))."""

from __future__ import annotations

import ctypes
import errno
import fcntl
import json
import os
import select
import socket
import threading
from pathlib import Path
from typing import Any

from tests.integration.oci.console import received

# <linux/seccomp.h>: the sizes of the two structures, 80 and 24 bytes, are a part of the numbers.
SECCOMP_IOCTL_NOTIF_RECV, SECCOMP_IOCTL_NOTIF_SEND = 0xC0502100, 0xC0182101
ANSWER = errno.ENOSPC


class Notification(ctypes.Structure):
    """struct seccomp_notif."""

    _fields_ = (
        ("id", ctypes.c_uint64),
        ("pid", ctypes.c_uint32),
        ("flags", ctypes.c_uint32),
        ("nr", ctypes.c_int32),
        ("arch", ctypes.c_uint32),
        ("ip", ctypes.c_uint64),
        ("args", ctypes.c_uint64 * 6),
    )


class Answer(ctypes.Structure):
    """struct seccomp_notif_resp."""

    _fields_ = (("id", ctypes.c_uint64), ("val", ctypes.c_int64), ("error", ctypes.c_int32), ("flags", ctypes.c_uint32))


class Agent:
    """Takes the descriptor of each process that has a filter, and answers its first call with ENOSPC."""

    def __init__(self, path: Path) -> None:
        self.path = str(path)
        self.states: list[dict[str, Any]] = []
        self.descriptors: list[int] = []
        self._server = socket.socket(socket.AF_UNIX)
        self._server.bind(self.path)
        self._server.listen(4)
        self._threads = [threading.Thread(target=self._serve, daemon=True)]
        self._threads[0].start()

    def _serve(self) -> None:
        while True:
            try:
                connection, _ = self._server.accept()
            except OSError:
                return
            # One message; the end of the connection may be the end of the runtime, which waits for an answer.
            with connection:
                data, fds = received(connection)
            self.descriptors.append(len(fds))
            self.states.append(json.loads(data))
            self._threads.append(threading.Thread(target=_answer, args=(fds,), daemon=True))
            self._threads[-1].start()

    def close(self) -> None:
        """Stop; its containers have ended by then, or will not be answered."""
        # close(2) alone does not wake who waits in accept(2).
        self._server.shutdown(socket.SHUT_RDWR)
        self._server.close()
        for thread in self._threads:
            thread.join(10)


def _answer(fds: list[int]) -> None:
    poll = select.poll()
    poll.register(fds[0], select.POLLIN)
    ready = poll.poll(9000)
    # Without POLLIN the last process of the filter has gone, and a read would wait for ever.
    if ready and ready[0][1] & select.POLLIN:
        seen = Notification()
        fcntl.ioctl(fds[0], SECCOMP_IOCTL_NOTIF_RECV, seen)
        fcntl.ioctl(fds[0], SECCOMP_IOCTL_NOTIF_SEND, Answer(seen.id, 0, -ANSWER, 0))
    for fd in fds:
        os.close(fd)
