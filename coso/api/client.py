"""The calling process's side of the starter: requests, and what comes of them."""

from __future__ import annotations

import atexit
import os
import select
import sys
import threading
from _socket import AF_UNIX, SCM_RIGHTS, SOCK_CLOEXEC, SOCK_SEQPACKET, SOCK_STREAM, SOL_SOCKET, socket, socketpair
from _struct import pack
from time import monotonic

from coso import errors, quickjson
from coso.api import starter
from coso.errors import CosoError

TYPE_CHECKING = False
if TYPE_CHECKING:
    from typing import Any

    Json = dict[str, Any]

SIGKILL = 9
PIECE = 1 << 16


class Starter:
    """A process that starts containers for this one; all of it may be used from several threads.

    `with Starter() as s` ends it; else it ends with this process.
    """

    def __init__(self) -> None:
        ours, theirs = socketpair(AF_UNIX, SOCK_SEQPACKET | SOCK_CLOEXEC)
        self.owner = os.getpid()
        self._end: socket = ours
        # Conversations about what has ended, and is being taken back.
        self._ending: list[Talk] = []
        self._lock = threading.Lock()
        try:
            self._pid = _begin(theirs.fileno())
        finally:
            theirs.close()
        if not ours.recv(16):
            os.waitpid(self._pid, 0)
            raise CosoError("the process that starts containers could not be made", hint="what it said is above")

    def ask(self, request: Json, streams: tuple[int, int, int]) -> Talk:
        """Begin something, with these as its standard streams. Raises CosoError."""
        ours, theirs = socketpair(AF_UNIX, SOCK_STREAM | SOCK_CLOEXEC)
        fds = (theirs.fileno(), *streams)
        try:
            # One message with everything: no lock is needed, and the starter reads nothing that could be cut short.
            self._end.sendmsg([b"r"], [(SOL_SOCKET, SCM_RIGHTS, pack(f"{len(fds)}i", *fds))])
        except OSError:
            ours.close()
            raise CosoError("the process that starts containers has ended", cause="it was killed") from None
        finally:
            theirs.close()
        ours.sendall(quickjson.dumps(request).encode() + b"\n")
        return Talk(ours)

    def leave(self, talk: Talk) -> None:
        """Wait no longer for something: kill what runs, and let it be taken back meanwhile."""
        talk.signal(SIGKILL)
        with self._lock:
            self._ending = [other for other in self._ending if not other.is_over()]
            self._ending.append(talk)

    def settle(self) -> None:
        """Wait until all is taken back of what has ended: names, addresses, layers of images."""
        with self._lock:
            ending, self._ending = self._ending, []
        for talk in ending:
            talk.wait_until_gone()

    def close(self) -> None:
        """Have it end, with all its containers, and wait until what they had is taken back."""
        if self._end.fileno() >= 0:
            self._end.close()
            if self.owner == os.getpid():
                os.waitpid(self._pid, 0)
        for talk in self._ending:
            talk.close()
        self._ending.clear()

    def __enter__(self) -> Starter:
        return self

    def __exit__(self, *_: object) -> None:
        self.close()


def _begin(conversation: int) -> int:
    """Execute the starter; its number. Nothing of this process is copied for that (posix_spawn(3))."""
    here = os.path.dirname(os.path.dirname(os.path.dirname(os.path.abspath(__file__))))
    places = [here, *(place for place in sys.path if place)]
    code = f"import sys; sys.path[:] = {places!r}; from coso import bundle; bundle.use(); "
    code += f"from coso.api import starter; starter.become(3, {os.getpid()})"
    program = os.path.realpath(sys.executable)
    words = [program, "-IS", "-c", code, starter.NAME]
    kept = os.dup(conversation) if conversation == 3 else conversation
    actions = [(os.POSIX_SPAWN_DUP2, kept, 3)]
    try:
        return os.posix_spawn(program, words, os.environ, file_actions=actions)
    finally:
        if kept != conversation:
            os.close(kept)


class Talk:
    """What is said about one request."""

    def __init__(self, end: socket) -> None:
        self._end = end
        self._read = b""
        self._lock = threading.Lock()

    def hear(self, kind: str, timeout: float | None = None) -> Json | None:
        """The next answer, of this kind; None when time is up. Raises what went wrong on the other side."""
        until = None if timeout is None else monotonic() + timeout
        while b"\n" not in self._read:
            if until is not None:
                left = max(0.0, until - monotonic())
                poll = select.poll()
                poll.register(self._end.fileno(), select.POLLIN)
                if not poll.poll(left * 1000):
                    return None
            data = self._end.recv(PIECE)
            if not data:
                raise CosoError("the process that looks after the container was killed")
            self._read += data
        line, _, self._read = self._read.partition(b"\n")
        answer: Json = quickjson.loads(line.decode())
        if "error" in answer:
            raise error_from(answer["error"])
        return dict(answer[kind])

    def fileno(self) -> int:
        """What becomes readable when there is an answer."""
        return int(self._end.fileno())

    def signal(self, number: int) -> None:
        """Have a signal sent to the command."""
        try:
            with self._lock:
                self._end.sendall(b'{"signal": %d}\n' % number)
        except OSError:
            pass  # It has ended.

    def wait_until_gone(self) -> None:
        """Wait until all is taken back that was made."""
        try:
            while self._end.recv(PIECE):
                pass
        except OSError:
            pass
        self.close()

    def is_over(self) -> bool:
        """Whether that is so already."""
        poll = select.poll()
        poll.register(self._end.fileno(), select.POLLIN)
        while poll.poll(0):
            try:
                if self._end.recv(PIECE):
                    continue
            except OSError:
                pass
            self.close()
            return True
        return False

    def close(self) -> None:
        """Say that nobody listens any more: what still runs is killed."""
        self._end.close()


def error_from(said: Json) -> CosoError:
    """An error that another process has told of."""
    kind = getattr(errors, said["kind"], CosoError)
    error: CosoError = kind.__new__(kind, said["message"])
    vars(error).update({"cause": "", "hint": "", "message": said["message"], **said["about"]})
    return error


_starters: dict[int, Starter] = {}
_making = threading.Lock()


def of_this_process() -> Starter:
    """The starter of this process, which is made when it is first asked for: a forked child has one of its own."""
    with _making:
        mine = _starters.get(os.getpid())
        if mine is None:
            for other in _starters.values():
                other.close()
            _starters.clear()
            mine = _starters[os.getpid()] = Starter()
            # Without this it would end as well; but who looks right after this process would find remains.
            atexit.register(close)
        return mine


def close() -> None:
    """As Starter.close, of this process's own, where it has one."""
    with _making:
        mine = _starters.pop(os.getpid(), None)
    if mine:
        mine.close()


def settle() -> None:
    """As Starter.settle, of this process's own, where it has one."""
    mine = _starters.get(os.getpid())
    if mine:
        mine.settle()
