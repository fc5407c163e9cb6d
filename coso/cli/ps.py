"""`coso ps`."""

from __future__ import annotations

import sys

from coso.cli import table
from coso.cli.select import Filters
from coso.cli.table import FILTER, FORMAT, NO_TRUNC, QUIET
from coso.engine import ports, record
from coso.engine.adopt import adopt
from coso.engine.record import Record, size_of
from coso.errors import UsageError
from coso.flags import Option, Words, read_words
from coso.spec.network import names_of
from coso.times import seconds_of

TYPE_CHECKING = False
if TYPE_CHECKING:
    from typing import Any

COLUMNS = {
    "ID": "CONTAINER ID",
    "Image": "IMAGE",
    "Command": "COMMAND",
    "RunningFor": "CREATED",
    "Status": "STATUS",
    "Ports": "PORTS",
    "Names": "NAMES",
}
KEYS = ("id", "name", "label", "status", "ancestor", "before", "since", "exited", "health", "network", "volume")
LONGEST_COMMAND = 20


def ps(words: list[str]) -> int:
    """List containers: those that run, or with --all every one."""
    options = (
        Option("all", "a", "", "those that do not run too"),
        FILTER,
        FORMAT,
        Option("last", "n", "NUMBER", "the newest, whether they run or not"),
        Option("latest", "l", "", "the newest one, whether it runs or not"),
        NO_TRUNC,
        QUIET,
        Option("size", "s", "", "how much each has written"),
    )
    given = read_words(options, words, "coso ps [OPTIONS]", most=0)
    if given is None:
        return 0
    adopt()
    found = _chosen(given, Filters(given.all("filter"), KEYS))
    if given.on("quiet") and "format" not in given.options:
        sys.stdout.write("".join(f"{one.id}\n" for one in found))
        return 0
    with_size = given.on("size") or ".Size" in given.last("format")
    rows = [row_of(one, whole=given.on("no-trunc"), with_size=with_size) for one in found]
    columns = COLUMNS | ({"Size": "SIZE"} if given.on("size") else {})
    table.show(rows, columns, given.last("format"), quiet="ID" if given.on("quiet") else "")
    return 0


def _chosen(given: Words, filters: Filters) -> list[Record]:
    every = record.every()
    found = [one for one in every if _fits(one, filters, every)]
    count = 1 if given.on("latest") else _number(given.last("last", "-1"))
    if count >= 0:
        return found[:count]
    if not given.on("all") and not (filters.all("status") or filters.all("exited")):
        found = [one for one in found if one.is_alive or one.status == "restarting"]
    return found


def _number(text: str) -> int:
    if not text.removeprefix("-").isdecimal():
        raise UsageError(f"--last {text!r} is not a number")
    return int(text)


def _fits(one: Record, filters: Filters, every: list[Record]) -> bool:
    tests = (
        ("id", lambda text: one.id.startswith(text)),
        ("name", lambda text: text.lstrip("/") in one.name),
        ("status", lambda text: one.status == text),
        ("ancestor", lambda text: _is_from(one, text)),
        ("exited", lambda text: one.status == "exited" and str(one.state.get("exitCode")) == text),
        ("health", lambda text: (one.state.get("health") or {}).get("Status", "none") == text),
        ("network", lambda text: text in networks_of(one)),
        ("volume", lambda text: any(text in (m["source"], m["destination"]) for m in one.config.get("mounts") or [])),
    )
    for key, test in tests:
        if filters.all(key) and not any(test(text) for text in filters.all(key)):
            return False
    for key, newer in (("before", False), ("since", True)):
        for text in filters.all(key):
            other = record.find(text)
            if other not in every or (one.config["created"] > other.config["created"]) != newer or one.id == other.id:
                return False
    return filters.labels_fit(one.labels)


def _is_from(one: Record, text: str) -> bool:
    image = str(one.config.get("image"))
    number = str(one.config.get("imageId") or "-")
    return text in (image, image.partition(":")[0]) or number.startswith(text.removeprefix("sha256:"))


def networks_of(one: Record) -> list[str]:
    """The networks that a container is on, or was to be."""
    if one.is_alive:
        found = [item.network for item in ports.members_of(*one.process)]
        if found:
            return found
    asked = names_of(one.options.get("network", ["bridge"]))
    return ["bridge" if text.startswith("/") else text for text in asked]


def row_of(one: Record, *, whole: bool, with_size: bool) -> dict[str, Any]:
    """The fields of one container, as `--format` knows them."""
    command = " ".join(one.config.get("args") or ())
    short = command if whole or len(command) <= LONGEST_COMMAND else f"{command[: LONGEST_COMMAND - 1]}…"
    created = str(one.config.get("created"))
    written = size_of(one) if with_size else 0
    return {
        "ID": one.id,
        "Image": str(one.config.get("image")),
        "Command": f'"{short}"',
        "CreatedAt": created,
        "RunningFor": table.ago(seconds_of(created)),
        "Status": status_text(one),
        "State": one.status,
        "Ports": ports_text(one),
        "Names": one.name,
        "Labels": ",".join(f"{name}={text}" for name, text in sorted(one.labels.items())),
        "Mounts": ",".join(str(item["source"]) for item in one.config.get("mounts") or []),
        "LocalVolumes": str(sum(item["kind"] == "volume" for item in one.config.get("mounts") or [])),
        "Networks": ",".join(networks_of(one)),
        "Size": f"{table.size(written)}" if with_size else "0B",
    }


def status_text(one: Record) -> str:
    """`Up 5 minutes (healthy)`, `Exited (0) 2 hours ago`, as Docker says it."""
    state = one.state
    if one.is_alive:
        from time import time

        text = f"Up {table.span(max(0.0, time() - seconds_of(str(state.get('startedAt')))))}"
        health = (state.get("health") or {}).get("Status")
        if one.status == "paused":
            return f"{text} (Paused)"
        return f"{text} ({'health: starting' if health == 'starting' else health})" if health else text
    if one.status == "created":
        return "Created"
    since = table.ago(seconds_of(str(state.get("finishedAt") or one.config["created"])))
    word = "Restarting" if one.status == "restarting" else "Exited"
    return f"{word} ({state.get('exitCode', 0)}) {since}"


def ports_text(one: Record) -> str:
    """`127.0.0.1:8080->80/tcp`, and what is only exposed."""
    if not one.is_alive:
        return ""
    published = ports.ports_of(*one.process)
    texts = [f"{host or '0.0.0.0'}:{port}->{inside}/{kind}" for kind, host, port, inside in published]
    taken = {f"{inside}/{kind}" for kind, _, _, inside in published}
    exposed = {*(one.settings.get("ExposedPorts") or {}), *(_with_kind(port) for port in one.options.get("expose", []))}
    return ", ".join([*texts, *sorted(exposed - taken)])


def _with_kind(port: str) -> str:
    return port if "/" in port else f"{port}/tcp"
