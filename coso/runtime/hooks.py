"""Hooks: programs of the engine at points of the container's life (OCI config.md "POSIX-platform Hooks").

Each gets the container's state as JSON on standard input.  Until the command
starts, one that fails ends the container; afterwards it is only said.
"""

from __future__ import annotations

import os
import select

from coso import quickjson
from coso.errors import CosoError
from coso.kernel.process import pidfd_open, pidfd_send_signal
from coso.runtime.container import Container
from coso.spec import VERSION, Hook, Seccomp
from coso.steps import Step

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Callable

SIGKILL = 9
MOST_KEPT = 4096


def run_all(point: str, hooks: tuple[Hook, ...], state: str) -> None:
    """Run the hooks of a point in order; raise CosoError from the first that fails."""
    for index, hook in enumerate(hooks):
        try:
            run(hook, state)
        except CosoError as error:
            raise CosoError(f"hooks.{point}[{index}]: {error.message}", cause=error.cause) from None


def run(hook: Hook, state: str) -> None:
    """Run one hook to its end, at most its time-out; raise CosoError unless its status is 0."""
    variables = dict(item.partition("=")[::2] for item in hook.env)
    told = _file_of(state)
    out_read, out_write = os.pipe2(os.O_CLOEXEC)
    actions = [
        (os.POSIX_SPAWN_DUP2, told, 0),
        (os.POSIX_SPAWN_DUP2, out_write, 1),
        (os.POSIX_SPAWN_DUP2, out_write, 2),
    ]
    try:
        pid = os.posix_spawn(
            hook.path, hook.args or (hook.path,), variables, file_actions=actions, setsigmask=[], setsigdef=[13, 17]
        )
    except OSError as error:
        os.close(out_read)
        raise CosoError(f"{hook.path} cannot be executed: {error.strerror}") from None
    finally:
        os.close(told)
        os.close(out_write)
    said, status = _wait(pid, out_read, hook.timeout)
    if status is None:
        raise CosoError(f"{hook.path} ran longer than its time-out of {hook.timeout} s")
    if status != 0:
        raise CosoError(f"{hook.path} failed with status {status}: {said.strip() or 'it said nothing'}")


def _file_of(state: str) -> int:
    """The state as a file in memory: it may be longer than a pipe holds, and a hook need not read it."""
    fd = os.memfd_create("state", os.MFD_CLOEXEC)
    data = state.encode(errors="surrogateescape")
    while data:
        data = data[os.write(fd, data) :]
    os.lseek(fd, 0, os.SEEK_SET)
    return fd


def _wait(pid: int, out: int, timeout: int | None) -> tuple[str, int | None]:
    """What a hook said and its status, None when its time was over.

    Its end is waited for, not the end of its output: a hook may leave a
    process behind that keeps the pipe.
    """
    pidfd = pidfd_open(pid)
    poll = select.poll()
    poll.register(pidfd, select.POLLIN)
    poll.register(out, select.POLLIN)
    os.set_blocking(out, False)
    deadline = None if timeout is None else _now() + timeout
    kept = b""
    late = False
    while True:
        left = None if deadline is None else max(0, int((deadline - _now()) * 1000))
        ready = {fd for fd, _ in poll.poll(left)}
        if not ready:
            late, deadline = True, None
            pidfd_send_signal(pidfd, SIGKILL)
        if out in ready:
            data = _read(out)
            kept = (kept + data)[-MOST_KEPT:]
            if not data:
                poll.unregister(out)
        if pidfd in ready:
            break
    kept = (kept + _read(out))[-MOST_KEPT:]
    os.close(out)
    os.close(pidfd)
    status = os.waitstatus_to_exitcode(os.waitpid(pid, 0)[1])
    return kept.decode(errors="replace"), None if late else status


def _now() -> float:
    import time

    return time.monotonic()


def _read(fd: int) -> bytes:
    try:
        return os.read(fd, 65536)
    except BlockingIOError:
        return b""


def state_of(container: Container, status: str) -> str:
    """The container's state as JSON (OCI runtime.md "State")."""
    return quickjson.dumps(_state(container, status))


def _state(container: Container, status: str) -> dict[str, object]:
    return {
        "ociVersion": VERSION,
        "id": container.id,
        "status": status,
        "pid": container.pid,
        "bundle": container.bundle,
        "annotations": dict(container.spec.annotations),
    }


def give_listener(container: Container, fd: int) -> None:
    """Send the descriptor that reads filtered calls to the supervisor (config-linux.md "Container Process State")."""
    import socket

    seccomp = container.spec.seccomp
    if not isinstance(seccomp, Seccomp):
        return
    state = _state(container, "running" if container.init else "creating")
    message = {
        "ociVersion": VERSION,
        "fds": ["seccompFd"],
        "pid": container.pid,
        "metadata": seccomp.listener_metadata,
        "state": state | ({"pid": container.init} if container.init else {}),
    }
    try:
        with socket.socket(socket.AF_UNIX, socket.SOCK_STREAM) as end:
            end.connect(seccomp.listener_path)
            socket.send_fds(end, [quickjson.dumps(message).encode()], [fd])
    except OSError as error:
        raise CosoError(f"linux.seccomp.listenerPath {seccomp.listener_path}: {error.strerror}") from None
    finally:
        os.close(fd)


def _inside(point: str, status: str, hooks_of: Callable[[Container], tuple[Hook, ...]]) -> Callable[[Container], None]:
    def execute(container: Container) -> None:
        # Before the root is entered /proc is the host's, and says the number there; later it is the container's.
        container.pid = int(os.readlink("/proc/self")) if point == "createContainer" else os.getpid()
        run_all(point, hooks_of(container), state_of(container, status))

    return execute


CREATE_CONTAINER = Step(
    "run createContainer hooks",
    "run the hooks of the container's namespaces, before the root is entered",
    "posix_spawn()",
    "the engine changes mounts here, with programs of the host",
    "OCI config.md (createContainer)",
    _inside("createContainer", "creating", lambda container: container.spec.hooks.create_container),
)
START_CONTAINER = Step(
    "run startContainer hooks",
    "run the hooks of the container itself",
    "posix_spawn()",
    "they are programs of the image, run just before the command",
    "OCI config.md (startContainer)",
    _inside("startContainer", "created", lambda container: container.spec.hooks.start_container),
)
