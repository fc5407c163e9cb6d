"""Readiness: the word by which a service tells systemd that it serves, passed on from inside (sd_notify(3)).

The manager's socket stays outside: a container gets one of its own, in a
directory that is mounted where NOTIFY_SOCKET says, and of what it sends there
only `READY=1` goes on.  With it goes the number of the main process: the
container's, or this one where it stays for as long and has its exit status.
"""

from __future__ import annotations

import os

from coso.errors import CosoError
from coso.kernel.process import pidfd_open
from coso.spec import Mount, Spec
from coso.value import replace

TYPE_CHECKING = False
if TYPE_CHECKING:
    from socket import socket

NAME = "notify"
# For a socket without a place in the filesystem.
ABSTRACT = "/run/notify"
# Milliseconds until a manager that does not answer is left alone.
BARRIER = 5000


def shown(spec: Spec, manager: str, directory: str) -> Spec:
    """The specification with a directory for the container's socket in it; the same one without a manager's."""
    if not manager:
        return spec
    place = manager if manager.startswith("/") else ABSTRACT
    own = Mount(place, "bind", directory, ("bind", "nosuid", "nodev", "noexec", "ro"))
    kept = tuple(item for item in spec.process.env if not item.startswith("NOTIFY_SOCKET="))
    process = replace(spec.process, env=(*kept, f"NOTIFY_SOCKET={place}/{NAME}"))
    return replace(spec, process=process, mounts=(*spec.mounts, own))


def listen(directory: str, manager: str) -> socket | None:
    """Open the container's socket, before its command could send anything."""
    if not manager:
        return None
    import socket

    path = f"{directory}/{NAME}"
    end = socket.socket(socket.AF_UNIX, socket.SOCK_DGRAM)
    try:
        if os.path.lexists(path):
            os.unlink(path)
        end.bind(path)
        # Whoever the command runs as; nobody else can walk there.
        os.chmod(path, 0o666)
    except OSError as error:
        raise CosoError(f"{path}: {error.strerror}", hint="unset NOTIFY_SOCKET, or give a shorter --root") from None
    return end


def pass_on(end: socket | None, manager: str, pid: int, main: int = 0) -> None:
    """Wait until the container is ready, or has ended, and tell the manager, also of the main process."""
    if end is None:
        return
    import select

    try:
        pidfd = pidfd_open(pid)
    except CosoError:
        return
    poll = select.poll()
    poll.register(pidfd, select.POLLIN)
    poll.register(end.fileno(), select.POLLIN)
    while end.fileno() in {fd for fd, _ in poll.poll()}:
        if b"READY=1" in end.recv(4096).split(b"\n"):
            _tell(manager, f"MAINPID={main or pid}\nREADY=1\n")
            break
    os.close(pidfd)
    end.close()


def pass_on_beside(end: socket | None, manager: str, pid: int) -> None:
    """The same, while this process goes on with something else."""
    if end is not None:
        from threading import Thread

        Thread(target=pass_on, args=(end, manager, pid, os.getpid()), daemon=True).start()


def _tell(manager: str, text: str) -> None:
    import socket

    address = f"\0{manager[1:]}" if manager.startswith("@") else manager
    with socket.socket(socket.AF_UNIX, socket.SOCK_DGRAM) as end:
        try:
            end.connect(address)
            end.send(text.encode())
            _await_manager(end)
        except OSError as error:
            raise CosoError(f"NOTIFY_SOCKET {manager}: {error.strerror}") from None


def _await_manager(end: socket) -> None:
    """Wait until the manager has read what was sent: of a sender that has ended it knows no more whose it was.

    It closes a descriptor that it is sent once it gets there (sd_notify(3), BARRIER=1).
    """
    import select
    import socket

    reading, writing = os.pipe2(os.O_CLOEXEC)
    try:
        try:
            socket.send_fds(end, [b"BARRIER=1"], [writing])
        finally:
            os.close(writing)
        poll = select.poll()
        poll.register(reading, select.POLLHUP)
        poll.poll(BARRIER)
    finally:
        os.close(reading)
