"""What workers of the starter do: run a container, run a command in one, carry files; each answers one request.

A request and its answers are lines of JSON on a stream: `start` says that the
command runs, `end` its exit status, `error` what went wrong.  When the other
side closes the stream early, nobody wants the command any more.
"""

from __future__ import annotations

import _signal
import os
import select
from _socket import MSG_CMSG_CLOEXEC, MSG_DONTWAIT, socket
from _struct import pack, unpack
from time import perf_counter_ns

from coso import quickjson
from coso.api.ahead import Ahead
from coso.api.starter import BUSY, IDLE
from coso.errors import CosoError, MissingError
from coso.flags import Words
from coso.kernel.process import is_limited, pidfd_send_signal
from coso.value import replace

TYPE_CHECKING = False
if TYPE_CHECKING:
    from typing import Any

    from coso.images.source import Source
    from coso.runtime.cloner import Cloner
    from coso.runtime.container import Container

    Json = dict[str, Any]

SIGKILL = 9
PIECE = 1 << 16
# Then it makes way for a fresh one.
MOST_REQUESTS = 1000
# After these it is as it was before.
LASTING = ("run", "exec")
IDLE_SECONDS = 5.0


class Conversation:
    """The stream to whoever asks."""

    def __init__(self, fd: int, requests: int) -> None:
        self._end = socket(fileno=fd)
        self._read = b""
        self.fd = fd
        # Whoever closes this wants nothing at all any more.
        self.requests = requests

    def line(self) -> Json | None:
        """The next line; None at the end, and for one that is cut short."""
        while b"\n" not in self._read:
            try:
                data = self._end.recv(PIECE)
            except OSError:
                data = b""
            if not data:
                return None
            self._read += data
        line, _, self._read = self._read.partition(b"\n")
        return dict(quickjson.loads(line.decode()))

    def say(self, **what: object) -> None:
        """Answer; that nobody listens is no error."""
        try:
            self._end.sendall(quickjson.dumps(what).encode() + b"\n")
        except OSError:
            pass

    def close(self) -> None:
        """There will be no more answers, and nothing is left of what was asked for."""
        self._end.close()


def main(requests: socket, tell: int, cloner: Cloner) -> None:
    """Answer requests, one after the other, until there are no more, or this process is not as it was."""
    ahead = Ahead(cloner)
    try:
        _serve(requests, tell, ahead)
    finally:
        ahead.end()


def _serve(requests: socket, tell: int, ahead: Ahead) -> None:
    mine = requests.fileno()
    waiting = select.epoll()
    # Of all workers that wait, the kernel wakes the one that has registered first (epoll_ctl(2)): whoever asks once in
    # a while is always answered by the same, which has made ready what was asked for last.
    waiting.register(mine, select.EPOLLIN | select.EPOLLEXCLUSIVE)
    for number in range(MOST_REQUESTS):
        ahead.begin()
        fds = _await(requests, waiting, IDLE_SECONDS if number else -1)
        if not fds:
            return
        os.write(tell, pack("=ci", BUSY, os.getpid()))
        for to, fd in enumerate(fds[1:4]):
            os.dup2(fd, to)
            os.close(fd)
        conversation = Conversation(fds[0], mine)
        request = conversation.line()
        if request:
            _answer(conversation, request, ahead)
        conversation.close()
        _quiet()
        if is_limited() or number == MOST_REQUESTS - 1 or (request and request["act"] not in LASTING):
            return
        os.write(tell, pack("=ci", IDLE, os.getpid()))


def _await(requests: socket, waiting: select.epoll, seconds: float) -> list[int]:
    """The descriptors of the next request: the stream and, where the command has them, its standard streams.

    None when it does not come in time, or nobody is left to ask.
    """
    while waiting.poll(seconds):
        try:
            _, rights, _, _ = requests.recvmsg(1, 256, MSG_CMSG_CLOEXEC | MSG_DONTWAIT)
        except BlockingIOError:
            continue  # Another worker was quicker.
        except OSError:
            break
        return [fd for _, _, packed in rights for fd in unpack(f"{len(packed) // 4}i", packed)]
    return []


def _quiet() -> None:
    """Have nothing of the last request: no streams, no signals, no directory."""
    null = os.open("/dev/null", os.O_RDWR)
    for fd in (0, 1):
        os.dup2(null, fd)
    os.close(null)
    _signal.pthread_sigmask(_signal.SIG_SETMASK, set())


def _answer(conversation: Conversation, request: Json, ahead: Ahead) -> None:
    try:
        if request["act"] == "run":
            _run(conversation, request, ahead)
        else:
            ACTS[request["act"]](conversation, request)
    except CosoError as error:
        conversation.say(error=said(error))
    except Exception as error:
        conversation.say(error=said(CosoError(f"{type(error).__name__}: {error}", cause="a fault of coso")))


