"""The state of containers on disk: a directory each below --root (OCI runtime.md "State").

`config.json` is the configuration it was made by, `state.json` what became of
it, `journal` what must be undone, `start` the pipe at which its process
waits for the word to start.  Whoever changes a container holds the journal's
lock.  Every status is derived anew from the process, never read from a file.
"""

from __future__ import annotations

import os

from coso import quickjson
from coso.errors import CosoError, UsageError
from coso.kernel.process import is_limited, start_time
from coso.runtime import journal
from coso.runtime.undo import remove_tree
from coso.state import RUN, make_directories, remove_empty_directories
from coso.value import fields_of, value

ROOT = f"{RUN}/oci"
# What is being removed is called so; no id can begin with it.
GONE = ":"
LONGEST_ID = 255
ALLOWED = frozenset("abcdefghijklmnopqrstuvwxyzABCDEFGHIJKLMNOPQRSTUVWXYZ0123456789_+-.")


@value
class State:
    """What is known of a container; `started` is its process's start time in ticks, which tells a reused pid apart."""

    id: str
    pid: int
    started: int
    bundle: str
    created: str
    cgroup: str
    annotations: dict[str, str]
    no_pivot: bool = False
    unit: str = ""
    # Whether there is a command to start, and where systemd hears that it is ready.
    has_process: bool = True
    notify: str = ""
    # Which hooks are still to come: without them nobody reads the configuration again.
    hooks: list[str] = []  # noqa: RUF012  # a value: frozen like the others


def default_root() -> str:
    """Where states are kept when nothing is said: root's in /run, an ordinary user's where that one's sockets are."""
    if not is_limited():
        return ROOT
    return f"{os.environ.get('XDG_RUNTIME_DIR') or f'/run/user/{os.geteuid()}'}/coso/oci"


def check_id(container: str) -> None:
    """Raise UsageError for an id that cannot be the name of a directory."""
    if not container or len(container) > LONGEST_ID or set(container) - ALLOWED or container in (".", ".."):
        raise UsageError(
            f"the container id {container!r} is not valid",
            hint=f"up to {LONGEST_ID} letters, digits and _ + - . (but not . or .. alone)",
        )


class Place:
    """A container's directory."""

    def __init__(self, root: str, container: str) -> None:
        check_id(container)
        self.id = container
        self.path = f"{root}/{container}"
        self.gate = f"{self.path}/start"
        self.journal = f"{self.path}/journal"
        self.config = f"{self.path}/config.json"
        self.rootfs = f"{self.path}/rootfs"
        self.notify = f"{self.path}/notify"

    def claim(self) -> journal.Journal:
        """Make the directory, and hold its lock; raises CosoError when the id is taken.

        What a runtime that was killed left half made is cleared away first.
        """
        for _ in range(3):
            try:
                make_directories(os.path.dirname(self.path))
                os.mkdir(self.path, 0o711)
                return journal.open_at(self.journal, self.id)
            except FileExistsError:
                if os.path.exists(f"{self.path}/state.json"):
                    break
                if held := self.half_made(wait=True):
                    self.remove(held)
            except FileNotFoundError:
                continue
        raise CosoError(f"a container with the id {self.id} exists already", hint=f"`coso-oci delete {self.id}`")

    def lock(self) -> journal.Journal:
        """Hold the lock; raises CosoError when there is no such container."""
        try:
            return journal.open_at(self.journal, self.id)
        except (FileNotFoundError, NotADirectoryError):
            # What a delete that was killed at its very end has left is nobody's.
            remove_tree(self._gone)
            raise missing(self.id) from None

    @property
    def _gone(self) -> str:
        """Where the directory goes when it is removed."""
        return f"{os.path.dirname(self.path)}/{GONE}{self.id}"

    def remove(self, held: journal.Journal) -> None:
        """Undo all that is recorded and remove the directory; raises CosoError for what would not go."""
        failures = held.undo(keep=True)
        if failures:
            raise CosoError(f"the container {self.id} could not be undone: {'; '.join(failures)}", hint="try again")
        # Whoever waits for the lock finds the directory gone under this name, and so never half of it.
        remove_tree(self._gone)
        os.rename(self.path, self._gone)
        remove_tree(self._gone)
        held.close()
        if os.path.dirname(self.path) == ROOT:
            remove_empty_directories()

    def half_made(self, *, wait: bool) -> journal.Journal | None:
        """The lock of a container that a runtime which is dead left half made, or None.

        With `wait`, one that is being made is waited for.
        """
        try:
            held = journal.open_at(self.journal, self.id, wait=wait)
        except OSError:
            return None
        if os.path.exists(f"{self.path}/state.json"):
            held.close()
            return None
        return held

    def read(self) -> State:
        """The state; raises CosoError when there is no such container, or none whole."""
        try:
            with open(f"{self.path}/state.json", encoding="utf-8") as file:
                return State(**quickjson.loads(file.read()))
        except FileNotFoundError:
            if os.path.isdir(self.path):
                raise CosoError(
                    f"the container {self.id} is still being made, or was left half made",
                    hint=f"`coso-oci delete --force {self.id}` clears it away",
                ) from None
            raise missing(self.id) from None
        except (OSError, ValueError, TypeError) as error:
            raise CosoError(f"the state of the container {self.id} cannot be read: {error}") from None

    def write(self, state: State) -> None:
        """Write the state, whole or not at all."""
        known = fields_of(state)
        replace_file(f"{self.path}/state.json", quickjson.dumps(known))

    def status(self, state: State) -> str:
        """`created`, `running`, `paused` or `stopped`, as the process is now."""
        if not is_alive(state.pid, state.started):
            return "stopped"

        from coso.cgroups import hierarchies, members

        if state.cgroup and members.is_frozen(state.cgroup, hierarchies()):
            return "paused"
        return "created" if os.path.exists(self.gate) else "running"


def collect(root: str = ROOT) -> tuple[list[str], list[str]]:
    """Take back what killed runtimes left half made: the ids, and what could not be undone."""
    removed, failures = [], []
    for name in os.listdir(root) if os.path.isdir(root) else []:
        if name.startswith(GONE):
            remove_tree(f"{root}/{name}")
    for place in all_places(root):
        if held := place.half_made(wait=False):
            try:
                place.remove(held)
                removed.append(place.id)
            except CosoError as error:
                failures.append(error.message)
    return removed, failures


def missing(container: str) -> CosoError:
    """The error for a container that is not there; engines look for `does not exist`."""
    return CosoError(f"container {container} does not exist")


def is_alive(pid: int, started: int) -> bool:
    """Whether a process still runs: not a zombie, and not another one under a reused number."""
    try:
        with open(f"/proc/{pid}/stat", "rb") as file:
            status = file.read().rpartition(b")")[2].split()[0]
    except (OSError, IndexError):
        return False
    return status not in (b"Z", b"X") and start_time(pid) == started


def replace_file(path: str, text: str) -> None:
    """Write a file by way of another beside it."""
    beside = f"{path}.{os.getpid()}"
    with open(beside, "w", encoding="utf-8") as file:
        file.write(text)
    os.rename(beside, path)


def all_places(root: str) -> list[Place]:
    """Every container below a root, by name."""
    try:
        names = sorted(os.listdir(root))
    except FileNotFoundError:
        return []
    return [Place(root, name) for name in names if os.path.isdir(f"{root}/{name}") and not set(name) - ALLOWED]
