"""What children of a monitor do: start a container, adopt one, write down its end, check its health.

They hold no lock: the journal is the monitor's, and they die with it, so that
nobody goes on where another monitor begins.
"""

from __future__ import annotations

import os
import select
from _socket import AF_UNIX, SCM_RIGHTS, SOCK_CLOEXEC, SOCK_SEQPACKET, SOL_SOCKET, socket
from _struct import pack, unpack
from time import monotonic

from coso import cgroups, quickjson
from coso.engine import events, health, logs, make, ports, record, start, zygote
from coso.engine.streams import Streams, place_of
from coso.errors import CosoError
from coso.kernel.process import PR_SET_PDEATHSIG, exit_status_of, pidfd_open, prctl
from coso.runtime import net
from coso.runtime.journal import Journal, of_descriptor
from coso.runtime.pid import exit_status
from coso.spec.network import helper_of
from coso.state import LAYERS
from coso.times import now

TYPE_CHECKING = False
if TYPE_CHECKING:
    from typing import NoReturn

    from coso.engine.record import Json

SIGKILL = 9
BACKLOG = 64
# The process, the log's size and number, whether health is checked, and which descriptors there are.
PLACES = 7
HEAD = f"iqqi{PLACES}b"
FIRST_PAUSE, LONGEST_PAUSE, GOOD_RUN = 0.1, 60.0, 10.0


def refuse(conversation: socket) -> None:
    """Tell that somebody else has the container in hand."""
    answer(conversation, error="another command is busy with the container, or it runs already")


def answer(end: socket, *, error: str = "", cause: str = "", hint: str = "", status: int = 125) -> None:
    """Tell who had the container started how that went."""
    text = quickjson.dumps({"error": error, "cause": cause, "hint": hint, "status": status})
    try:
        end.send(b"!" + text.encode() if error else b"k")
    except OSError:
        pass


class _Deed:
    """A container in the hands of a monitor's child."""

    def __init__(self, container: str, journal: int) -> None:
        # Without its monitor nobody would hear of the container.
        prctl(PR_SET_PDEATHSIG, SIGKILL)
        self.id = container
        self.journal: Journal = of_descriptor(container, journal)
        self.config: Json = record.stored_config(container)
        self.state: Json = record.stored_state(container)

    def save(self, **changes: object) -> None:
        """Write down the state."""
        self.state = {**self.state, **changes}
        record.write(self.id, "state.json", self.state)

    def as_record(self) -> record.Record:
        """The container as others see it."""
        return record.Record(self.id, self.config, self.state)

    def undo(self) -> None:
        """Take back what the journal has, as far as that can be."""
        if self.journal.is_empty:
            return
        pid = int(self.state.get("pid") or 0)
        if not self.journal.undo(keep=True):
            self.journal.clear()
        net.leave_as(pid, helper_of(self.config["options"].get("network", [""])[-1]))

    def starts_again(self, code: int) -> bool:
        """What the restart policy says (docker run --restart)."""
        policy, _, most = str(self.config["options"].get("restart", ["no"])[-1]).partition(":")
        if policy == "no" or self.shall_stop():
            return False
        if policy == "on-failure":
            return code != 0 and (not most or int(self.state.get("restarts") or 0) < int(most))
        return True

    def shall_stop(self) -> bool:
        """Whether somebody wants it to stay stopped."""
        return os.path.exists(f"{LAYERS}/{self.id}/stop")

    def pause(self, seconds: float) -> bool:
        """Wait before another start; False when somebody wants it to stay stopped."""
        until = monotonic() + seconds
        while (left := until - monotonic()) > 0:
            if self.shall_stop():
                return False
            select.select([], [], [], min(left, 0.1))
        return True

    def leave(self) -> None:
        """Let go of the container; of one that is to be removed at its end nothing is left."""
        if self.config.get("remove") and self.state["status"] in ("exited", "created"):
            make.remove(self.as_record())
            from coso.engine import volumes

            for name in self.config.get("anonymous") or []:
                volumes.remove(name, force=True)
            events.tell("destroy", self.id, self.config)
        self.journal.unlink()


def begin(container: str, adopts: bool, journal: int, told: socket | None, talk: socket) -> NoReturn:
    """Start or adopt a container; give the monitor what it needs, or nothing where there is nothing to watch."""
    try:
        deed = _Deed(container, journal)
        try:
            _begin(deed, told, talk, adopts=adopts)
        except CosoError as error:
            _fail(deed, told, error)
        except OSError as error:
            _fail(deed, told, CosoError(f"the container cannot be started: {error}"))
    finally:
        os._exit(0)


def _begin(deed: _Deed, told: socket | None, talk: socket, *, adopts: bool) -> None:
    streams = Streams(deed.id)
    if adopts and deed.state["status"] == "running" and record.runs(deed.state):
        streams.adopt()
        # Others are kept off the published ports again.
        held = ports.hold(int(deed.state["pid"]), int(deed.state["ticks"]))
        pidfd = pidfd_open(int(deed.state["pid"]))
    else:
        if adopts and not _bury(deed, streams, told):
            deed.leave()
            return
        pidfd, held = _start(deed, streams)
    wanted = health.checks_of(deed.as_record())
    log = logs.settings(deed.id, deed.config["options"])
    fds = [pidfd, _listen(deed.id), log.open(), *streams.outer(), *held]
    there = [fd >= 0 for fd in fds[:PLACES]]
    head = pack(HEAD, int(deed.state["pid"]), log.most_bytes, log.most_files, wanted is not None, *there)
    given = [fd for fd in fds if fd >= 0]
    talk.sendmsg([head + log.path.encode()], [(SOL_SOCKET, SCM_RIGHTS, pack(f"{len(given)}i", *given))])
    if told:
        answer(told)
    if wanted:
        for fd in (*given, talk.fileno(), *([told.fileno()] if told else [])):
            os.close(fd)
        wanted.run()