def said(error: CosoError) -> Json:
    """An error as it is told to another process."""
    kept = {name: content for name, content in vars(error).items() if isinstance(content, (str, int))}
    return {"kind": type(error).__name__, "message": error.message, "about": kept}


def _run(conversation: Conversation, request: Json, ahead: Ahead) -> None:
    """A container that lives as long as somebody listens."""
    from coso.engine.front import in_front
    from coso.images import blobs

    begun = perf_counter_ns()
    given = Words(request["options"], ())
    path = given.last("rootfs")
    claim = -1 if path else blobs.locked("use", shared=True)
    source = _source(request, path)

    def stay(container: Container) -> int:
        conversation.say(start={"id": container.id, "pid": container.pid, "ms": _since(begun)})
        status = _wait(conversation, container)
        killed = status == 128 + SIGKILL and _was_out_of_memory(container)
        conversation.say(end={"status": status, "oom": killed, "ms": _since(begun)})
        # Whoever asked is awake now, and comes first: what is left to do here is not waited for.
        os.sched_yield()
        return status

    in_front(given, source, tuple(request["command"]), claim, on_terminal=False, stay=stay, take=ahead.take)


def _since(begun: int) -> float:
    return (perf_counter_ns() - begun) / 1e6


def _source(request: Json, path: str) -> Source:
    from coso.images import source

    if path:
        return source.of_rootfs(path)

    def fetch(name: str) -> None:
        raise MissingError(f"there is no image {name!r} here", hint=f"coso.pull_image({name!r})")

    return source.resolve(request["image"], fetch, pull="missing")


def _wait(conversation: Conversation, container: Container) -> int:
    """Wait for the end of a command; pass on signals that are asked for, and kill it when nobody listens any more."""
    from coso.runtime.pid import exit_status

    poll = select.poll()
    poll.register(container.pidfd, select.POLLIN)
    poll.register(conversation.fd, select.POLLIN)
    poll.register(conversation.requests, 0)
    while True:
        ready = {fd for fd, _ in poll.poll()}
        if container.pidfd in ready:
            return exit_status(os.waitpid(container.pid, 0)[1])
        word = conversation.line() if conversation.requests not in ready else None
        pidfd_send_signal(container.pidfd, int(word["signal"]) if word else SIGKILL)
        if word is None:
            poll.unregister(conversation.fd)
            poll.unregister(conversation.requests)


def _was_out_of_memory(container: Container) -> bool:
    from coso import cgroups

    return bool(container.spec.resources.memory.limit) and bool(cgroups.out_of_memory_kills(container.cgroup))


def _exec(conversation: Conversation, request: Json) -> None:
    """A command in a container that runs."""
    from coso.engine import inside, record

    begun = perf_counter_ns()
    one = record.find(request["container"])
    spec = inside.spec_of(one)
    wanted = inside.process_of(
        spec,
        tuple(request["command"]),
        variables=request["env"],
        user=request["user"],
        directory=request["workdir"],
        privileged=request["privileged"],
    )
    wanted = replace(wanted, interactive=bool(request["reads"]))

    def stay(container: Container) -> int:
        conversation.say(start={"id": one.id, "pid": container.pid, "ms": _since(begun)})
        status = _wait(conversation, container)
        conversation.say(end={"status": status, "oom": False, "ms": _since(begun)})
        return status

    inside.execute(one, spec, wanted, detach=False, stay=stay)


def _put(conversation: Conversation, request: Json) -> None:
    """Write what standard input holds into a file of a container."""
    from coso.engine import one_file, record

    with open(0, "rb", closefd=False) as source:
        data = source.read()
    one_file.put(record.find(request["container"]), request["path"], data, request["mode"], tuple(request["owner"]))
    conversation.say(end={"status": 0})


def _get(conversation: Conversation, request: Json) -> None:
    """Write a file of a container to standard output."""
    from coso.engine import one_file, record

    one_file.get(record.find(request["container"]), request["path"], 1)
    conversation.say(end={"status": 0})


def _command(conversation: Conversation, request: Json) -> None:
    """A command line of coso. It may leave this process as it pleases: it is the last request of this worker."""
    import sys

    os.chdir(request["directory"])
    os.environ.clear()
    os.environ.update(request["environment"])
    from coso.cli.main import main as carry_out

    begun = perf_counter_ns()
    conversation.say(start={"id": "", "pid": os.getpid(), "ms": 0.0})
    status = carry_out(list(request["command"]))
    sys.stdout.flush()
    conversation.say(end={"status": status, "oom": False, "ms": _since(begun)})


ACTS = {"command": _command, "exec": _exec, "put": _put, "get": _get}
