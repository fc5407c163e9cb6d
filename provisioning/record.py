"""The record of changes: one line of JSON each, on disk before the change is made."""

from __future__ import annotations

import json
import os
from collections.abc import Iterator
from dataclasses import asdict
from typing import Any

from coso.errors import ProvisionError
from coso.state import LIB, make_directories
from provisioning.resource import Change, Resource

DIRECTORY = f"{LIB}/provisioning"


def path(setup: str) -> str:
    """Where the record of a set-up is."""
    return f"{DIRECTORY}/{setup}.jsonl"


def write(setup: str, resource: Resource, change: Change) -> int:
    """Append a change, and have it on the disk before returning; return how many there were before.

    A last line that a crash has cut short is dropped: its change was never made.
    """
    make_directories(DIRECTORY)
    line = {
        "kind": resource.kind,
        "resource": asdict(resource),  # type: ignore[call-overload]
        "change": asdict(change),
    }
    with open(path(setup), "ab+") as file:
        file.seek(0)
        whole, newline, _ = file.read().rpartition(b"\n")
        file.truncate(len(whole) + len(newline))
        file.write(json.dumps(line).encode() + b"\n")
        file.flush()
        os.fsync(file.fileno())
    return whole.count(b"\n") + len(newline)


def read(setup: str) -> list[tuple[str, dict[str, Any], Change]]:
    """The recorded changes, oldest first: kind, fields of the resource, change."""
    return list(_lines(setup))


def _lines(setup: str) -> Iterator[tuple[str, dict[str, Any], Change]]:
    if not os.path.exists(path(setup)):
        return
    with open(path(setup), encoding="utf-8") as file:
        for number, line in enumerate(file, 1):
            try:
                entry = json.loads(line)
            except ValueError:
                if line.endswith("\n"):
                    raise ProvisionError(f"line {number} of {path(setup)} is damaged") from None
                return  # Cut short by a crash before the change was made.
            yield entry["kind"], entry["resource"], Change(**entry["change"])


def drop_last(setup: str, kept: int) -> None:
    """Shorten a record to its first `kept` changes; an empty one is removed."""
    with open(path(setup), encoding="utf-8") as file:
        lines = file.readlines()[:kept]
    if not lines:
        os.unlink(path(setup))
        return
    with open(f"{path(setup)}.new", "w", encoding="utf-8") as file:
        file.writelines(lines)
    os.rename(f"{path(setup)}.new", path(setup))
