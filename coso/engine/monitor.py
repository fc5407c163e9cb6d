"""The monitor of a container: keeps its output, tells of its end, starts it again, and asks how it is.

One small process for each, forked from a zygote, and no more in it than that
takes.  Killed, it takes nothing with it: the container's output waits in
named pipes, and the next command makes another monitor, which adopts it.
"""

from __future__ import annotations

import _signal
import os
import select
from _socket import AF_UNIX, SOCK_CLOEXEC, SOCK_SEQPACKET, socket
from time import monotonic

from coso import cgroups
from coso.engine import events, health, make, record, start
from coso.engine.clients import Clients
from coso.engine.streams import Streams, place_of
from coso.kernel.process import exit_status_of, pidfd_open, signalfd
from coso.runtime import channel, journal, net
from coso.runtime.pid import SIGCHLD, exit_status
from coso.spec.network import helper_of
from coso.state import LAYERS
from coso.times import now

TYPE_CHECKING = False
if TYPE_CHECKING:
    from coso.engine.record import Json
    from coso.runtime.journal import Journal

SIGKILL, SIGUSR1 = 9, 10
FIRST_PAUSE, LONGEST_PAUSE, GOOD_RUN = 0.1, 60.0, 10.0
BACKLOG = 64


def main(container: str, act: str, conversation: socket, *, attach: bool) -> None:
    """Start or adopt a container, and stay until its end."""
    held = journal.of_kept(container)
    clients = Clients(conversation if attach else None)
    if held is None:
        clients.answer(conversation, error="another command is busy with the container, or it runs already")
        return
    _Monitor(container, held, clients, conversation).run(act)


