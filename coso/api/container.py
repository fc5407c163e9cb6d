"""A container that belongs to the calling process and goes on meanwhile, or that is there and was found."""

from __future__ import annotations

import os
import threading
from typing import TYPE_CHECKING

from coso.api import client
from coso.api.completed import Completed, Files, complete, memory, read_all, run_request, words
from coso.errors import CosoError, MissingError, TimeoutExpiredError

if TYPE_CHECKING:
    from collections.abc import Callable, Mapping
    from typing import Any, Self, Unpack

    from coso.api.client import Starter, Talk
    from coso.api.completed import Command, Request
    from coso.api.words import Options
    from coso.engine.record import Record

SIGTERM, SIGKILL = 15, 9
DEFAULT_STOP_SECONDS = 10.0


class Container:
    """A container that runs: made by `coso.container`, or found by its name with `coso.find`.

    As a context manager it is removed at the end of the block, at the latest
    with the process that made it. Its methods may be called from any thread.
    """

    def __init__(self, found: str, talk: Talk | None, log: int, starter: Starter | None, started_ms: float) -> None:
        self.id = found
        self.started_ms = started_ms
        self._talk, self._log, self._starter = talk, log, starter
        self._end: dict[str, Any] | None = None
        self._lock = threading.Lock()

    def __repr__(self) -> str:
        return f"<coso.Container {self.id}>"

    def _record(self) -> Record:
        from coso.engine import record

        return record.find(self.id)

    @property
    def name(self) -> str:
        """Its name, else its id."""
        return self._record().name or self.id

    @property
    def pid(self) -> int:
        """The host's number of its first process; 0 when it has ended."""
        try:
            return self._record().pid
        except MissingError:
            return 0

    @property
    def status(self) -> str:
        """`running`, `paused`, `exited`, or for one that is kept another word of `coso ps`."""
        try:
            return self._record().status
        except MissingError:
            return "exited"

    @property
    def ip(self) -> str:
        """Its first address; raises CosoError where it has none that is reached from here."""
        from coso.engine import ports

        for member in ports.members_of(*self._record().process):
            for address in member.addresses:
                return address.partition("/")[0]
        raise CosoError(f"the container {self.id} has no address of its own", hint="publish a port: ports=[80]")

    @property
    def ports(self) -> dict[int, int]:
        """Which port of the host leads to which inside: `{inside: host}`."""
        from coso.engine import ports

        return {inside: outside for _, _, outside, inside in ports.ports_of(*self._record().process)}

    def inspect(self) -> dict[str, Any]:
        """All that is known of it, as `coso inspect` prints it."""
        from coso.engine import describe

        return dict(describe.container(self._record()))

    def exec(
        self,
        command: Command,
        *,
        env: Mapping[str, str] | None = None,
        user: str | int = "",
        workdir: str = "",
        privileged: bool = False,
        input: bytes | str | None = None,  # noqa: A002
        timeout: float | None = None,
        check: bool = False,
    ) -> Completed:
        """Run a command inside; else as `coso.run`. Raises CosoError."""
        request = self.exec_request(command, env, user, workdir, privileged, reads=input is not None)
        done = complete(request, input, timeout, self._starter)
        return done.check() if check else done

    def exec_request(
        self,
        command: Command,
        env: Mapping[str, str] | None,
        user: str | int,
        workdir: str,
        privileged: bool,
        *,
        reads: bool,
    ) -> Request:
        """What the starter is asked for a command inside."""
        return {
            "act": "exec",
            "container": self.id,
            "command": words(command),
            "env": dict(env or {}),
            "user": str(user),
            "workdir": workdir,
            "privileged": privileged,
            "reads": reads,
        }

    def logs(self) -> str:
        """What it has said so far, output and errors as they came."""
        return self.logs_bytes().decode(errors="replace")

    def logs_bytes(self, start: int = 0) -> bytes:
        """The same as bytes, from the byte `start` on."""
        if self._log >= 0:
            return read_all(self._log, start)
        from coso.engine import logs

        return b"".join(entry.text.encode() for entry in logs.read(self._record().directory))[start:]

    def put(self, path: str, data: bytes | str, *, mode: int = 0o644, owner: tuple[int, int] = (0, 0)) -> None:
        """Write a file inside, and the directories above it. Raises CosoError."""
        request = {"act": "put", "container": self.id, "path": path, "mode": mode, "owner": owner}
        self._carry(request, data)

    def get(self, path: str) -> bytes:
        """What a file inside holds. Raises CosoError."""
        return self._carry({"act": "get", "container": self.id, "path": path}, None)

    def _carry(self, request: dict[str, Any], data: bytes | str | None) -> bytes:
        with Files(data) as files:
            talk = (self._starter or client.of_this_process()).ask(request, files.streams)
            try:
                talk.hear("end")
            finally:
                talk.close()
            return files.said()[0]

    def wait(self, timeout: float | None = None) -> int:
        """Wait for its end; its exit status. Raises TimeoutExpiredError."""
        with self._lock:
            if self._end is None and self._talk is None:
                from coso.engine import control

                return control.wait(self._record())
            if self._end is None and self._talk is not None:
                self._end = self._talk.hear("end", timeout)
            if self._end is None:
                raise TimeoutExpiredError(f"the container {self.id} runs on after {timeout:g} seconds")
            return int(self._end["status"])

    def wait_for(
        self,
        *,
        port: int | None = None,
        log: str | None = None,
        health: bool | Command = False,
        until: Callable[[Container], object] | None = None,
        timeout: float = 30.0,
    ) -> Self:
        """Wait until all of these hold; see coso.api.waiting. Raises TimeoutExpiredError with the last of its log."""
        from coso.api import waiting

        waiting.wait_for(self, port=port, log=log, health=health, until=until, timeout=timeout)
        return self

    def kill(self, signal: int = SIGKILL) -> None:
        """Send it a signal."""
        if self._talk:
            self._talk.signal(signal)
            return
        from coso.engine import control

        control.kill(self._record(), str(signal))

    def stop(self, timeout: float = DEFAULT_STOP_SECONDS) -> int:
        """Ask it to end, and kill it after `timeout` seconds; its exit status."""
        if self._talk is None:
            from coso.engine import control

            control.stop(self._record(), int(timeout))
            return self.wait()
        self.kill(SIGTERM)
        try:
            return self.wait(timeout)
        except TimeoutExpiredError:
            self.kill()
            return self.wait()

    def pause(self) -> None:
        """Freeze all its processes. Raises CosoError."""
        from coso.engine import control

        control.pause(self._record())

    def unpause(self) -> None:
        """Let them go on. Raises CosoError."""
        from coso.engine import control

        control.unpause(self._record())

    def close(self) -> None:
        """Kill it and wait until nothing of it is left; one that is kept stays as it is."""
        talk, self._talk = self._talk, None
        if talk:
            talk.signal(SIGKILL)
            talk.wait_until_gone()
            os.close(self._log)
            self._log = -1

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *_: object) -> None:
        self.close()


def container(
    image: str, command: Command = (), *, starter: Starter | None = None, **options: Unpack[Options]
) -> Container:
    """Start a container that goes on: `with coso.container("alpine", "sleep 9") as c: …`. Raises CosoError.

    Without a command it is the image's. Other things are as with `coso.run`.
    """
    request = run_request(image, command, options)
    log = memory("log")
    null = os.open("/dev/null", os.O_RDONLY | os.O_CLOEXEC)
    try:
        talk = (starter or client.of_this_process()).ask(request, (null, log, log))
        try:
            start = talk.hear("start")
        except BaseException:
            talk.close()
            raise
    except BaseException:
        os.close(log)
        raise
    finally:
        os.close(null)
    assert start is not None
    return Container(start["id"], talk, log, starter, round(start["ms"], 3))


def find(name: str, *, starter: Starter | None = None) -> Container:
    """A container that is there, by its name or id, whoever made it. Raises MissingError."""
    from coso.engine import record

    return Container(record.find(name).id, None, -1, starter, 0.0)
