"""What is known of a container: its directory `<LIB>/containers/<id>`.

`config.json` says how it was asked for, `state.json` what became of it.  Only
a container that outlives its process has the second, written last when it is
made and removed first when it is removed: so either it is whole, or `coso gc`
takes it away.  The state is written by whoever holds the container's journal,
its monitor; what can be asked of the kernel (does it run, is it frozen) is
asked every time.
"""

from __future__ import annotations

import os

from coso import quickjson
from coso.errors import CosoError, MissingError
from coso.kernel.process import start_time
from coso.runtime import journal
from coso.state import JOURNALS, LAYERS, NAMES
from coso.value import value

TYPE_CHECKING = False
if TYPE_CHECKING:
    from typing import Any

    from coso.cgroups import Hierarchy

    Json = dict[str, Any]

HEX = frozenset("0123456789abcdef")
ALLOWED = frozenset("abcdefghijklmnopqrstuvwxyzABCDEFGHIJKLMNOPQRSTUVWXYZ0123456789_.-")
# What the exit status is when nobody saw the end, as with Docker after a crash.
UNKNOWN = 255
# What checks of health have found, written by the process that checks.
HEALTH = "health.json"
STATUSES = ("created", "running", "paused", "restarting", "removing", "exited", "dead")


@value
class Record:
    """A container: how it was asked for, and its state as it is now."""

    id: str
    config: Json
    state: Json

    @property
    def name(self) -> str:
        """Its name, or `""`: one in the foreground need not have any."""
        return str(self.config.get("name") or "")

    @property
    def directory(self) -> str:
        """Where all of it is."""
        return f"{LAYERS}/{self.id}"

    @property
    def status(self) -> str:
        """One of STATUSES."""
        return str(self.state["status"])

    @property
    def pid(self) -> int:
        """Its first process, 0 when it does not run."""
        return int(self.state.get("pid") or 0)

    @property
    def process(self) -> tuple[int, int]:
        """Its first process by number and start time, which name it for good; zeros when it does not run."""
        return self.pid, int(self.state.get("ticks") or 0)

    @property
    def is_alive(self) -> bool:
        """Whether it has processes."""
        return self.status in ("running", "paused")

    @property
    def is_kept(self) -> bool:
        """Whether it outlives its process."""
        return bool(self.config.get("kept"))

    @property
    def options(self) -> dict[str, list[str]]:
        """The options it was asked for with."""
        return dict(self.config.get("options") or {})

    def option(self, name: str, default: str = "") -> str:
        """The value of an option given last, or the default."""
        return self.options.get(name, [default])[-1]

    def switch(self, name: str, default: bool = False) -> bool:
        """Whether a switch was on."""
        given = self.options.get(name)
        return given[-1] == "true" if given else default

    @property
    def settings(self) -> Json:
        """What its image said of it."""
        return dict(self.config.get("settings") or {})

    @property
    def labels(self) -> dict[str, str]:
        """The image's labels and its own."""
        return {**(self.settings.get("Labels") or {}), **(self.config.get("labels") or {})}


def read(container: str, groups: list[Hierarchy] | None = None) -> Record | None:
    """A container by its id, or None when there is none, or none whole; `groups` saves who reads many a look."""
    config = _load(f"{LAYERS}/{container}/config.json")
    if config is None:
        return None
    if not config.get("kept"):
        return _in_foreground(container, config)
    state = _load(f"{LAYERS}/{container}/state.json")
    if state and state.get("checker"):
        state["health"] = _load(f"{LAYERS}/{container}/{HEALTH}")
    return Record(container, config, _as_it_is(state, groups)) if state else None


def _load(path: str) -> Json | None:
    try:
        with open(path, encoding="utf-8") as file:
            found = quickjson.loads(file.read())
    except (OSError, ValueError):
        return None
    return found if isinstance(found, dict) else None


def _in_foreground(container: str, config: Json) -> Record | None:
    """A container that lives and dies with the command in front of somebody."""
    for kind, *words in journal.records_of(container):
        if kind == "kill" and start_time(int(words[0])) == int(words[1]):
            state = {"status": "running", "pid": int(words[0]), "ticks": int(words[1])}
            state |= {"startedAt": config.get("created", ""), "cgroup": _group_of(container)}
            return Record(container, config, _as_it_is(state))
    return None


