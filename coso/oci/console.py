"""The terminal and the process of a container that outlives this one, for the engine that waits for them."""

from __future__ import annotations

import os

from coso.errors import CosoError, UsageError
from coso.oci.store import replace_file

TYPE_CHECKING = False
if TYPE_CHECKING:
    from coso.oci.create import Wishes
    from coso.oci.execute import ExecWishes
    from coso.runtime.container import Container


def check_console(terminal: bool, console_socket: str) -> None:
    """Raise UsageError unless somebody gets the terminal of a container that outlives this process, if it has one."""
    if terminal and not console_socket:
        raise UsageError(
            "process.terminal is true, and nobody would get the terminal", hint="give --console-socket PATH"
        )
    if console_socket and not terminal:
        raise UsageError("--console-socket is given, and process.terminal is false", hint="give both, or neither")


def hand_out(container: Container, wishes: Wishes | ExecWishes) -> None:
    """Give the terminal to whoever listens for it, and the process to whoever wants to know of it."""
    if container.terminal >= 0 and wishes.console_socket:
        # The message is the terminal's name (runc's docs/terminals.md, "Detached").
        _send("--console-socket", wishes.console_socket, "/dev/ptmx", container.terminal)
        os.close(container.terminal)
        container.terminal = -1
    if wishes.pidfd_socket:
        _send("--pidfd-socket", wishes.pidfd_socket, "pidfd", container.pidfd)
    if wishes.pid_file:
        replace_file(wishes.pid_file, str(container.pid))


def _send(option: str, path: str, message: str, fd: int) -> None:
    """Send a descriptor over a socket of the engine's."""
    import socket

    with socket.socket(socket.AF_UNIX, socket.SOCK_STREAM) as end:
        try:
            end.connect(path)
            socket.send_fds(end, [message.encode()], [fd])
        except OSError as error:
            raise CosoError(f"{option} {path}: {error.strerror}") from None
