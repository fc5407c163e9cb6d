"""`update` and `events`: new limits for a container that is there, and what it uses."""

from __future__ import annotations

import json
import sys
import time

from coso import cgroups
from coso.cgroups.statistics import statistics
from coso.errors import CosoError, UsageError
from coso.oci.store import Place
from coso.spec import Resources, units
from coso.spec.fields import Fields, parse
from coso.spec.read_resources import resources

TYPE_CHECKING = False
if TYPE_CHECKING:
    from coso.flags import Words

WORDS = ("cpuset-cpus", "cpuset-mems")


def wanted(given: Words, table: dict[str, tuple[str, str]]) -> Resources:
    """The limits asked for, by a file of `linux.resources` or by the options of a table; raises CosoError."""
    tree: dict[str, object] = {}
    if file := given.last("resources"):
        try:
            if file == "-":
                tree = parse(sys.stdin.buffer.read())
            else:
                with open(file, "rb") as opened:
                    tree = parse(opened.read())
        except OSError as error:
            raise CosoError(f"--resources {file} cannot be read: {error.strerror}") from None
    for option, (part, field) in table.items():
        if option in given.options:
            place = tree.setdefault(part, {})
            if not isinstance(place, dict):
                raise UsageError(f"--resources {file}: {part} is no object, and --{option} belongs there")
            place[field] = given.last(option) if option in WORDS else _number(option, given.last(option))
    if not given.options:
        raise UsageError("coso-oci update: no limit is given", hint="see `coso-oci update --help`")
    return resources(Fields(tree, "linux.resources"))


def _number(option: str, text: str) -> int:
    if "memory" in option and text.isascii() and text[-1:].isalpha():
        return units.memory(text)
    if not text.removeprefix("-").isdecimal():
        raise UsageError(f"--{option} {text!r} is not a number")
    return int(text)


def update(place: Place, limits: Resources) -> None:
    """Set limits of a container that is there; the others stay."""
    state = place.read()
    if place.status(state) == "stopped":
        raise CosoError(f"container {place.id} has ended: it has no limits any more")
    if state.unit:
        from coso.cgroups import systemd

        systemd.update_unit(state.unit, limits)
    cgroups.update(state.cgroup, cgroups.hierarchies(), limits)


def events(place: Place, *, once: bool, seconds: float) -> None:
    """Print what a container uses, once or again and again until its end, and when its memory ran out."""
    state = place.read()
    if place.status(state) == "stopped":
        raise CosoError(f"container {place.id} is not running")
    killed = cgroups.out_of_memory_kills(state.cgroup)
    while place.status(state) != "stopped":
        _say("stats", place.id, statistics(state.cgroup, cgroups.hierarchies()))
        if once:
            return
        time.sleep(seconds)
        if (now := cgroups.out_of_memory_kills(state.cgroup)) > killed:
            killed = now
            _say("oom", place.id, None)


def _say(kind: str, container: str, data: object) -> None:
    line = {"type": kind, "id": container} | ({"data": data} if data is not None else {})
    sys.stdout.write(json.dumps(line) + "\n")
    sys.stdout.flush()
