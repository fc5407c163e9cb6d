"""A container's output on disk: Docker's json-file format, a line of JSON for each line of output, rotated.

`json.log` is being written, `json.log.1` came before it, and so on.
"""

from __future__ import annotations

import os
from _json import encode_basestring_ascii
from time import sleep

from coso import quickjson
from coso.errors import CosoError
from coso.spec import units
from coso.state import LAYERS
from coso.times import now, seconds_of
from coso.value import value

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Callable, Iterator
    from typing import BinaryIO

FILE = "json.log"
STREAMS = {1: "stdout", 2: "stderr"}
# A line that is longer is cut into entries of this size, as with Docker.
LONGEST = 16384
LOOK_SECONDS = 0.05
MOST_FILES, MOST_TRIES = 1000, 1000


@value
class Entry:
    """A piece of output: when, of which stream, and what; whole lines end with a line end."""

    time: str
    stream: str
    text: str


@value
class Settings:
    """Where a container's log is, `""` for none, when it is begun anew, and how many are kept."""

    path: str
    most_bytes: int
    most_files: int

    def open(self) -> int:
        """A descriptor to write the log by, -1 for none."""
        return open_log(self.path) if self.path else -1


def settings(container: str, options: dict[str, list[str]]) -> Settings:
    """What the options say about the log."""
    if options.get("log-driver", ["json-file"])[-1] == "none":
        return Settings("", 0, 1)
    wanted = dict(text.partition("=")[::2] for text in options.get("log-opt", []))
    most = units.size(wanted["max-size"]) if "max-size" in wanted else 0
    return Settings(f"{LAYERS}/{container}/{FILE}", most, int(wanted.get("max-file", "1")))


def open_log(path: str) -> int:
    """Open a log to write at its end."""
    return os.open(path, os.O_CREAT | os.O_WRONLY | os.O_APPEND | os.O_CLOEXEC, 0o640)


class Log:
    """A log being written; without a descriptor, what is written goes nowhere."""

    def __init__(self, path: str, fd: int, most_bytes: int = 0, most_files: int = 1) -> None:
        self.fd = fd
        self._path = path
        self._most_bytes, self._most_files = most_bytes, most_files
        self._rest = {1: b"", 2: b""}

    def write(self, stream: int, data: bytes) -> None:
        """Take in output; what has no line end yet waits for it."""
        if self.fd < 0:
            return
        *lines, rest = (self._rest[stream] + data).split(b"\n")
        pieces = [piece for line in lines for piece in _pieces(line + b"\n")]
        while len(rest) >= LONGEST:
            pieces.append(rest[:LONGEST])
            rest = rest[LONGEST:]
        self._rest[stream] = rest
        if pieces:
            self._append(stream, pieces)

    def flush(self) -> None:
        """Write what has no line end, at the end."""
        for stream, rest in self._rest.items():
            if rest and self.fd >= 0:
                self._append(stream, [rest])
            self._rest[stream] = b""

    def _append(self, stream: int, pieces: list[bytes]) -> None:
        name, moment = STREAMS[stream], now()
        entries = [
            f'{{"log":{encode_basestring_ascii(piece.decode(errors="replace"))},"stream":"{name}","time":"{moment}"}}\n'
            for piece in pieces
        ]
        # With a limit entry by entry: what came at once may be more than a file may hold.
        for text in entries if self._most_bytes else ("".join(entries),):
            try:
                os.write(self.fd, text.encode())
            except OSError:
                return  # A full disk must not stop the container.
            if self._most_bytes and os.fstat(self.fd).st_size >= self._most_bytes:
                self._rotate()

    def _rotate(self) -> None:
        os.close(self.fd)
        for number in range(self._most_files - 1, 0, -1):
            older = self._path if number == 1 else f"{self._path}.{number - 1}"
            if os.path.exists(older):
                os.rename(older, f"{self._path}.{number}")
        if self._most_files == 1:
            os.unlink(self._path)
        self.fd = open_log(self._path)


def _pieces(line: bytes) -> list[bytes]:
    return [line[at : at + LONGEST] for at in range(0, len(line), LONGEST)]