class _Monitor:
    """What is known and open while a container runs."""

    def __init__(self, container: str, held: Journal, clients: Clients, conversation: socket) -> None:
        self.id = container
        self.journal = held
        self.streams = Streams(container, clients)
        self.clients = clients
        self.conversation: socket | None = conversation
        self.config: Json = record.stored_config(container)
        self.state: Json = record.stored_state(container)
        self.pidfd = -1
        self.held: list[int] = []
        self.server: socket | None = None
        self.begun = 0.0
        self.checks: health.Checks | None = None

    def run(self, act: str) -> None:
        """Start, stay, clean up, and again where the restart policy says so."""
        pause = FIRST_PAUSE
        runs = self.adopt() if act == "adopt" else self.start()
        while runs:
            code = self.stay()
            self.finish(code)
            if not self.starts_again(code):
                break
            pause = FIRST_PAUSE if monotonic() - self.begun >= GOOD_RUN else min(pause * 2, LONGEST_PAUSE)
            self.save(status="restarting", restarts=int(self.state.get("restarts") or 0) + 1)
            self.clients.end(code)
            if not self.wait(pause):
                self.save(status="exited")
                break
            runs = self.start()
        self.leave()

    def start(self) -> bool:
        """Start the container; False, and everything undone, when that fails."""
        self.undo()
        self.journal.record("remove-tree", place_of(self.id))
        os.makedirs(place_of(self.id), 0o700, exist_ok=True)
        self.listen()
        one = self.as_record()
        stdio = self.streams.make(terminal=one.switch("tty"), interactive=one.switch("interactive"))
        ours, theirs = channel.pair()
        starter = os.fork()
        if starter == 0:
            ours.close()
            start.begin(one, self.journal, theirs, stdio)
        theirs.close()
        for fd in set(stdio):
            os.close(fd)
        message = ours.receive()
        ours.close()
        os.waitpid(starter, 0)
        if message is None or message[0] != "started":
            self.fail(message[1] if message else ["125", "the process that starts containers died"])
            return False
        self.take_over(message[1], message[2])
        return True

    def as_record(self) -> record.Record:
        """The container as others see it."""
        return record.Record(self.id, self.config, self.state)

    def take_over(self, words: list[str], fds: list[int]) -> None:
        """Take what the starter has made, write it down, and say that the container runs."""
        pid, ticks, cgroup, address, has_terminal = words
        self.pidfd, *rest = fds
        if has_terminal == "True":
            self.streams.take_terminal(rest.pop(0))
        self.held = rest
        self.begun = monotonic()
        ran = {"status": "running", "pid": int(pid), "ticks": int(ticks), "cgroup": cgroup, "address": address}
        clean = {"finishedAt": "", "exitCode": 0, "oomKilled": False, "error": "", "health": None}
        self.save(**ran, **clean, startedAt=now())
        self.streams.open_log(self.config["options"])
        self.checks = health.checks_of(self.as_record())
        events.tell("start", self.id, self.config)
        self.answer()

    def adopt(self) -> bool:
        """Take over from a monitor that was killed; False when the container has ended meanwhile."""
        if self.state["status"] != "running" or not record.runs(self.state):
            return self.bury()
        self.pidfd = pidfd_open(int(self.state["pid"]))
        self.streams.adopt()
        self.listen()
        self.begun = monotonic()
        self.streams.open_log(self.config["options"])
        self.checks = health.checks_of(self.as_record())
        from coso.engine.ports import hold

        # Others are kept off the published ports again.
        self.held = hold(int(self.state["pid"]), int(self.state["ticks"]))
        self.answer()
        return True

    def bury(self) -> bool:
        """Nobody saw the end of a container: its status says that nothing is known of it."""
        ran = self.state["status"] == "running"
        if ran:
            # What it said last is in the pipes yet.
            self.streams.adopt()
            self.streams.open_log(self.config["options"])
            self.streams.finish()
        self.undo()
        if ran:
            self.save(status="exited", pid=0, exitCode=record.UNKNOWN, finishedAt=now())
            events.tell("die", self.id, self.config, exitCode=str(record.UNKNOWN))
        elif self.state["status"] == "restarting":
            self.save(status="exited")
        self.answer()
        return ran and self.starts_again(record.UNKNOWN) and self.start()

    def stay(self) -> int:
        """Carry output and input until the container ends; its exit status."""
        _signal.pthread_sigmask(_signal.SIG_BLOCK, {SIGCHLD, SIGUSR1})
        signals = signalfd({SIGCHLD, SIGUSR1})
        assert self.server
        poll = select.poll()
        for fd in (signals, self.pidfd, self.server.fileno()):
            poll.register(fd, select.POLLIN)
        try:
            while True:
                self.streams.watch(poll)
                due = self.checks.milliseconds() if self.checks else None
                ready = dict(poll.poll(due))
                if signals in ready:
                    self.drain_signals(signals)
                self.streams.carry(poll, ready)
                if self.server.fileno() in ready:
                    self.clients.accept(self.server)
                if self.checks:
                    self.look_after(poll, ready)
                if self.pidfd in ready:
                    return self.reap()
        finally:
            os.close(signals)

    def finish(self, code: int) -> None:
        """Write down the end and take everything back."""
        self.streams.finish()
        if self.checks:
            self.checks.stop()
        group = str(self.state.get("cgroup") or "")
        killed = code == 128 + SIGKILL and bool(group) and bool(cgroups.out_of_memory_kills(group))
        if killed:
            events.tell("oom", self.id, self.config)
        for fd in (self.pidfd, *self.held):
            os.close(fd)
        self.pidfd, self.held = -1, []
        self.undo()
        self.config = record.stored_config(self.id)
        self.save(status="exited", pid=0, exitCode=code, finishedAt=now(), oomKilled=killed)
        events.tell("die", self.id, self.config, exitCode=str(code))

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

    def wait(self, seconds: float) -> bool:
        """Wait before another start; False when somebody wants it to stay stopped."""
        until = monotonic() + seconds
        while (left := until - monotonic()) > 0:
            if self.shall_stop():
                return False
            select.select([], [], [], min(left, 0.1))
        return True

    def leave(self) -> None:
        """Let go of the container; of one that is to be removed at its end nothing is left."""
        code = int(self.state.get("exitCode") or 0)
        if self.config.get("remove") and self.state["status"] in ("exited", "created"):
            make.remove(self.as_record())
            from coso.engine import volumes

            for name in self.config.get("anonymous") or []:
                volumes.remove(name, force=True)
            events.tell("destroy", self.id, self.config)
        if self.server:
            self.server.close()
        self.journal.forget()
        self.clients.end(code)

    def undo(self) -> None:
        """Take back what the journal has, in a process of its own: what that touches is not copied into this one."""
        self.journal.reload()
        if self.journal.is_empty:
            return
        child = os.fork()
        if child == 0:
            failures = ["it died"]
            try:
                failures = self.journal.undo(keep=True)
                network = helper_of(self.config["options"].get("network", [""])[-1])
                net.leave_as(int(self.state.get("pid") or 0), network)
            finally:
                os._exit(1 if failures else 0)
        _, status = os.waitpid(child, 0)
        if status == 0:
            self.journal.clear()

    def fail(self, words: list[str]) -> None:
        """Take everything back, and tell why the container did not start."""
        code, message, cause, hint = (*words, "", "", "", "")[:4]
        self.streams.finish()
        self.undo()
        self.save(status="created" if self.state["status"] == "created" else "exited", error=message)
        self.save(exitCode=int(code), pid=0)
        if self.conversation:
            self.clients.answer(self.conversation, error=message, cause=cause, hint=hint, status=int(code))

    def answer(self) -> None:
        """Tell whoever asked that it runs."""
        if self.conversation:
            self.clients.answer(self.conversation)
            if self.conversation is not self.clients.first:
                self.conversation.close()
            self.conversation = None

    def save(self, **changes: object) -> None:
        """Write down the state."""
        self.state = {**self.state, **changes}
        record.write(self.id, "state.json", self.state)

    def listen(self) -> None:
        """Open the socket at which commands attach and wait."""
        path = f"{place_of(self.id)}/socket"
        if os.path.exists(path):
            os.unlink(path)
        if self.server:
            self.server.close()
        self.server = socket(AF_UNIX, SOCK_SEQPACKET | SOCK_CLOEXEC)
        self.server.bind(path)
        self.server.listen(BACKLOG)

    def drain_signals(self, signals: int) -> None:
        """Take note of signals; SIGUSR1 wants the configuration read again."""
        try:
            numbers = os.read(signals, 128 * 16)
        except BlockingIOError:
            return
        if any(numbers[at] == SIGUSR1 for at in range(0, len(numbers), 128)):
            self.config = record.stored_config(self.id)

    def look_after(self, poll: select.poll, ready: dict[int, int]) -> None:
        """Ask how it is, when that is due, and write down what was answered."""
        assert self.checks
        before = self.state.get("health") or {}
        found = self.checks.step(poll, ready)
        if found is not None:
            self.save(health=found)
            if before.get("Status") != found["Status"]:
                events.tell(f"health_status: {found['Status']}", self.id, self.config)

    def reap(self) -> int:
        """The exit status of the container that has ended; of one that is not our child as the kernel tells it."""
        pid = int(self.state["pid"])
        try:
            _, status = os.waitpid(pid, 0)
            return exit_status(status)
        except ChildProcessError:
            pass
        for _ in range(100):
            found = exit_status_of(pid, self.pidfd)
            if found is not None:
                return exit_status(found)
            select.select([], [], [], 0.01)
        return record.UNKNOWN
