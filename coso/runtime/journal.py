"""The journal of a container: what must be undone, written down before it is done.

A journal is one file, `/run/coso/containers/<id>`, a line per change.  Its
owner holds a POSIX record lock on it as long as it lives: the kernel takes
that lock away with the process, children do not inherit it, so `coso gc`
knows a dead owner for certain, without pids that could have been reused.
"""

from __future__ import annotations

import fcntl
import os

from coso import quickjson
from coso.runtime import undo
from coso.state import JOURNALS, LAYERS, make_directories

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Iterator

    Record = tuple[str, ...]

# At its end, wherever that is: a process forked from the owner may have written meanwhile.
WRITING = os.O_RDWR | os.O_APPEND | os.O_CLOEXEC


class Journal:
    """An open, locked journal."""

    def __init__(self, container: str, path: str, fd: int, records: list[Record]) -> None:
        self.container = container
        self.path = path
        self._fd = fd
        self._records = records

    def record(self, kind: str, *words: str) -> None:
        """Write down how the next change is undone; `kind` names a function of coso.runtime.undo."""
        record = (kind, *words)
        self._records.append(record)
        os.write(self._fd, f"{quickjson.dumps(record)}\n".encode())

    @property
    def records(self) -> list[Record]:
        """What is written down."""
        return list(self._records)

    def undo(self, *, keep: bool = False, skip: str = "") -> list[str]:
        """Undo everything, last change first, and remove the journal; return what could not be undone.

        With anything left, the journal stays for `coso gc`; with `keep`, for the caller, and locked.
        Changes of the kind `skip` are seen to by somebody else.
        """
        failures: list[str] = []
        for kind, *words in reversed(self._records):
            if kind == skip:
                continue
            # What may still be in use is not given away, nor emptied under a mount that would not go.
            if failures and kind in ("remove-tree", "remove-link"):
                continue
            try:
                undo.ACTIONS[kind](*words)
            except Exception as error:
                failures.append(f"{kind} {' '.join(words)}: {error}")
        if keep and not failures:
            return failures
        if not failures:
            os.unlink(self.path)
        self.close()
        return failures

    @property
    def is_empty(self) -> bool:
        """Whether there is nothing to undo."""
        return not self._records

    def clear(self) -> None:
        """All is undone: begin anew."""
        os.ftruncate(self._fd, 0)
        self._records = []

    def unlink(self) -> None:
        """Remove the file where there is nothing left to undo; the lock is given up by whoever holds it."""
        if not self._records:
            os.unlink(self.path)

    def forget(self) -> None:
        """Let go for good; of what could not be undone the file stays, for `coso gc`."""
        self.unlink()
        self.close()

    def close(self) -> None:
        """Let go of the lock; what is recorded stays to be undone by whoever opens the journal next."""
        if self._fd >= 0:
            os.close(self._fd)
        self._fd = -1


def new_id() -> str:
    """An id that no container has: twelve hexadecimal digits."""
    while True:
        container = os.urandom(6).hex()
        if not is_known(container):
            return container


def of_kept(container: str) -> Journal | None:
    """The journal of a container that is kept, locked, with what was left in it; None when somebody holds it."""
    make_directories(JOURNALS)
    path = f"{JOURNALS}/{container}"
    fd = os.open(path, WRITING | os.O_CREAT, 0o600)
    if not _lock(fd):
        os.close(fd)
        return None
    return Journal(container, path, fd, _read(fd))


def of_descriptor(container: str, fd: int) -> Journal:
    """The journal of a container for a child of the process that holds it."""
    return Journal(container, f"{JOURNALS}/{container}", fd, _read(fd))


def create() -> Journal:
    """A new container's journal under a name of its own, twelve hexadecimal digits."""
    make_directories(JOURNALS)
    while True:
        container = new_id()
        path = f"{JOURNALS}/{container}"
        fd = os.open(path, WRITING | os.O_CREAT | os.O_EXCL, 0o600)
        if _lock(fd):
            return Journal(container, path, fd, [])
        os.close(fd)


def open_at(path: str, container: str, *, wait: bool = True) -> Journal:
    """The journal of a container that outlives its runtime, locked once nobody else holds it; made where missing.

    Raises FileNotFoundError when the container has gone meanwhile, and without
    `wait` BlockingIOError when somebody is busy with it.
    """
    fd = os.open(path, WRITING | os.O_CREAT, 0o600)
    try:
        fcntl.lockf(fd, fcntl.LOCK_EX if wait else fcntl.LOCK_EX | fcntl.LOCK_NB)
    except OSError:
        os.close(fd)
        raise
    if os.fstat(fd).st_nlink == 0:
        os.close(fd)
        raise FileNotFoundError(path)
    return Journal(container, path, fd, _read(fd))


def abandoned() -> Iterator[Journal]:
    """The journals whose owners are dead, each locked by the caller."""
    if not os.path.isdir(JOURNALS):
        return
    for container in sorted(os.listdir(JOURNALS)):
        try:
            fd = os.open(f"{JOURNALS}/{container}", WRITING)
        except FileNotFoundError:
            continue
        if _lock(fd):
            yield Journal(container, f"{JOURNALS}/{container}", fd, _read(fd))
        else:
            os.close(fd)


def living() -> list[str]:
    """The containers whose runtime lives."""
    found = []
    for container in sorted(os.listdir(JOURNALS)) if os.path.isdir(JOURNALS) else []:
        try:
            fd = os.open(f"{JOURNALS}/{container}", WRITING)
        except FileNotFoundError:
            continue
        if not _lock(fd):
            found.append(container)
        os.close(fd)
    return found


def records_of(container: str) -> list[Record]:
    """What stands in the journal of a container that somebody else holds; nothing for one that is gone."""
    try:
        fd = os.open(f"{JOURNALS}/{container}", os.O_RDONLY | os.O_CLOEXEC)
    except FileNotFoundError:
        return []
    try:
        return _read(fd)
    finally:
        os.close(fd)


def is_known(container: str) -> bool:
    """Whether a container has a journal: it runs, or gc has yet to see to it."""
    return os.path.exists(f"{JOURNALS}/{container}") or is_kept(container)


def is_kept(container: str) -> bool:
    """Whether a container outlives its process: `gc` leaves it to the engine (coso.engine)."""
    return os.path.exists(f"{LAYERS}/{container}/state.json")


def _lock(fd: int) -> bool:
    """Take the lock; False when another process has it, or has already removed the file."""
    try:
        fcntl.lockf(fd, fcntl.LOCK_EX | fcntl.LOCK_NB)
    except OSError:
        return False
    return os.fstat(fd).st_nlink > 0


def _read(fd: int) -> list[Record]:
    """The records of a journal; a line cut short by a crash or a full disk was never acted on."""
    size = os.fstat(fd).st_size
    lines = os.pread(fd, size, 0).decode().split("\n")[:-1]
    records = []
    for line in lines:
        try:
            records.append(tuple(quickjson.loads(line)))
        except (TypeError, ValueError):
            continue
    return records
