"""Volumes: directories that outlive containers, `<LIB>/volumes/<name>/_data`.

A new volume is filled with what the image has at its place, at first use
(copy-up).  `volume.json` beside the data says when and with which labels it
was made; a volume without a name of its own goes with its container.
"""

from __future__ import annotations

import fcntl
import os

from coso import quickjson
from coso.errors import CosoError, MissingError, UsageError
from coso.runtime.rootless import as_root
from coso.runtime.undo import remove_tree
from coso.spec.mounts import Wish, check_name, volume_path
from coso.state import VOLUMES, lock, make_directories
from coso.value import replace

TYPE_CHECKING = False
if TYPE_CHECKING:
    from typing import Any

    from coso.images.source import Source
    from coso.spec import IdMapping

    Json = dict[str, Any]


def create(name: str, labels: dict[str, str] | None = None, *, anonymous: bool = False) -> str:
    """Make a volume unless there is one; its name, a new one for `""`. Raises UsageError."""
    from coso.times import now

    if name:
        check_name(name, "a volume")
    name = name or os.urandom(32).hex()
    place = f"{VOLUMES}/{name}"
    if is_whole(name):
        return name
    make_directories(VOLUMES)
    os.makedirs(volume_path(name), 0o755, exist_ok=True)
    os.chmod(place, 0o711)
    about = {"name": name, "created": now(), "labels": labels or {}, "anonymous": anonymous, "fresh": True}
    _write(name, about)
    return name


def _write(name: str, about: Json) -> None:
    path = f"{VOLUMES}/{name}/volume.json"
    beside = f"{path}.{os.getpid()}"
    with open(beside, "w", encoding="utf-8") as file:
        file.write(quickjson.dumps(about))
    os.rename(beside, path)


def is_whole(name: str) -> bool:
    """Whether there is such a volume, whole."""
    return os.path.exists(f"{VOLUMES}/{name}/volume.json")


def locked(*, shared: bool, wait: bool = True) -> int:
    """The lock of all volumes: shared by who is about to use some, alone for who removes some; -1 when not waited for.

    Closing the descriptor gives it back.
    """
    make_directories(VOLUMES)
    return lock(f"{VOLUMES}/.lock", shared=shared, wait=wait)


def about(name: str) -> Json:
    """What is known of a volume; raises MissingError."""
    try:
        with open(f"{VOLUMES}/{name}/volume.json", encoding="utf-8") as file:
            return dict(quickjson.loads(file.read()))
    except (OSError, ValueError):
        raise MissingError(f"there is no volume {name!r}", hint="`coso volume ls` lists them") from None


def every() -> list[Json]:
    """All volumes, by name."""
    names = sorted(os.listdir(VOLUMES)) if os.path.isdir(VOLUMES) else []
    return [about(name) for name in names if is_whole(name)]


def users() -> dict[str, list[str]]:
    """Which containers use which volume."""
    from coso.engine import record

    found: dict[str, list[str]] = {}
    for one in record.every():
        for wish in one.config.get("mounts") or []:
            if wish["kind"] == "volume":
                found.setdefault(wish["source"], []).append(one.id)
    return found


def remove(name: str, *, force: bool = False) -> None:
    """Remove a volume that no container uses; raises CosoError. With `force`, a missing one is no error."""
    check_name(name, "a volume")
    if not is_whole(name):
        if force:
            return
        about(name)
    lock = locked(shared=False)
    try:
        if using := users().get(name):
            raise CosoError(f"the volume {name} is used by the container {', '.join(using)}", hint="remove it first")
        # First what makes it a volume: what a crash leaves then is nobody's, and gc removes it.
        os.unlink(f"{VOLUMES}/{name}/volume.json")
        as_root(lambda: remove_tree(f"{VOLUMES}/{name}"))
    finally:
        os.close(lock)


def settle(wishes: list[Wish], source: Source, mapping: IdMapping | None) -> list[Wish]:
    """Make the volumes that are asked for and fill fresh ones; the wishes, with names. Raises CosoError."""
    found = []
    for wish in wishes:
        if wish.kind == "volume":
            wish = replace(wish, source=create(wish.source, anonymous=not wish.source))
            fill(wish, source)
        found.append(wish)
    return found


def fill(wish: Wish, source: Source) -> None:
    """Copy what the image has at a place into a volume that has never been used."""
    if not about(wish.source).get("fresh"):
        return
    place = f"{VOLUMES}/{wish.source}"
    held = os.open(place, os.O_RDONLY | os.O_DIRECTORY | os.O_CLOEXEC)
    try:
        # Another command may want the same volume: it waits until this one has filled it.
        fcntl.flock(held, fcntl.LOCK_EX)
        known = about(wish.source)
        if known.get("fresh") and wish.copy and not os.listdir(volume_path(wish.source)):
            _fill(place, wish, source)
        if known.get("fresh"):
            _write(wish.source, {**known, "fresh": False})
    finally:
        os.close(held)


def _fill(place: str, wish: Wish, source: Source) -> None:
    """Beside its place, and in there when it is whole."""
    from coso.engine.merged import copy_out

    beside = f"{place}/_new"
    as_root(lambda: remove_tree(beside))
    os.mkdir(beside, 0o755)
    as_root(lambda: copy_out(source, wish.destination, beside))
    os.rename(beside, volume_path(wish.source))


def collect() -> int:
    """Remove what is left of volumes that were being made or removed, and nameless ones without a container."""
    if not os.path.isdir(VOLUMES):
        return 0
    lock = locked(shared=False, wait=False)
    if lock < 0:
        return 0
    try:
        used = users()
        gone = [name for name in os.listdir(VOLUMES) if name != ".lock" and _is_nobodys(name, used)]
        for name in gone:
            remove_tree(f"{VOLUMES}/{name}")
        return len(gone)
    finally:
        os.close(lock)


def _is_nobodys(name: str, used: dict[str, list[str]]) -> bool:
    return not is_whole(name) or (bool(about(name).get("anonymous")) and name not in used)


def check_unused(text: str) -> None:
    """Raise UsageError for a driver other than the one there is."""
    if text not in ("", "local"):
        raise UsageError(f"there is no volume driver {text!r}", hint="`local` is the only one")
