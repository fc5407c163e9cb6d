"""What children of a monitor do: start a container, adopt one, write down its end, check its health.

They die with the monitor, so that nobody goes on where another one begins.
"""

from __future__ import annotations

import fcntl
import os
import select
from _socket import SCM_RIGHTS, SOL_SOCKET, socket
from _struct import pack, unpack
from time import monotonic

from coso import cgroups, quickjson
from coso.engine import events, health, logs, make, ports, record, sockets, start, zygote
from coso.engine.streams import Streams, place_of
from coso.errors import CosoError
from coso.kernel.process import (
    PR_SET_PDEATHSIG,
    clone_sibling,
    exit_status_of,
    pidfd_of,
    pidfd_send_signal,
    prctl,
    start_time,
)
from coso.runtime import net
from coso.runtime.journal import Journal, of_descriptor
from coso.runtime.pid import exit_status
from coso.spec.network import helper_of
from coso.state import JOURNALS, LAYERS
from coso.times import now

TYPE_CHECKING = False
if TYPE_CHECKING:
    from typing import NoReturn

    from coso.engine.record import Json

SIGKILL = 9
BACKLOG = 64
LARGEST = 4096
FIRST_PAUSE, LONGEST_PAUSE, GOOD_RUN = 0.1, 60.0, 10.0
# Of a container: its id, the log's size and number, and which descriptors there are.  The log's path follows.
HEAD = "12sqq9b"


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
        self.id = container
        self.descriptor = journal
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


def begin(conversation: int, container: bytes, bell: select.epoll, talk: socket) -> NoReturn:
    """Start or adopt a container, and leave what is to be watched in `talk`, tied to the bell.

    Ends with 0 where there is something to watch.  `conversation` is the
    socket of whoever asks, or -1 to start a container again.
    """
    status = 1
    try:
        # Without its monitor nobody would hear of the container.
        prctl(PR_SET_PDEATHSIG, SIGKILL)
        told = socket(fileno=conversation) if conversation >= 0 else None
        asked = told.recv(LARGEST) if told else zygote.START + b"0" + container
        status = _tried(
            asked[2:].decode(), told, bell, talk, adopts=asked[:1] == zygote.ADOPT, stays=asked[1:2] == b"1"
        )
    finally:
        os._exit(status)


def _tried(container: str, told: socket | None, bell: select.epoll, talk: socket, *, adopts: bool, stays: bool) -> int:
    journal = hold(container)
    if journal < 0:
        if told:
            answer(told, error="another command is busy with the container, or it runs already")
        return 1
    deed = _Deed(container, journal)
    if told is None and deed.shall_stop():
        deed.save(status="exited")
        deed.leave()
        return 1
    try:
        opened = _begin(deed, told, adopts=adopts, stays=stays)
    except CosoError as error:
        _fail(deed, told, error)
        return 1
    except OSError as error:
        _fail(deed, told, CosoError(f"the container cannot be started: {error}"))
        return 1
    if opened is None:
        return 1
    _leave(deed, opened, bell, talk)
    if told:
        answer(told)
    return 0


def hold(container: str) -> int:
    """The journal of a container, locked as long as any copy of this descriptor is open; -1 when it is held.

    Unlike the lock that a runtime takes, this one belongs to the open file and
    goes with it from process to process (fcntl(2), open file description locks).
    """
    for _ in range(3):
        fd = os.open(f"{JOURNALS}/{container}", os.O_CREAT | os.O_RDWR | os.O_CLOEXEC, 0o600)
        try:
            fcntl.fcntl(fd, fcntl.F_OFD_SETLK, pack("hhqqi4x", fcntl.F_WRLCK, os.SEEK_SET, 0, 0, 0))
        except OSError:
            os.close(fd)
            return -1
        if os.fstat(fd).st_nlink:
            return fd
        os.close(fd)
    return -1


def _begin(deed: _Deed, told: socket | None, *, adopts: bool, stays: bool) -> tuple[list[int], list[int]] | None:
    """Start or adopt: what is open, in the order of HEAD, and what keeps ports; None where there is no process."""
    streams = Streams(deed.id)
    is_running = adopts and deed.state["status"] == "running" and record.runs(deed.state)
    pidfd = pidfd_of(int(deed.state["pid"]), int(deed.state["ticks"])) if is_running else -1
    if pidfd >= 0:
        streams.adopt(terminal=deed.as_record().switch("tty"))
        # Others are kept off the published ports again.
        held = ports.hold(int(deed.state["pid"]), int(deed.state["ticks"]))
    else:
        if adopts and not _bury(deed, streams, told):
            # One that never ran stays, even with --rm: somebody was interrupted who did something else with it.
            deed.journal.unlink() if deed.state["status"] == "created" else deed.leave()
            return None
        pidfd, held = _start(deed, streams)
    first = told.fileno() if told and stays else -1
    log = logs.settings(deed.id, deed.config["options"])
    _check_health(deed)
    return [deed.descriptor, pidfd, _listen(deed.id), log.open(), *streams.outer(), first], held


