"""A command run to its end, and what came of it."""

from __future__ import annotations

import fcntl
import os
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING

from coso.api import client
from coso.api.words import Options, words_of
from coso.errors import CommandFailedError, TimeoutExpiredError

if TYPE_CHECKING:
    from typing import Any, Self, Unpack

    from coso.api.client import Starter

    Json = dict[str, Any]
    Request = dict[str, Any]

Command = Sequence[str] | str
LAST_LINES = 20


@dataclass(frozen=True)
class Completed:
    """What came of a command: its exit status (128 + n after signal n), and all that it said.

    `started_ms` is from the request until the command ran, `ms` until its end.
    """

    args: tuple[str, ...]
    status: int
    stdout_bytes: bytes
    stderr_bytes: bytes
    started_ms: float
    ms: float
    out_of_memory: bool = False

    @property
    def stdout(self) -> str:
        """What it wrote to its standard output, as text."""
        return self.stdout_bytes.decode(errors="replace")

    @property
    def stderr(self) -> str:
        """What it wrote to its standard error, as text."""
        return self.stderr_bytes.decode(errors="replace")

    def check(self) -> Completed:
        """Itself; raises CommandFailedError unless the exit status is 0."""
        if self.status:
            raise CommandFailedError(
                f"{' '.join(self.args)!r} ended with status {self.status}: {_last(self.stderr or self.stdout)}",
                status=self.status,
                stdout=self.stdout,
                stderr=self.stderr,
                cause="its memory limit" if self.out_of_memory else "",
            )
        return self


def _last(text: str) -> str:
    lines = text.strip().splitlines()[-LAST_LINES:]
    return "\n".join(lines) if lines else "it said nothing"


def words(command: Command) -> tuple[str, ...]:
    """A command's words: a text is for the shell, as with `subprocess.run(…, shell=True)`."""
    return ("/bin/sh", "-c", command) if isinstance(command, str) else tuple(command)


def run(
    image: str,
    command: Command = (),
    *,
    input: bytes | str | None = None,  # noqa: A002  # as subprocess.run has it
    timeout: float | None = None,
    check: bool = False,
    starter: Starter | None = None,
    **options: Unpack[Options],
) -> Completed:
    """Run a command in a container of its own, to its end.

    `image` is a name in the store, `alpine` and `busybox` as `fs-setup` made
    them, `scratch` or `host`; `""` with `rootfs=DIRECTORY`. A command that is a
    text is the shell's. With `timeout`, in seconds, it is killed then, and
    TimeoutExpiredError raised; with `check` a status other than 0 is a
    CommandFailedError. Options are those of `coso run` (`Options`). Raises
    CosoError when the container cannot be started.
    """
    done = complete(run_request(image, command, options, reads=input is not None), input, timeout, starter)
    return done.check() if check else done


def run_request(image: str, command: Command, options: Mapping[str, object], *, reads: bool = False) -> Request:
    """What the starter is asked for a container; with `reads` its command reads standard input."""
    said = words_of(options) | ({"interactive": ["true"]} if reads else {})
    return {"act": "run", "image": image, "command": words(command), "options": said}


def complete(request: Request, given: bytes | str | None, timeout: float | None, starter: Starter | None) -> Completed:
    """Have something done, and wait for its end. Raises CosoError."""
    with Files(given) as files:
        starter = starter or client.of_this_process()
        talk = starter.ask(request, files.streams)
        try:
            start = talk.hear("start", timeout)
            end = talk.hear("end", timeout) if start else None
        finally:
            # Nobody waits until it is taken back, unless its name may be asked for again.
            talk.wait_until_gone() if "name" in request.get("options", {}) else starter.leave(talk)
        if start is None or end is None:
            raise timed_out(request, timeout)
        return completed(request, files, start, end)


def completed(request: Request, files: Files, start: Json, end: Json) -> Completed:
    """What came of a request."""
    out, err = files.said()
    started, ms = round(start["ms"], 3), round(end["ms"], 3)
    return Completed(tuple(request["command"]), end["status"], out, err, started, ms, bool(end["oom"]))


def timed_out(request: Request, seconds: float | None) -> TimeoutExpiredError:
    """The error for something that took too long."""
    what = " ".join(request["command"]) or request.get("image", "")
    return TimeoutExpiredError(f"{what!r} took longer than {seconds:g} seconds")


class Files:
    """Standard streams in memory: a command that says much waits for nobody, and no thread is needed to read it."""

    def __init__(self, given: bytes | str | None) -> None:
        self._out, self._err = memory("stdout"), memory("stderr")
        self._in = os.open("/dev/null", os.O_RDONLY | os.O_CLOEXEC) if given is None else memory("stdin")
        if given:
            write_all(self._in, given.encode() if isinstance(given, str) else given)
            os.lseek(self._in, 0, os.SEEK_SET)

    @property
    def streams(self) -> tuple[int, int, int]:
        """The three of them."""
        return self._in, self._out, self._err

    def said(self) -> tuple[bytes, bytes]:
        """What was written."""
        return read_all(self._out), read_all(self._err)

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *_: object) -> None:
        for fd in self.streams:
            os.close(fd)


def memory(name: str) -> int:
    """A file in memory, to which everybody appends (memfd_create(2))."""
    fd = os.memfd_create(name, os.MFD_CLOEXEC)
    fcntl.fcntl(fd, fcntl.F_SETFL, os.O_APPEND)
    return fd


def write_all(fd: int, data: bytes) -> None:
    """Write everything."""
    while data:
        data = data[os.write(fd, data) :]


def read_all(fd: int, start: int = 0) -> bytes:
    """What is in a file from a place on; its own position stays where it is."""
    return os.pread(fd, max(0, os.fstat(fd).st_size - start), start)
