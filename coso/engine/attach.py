"""A person's terminal, or a program's pipes, joined to a container's: the client's side of coso.engine.clients."""

from __future__ import annotations

import os
import select
from _socket import MSG_DONTWAIT, socket
from _struct import pack, unpack
from fcntl import ioctl

from coso.errors import UsageError
from coso.kernel.process import pidfd_of, pidfd_send_signal, signalfd
from coso.runtime.console import TIOCGWINSZ
from coso.runtime.pid import FORWARDED
from coso.runtime.supervise import RawMode, read_signals

SIGWINCH, SIGINT = 28, 2
PIECE = 32768
LARGEST = 1 << 17
DEFAULT_KEYS = "ctrl-p,ctrl-q"


def keys_of(text: str) -> bytes:
    """The bytes of `ctrl-p,ctrl-q` or `a,ctrl-x`; raises UsageError."""
    found = b""
    for key in filter(None, text.split(",")):
        if len(key) == 1 and key.isascii():
            found += key.encode()
        elif key.startswith("ctrl-") and len(key) == 6 and 64 <= ord(key[5].upper()) <= 95:
            found += bytes([ord(key[5].upper()) - 64])
        else:
            raise UsageError(
                f"--detach-keys {text!r}: {key!r} is no key", hint="a letter, or ctrl-a to ctrl-z and @[\\]^_"
            )
    return found


def join(
    end: socket,
    *,
    process: tuple[int, int] | None,
    terminal: bool,
    interactive: bool,
    keys: bytes,
    streams: set[str],
) -> int | None:
    """Carry input and output until the container ends; its exit status, or None when the keys to detach were typed.

    `process` is the container's first, by number and start time, when signals are to be passed on to it;
    `streams` are those of its output that are wanted.
    """
    import _signal

    watched = set(FORWARDED) | {SIGWINCH} if process or terminal else {SIGWINCH}
    _signal.pthread_sigmask(_signal.SIG_BLOCK, watched)
    signals = signalfd(watched)
    # A short command may have ended by now.
    pidfd = pidfd_of(*process) if process else -1
    raw = RawMode() if terminal and interactive else None
    try:
        if terminal:
            _send_size(end)
        return _carry(end, signals, pidfd, terminal=terminal, interactive=interactive, keys=keys, streams=streams)
    finally:
        if raw:
            raw.leave()
        os.close(signals)
        if pidfd >= 0:
            os.close(pidfd)


def _carry(
    end: socket, signals: int, pidfd: int, *, terminal: bool, interactive: bool, keys: bytes, streams: set[str]
) -> int | None:
    typed, waiting = b"", b""
    while True:
        poll = select.poll()
        # Whoever cannot be told takes no more from the terminal: but output goes on, or both would wait for each other.
        poll.register(end.fileno(), select.POLLIN | (select.POLLOUT if waiting else 0))
        poll.register(signals, select.POLLIN)
        if interactive and not waiting:
            poll.register(0, select.POLLIN)
        ready = dict(poll.poll())
        if ready.get(end.fileno(), 0) & select.POLLOUT:
            waiting = _send(end, waiting)
        if ready.get(end.fileno(), 0) & ~select.POLLOUT:
            packet = end.recv(LARGEST)
            if packet[:1] == b"x":
                return int(packet[1:])
            if not packet:
                return 255  # The monitor was killed; what became of the container others will tell.
            _show(packet, streams)
        if signals in ready:
            for number in read_signals(signals):
                if number == SIGWINCH:
                    _send_size(end)
                elif pidfd >= 0:
                    pidfd_send_signal(pidfd, number)
        if 0 in ready:
            data = os.read(0, PIECE)
            if not data:
                waiting, interactive = _send(end, b"e"), False
                continue
            if terminal and keys:
                data, typed, detached = _without_keys(typed, data, keys)
                if detached:
                    return None
            if data:
                waiting = _send(end, b"i" + data)


def _send(end: socket, packet: bytes) -> bytes:
    """Send a packet if there is room; what is still to be sent."""
    try:
        end.send(packet, MSG_DONTWAIT)
    except BlockingIOError:
        return packet
    return b""


def _show(packet: bytes, streams: set[str]) -> None:
    fd = 1 if packet[:1] == b"1" else 2
    if ("stdout" if fd == 1 else "stderr") in streams:
        data = packet[1:]
        while data:
            data = data[os.write(fd, data) :]


def _without_keys(typed: bytes, data: bytes, keys: bytes) -> tuple[bytes, bytes, bool]:
    """What goes on to the container, how much of the keys to detach is typed by now, and whether all of them are."""
    on = b""
    for at in range(len(data)):
        typed += data[at : at + 1]
        if typed == keys:
            return on, b"", True
        while typed and not keys.startswith(typed):
            on, typed = on + typed[:1], typed[1:]
    return on, typed, False


def _send_size(end: socket) -> None:
    try:
        rows, columns, _, _ = unpack("4H", ioctl(0, TIOCGWINSZ, bytes(8)))
        end.send(b"w" + pack("HH", rows, columns))
    except OSError:
        pass