def _leave(deed: _Deed, opened: tuple[list[int], list[int]], bell: select.epoll, talk: socket) -> None:
    """Send the monitor what it is to watch, and have the bell ring when something happens there."""
    fds, held = opened
    log = logs.settings(deed.id, deed.config["options"])
    head = pack(HEAD, deed.id.encode(), log.most_bytes, log.most_files, *(fd >= 0 for fd in fds))
    given = [fd for fd in (*fds, *held) if fd >= 0]
    talk.sendmsg([head + log.path.encode()], [(SOL_SOCKET, SCM_RIGHTS, pack(f"{len(given)}i", *given))])
    _, pidfd, server, _, out, errors, _, terminal, first = fds
    for fd in (pidfd, server, out, errors, terminal, first):
        if fd >= 0:
            bell.register(fd, select.EPOLLIN)


def _check_health(deed: _Deed) -> None:
    """Have a child of the monitor check the container's health, if there is a way to."""
    wanted = health.checks_of(deed.as_record())
    if wanted is None:
        return
    checker = clone_sibling(0)
    if checker == 0:
        try:
            prctl(PR_SET_PDEATHSIG, SIGKILL)
            null = os.open("/dev/null", os.O_RDWR)
            for fd in (0, 1, 2):
                os.dup2(null, fd)
            os.closerange(3, 1 << 20)
            wanted.run()
        finally:
            os._exit(1)
    deed.save(checker=checker, checkerTicks=start_time(checker))


def _start(deed: _Deed, streams: Streams) -> tuple[int, list[int]]:
    """Start the container; its pidfd, and what keeps its ports."""
    deed.undo()
    deed.journal.record("remove-tree", place_of(deed.id))
    os.makedirs(place_of(deed.id), 0o700, exist_ok=True)
    one = deed.as_record()
    stdio = streams.make(terminal=one.switch("tty"), interactive=one.switch("interactive"))
    container = start.start(one, deed.journal, stdio)
    for fd in set(stdio):
        os.close(fd)
    streams.hold(container.terminal)
    ran = {"status": "running", "pid": container.pid, "ticks": start_time(container.pid)}
    if os.path.exists(path := f"{place_of(deed.id)}/{record.HEALTH}"):
        os.unlink(path)  # What checks have found of the last start.
    clean = {"finishedAt": "", "exitCode": 0, "oomKilled": False, "error": "", "checker": 0}
    deed.save(**ran, **clean, cgroup=container.cgroup, address=container.address, startedAt=now())
    events.tell("start", deed.id, deed.config)
    return container.pidfd, [end.detach() for end in container.held]


def _listen(container: str) -> int:
    """Open the socket at which commands attach and wait."""
    path = f"{place_of(container)}/socket"
    if os.path.exists(path):
        os.unlink(path)
    return sockets.listen(path, BACKLOG).detach()


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
        streams.adopt(terminal=deed.as_record().switch("tty"))
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


def set_size(terminal: int, data: bytes) -> None:
    """Give a terminal the rows and columns of somebody's window."""
    from coso.runtime import console

    console.set_size(terminal, *unpack("HH", data))


def type_in(target: int, data: bytes) -> bytes:
    """Give the container input, as much as it takes now; the rest."""
    try:
        return data[os.write(target, data) :]
    except BlockingIOError:
        return data
    except OSError:
        return b""  # Nobody will ever read it.


def end_input(container: str, target: int) -> None:
    """Nothing more is to come: close it, and have it closed by who holds it too."""
    zygote.ask(container, zygote.FORGET)
    os.close(target)


def end(container: str, journal: int, pidfd: int, status: int, count: int, said: int) -> NoReturn:
    """Write down the end and take everything back; ends with 1 where the container shall be started again."""
    again = False
    try:
        prctl(PR_SET_PDEATHSIG, SIGKILL)
        deed = _Deed(container, journal)
        _stop_checks(deed)
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


def _stop_checks(deed: _Deed) -> None:
    """End the checks of health."""
    checker = int(deed.state.get("checker") or 0)
    pidfd = pidfd_of(checker, int(deed.state["checkerTicks"])) if checker else -1
    if pidfd >= 0:
        pidfd_send_signal(pidfd, SIGKILL)
        select.select([pidfd], [], [])
        os.close(pidfd)


def _status_of(pid: int, pidfd: int) -> int:
    """The exit status of a process that is not the monitor's child, as the kernel tells it."""
    for _ in range(100):
        found = exit_status_of(pid, pidfd)
        if found is not None:
            return exit_status(found)
        select.select([], [], [], 0.01)
    return record.UNKNOWN
