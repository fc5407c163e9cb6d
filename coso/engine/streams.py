"""A container's standard streams, on the monitor's side: named pipes, or a terminal.

The pipes have names so that another monitor can go on where one was killed.
"""

from __future__ import annotations

import os

from coso.engine import zygote
from coso.engine.logs import Log
from coso.state import ENGINE

CHUNK = 65536
OUTPUTS = ((1, "out"), (2, "err"))


def place_of(container: str) -> str:
    """Where a container's pipes and its monitor's socket are while it runs."""
    return f"{ENGINE}/{container}"


def _make(path: str) -> None:
    """Make a named pipe that whoever is in the container may open anew as /dev/stdout; nobody else comes this far."""
    os.mkfifo(path, 0o600)
    os.chmod(path, 0o666)


class Streams:
    """The monitor's ends; -1 for what there is none of."""

    def __init__(self, container: str) -> None:
        self._id = container
        self._out = {1: -1, 2: -1}
        self._input = -1
        self._terminal = -1

    def make(self, *, terminal: bool, interactive: bool) -> tuple[int, int, int]:
        """Make the pipes; the container's ends. With a terminal, which is made inside, none are needed."""
        null = os.open("/dev/null", os.O_RDWR | os.O_CLOEXEC)
        if terminal:
            return null, null, null
        ends = []
        for stream, name in OUTPUTS:
            path = f"{place_of(self._id)}/{name}"
            _make(path)
            # Open for both directions in the container: without a reader it waits, and is not killed (fifo(7)).
            ends.append(os.open(path, os.O_RDWR | os.O_CLOEXEC))
            self._out[stream] = os.open(path, os.O_RDONLY | os.O_NONBLOCK | os.O_CLOEXEC)
        if not interactive:
            return null, ends[0], ends[1]
        os.close(null)
        path = f"{place_of(self._id)}/in"
        _make(path)
        reading = os.open(path, os.O_RDONLY | os.O_NONBLOCK | os.O_CLOEXEC)
        self._input = os.open(path, os.O_WRONLY | os.O_NONBLOCK | os.O_CLOEXEC)
        os.set_blocking(reading, True)
        return reading, ends[0], ends[1]

    def adopt(self, *, terminal: bool) -> None:
        """Open the pipes that are there, and get the terminal or the input back from who holds it."""
        for stream, name in OUTPUTS:
            path = f"{place_of(self._id)}/{name}"
            if os.path.exists(path):
                self._out[stream] = os.open(path, os.O_RDONLY | os.O_NONBLOCK | os.O_CLOEXEC)
        held = next(iter(zygote.ask(self._id, zygote.GIVE)), -1)
        self._terminal, self._input = (held, -1) if terminal else (-1, held)

    def hold(self, terminal: int) -> None:
        """Take a new terminal's outer end; what the container reads from is held by somebody else too."""
        self._terminal = terminal
        if terminal >= 0:
            os.set_blocking(terminal, False)
        if max(terminal, self._input) >= 0:
            zygote.ask(self._id, zygote.HOLD, (max(terminal, self._input),))

    def outer(self) -> list[int]:
        """The monitor's ends: output, errors, input and terminal."""
        return [self._out[1], self._out[2], self._input, self._terminal]

    def drain(self, log: Log) -> None:
        """Put what is left in the pipes into the log, and close all."""
        for stream, fd in ((1, self._out[1]), (2, self._out[2]), (1, self._terminal)):
            if fd < 0:
                continue
            os.set_blocking(fd, False)
            try:
                while data := os.read(fd, CHUNK):
                    log.write(stream, data)
            except OSError:
                pass
            os.close(fd)
        log.flush()
        os.close(log.fd) if log.fd >= 0 else None
