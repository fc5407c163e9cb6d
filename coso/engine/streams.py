"""A container's standard streams, on the monitor's side: named pipes or a terminal, the log, and who is attached.

The pipes have names so that another monitor can go on where one was killed.
"""

from __future__ import annotations

import os
import select
from _struct import unpack

from coso.engine import logs, zygote
from coso.engine.clients import Clients
from coso.engine.make import log_size
from coso.runtime.console import set_size
from coso.state import ENGINE, LAYERS

TYPE_CHECKING = False
if TYPE_CHECKING:
    pass

CHUNK = 65536
OUTPUTS = ((1, "out"), (2, "err"))


def place_of(container: str) -> str:
    """Where a container's pipes and its monitor's socket are while it runs."""
    return f"{ENGINE}/{container}"


class Streams:
    """What is open between a container and those who listen to it."""

    def __init__(self, container: str, clients: Clients) -> None:
        self._id = container
        self.clients = clients
        self._out: dict[int, int] = {}
        self._input = -1
        self._terminal = -1
        self._log = logs.Log("")

    def make(self, *, terminal: bool, interactive: bool) -> tuple[int, int, int]:
        """Make the pipes; the container's ends. With a terminal, which is made inside, none are needed."""
        null = os.open("/dev/null", os.O_RDWR | os.O_CLOEXEC)
        if terminal:
            return null, null, null
        ends = []
        for stream, name in OUTPUTS:
            path = f"{place_of(self._id)}/{name}"
            os.mkfifo(path, 0o600)
            # Open for both directions in the container: without a reader it waits, and is not killed (fifo(7)).
            ends.append(os.open(path, os.O_RDWR | os.O_CLOEXEC))
            self._out[stream] = os.open(path, os.O_RDONLY | os.O_NONBLOCK | os.O_CLOEXEC)
        if not interactive:
            return null, ends[0], ends[1]
        os.close(null)
        path = f"{place_of(self._id)}/in"
        os.mkfifo(path, 0o600)
        reading = os.open(path, os.O_RDONLY | os.O_NONBLOCK | os.O_CLOEXEC)
        self._input = os.open(path, os.O_WRONLY | os.O_CLOEXEC)
        os.set_blocking(reading, True)
        return reading, ends[0], ends[1]

    def adopt(self) -> None:
        """Open the pipes that are there, and get the terminal back from who holds it."""
        for stream, name in OUTPUTS:
            path = f"{place_of(self._id)}/{name}"
            if os.path.exists(path):
                self._out[stream] = os.open(path, os.O_RDONLY | os.O_NONBLOCK | os.O_CLOEXEC)
        self._terminal = next(iter(zygote.ask(self._id, "give")), -1)

    def take_terminal(self, fd: int) -> None:
        """Take a new terminal's outer end, and have it held by somebody else too."""
        self._terminal = fd
        os.set_blocking(fd, False)
        zygote.ask(self._id, "hold", (fd,))

    def open_log(self, options: dict[str, list[str]]) -> None:
        """Begin or go on with the log, as the options have it."""
        if options.get("log-driver", ["json-file"])[-1] == "none":
            return
        wanted = dict(text.partition("=")[::2] for text in options.get("log-opt", []))
        most = log_size(wanted["max-size"]) if "max-size" in wanted else 0
        self._log = logs.Log(f"{LAYERS}/{self._id}/{logs.FILE}", most, int(wanted.get("max-file", "1")))

    def _sources(self) -> dict[int, int]:
        """Descriptors of output, and of which stream it is."""
        found = {fd: stream for stream, fd in self._out.items() if fd >= 0}
        if self._terminal >= 0:
            found[self._terminal] = 1
        return found

    def watch(self, poll: select.poll) -> None:
        """Listen to everybody; not to the output while somebody who is attached cannot follow."""
        for fd in self._sources():
            if not self.clients.are_full:
                poll.register(fd, select.POLLIN)
                continue
            try:
                poll.unregister(fd)
            except KeyError:
                continue
        self.clients.watch(poll)

    def carry(self, poll: select.poll, ready: dict[int, int]) -> None:
        """Carry what is there in both directions."""
        for fd, stream in self._sources().items():
            if fd in ready and not self._copy(fd, stream):
                poll.unregister(fd)
                self._close_source(fd)
        for kind, data in self.clients.receive(poll, ready):
            if kind == b"w" and self._terminal >= 0:
                set_size(self._terminal, *unpack("HH", data))
            elif kind == b"e" and self._input >= 0:
                os.close(self._input)
                self._input = -1
            elif kind == b"i":
                self._type(data)

    def _copy(self, fd: int, stream: int) -> bool:
        """Copy one piece of output; False at its end."""
        try:
            data = os.read(fd, CHUNK)
        except BlockingIOError:
            return True
        except OSError:
            return False  # A terminal whose other side is closed.
        if data:
            self._log.write(stream, data)
            self.clients.send(stream, data)
        return bool(data)

    def _close_source(self, fd: int) -> None:
        if fd == self._terminal:
            zygote.ask(self._id, "forget")
            self._terminal = -1
        for stream, known in self._out.items():
            if known == fd:
                self._out[stream] = -1
        os.close(fd)

    def _type(self, data: bytes) -> None:
        """Give the container input."""
        target = self._terminal if self._terminal >= 0 else self._input
        try:
            while data and target >= 0:
                try:
                    data = data[os.write(target, data) :]
                except BlockingIOError:
                    select.select([], [target], [])
        except OSError:
            return

    def finish(self) -> None:
        """Copy what is left after the end, and close everything but the conversations."""
        for fd, stream in self._sources().items():
            os.set_blocking(fd, False)
            try:
                while data := os.read(fd, CHUNK):
                    self._log.write(stream, data)
                    self.clients.send(stream, data)
            except OSError:
                continue
        self._log.close()
        if self._terminal >= 0:
            zygote.ask(self._id, "forget")
        for fd in (*self._out.values(), self._input, self._terminal):
            if fd >= 0:
                os.close(fd)
        self._out, self._input, self._terminal = {}, -1, -1
