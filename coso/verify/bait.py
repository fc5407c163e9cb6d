"""What the host lays out for probes to reach: a process, System V objects, sockets, a key, a link, open files.

All of it belongs to this process or is removed when the checks are done.
"""

from __future__ import annotations

import ctypes
import fcntl
import os
import socket
import struct
import threading
import time
from collections.abc import Iterator
from contextlib import ExitStack, contextmanager

from coso.errors import KernelError
from coso.kernel import capability
from coso.kernel.process import PR_CAP_AMBIENT, PR_CAP_AMBIENT_CLEAR_ALL, prctl
from coso.spec.defaults import MASKED_PATHS, READONLY_PATHS
from coso.verify.probe import common, privileges
from coso.verify.probe.filesystems import LEVERS
from coso.verify.probe.namespaces import MQ_OPEN

IPC_CREAT, IPC_EXCL, IPC_RMID = 0o1000, 0o2000, 0
ADD_KEY, KEYCTL, KEYCTL_JOIN, SESSION_KEYRING = 248, 250, 1, -3
MQ_UNLINK = 241
TUNSETIFF, IFF_TUN = 0x400454CA, 1


@contextmanager
def laid(scratch: str) -> Iterator[common.Bait]:
    """Lay the bait and yield what a probe must know of it; `leak` is a descriptor for the caller to leave open."""
    key = int.from_bytes(os.urandom(3), "big") | 0x7E000000
    name = f"coso-verify-{os.getpid()}-{key:x}"
    with ExitStack() as stack:
        stack.enter_context(_system_v(key))
        stack.enter_context(_posix(name))
        stack.enter_context(_all_capabilities_inheritable())
        abstract = stack.enter_context(socket.socket(socket.AF_UNIX))
        loopback = stack.enter_context(socket.create_server(("127.0.0.1", 0)))
        resolver = stack.enter_context(_resolver())
        abstract.bind(f"\0{name}")
        abstract.listen()
        yield {
            "namespaces": {kind: os.readlink(f"/proc/self/ns/{kind}") for kind in os.listdir("/proc/self/ns")},
            "pid": os.getpid(),
            "name": os.uname().nodename,
            "key": key,
            "queue": name,
            "abstract": name,
            "key_serial": _key(name),
            "port": loopback.getsockname()[1],
            "resolver": resolver,
            "link": stack.enter_context(_link()),
            "leak": stack.enter_context(_directory(scratch)),
            "outside": f"{scratch}/leak/outside",
            "root": next(([device, root] for device, root, place, _ in common.mounts() if place == "/"), []),
            "monotonic": time.clock_gettime(time.CLOCK_MONOTONIC),
            "masked": MASKED_PATHS,
            "paths": [path for path in (*MASKED_PATHS, *READONLY_PATHS, *LEVERS) if os.path.exists(path)],
            "calls": {call: privileges.call_number(call) for call in privileges.CALLS},
        }


@contextmanager
def _system_v(key: int) -> Iterator[None]:
    """A shared memory segment, a queue and a semaphore that everybody may open."""
    flags = IPC_CREAT | IPC_EXCL | 0o666
    libc = common.libc
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


@contextmanager
def _posix(name: str) -> Iterator[None]:
    """A POSIX message queue and a shared memory object that everybody may open."""
    umask = os.umask(0)
    queue = common.syscall(MQ_OPEN, name.encode(), os.O_CREAT | os.O_EXCL | os.O_RDWR, 0o666, 0)
    try:
        if os.path.isdir("/dev/shm"):
            os.close(os.open(f"/dev/shm/{name}", os.O_CREAT | os.O_EXCL | os.O_RDWR, 0o666))
        os.umask(umask)
        yield
    finally:
        if queue >= 0:
            os.close(queue)
            common.syscall(MQ_UNLINK, name.encode())
        if os.path.exists(f"/dev/shm/{name}"):
            os.unlink(f"/dev/shm/{name}")


@contextmanager
def _all_capabilities_inheritable() -> Iterator[None]:
    """What some callers do (CVE-2022-29162): every capability is inheritable and ambient."""
    own = capability.permitted_mask()
    capability.capset(own, own, own)
    capability.set_ambient(own)
    try:
        yield
    finally:
        prctl(PR_CAP_AMBIENT, PR_CAP_AMBIENT_CLEAR_ALL)
        capability.capset(own, own, 0)


@contextmanager
def _resolver() -> Iterator[int]:
    """A datagram server on the loopback that answers everything; its port."""
    with socket.socket(socket.AF_INET, socket.SOCK_DGRAM) as server:
        server.bind(("127.0.0.1", 0))
        port = int(server.getsockname()[1])
        thread = threading.Thread(target=_answer, args=(server,), daemon=True)
        thread.start()
        yield port
        with socket.socket(socket.AF_INET, socket.SOCK_DGRAM) as last:
            last.sendto(b"", ("127.0.0.1", port))
        thread.join()


def _answer(server: socket.socket) -> None:
    while True:
        query, sender = server.recvfrom(512)
        if not query:
            return
        server.sendto(query, sender)


@contextmanager
def _link() -> Iterator[str]:
    """A TUN link, which goes with the descriptor, however this process ends; "" where there is no /dev/net/tun."""
    try:
        fd = os.open("/dev/net/tun", os.O_RDWR | os.O_CLOEXEC)
    except OSError:
        yield ""
        return
    try:
        answer = fcntl.ioctl(fd, TUNSETIFF, struct.pack("16sH22x", b"cvfy%d", IFF_TUN))
        yield answer[:16].rstrip(b"\0").decode()
    finally:
        os.close(fd)


@contextmanager
def _directory(scratch: str) -> Iterator[int]:
    """A directory of the host that everybody may write to, with a file in it; an open descriptor."""
    os.mkdir(f"{scratch}/leak")
    os.chmod(f"{scratch}/leak", 0o777)
    open(f"{scratch}/leak/outside", "w").close()
    fd = os.open(f"{scratch}/leak", os.O_RDONLY | os.O_DIRECTORY)
    try:
        yield fd
    finally:
        os.close(fd)


def _key(name: str) -> int:
    """A key in a session keyring of this thread's own, whose children get it too; 0 where the kernel has none."""
    try:
        if common.syscall(KEYCTL, KEYCTL_JOIN, None) < 0:
            return 0
        return max(0, common.syscall(ADD_KEY, b"user", name.encode(), b"secret", 6, SESSION_KEYRING))
    except KernelError:
        return 0
