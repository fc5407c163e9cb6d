"""`coso stats`: what containers use, once or again and again."""

from __future__ import annotations

import os
import sys
import time

from coso.cgroups import hierarchies
from coso.cgroups.statistics import statistics
from coso.cli import table
from coso.engine import record
from coso.engine.adopt import adopt
from coso.engine.record import Record
from coso.flags import Option, read_words

TYPE_CHECKING = False
if TYPE_CHECKING:
    from typing import Any

COLUMNS = {
    "ID": "CONTAINER ID",
    "Name": "NAME",
    "CPUPerc": "CPU %",
    "MemUsage": "MEM USAGE / LIMIT",
    "MemPerc": "MEM %",
    "NetIO": "NET I/O",
    "BlockIO": "BLOCK I/O",
    "PIDs": "PIDS",
}
CLEAR = "\033[2J\033[H"


def main(words: list[str]) -> int:
    """Show what the named containers use, or all that run."""
    options = (
        Option("all", "a", "", "those that do not run too"),
        Option("format", "", "TEMPLATE", "table, json, or a Go template"),
        Option("no-stream", "", "", "once"),
        Option("no-trunc", "", "", "do not shorten ids"),
    )
    given = read_words(options, words, "coso stats [OPTIONS] [CONTAINER …]")
    if given is None:
        return 0
    adopt()
    while True:
        chosen = [record.find(name) for name in given.rest] or record.every()
        chosen = [one for one in chosen if one.is_alive or given.on("all") or given.rest]
        before = {one.id: _used(one) for one in chosen}
        begun = time.monotonic()
        time.sleep(0.5 if given.on("no-stream") else 1.0)
        passed = time.monotonic() - begun
        rows = [_row(one, before[one.id], passed) for one in chosen]
        if not given.on("no-stream") and os.isatty(1):
            sys.stdout.write(CLEAR)
        table.show(rows, COLUMNS, given.last("format"))
        sys.stdout.flush()
        if given.on("no-stream"):
            return 0


def _used(one: Record) -> dict[str, Any]:
    if not one.is_alive or not one.state.get("cgroup"):
        return {}
    try:
        return statistics(str(one.state["cgroup"]), hierarchies())
    except OSError:
        return {}


def _row(one: Record, before: dict[str, Any], passed: float) -> dict[str, Any]:
    used = _used(one) if before else {}
    if not used:
        empty = {"CPUPerc": "--", "MemUsage": "-- / --", "MemPerc": "--", "NetIO": "--", "BlockIO": "--", "PIDs": "--"}
        return {"ID": one.id, "Container": one.id, "Name": one.name or "--", **empty}
    total = (used["cpu"].get("usage") or {}).get("total", 0) - (before["cpu"].get("usage") or {}).get("total", 0)
    memory = (used.get("memory") or {}).get("usage") or {}
    cache = (used.get("memory") or {}).get("raw", {}).get("inactive_file", 0)
    whole = _whole_memory()
    usage, limit = max(0, memory.get("usage", 0) - cache), min(memory.get("limit") or whole, whole)
    received, sent = _network(one)
    read, written = _blocks(used)
    return {
        "ID": one.id,
        "Container": one.id,
        "Name": one.name or one.id,
        "CPUPerc": f"{total / passed / 1e7:.2f}%",
        "MemUsage": f"{table.binary_size(usage)} / {table.binary_size(limit)}",
        "MemPerc": f"{100 * usage / limit:.2f}%",
        "NetIO": f"{table.size(received)} / {table.size(sent)}",
        "BlockIO": f"{table.size(read)} / {table.size(written)}",
        "PIDs": str((used.get("pids") or {}).get("current", 0)),
    }


def _whole_memory() -> int:
    return os.sysconf("SC_PAGE_SIZE") * os.sysconf("SC_PHYS_PAGES")


def _network(one: Record) -> tuple[int, int]:
    """Bytes received and sent by the container's interfaces other than loopback (proc(5), net/dev)."""
    received = sent = 0
    try:
        with open(f"/proc/{one.pid}/net/dev") as file:
            for line in file.readlines()[2:]:
                name, _, rest = line.partition(":")
                numbers = rest.split()
                if name.strip() != "lo":
                    received, sent = received + int(numbers[0]), sent + int(numbers[8])
    except OSError:
        pass
    return received, sent


def _blocks(used: dict[str, Any]) -> tuple[int, int]:
    entries = (used.get("blkio") or {}).get("ioServiceBytesRecursive") or []
    totals = {"Read": 0, "Write": 0}
    for entry in entries:
        if entry.get("op") in totals:
            totals[entry["op"]] += int(entry.get("value", 0))
    return totals["Read"], totals["Write"]
