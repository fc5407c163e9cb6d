"""The runtime under test: which program it is, and one way to call it that cannot hang.

What it prints goes to files, never to pipes: a container that was created or
detached holds its output open for as long as it lives.
"""

from __future__ import annotations

import os
import shutil
import signal
import subprocess
import tempfile
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path

TIMEOUT = 20.0


@dataclass(frozen=True)
class Done:
    """A command that has ended."""

    words: tuple[str, ...]
    status: int
    out: str
    err: str

    def ok(self) -> Done:
        """Itself, when it succeeded."""
        assert self.status == 0, f"{' '.join(self.words)}: status {self.status}\n{self.err}\n{self.out}"
        return self


@dataclass(frozen=True)
class Runtime:
    """A program, the name its expected differences go by, and where it keeps its state."""

    name: str
    program: str
    root: Path

    def words(self, *words: str) -> list[str]:
        """A whole command line."""
        return [self.program, "--root", str(self.root), *words]

    def __call__(
        self,
        *words: str,
        options: Sequence[str] = (),
        stdin: str | int = "",
        env: Mapping[str, str] | None = None,
        cwd: Path | None = None,
        pass_fds: Sequence[int] = (),
        third: int = -1,
        keep: Path | None = None,
        timeout: float = TIMEOUT,
    ) -> Done:
        """Run a command to its end; `keep` names the files of its output, which a container may go on writing.

        `third` becomes its descriptor 3, which LISTEN_FDS=1 may announce.
        """
        line = self.words(*options, *words)
        if third > 3:
            # bash, because Debian's sh knows descriptors of one digit only.
            line = ["bash", "-c", f'LISTEN_PID=$$ exec "$@" 3<&{third} {third}<&-', "bash", *line]
            pass_fds = [*pass_fds, third]
        with tempfile.TemporaryDirectory(prefix="oci-call-") as scratch:
            place = keep or Path(scratch) / "call"
            out, err = Path(f"{place}.out"), Path(f"{place}.err")
            with _input(stdin) as source, out.open("wb") as stdout, err.open("wb") as stderr:
                process = subprocess.Popen(
                    line,
                    stdin=source,
                    stdout=stdout,
                    stderr=stderr,
                    env={**os.environ, **(env or {})},
                    cwd=cwd,
                    pass_fds=pass_fds,
                    start_new_session=True,
                )
                status = _wait(process, timeout)
            done = Done(tuple(line), status, _text(out), _text(err))
        assert status != TIMED_OUT, f"no end in {timeout} s: {' '.join(line)}\n{done.err}\n{done.out}"
        return done

    def ids(self) -> list[str]:
        """The containers it knows."""
        return self("list", "-q").ok().out.split()


TIMED_OUT = -1000


def _input(stdin: str | int) -> _Open:
    return _Open(stdin)


class _Open:
    """A file or descriptor as the standard input of a program."""

    def __init__(self, stdin: str | int) -> None:
        self.stdin = stdin

    def __enter__(self) -> int:
        if isinstance(self.stdin, int):
            self.fd = os.dup(self.stdin)
        elif self.stdin:
            self.fd = os.memfd_create("stdin")
            os.pwrite(self.fd, self.stdin.encode(), 0)
        else:
            self.fd = os.open(os.devnull, os.O_RDONLY)
        return self.fd

    def __exit__(self, *_: object) -> None:
        os.close(self.fd)


def _wait(process: subprocess.Popen[bytes], timeout: float) -> int:
    try:
        return process.wait(timeout)
    except subprocess.TimeoutExpired:
        os.killpg(process.pid, signal.SIGKILL)
        process.wait()
        return TIMED_OUT


def _text(path: Path) -> str:
    return path.read_text(errors="replace")


def find(wanted: str) -> str:
    """The program of a runtime by its name or path, `""` when there is none."""
    return shutil.which(wanted) or ""
