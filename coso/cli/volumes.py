"""`coso volume …`."""

from __future__ import annotations

import sys

from coso.cli import table
from coso.cli.containers import FORCE, remove_unused_volumes
from coso.cli.select import Filters
from coso.cli.table import FILTER, FORMAT, QUIET
from coso.engine import describe, volumes
from coso.errors import CosoError, UsageError
from coso.flags import Option, read_words
from coso.spec.mounts import volume_path


def create(words: list[str]) -> int:
    """`coso volume create`."""
    options = (
        Option("label", "", "NAME[=VALUE]", "a label", repeated=True),
        Option("driver", "d", "local", "the only one there is"),
        Option("opt", "o", "KEY=VALUE", "(the local driver has none here)", repeated=True),
    )
    given = read_words(options, words, "coso volume create [OPTIONS] [NAME]", most=1)
    if given is None:
        return 0
    volumes.check_unused(given.last("driver"))
    if given.all("opt"):
        raise UsageError("volumes have no options here", hint="for a filesystem of your own: --mount type=bind")
    labels = dict(text.partition("=")[::2] for text in given.all("label"))
    sys.stdout.write(f"{volumes.create(given.rest[0] if given.rest else '', labels)}\n")
    return 0


def ls(words: list[str]) -> int:
    """`coso volume ls`."""
    given = read_words((FILTER, FORMAT, QUIET), words, "coso volume ls [OPTIONS]", most=0)
    if given is None:
        return 0
    filters = Filters(given.all("filter"), ("dangling", "driver", "label", "name"))
    used = volumes.users()
    rows = []
    for known in volumes.every():
        name = known["name"]
        dangling = filters.last("dangling")
        if dangling and (name not in used) != (dangling in ("true", "1")):
            continue
        if filters.all("name") and not any(text in name for text in filters.all("name")):
            continue
        if filters.labels_fit(known["labels"]) and filters.last("driver") in ("", "local"):
            labels = ",".join(f"{key}={text}" for key, text in known["labels"].items())
            row = {"Driver": "local", "Name": name, "Scope": "local", "Mountpoint": volume_path(name)}
            rows.append({**row, "Labels": labels})
    columns = {"Driver": "DRIVER", "Name": "VOLUME NAME"}
    table.show(rows, columns, given.last("format"), quiet="Name" if given.on("quiet") else "")
    return 0


def inspect(words: list[str]) -> int:
    """`coso volume inspect`."""
    options = (Option("format", "f", FORMAT.argument, FORMAT.help),)
    given = read_words(options, words, "coso volume inspect [OPTIONS] VOLUME [VOLUME …]", least=1)
    if given:
        table.details([describe.volume(volumes.about(name)) for name in given.rest], given.last("format"))
    return 0


def rm(words: list[str]) -> int:
    """`coso volume rm`."""
    options = (Option("force", "f", "", "a missing one is no error"),)
    given = read_words(options, words, "coso volume rm [OPTIONS] VOLUME [VOLUME …]", least=1)
    if given is None:
        return 0
    from coso.cli.main import say

    status = 0
    for name in given.rest:
        try:
            volumes.remove(name, force=given.on("force"))
            sys.stdout.write(f"{name}\n")
        except CosoError as error:
            say(error)
            status = 1
    return status


def prune(words: list[str]) -> int:
    """`coso volume prune`."""
    options = (FORCE, Option("all", "a", "", "named ones too"))
    given = read_words(options, words, "coso volume prune [OPTIONS]", most=0)
    if given is None:
        return 0
    kind = "all" if given.on("all") else "anonymous"
    if not table.ask(f"This will remove {kind} volumes not used by at least one container.", force=given.on("force")):
        return 0
    gone = remove_unused_volumes(every=given.on("all"))
    if gone:
        sys.stdout.write("Deleted Volumes:\n" + "".join(f"{name}\n" for name in gone) + "\n")
    sys.stdout.write("Total reclaimed space: 0B\n" if not gone else f"Removed {len(gone)} volumes\n")
    return 0