def read(directory: str) -> Iterator[Entry]:
    """Every entry of a container, the oldest first."""
    for file in _files(f"{directory}/{FILE}"):
        with file:
            yield from _entries(file)


def _files(path: str, *, after: int = 0) -> list[BinaryIO]:
    """The files of a log, the oldest first; those that came after the one with an inode.

    Files change their names while they are looked for: what was found counts
    when each has the name yet by which it was opened.
    """
    for _ in range(MOST_TRIES):
        found = _opened(path, after)
        if found is not None:
            return found[::-1]
    raise CosoError(f"the log {path} is rotated faster than it can be read", hint="--log-opt max-size=1m or more")


def _inode_of(path: str) -> int:
    """0 for a file that is not there."""
    try:
        return os.stat(path).st_ino
    except FileNotFoundError:
        return 0


def _opened(path: str, after: int) -> list[BinaryIO] | None:
    """The files, the newest first; None when they were renamed meanwhile."""
    found: list[BinaryIO] = []
    seen: list[tuple[str, int]] = []
    number = 0
    while True:
        place = f"{path}.{number}" if number else path
        try:
            file: BinaryIO = open(place, "rb")
        except FileNotFoundError:
            # A hole is there while they are renamed, one after another, the oldest first.
            is_hole = os.path.exists(f"{path}.{number + 1}")
            break
        seen.append((place, os.fstat(file.fileno()).st_ino))
        if seen[-1][1] == after:
            file.close()
            is_hole = False
            break
        found.append(file)
        number += 1
    if not is_hole and all(_inode_of(place) == inode for place, inode in seen):
        return found
    for file in found:
        file.close()
    return None


def _entries(file: BinaryIO) -> Iterator[Entry]:
    """The whole lines that have come; one that is being written is left for the next time."""
    while (line := file.readline()).endswith(b"\n"):
        found = _entry(line.decode(errors="replace"))
        if found:
            yield found
    file.seek(-len(line), os.SEEK_CUR)


def _entry(line: str) -> Entry | None:
    try:
        found = quickjson.loads(line)
        return Entry(found["time"], found["stream"], found["log"])
    except (ValueError, KeyError, TypeError):
        return None  # Cut short by a crash or a full disk.


def last(directory: str, count: int) -> list[Entry]:
    """The last lines of the log; all of it for -1."""
    return _last(list(read(directory)), count)


def _last(entries: list[Entry], count: int) -> list[Entry]:
    if count < 0:
        return entries
    # An entry without a line end belongs to the one after it.
    wanted: list[Entry] = []
    lines = 0
    for entry in reversed(entries):
        lines += entry.text.endswith("\n") or not wanted
        if lines > count:
            break
        wanted.append(entry)
    return wanted[::-1]


def follow(directory: str, goes_on: Callable[[], bool], *, tail: int = -1) -> Iterator[Entry]:
    """Entries as they come, until the container has ended and all of it was read."""
    path = f"{directory}/{FILE}"
    files = _files(path)
    # What comes after these is read by the same descriptors: nothing is given twice, nothing left out.
    yield from _last([entry for file in files for entry in _entries(file)], tail)
    while True:
        running = goes_on()
        files = files or _files(path)
        while files:
            yield from _entries(files[0])
            if len(files) == 1:
                newer = _newer(path, files[0])
                if not newer:
                    break
                files += newer
                yield from _entries(files[0])  # What was written to it before its name was taken.
            files.pop(0).close()
        if not running:
            break
        sleep(LOOK_SECONDS)
    for file in files:
        file.close()


def _newer(path: str, file: BinaryIO) -> list[BinaryIO]:
    """The files that have taken the place of one since; none while it is the one being written."""
    inode = os.fstat(file.fileno()).st_ino
    return _files(path, after=inode) if _inode_of(path) not in (0, inode) else []


def is_between(entry: Entry, since: float, until: float) -> bool:
    """Whether an entry is of a span of time; 0 for no limit."""
    if not since and not until:
        return True
    moment = seconds_of(entry.time)
    return moment >= since and (not until or moment <= until)
