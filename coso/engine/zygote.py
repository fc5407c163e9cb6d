"""From where monitors are forked: a process that has all modules loaded, and does nothing else.

What a hundred monitors share with it they do not have each: a fresh
interpreter is eight times as large.  It is made by the first command that
needs it and ends two seconds after its last monitor; killed, it is made anew.
It also holds what containers read from, inputs and pipes, which would end
with a monitor that is killed.
"""

from __future__ import annotations

import _signal
import _thread
import gc
import os
import select
import sys
from _socket import (
    MSG_CMSG_CLOEXEC,
    SCM_RIGHTS,
    SOL_SOCKET,
    socket,
)
from _struct import pack, unpack

from coso import bundle
from coso.engine import sockets
from coso.errors import CosoError
from coso.kernel.call import trim_memory
from coso.state import ENGINE, make_directories

TYPE_CHECKING = False
if TYPE_CHECKING:
    from typing import NoReturn

START, ADOPT = b"s", b"a"
HOLD, GIVE, FORGET = b"h", b"g", b"f"
INPUTS = "-inputs"
NAME = "coso-zygote"
IDLE_SECONDS = 2
BACKLOG = 256
MOST_DESCRIPTORS = 1 << 16
LARGEST = 65536
# Of CPython's and the C library's allocators.
SMALLEST, LARGEST_SMALL, BYTES_HEAD, POOL_BYTES, POOL_HEAD = 16, 512, 33, 1 << 14, 48
MOST_PINNED, FREED_LOCKS = 1024, 7
SIGCHLD, SIGPIPE = 17, 13
LOADED = (
    "resource coso.cgroups.devices coso.cgroups.files coso.cgroups.members coso.cgroups.more coso.cgroups.v1 "
    "coso.cgroups.v2 coso.engine.deeds coso.engine.inside coso.engine.monitor coso.engine.volumes coso.runtime.console "
    "coso.runtime.copyup coso.runtime.namespaces coso.runtime.running coso.spec.seccomp_compiled coso.spec.sysctl "
    "cosonet.attach cosonet.cli cosonet.release"
)
SOURCES = os.path.dirname(os.path.dirname(os.path.abspath(__file__)))


def path() -> str:
    """Where it listens: another place for another version of coso, told by its newest file, and for other namespaces.

    What a monitor makes is made where it was forked: in the network and among the mounts of the zygote.
    """
    newest = 0
    for directory in (f"{SOURCES}/{room}" for room in ("", "engine", "runtime", "kernel", "spec", "cgroups")):
        with os.scandir(directory) as found:
            newest = max([newest, *(entry.stat().st_mtime_ns for entry in found if entry.name.endswith(".py"))])
    places = [os.stat(f"/proc/self/ns/{kind}").st_ino for kind in ("mnt", "net")]
    return f"{ENGINE}/zygote-{newest // 1000:x}-{'-'.join(f'{place:x}' for place in places)}"


def launch(container: str, act: bytes, *, attach: bool = False) -> socket:
    """Have a monitor made that does START or ADOPT; the conversation with it. Raises CosoError."""
    make_directories(ENGINE)
    for _ in range(5):
        end = _connect() or _begin()
        try:
            ask_for(end, container, act, attach=attach)
            return end
        except OSError:
            end.close()  # It ended just then.
    raise CosoError("no monitor can be made", cause="the zygote ends at once", hint="look for OOM kills in dmesg")


def ask_for(end: socket, container: str, act: bytes, *, attach: bool) -> None:
    """Say what the monitor at the other end shall do."""
    _send(end, act + (b"1" if attach else b"0") + container.encode())


def _send(end: socket, message: bytes, fds: tuple[int, ...] = ()) -> None:
    rights = [(SOL_SOCKET, SCM_RIGHTS, pack(f"{len(fds)}i", *fds))] if fds else []
    end.sendmsg([message], rights)


def _connect(which: str = "") -> socket | None:
    return sockets.connect(path() + which)


def _begin() -> socket:
    """Start the zygote, wait until it listens, and connect. Raises CosoError.

    In a fresh interpreter: what this command has loaded and thrown away again
    would be in every monitor.
    """
    reading, writing = os.pipe2(os.O_CLOEXEC)
    os.set_inheritable(writing, True)
    packages = [place for place in sys.path if place]
    code = f"import sys; sys.path[:] = {packages!r}; from coso import bundle; bundle.use(); "
    code += f"from coso.engine import zygote; zygote.become({writing})"
    words = [os.path.realpath(sys.executable), "-IS", "-c", code, NAME]
    pid = os.posix_spawn(words[0], words, os.environ, setsid=True)
    os.close(writing)
    said = os.read(reading, 1)
    os.close(reading)
    end = _connect()
    if end is None:
        os.waitpid(pid, os.WNOHANG)
        raise CosoError("the process that monitors are forked from could not be made", cause=f"it said {said!r}")
    return end


def detach(kept: int) -> None:
    """Leave whoever started this process: no terminal, no directory, no descriptor of it but one."""
    if os.getsid(0) != os.getpid():
        os.setsid()
    os.chdir("/")
    os.umask(0o077)
    null = os.open("/dev/null", os.O_RDWR)
    for fd in (0, 1, 2):
        os.dup2(null, fd)
    os.closerange(3, kept)
    os.closerange(kept + 1, MOST_DESCRIPTORS)
    _signal.pthread_sigmask(_signal.SIG_SETMASK, set())
    for number in (1, 2, 3, 15):
        _signal.signal(number, _signal.SIG_DFL)
    _signal.signal(SIGPIPE, _signal.SIG_IGN)


