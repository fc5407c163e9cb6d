"""From where monitors are forked: a process that has all modules loaded, and does nothing else.

What a hundred monitors share with it they do not have each: a fresh
interpreter is eight times as large.  It is made by the first command that
needs it and ends two seconds after its last monitor; killed, it is made anew.
It also holds the terminals of containers, which would hang up with a monitor
that is killed.
"""

from __future__ import annotations

import _signal
import gc
import os
import select
import sys
from _socket import AF_UNIX, SCM_RIGHTS, SOCK_CLOEXEC, SOCK_SEQPACKET, SOL_SOCKET, socket
from _struct import pack, unpack

from coso import quickjson
from coso.errors import CosoError
from coso.state import ENGINE, make_directories

TYPE_CHECKING = False
if TYPE_CHECKING:
    from typing import Any, NoReturn

    Json = dict[str, Any]

IDLE_SECONDS = 2
BACKLOG = 256
LARGEST = 65536
SIGCHLD, SIGPIPE = 17, 13
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


def launch(container: str, act: str, *, attach: bool = False) -> socket:
    """Have a monitor made that does `start` or `adopt`; the conversation with it. Raises CosoError."""
    make_directories(ENGINE)
    for _ in range(5):
        end = _connect() or _begin()
        try:
            _send(end, {"container": container, "act": act, "attach": attach})
            return end
        except OSError:
            end.close()  # It ended just then.
    raise CosoError(
        "no monitor can be made", cause="the zygote ends at once", hint="see the kernel's log for OOM kills"
    )


def _send(end: socket, message: Json, fds: tuple[int, ...] = ()) -> None:
    rights = [(SOL_SOCKET, SCM_RIGHTS, pack(f"{len(fds)}i", *fds))] if fds else []
    end.sendmsg([quickjson.dumps(message).encode()], rights)


def _connect() -> socket | None:
    end = socket(AF_UNIX, SOCK_SEQPACKET | SOCK_CLOEXEC)
    try:
        end.connect(path())
        return end
    except OSError:
        end.close()
        return None


def _begin() -> socket:
    """Fork the zygote, wait until it listens, and connect. Raises CosoError."""
    reading, writing = os.pipe2(os.O_CLOEXEC)
    sys.stdout.flush()
    sys.stderr.flush()
    child = os.fork()
    if child == 0:
        try:
            os.close(reading)
            if os.fork() == 0:
                _become(writing)
        finally:
            os._exit(0)
    os.close(writing)
    os.waitpid(child, 0)
    said = os.read(reading, 1)
    os.close(reading)
    end = _connect()
    if end is None:
        raise CosoError("the process that monitors are forked from could not be made", cause=f"it said {said!r}")
    return end


def detach(kept: int) -> None:
    """Leave whoever started this process: no terminal, no directory, no descriptor of it but one."""
    os.setsid()
    os.chdir("/")
    os.umask(0o077)
    null = os.open("/dev/null", os.O_RDWR)
    for fd in (0, 1, 2):
        os.dup2(null, fd)
    os.closerange(3, kept)
    os.closerange(kept + 1, 1 << 16)
    _signal.pthread_sigmask(_signal.SIG_SETMASK, set())
    for number in (1, 2, 3, 15):
        _signal.signal(number, _signal.SIG_DFL)
    _signal.signal(SIGPIPE, _signal.SIG_IGN)


def become_monitor(container: str, act: str, conversation: socket, *, attach: bool) -> NoReturn:
    """As a process that was not forked from a zygote, become the monitor of a container."""
    try:
        detach(conversation.fileno())
        _load()
        monitor_in_here(container, act, conversation, attach=attach)
    finally:
        os._exit(0)


def _become(ready: int) -> NoReturn:
    """Detach from whoever started it, load everything, and serve."""
    try:
        detach(ready)
        _load()
        # What is here now is never looked at by the collector: looking would copy it into every monitor.
        gc.disable()
        gc.collect()
        gc.freeze()
        _serve(ready)
    finally:
        os._exit(1)


def _load() -> None:
    """Import what monitors and starts need."""
    import resource  # noqa: F401

    import cosonet.attach
    import cosonet.cli
    import cosonet.release  # noqa: F401


def _listen() -> tuple[socket, str]:
    place = path()
    beside = f"{place}.{os.getpid()}"
    server = socket(AF_UNIX, SOCK_SEQPACKET | SOCK_CLOEXEC)
    server.bind(beside)
    server.listen(BACKLOG)
    # Over one that is dead; of two that are made at once the second is found, and the first ends for want of work.
    os.rename(beside, place)
    return server, place


def _serve(ready: int) -> None:
    server, place = _listen()
    inode = os.stat(place).st_ino
    os.write(ready, b"r")
    os.close(ready)
    _signal.signal(SIGCHLD, _signal.SIG_DFL)
    children: set[int] = set()
    terminals: dict[str, int] = {}
    poll = select.poll()
    poll.register(server.fileno(), select.POLLIN)
    while True:
        found = poll.poll(IDLE_SECONDS * 1000)
        _reap(children)
        if not found:
            if not children and not terminals:
                break
            continue
        conversation = socket(fileno=server._accept()[0])  # type: ignore[attr-defined]
        os.set_inheritable(conversation.fileno(), False)
        _answer(conversation, server, children, terminals)
        conversation.close()
    try:
        if os.stat(place).st_ino == inode:
            os.unlink(place)
    except OSError:
        pass
    os._exit(0)


def _reap(children: set[int]) -> None:
    while children:
        try:
            pid, _ = os.waitpid(-1, os.WNOHANG)
        except ChildProcessError:
            children.clear()
            return
        if not pid:
            return
        children.discard(pid)


def _answer(conversation: socket, server: socket, children: set[int], terminals: dict[str, int]) -> None:
    """Do what is asked: make a monitor, or hold, give back or forget a terminal."""
    try:
        data, rights, _, _ = conversation.recvmsg(LARGEST, 64)
        asked = quickjson.loads(data.decode())
    except (OSError, ValueError):
        return
    fds = [fd for _, _, packed in rights for fd in unpack(f"{len(packed) // 4}i", packed)]
    act, container = asked["act"], asked["container"]
    if act == "hold" and fds:
        terminals[container] = fds[0]
        os.set_inheritable(fds[0], False)
    elif act == "give":
        held = terminals.get(container)
        _send(conversation, {}, (held,) if held is not None else ())
    elif act == "forget":
        if container in terminals:
            os.close(terminals.pop(container))
    else:
        pid = os.fork()
        if pid:
            children.add(pid)
            return
        os.setsid()
        for fd in (server.fileno(), *terminals.values()):
            os.close(fd)
        monitor_in_here(container, act, conversation, attach=asked["attach"])


def monitor_in_here(container: str, act: str, conversation: socket, *, attach: bool) -> NoReturn:
    """Become the monitor of a container."""
    from coso.engine import monitor

    try:
        monitor.main(container, act, conversation, attach=attach)
    finally:
        os._exit(0)


def ask(container: str, act: str, fds: tuple[int, ...] = ()) -> list[int]:
    """Have a terminal held, given back or forgotten; the descriptors of the answer."""
    end = _connect()
    if end is None:
        return []
    try:
        _send(end, {"container": container, "act": act}, fds)
        if act != "give":
            return []
        _, rights, _, _ = end.recvmsg(LARGEST, 64)
        return [fd for _, _, packed in rights for fd in unpack(f"{len(packed) // 4}i", packed)]
    except OSError:
        return []
    finally:
        end.close()