def _start(deed: _Deed, streams: Streams) -> tuple[int, list[int]]:
    """Start the container; its pidfd, and what keeps its ports."""
    deed.undo()
    deed.journal.record("remove-tree", place_of(deed.id))
    os.makedirs(place_of(deed.id), 0o700, exist_ok=True)
    one = deed.as_record()
    stdio = streams.make(terminal=one.switch("tty"), interactive=one.switch("interactive"))
    container = start.start(one, deed.journal, stdio)
    if container.terminal >= 0:
        streams.take_terminal(container.terminal)
    ran = {"status": "running", "pid": container.pid, "ticks": start.start_time(container.pid)}
    clean = {"finishedAt": "", "exitCode": 0, "oomKilled": False, "error": "", "health": None}
    deed.save(**ran, **clean, cgroup=container.cgroup, address=container.address, startedAt=now())
    events.tell("start", deed.id, deed.config)
    return container.pidfd, [end.detach() for end in container.held]


def _listen(container: str) -> int:
    """Open the socket at which commands attach and wait."""
    path = f"{place_of(container)}/socket"
    if os.path.exists(path):
        os.unlink(path)
    server = socket(AF_UNIX, SOCK_SEQPACKET | SOCK_CLOEXEC)
    server.bind(path)
    server.listen(BACKLOG)
    return server.detach()


def _fail(deed: _Deed, told: socket | None, error: CosoError) -> None:
    """Take everything back, and tell why the container did not start."""
    deed.undo()
    status = "created" if deed.state["status"] == "created" else "exited"
    deed.save(status=status, error=error.message, exitCode=error.exit_status, pid=0)
    deed.leave()
    if told:
        answer(told, error=error.message, cause=error.cause, hint=error.hint, status=error.exit_status)


def _bury(deed: _Deed, streams: Streams, told: socket | None) -> bool:
    """Nobody saw the end of a container: its status says that nothing is known of it. Whether it starts again."""
    ran = deed.state["status"] == "running"
    if ran:
        # What it said last is in the pipes yet.
        streams.adopt()
        log = logs.settings(deed.id, deed.config["options"])
        streams.drain(logs.Log(log.path, log.open(), log.most_bytes, log.most_files))
    deed.undo()
    if ran:
        deed.save(status="exited", pid=0, exitCode=record.UNKNOWN, finishedAt=now())
        events.tell("die", deed.id, deed.config, exitCode=str(record.UNKNOWN))
    elif deed.state["status"] == "restarting":
        deed.save(status="exited")
    again = ran and deed.starts_again(record.UNKNOWN)
    if told and not again:
        answer(told)
    return again


def take_in(kind: bytes, data: bytes, fds: list[int], input_: int, terminal: int) -> None:
    """Give the container what somebody who is attached has typed, or the size of that one's window."""
    if kind == b"w" and fds[terminal] >= 0:
        from coso.runtime.console import set_size

        set_size(fds[terminal], *unpack("HH", data))
    elif kind == b"e" and fds[input_] >= 0:
        os.close(fds[input_])
        fds[input_] = -1
    elif kind == b"i":
        target = fds[terminal] if fds[terminal] >= 0 else fds[input_]
        try:
            while data and target >= 0:
                try:
                    data = data[os.write(target, data) :]
                except BlockingIOError:
                    select.select([], [target], [])
        except OSError:
            return


def end(container: str, journal: int, status: int, pidfd: int, count: int, said: int) -> NoReturn:
    """Write down the end and take everything back; ends with 1 where the container shall be started again."""
    again = False
    try:
        deed = _Deed(container, journal)
        code = exit_status(status) if status >= 0 else _status_of(int(deed.state["pid"]), pidfd)
        group = str(deed.state.get("cgroup") or "")
        killed = code == 128 + SIGKILL and bool(group) and bool(cgroups.out_of_memory_kills(group))
        if killed:
            events.tell("oom", container, deed.config)
        zygote.ask(container, zygote.FORGET)
        deed.undo()
        again = deed.starts_again(code)
        if again:
            restarts = int(deed.state.get("restarts") or 0) + 1
            deed.save(status="restarting", pid=0, exitCode=code, finishedAt=now(), oomKilled=killed, restarts=restarts)
        else:
            deed.save(status="exited", pid=0, exitCode=code, finishedAt=now(), oomKilled=killed)
        events.tell("die", container, deed.config, exitCode=str(code))
        if again and not deed.pause(min(FIRST_PAUSE * 2**count, LONGEST_PAUSE)):
            again = False
            deed.save(status="exited")
        if not again:
            deed.leave()
        os.write(said, b"%d" % code)
    finally:
        os._exit(1 if again else 0)


def _status_of(pid: int, pidfd: int) -> int:
    """The exit status of a process that is not the monitor's child, as the kernel tells it."""
    for _ in range(100):
        found = exit_status_of(pid, pidfd)
        if found is not None:
            return exit_status(found)
        select.select([], [], [], 0.01)
    return record.UNKNOWN