def become_monitor(conversation: socket) -> NoReturn:
    """As a process that was not forked from a zygote, become the monitor that a conversation asks for."""
    from coso.engine import monitor

    try:
        detach(conversation.fileno())
        _load()
        monitor.main(conversation.detach())
    finally:
        os._exit(0)


def become(ready: int) -> NoReturn:
    """Detach from whoever started this process, load everything, and serve."""
    try:
        detach(ready)
        _load()
        bundle.forget()
        trim_memory()
        # What is here now is never looked at by the collector: looking would copy it into every monitor.
        gc.disable()
        gc.collect()
        gc.freeze()
        pinned = _make_room()
        _serve(ready, pinned)
    finally:
        os._exit(1)


def _load() -> None:
    """Import what monitors and their children need, so that each shares it with all others."""
    for name in LOADED.split():
        __import__(name)


def _listen(place: str) -> socket:
    beside = f"{place}.{os.getpid()}"
    server = sockets.listen(beside, BACKLOG)
    # Over one that is dead; of two that are made at once the second is found, and the first ends for want of work.
    os.rename(beside, place)
    return server


def _make_room() -> list[object]:
    """Have what is allocated from now on lie together; returns what must be kept for that.

    By now what is free lies scattered over all pages, and every page that a
    monitor writes to becomes its own.  Small objects come from pools, one in
    use for each size (CPython, Objects/obmalloc.c): each gets a new one, whose
    head is on the page of its first objects.  Locks, which every fork makes
    anew (PyOS_AfterFork_Child), come from malloc(3), which gives what was
    freed last: so the last of many are freed, which are neighbours.
    """
    locks = [_thread.allocate_lock() for _ in range(MOST_PINNED)]
    pinned: list[object] = [locks[:-FREED_LOCKS]]
    locks.clear()
    for size in range(SMALLEST, LARGEST_SMALL + 1, SMALLEST):
        for number in range(MOST_PINNED):
            if size == SMALLEST:
                piece: object = object()
            else:
                piece = float(number) if size == 2 * SMALLEST else bytes(size - BYTES_HEAD)
            pinned.append(piece)
            if id(piece) % POOL_BYTES == POOL_HEAD:
                break
    return pinned


def _serve(ready: int, _: list[object]) -> None:
    """Fork a monitor for whoever asks, and hold what containers read from.

    Of whatever is written here between two forks each monitor keeps an older
    copy: so nothing is looked at that a monitor can look at itself.
    """
    from coso.engine import monitor

    place = path()
    server, holder = _listen(place), _listen(f"{place}{INPUTS}")
    inode = os.stat(place).st_ino
    os.write(ready, b"r")
    os.close(ready)
    _signal.signal(SIGCHLD, _signal.SIG_DFL)
    inputs: dict[bytes, int] = {}
    poll = select.poll()
    asks = server.fileno()
    poll.register(asks, select.POLLIN)
    poll.register(holder.fileno(), select.POLLIN)
    while True:
        found = poll.poll(IDLE_SECONDS * 1000)
        if not found:
            if _is_alone() and not inputs:
                break
        elif found[0][0] == asks:
            conversation, _ = server._accept()  # type: ignore[attr-defined]
            if os.fork() == 0:
                try:
                    os.closerange(3, conversation)
                    os.closerange(conversation + 1, MOST_DESCRIPTORS)
                    monitor.main(conversation)
                finally:
                    os._exit(0)
            os.close(conversation)
        else:
            _keep(socket(fileno=holder._accept()[0]), inputs)  # type: ignore[attr-defined]
    try:
        if os.stat(place).st_ino == inode:
            os.unlink(place)
            os.unlink(f"{place}{INPUTS}")
    except OSError:
        pass
    os._exit(0)


def _is_alone() -> bool:
    """Whether there is no monitor any more; those that have ended are reaped."""
    try:
        while os.waitpid(-1, os.WNOHANG)[0]:
            pass
        return False
    except ChildProcessError:
        return True


def _keep(conversation: socket, inputs: dict[bytes, int]) -> None:
    """Hold, give back or forget what a container reads from."""
    try:
        data, rights, _, _ = conversation.recvmsg(LARGEST, 64, MSG_CMSG_CLOEXEC)
        fds = [fd for _, _, packed in rights for fd in unpack(f"{len(packed) // 4}i", packed)]
        act, container = data[:1], data[1:]
        if act == HOLD and fds:
            inputs[container] = fds[0]
        elif act == GIVE:
            held = inputs.get(container)
            _send(conversation, b"k", (held,) if held is not None else ())
        elif act == FORGET and container in inputs:
            os.close(inputs.pop(container))
    except OSError:
        return
    finally:
        conversation.close()


def ask(container: str, act: bytes, fds: tuple[int, ...] = ()) -> list[int]:
    """HOLD what a container reads from, GIVE it back or FORGET it; the descriptors of the answer."""
    end = _connect(INPUTS)
    if end is None:
        return []
    try:
        _send(end, act + container.encode(), fds)
        if act != GIVE:
            return []
        _, rights, _, _ = end.recvmsg(LARGEST, 64, MSG_CMSG_CLOEXEC)
        return [fd for _, _, packed in rights for fd in unpack(f"{len(packed) // 4}i", packed)]
    except OSError:
        return []
    finally:
        end.close()
