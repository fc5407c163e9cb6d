"""Who is attached to a container, on the monitor's side, and the words of that conversation.

Messages are packets: a letter and data.  A client sends `i` (input), `e` (end
of input), `w` (rows and columns), `o` (I want output), `x` (tell me the end).
It gets `1` and `2` (output), `x` (exit status), and first of all, where it
had a monitor made, `k` or `!` with an error.
"""

from __future__ import annotations

import select
from _socket import MSG_DONTWAIT, SOL_SOCKET, socket

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Iterator

# A container waits for who cannot follow, as with a pipe; this much is kept meanwhile.
MOST_HELD = 1 << 20
PIECE = 32768
LARGEST = 65536
SO_SNDBUF = 7


class _Client:
    def __init__(self, end: socket, *, output: bool) -> None:
        self.end = end
        self.output = output
        self.types = False
        self.held: list[bytes] = []
        self.size = 0


class Clients:
    """All of them; `first` is the conversation with the command that started the container and stays with it."""

    def __init__(self, first: int) -> None:
        self._all: dict[int, _Client] = {}
        if first >= 0:
            self._add(socket(fileno=first), output=True)

    def _add(self, end: socket, *, output: bool) -> None:
        end.setsockopt(SOL_SOCKET, SO_SNDBUF, 1 << 18)
        self._all[end.fileno()] = _Client(end, output=output)

    @property
    def are_full(self) -> bool:
        """Whether one of them is too far behind."""
        return any(client.size > MOST_HELD for client in self._all.values())

    def accept(self, server: int) -> None:
        """Let another one in."""
        listening = socket(fileno=server)
        try:
            fd, _ = listening._accept()  # type: ignore[attr-defined]
        except OSError:
            return
        finally:
            listening.detach()
        self._add(socket(fileno=fd), output=False)

    def watch(self, poll: select.poll, *, takes_input: bool) -> None:
        """Listen to all of them, but for those who type when the container takes no input; write to who is behind."""
        for fd, client in self._all.items():
            listens = select.POLLIN if takes_input or not client.types else 0
            poll.register(fd, listens | (select.POLLOUT if client.held else 0))

    def send(self, stream: int, data: bytes) -> None:
        """Pass output on to those who want it."""
        head = b"%d" % stream
        for client in list(self._all.values()):
            if client.output:
                for at in range(0, len(data), PIECE):
                    self._give(client, head + data[at : at + PIECE])

    def _give(self, client: _Client, packet: bytes) -> None:
        if not client.held and _sent(client.end, packet):
            return
        client.held.append(packet)
        client.size += len(packet)

    def receive(self, ready: dict[int, int]) -> Iterator[tuple[bytes, bytes]]:
        """What they have sent; who has gone is let go."""
        for fd, client in list(self._all.items()):
            happened = ready.get(fd, 0)
            if happened & select.POLLOUT:
                self._catch_up(client)
            if not happened & (select.POLLIN | select.POLLHUP | select.POLLERR):
                continue
            try:
                data = client.end.recv(LARGEST)
            except OSError:
                data = b""
            if not data:
                self._drop(fd)
                continue
            if data[:1] == b"o":
                client.output = True
            elif data[:1] != b"x":
                client.types = client.types or data[:1] == b"i"
                yield data[:1], data[1:]

    def _catch_up(self, client: _Client) -> None:
        while client.held and _sent(client.end, client.held[0]):
            client.size -= len(client.held.pop(0))

    def _drop(self, fd: int) -> None:
        client = self._all.pop(fd)
        client.end.close()

    def end(self, code: int) -> None:
        """Give everybody what is left, and the exit status, and let them go."""
        for fd, client in list(self._all.items()):
            try:
                client.end.setblocking(True)
                client.end.settimeout(5)
                for packet in client.held:
                    client.end.send(packet)
                client.end.send(b"x%d" % code)
            except OSError:
                pass
            self._drop(fd)


def _sent(end: socket, packet: bytes) -> bool:
    """Whether a packet could be sent at once; one for somebody who has gone counts as sent."""
    try:
        end.send(packet, MSG_DONTWAIT)
    except BlockingIOError:
        return False
    except OSError:
        pass
    return True
