"""What the host lays out for probes to reach: a process, System V objects, sockets; gone when the checks are done."""

from __future__ import annotations

import ctypes
import os
import socket
from collections.abc import Iterator
from contextlib import contextmanager

from coso.spec.defaults import MASKED_PATHS, READONLY_PATHS
from coso.verify import probe

IPC_CREAT, IPC_EXCL, IPC_RMID = 0o1000, 0o2000, 0


@contextmanager
def laid() -> Iterator[probe.Bait]:
    """Lay the bait and yield what a probe must know of it."""
    key = int.from_bytes(os.urandom(3), "big") | 0x7E000000
    name = f"coso-verify-{os.getpid()}"
    with (
        _system_v(key),
        socket.socket(socket.AF_UNIX) as abstract,
        socket.create_server(("127.0.0.1", 0)) as loopback,
    ):
        abstract.bind(f"\0{name}")
        abstract.listen()
        yield {
            "namespaces": {kind: os.readlink(f"/proc/self/ns/{kind}") for kind in os.listdir("/proc/self/ns")},
            "pid": os.getpid(),
            "name": os.uname().nodename,
            "key": key,
            "abstract": name,
            "port": loopback.getsockname()[1],
            "paths": [path for path in (*MASKED_PATHS, *READONLY_PATHS) if os.path.exists(path)],
            "calls": {call: probe.call_number(call) for call in probe.CALLS},
        }


@contextmanager
def _system_v(key: int) -> Iterator[None]:
    """A shared memory segment, a queue and a semaphore that everybody may open."""
    flags = IPC_CREAT | IPC_EXCL | 0o666
    libc = probe.libc
    memory, queue, semaphore = libc.shmget(key, 4096, flags), libc.msgget(key, flags), libc.semget(key, 1, flags)
    try:
        if min(memory, queue, semaphore) < 0:
            raise OSError(ctypes.get_errno(), "cannot make a System V object for the checks")
        yield
    finally:
        if memory >= 0:
            libc.shmctl(memory, IPC_RMID, None)
        if queue >= 0:
            libc.msgctl(queue, IPC_RMID, None)
        if semaphore >= 0:
            libc.semctl(semaphore, 0, IPC_RMID)
