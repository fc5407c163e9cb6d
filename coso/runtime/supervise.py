"""Stay with a running container: pass signals on, carry its terminal, report its end."""

from __future__ import annotations

import os
import select
import sys

from coso import cgroups
from coso.kernel.process import pidfd_send_signal, signalfd
from coso.runtime.console import copy_window_size
from coso.runtime.container import Container
from coso.runtime.pid import FORWARDED, SIGCHLD, exit_status

SIGINT, SIGKILL, SIGWINCH = 2, 9, 28
INTERRUPTS_BEFORE_KILL = 3
CHUNK = 65536


def supervise(container: Container) -> int:
    """Wait for the container's end and return its exit status, 128 + n after signal n."""
    signals = signalfd(set(FORWARDED) | {SIGCHLD})
    raw_mode = RawMode() if container.terminal >= 0 and container.spec.process.interactive else None
    try:
        status = _loop(container, signals)
    finally:
        if raw_mode:
            raw_mode.leave()
        os.close(signals)
    code = exit_status(status)
    if code == 128 + SIGKILL:
        _explain_kill(container)
    return code


def _loop(container: Container, signals: int) -> int:
    poll = select.poll()
    poll.register(signals, select.POLLIN)
    if container.terminal >= 0:
        poll.register(container.terminal, select.POLLIN)
        if container.spec.process.interactive:
            poll.register(0, select.POLLIN)
    interrupts = 0
    while True:
        ready = {fd for fd, _ in poll.poll()}
        if container.terminal in ready and not _copy(container.terminal, 1):
            poll.unregister(container.terminal)
        if container.terminal >= 0 and 0 in ready and not _copy(0, container.terminal):
            poll.unregister(0)
        if signals not in ready:
            continue
        for number in read_signals(signals):
            if number == SIGCHLD:
                pid, status = os.waitpid(container.pid, os.WNOHANG)
                if pid:
                    _drain(container)
                    return status
                continue
            interrupts += number == SIGINT
            if number == SIGWINCH and container.terminal >= 0:
                copy_window_size(0, container.terminal)
            elif interrupts >= INTERRUPTS_BEFORE_KILL:
                # A process 1 without a handler never sees SIGINT; the person at the keyboard means it by now.
                pidfd_send_signal(container.pidfd, SIGKILL)
            else:
                pidfd_send_signal(container.pidfd, number)


def read_signals(fd: int) -> list[int]:
    """The signals that a signalfd has, by number."""
    try:
        data = os.read(fd, 128 * 32)
    except BlockingIOError:
        return []
    return [int.from_bytes(data[at : at + 4], "little") for at in range(0, len(data), 128)]


def _copy(source: int, target: int) -> bool:
    """Copy what is there; False at the end (a terminal whose other side is closed fails with EIO)."""
    try:
        data = os.read(source, CHUNK)
        while data:
            data = data[os.write(target, data) :]
            if not data:
                return True
    except OSError:
        pass
    return False


def _drain(container: Container) -> None:
    """Copy what the terminal still holds after its last writer ended."""
    if container.terminal < 0:
        return
    os.set_blocking(container.terminal, False)
    while _copy(container.terminal, 1):
        pass


class RawMode:
    """The user's terminal without line editing and signals of its own, until left."""

    def __init__(self) -> None:
        self._saved: list[object] | None = None
        if not os.isatty(0):
            return
        import termios

        saved = termios.tcgetattr(0)
        self._saved = list(saved)
        mode = termios.tcgetattr(0)
        mode[0] &= ~(
            termios.IGNBRK | termios.BRKINT | termios.PARMRK | termios.ISTRIP | termios.INLCR | termios.IGNCR
        ) & ~(termios.ICRNL | termios.IXON)
        mode[1] &= ~termios.OPOST
        mode[2] = mode[2] & ~(termios.CSIZE | termios.PARENB) | termios.CS8
        mode[3] &= ~(termios.ECHO | termios.ECHONL | termios.ICANON | termios.ISIG | termios.IEXTEN)
        termios.tcsetattr(0, termios.TCSANOW, mode)

    def leave(self) -> None:
        """Give the terminal back as it was."""
        if self._saved is not None:
            import termios

            termios.tcsetattr(0, termios.TCSANOW, self._saved)  # type: ignore[arg-type]


def _explain_kill(container: Container) -> None:
    limit = container.spec.resources.memory.limit
    if limit and cgroups.out_of_memory_kills(container.cgroup):
        sys.stderr.write(f"coso: the kernel killed the container at its memory limit of {limit >> 10} KiB\n")