def _group_of(container: str) -> str:
    """The control group of a container in the foreground; an ordinary user's has none."""
    from coso.cgroups import hierarchies

    group = f"coso-{container}"
    return group if any(os.path.isdir(f"{one.path}/{group}") for one in hierarchies()) else ""


def runs(state: Json) -> bool:
    """Whether the process of a state is still the one that was written down, and no zombie."""
    from coso.oci.store import is_alive

    return bool(state.get("pid")) and is_alive(int(state["pid"]), int(state["ticks"]))


def _as_it_is(state: Json, groups: list[Hierarchy] | None = None) -> Json:
    if state["status"] != "running":
        return state
    if not runs(state):
        return {**state, "status": "exited", "pid": 0, "exitCode": UNKNOWN}
    if state.get("cgroup"):
        from coso.cgroups import hierarchies, members

        if members.is_frozen(str(state["cgroup"]), groups or hierarchies()):
            return {**state, "status": "paused"}
    return state


def every() -> list[Record]:
    """All containers, the newest first."""
    from coso.cgroups import hierarchies

    groups = hierarchies()
    found = [read(name, groups) for name in os.listdir(LAYERS)] if os.path.isdir(LAYERS) else []
    return sorted((one for one in found if one), key=lambda one: str(one.config.get("created")), reverse=True)


def find(word: str) -> Record:
    """The container with an id, a name, or an id that begins so; raises MissingError."""
    by_name = id_of_name(word)
    known = os.listdir(LAYERS) if os.path.isdir(LAYERS) else []
    matches = [name for name in known if name in (word, by_name)]
    matches = matches or [name for name in known if word and not set(word) - HEX and name.startswith(word)]
    found = [one for one in (read(name) for name in matches) if one]
    if len(found) > 1:
        raise CosoError(f"{len(found)} containers have ids that begin with {word!r}", hint="give more digits")
    if not found:
        raise MissingError(f"there is no container {word!r}", hint="`coso ps -a` lists all")
    return found[0]


def id_of_name(name: str) -> str:
    """The id that a name leads to, `""` for none."""
    try:
        return os.readlink(f"{NAMES}/{name}") if name and not set(name) - ALLOWED else ""
    except OSError:
        return ""


def write(container: str, file: str, content: Json) -> None:
    """Write one of a container's files, whole or not at all."""
    path = f"{LAYERS}/{container}/{file}"
    beside = f"{path}.{os.getpid()}"
    fd = os.open(beside, os.O_CREAT | os.O_WRONLY | os.O_TRUNC | os.O_CLOEXEC, 0o600)
    try:
        os.write(fd, quickjson.dumps(content).encode())
    finally:
        os.close(fd)
    os.rename(beside, path)


def stored_state(container: str) -> Json:
    """The state as it was written last; raises MissingError."""
    found = _load(f"{LAYERS}/{container}/state.json")
    if found is None:
        raise MissingError(f"there is no container {container!r}")
    return found


def stored_config(container: str) -> Json:
    """How a container was asked for; raises MissingError."""
    found = _load(f"{LAYERS}/{container}/config.json")
    if found is None:
        raise MissingError(f"there is no container {container!r}")
    return found


def holder_of(container: str) -> int:
    """The process that holds a container's journal, 0 for nobody; asked without taking it (fcntl(2), F_GETLK)."""
    import fcntl
    from _struct import pack, unpack

    try:
        fd = os.open(f"{JOURNALS}/{container}", os.O_RDONLY | os.O_CLOEXEC)
    except FileNotFoundError:
        return 0
    try:
        # A lock for writing is in the way of one for reading.
        found = fcntl.fcntl(fd, fcntl.F_GETLK, pack("hhqqi4x", fcntl.F_RDLCK, os.SEEK_SET, 0, 0, 0))
        kind, _, _, _, pid = unpack("hhqqi4x", found)
        return 0 if kind == fcntl.F_UNLCK else int(pid)
    finally:
        os.close(fd)


def size_of(one: Record) -> int:
    """The bytes that a container has written to its own layer."""
    found = 0
    for above, _, names in os.walk(f"{one.directory}/upper"):
        for name in names:
            try:
                found += os.lstat(f"{above}/{name}").st_size
            except OSError:
                continue
    return found
