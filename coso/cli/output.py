"""`coso logs`, `top` and `events`: what containers say and do."""

from __future__ import annotations

import sys

from coso.cli import table
from coso.cli.select import Filters
from coso.engine import control, record
from coso.engine import events as happenings
from coso.engine import logs as written
from coso.engine.adopt import adopt
from coso.errors import CosoError, UsageError
from coso.flags import Option, read_words
from coso.times import moment


def logs(words: list[str]) -> int:
    """`coso logs`."""
    options = (
        Option("follow", "f", "", "stay, and show what comes"),
        Option("tail", "n", "NUMBER", "only so many lines from the end (default all)"),
        Option("timestamps", "t", "", "show when each line came"),
        Option("since", "", "MOMENT|SPAN", "only what came after: 2026-01-02T03:04:05, 10m"),
        Option("until", "", "MOMENT|SPAN", "only what came before"),
        Option("details", "", "", "(nothing more is known of a line)"),
    )
    given = read_words(options, words, "coso logs [OPTIONS] CONTAINER", 1, 1)
    if given is None:
        return 0
    adopt()
    one = record.find(given.rest[0])
    if not one.is_kept:
        raise CosoError("the container runs in the foreground, where its output goes; it is not kept")
    if one.option("log-driver", "json-file") == "none":
        raise CosoError("the container was made with --log-driver none: nothing of its output is kept")
    tail = given.last("tail", "all")
    if tail != "all" and not tail.removeprefix("-").isdecimal():
        raise UsageError(f"--tail {tail!r} is not a number")
    count = -1 if tail == "all" else int(tail)
    since = moment(given.last("since"), "since") if given.last("since") else 0.0
    until = moment(given.last("until"), "until") if given.last("until") else 0.0
    if given.on("follow"):
        found = written.follow(one.directory, lambda: _goes_on(one.id), tail=count)
    else:
        found = iter(written.last(one.directory, count))
    for entry in found:
        if not written.is_between(entry, since, until):
            continue
        stream = sys.stdout if entry.stream == "stdout" else sys.stderr
        stream.write(f"{entry.time} {entry.text}" if given.on("timestamps") else entry.text)
        if given.on("follow"):
            stream.flush()
    return 0


def _goes_on(container: str) -> bool:
    """Whether a container may say more: one that has ended, too, while what it said last is being written down."""
    found = record.read(container)
    if found is None or found.is_alive or found.status == "restarting":
        return found is not None
    return control.is_watched(container)


def top(words: list[str]) -> int:
    """`coso top`: ps(1) of the host, of the container's processes alone."""
    given = read_words((), words, "coso top CONTAINER [PS OPTIONS]", least=1, anywhere=False)
    if given is None:
        return 0
    one = record.find(given.rest[0])
    if not one.is_alive:
        raise CosoError(f"the container {one.name or one.id} is not running")
    from coso.cgroups import hierarchies, members
    from coso.spawn import find, spawn

    program = find("ps")
    if not program:
        raise CosoError("ps(1) is not installed on this machine", hint="apt install procps")
    pids = members.processes(str(one.state["cgroup"]), hierarchies()) if one.state.get("cgroup") else [one.pid]
    status, said = spawn([program, *(given.rest[1:] or ("-ef",))])
    if status:
        raise UsageError(f"ps does not accept {' '.join(given.rest[1:])}: {said.strip()}")
    lines = said.splitlines()
    columns = lines[0].split()
    if "PID" not in columns:
        raise UsageError("the ps options leave out the column PID, by which processes are told apart")
    at = columns.index("PID")
    rows = [line.split(None, len(columns) - 1) for line in lines[1:]]
    kept = [row for row in rows if len(row) > at and row[at].isdecimal() and int(row[at]) in pids]
    table.show([dict(zip(columns, row, strict=False)) for row in kept], {name: name for name in columns})
    return 0


def events(words: list[str]) -> int:
    """`coso events`."""
    options = (
        Option("since", "", "MOMENT|SPAN", "begin in the past"),
        Option("until", "", "MOMENT|SPAN", "end there"),
        Option("filter", "f", "KEY=VALUE", "container, event, image, label or type", repeated=True),
        Option("format", "", "TEMPLATE", "json, or a Go template"),
    )
    given = read_words(options, words, "coso events [OPTIONS]", most=0)
    if given is None:
        return 0
    from time import time

    filters = Filters(given.all("filter"), ("container", "event", "image", "label", "type"))
    since = moment(given.last("since"), "since") if given.last("since") else 0.0
    until = moment(given.last("until"), "until") if given.last("until") else 0.0
    live = happenings.follow()
    if since:
        for event in happenings.read():
            if event["timeNano"] / 1e9 >= since and (not until or event["timeNano"] / 1e9 <= until):
                _tell(event, filters, given.last("format"))
    elif not until:
        since = time()
    for happened in live:
        if until and time() >= until:
            return 0
        if happened:
            _tell(happened, filters, given.last("format"))
    return 0


def _tell(event: record.Json, filters: Filters, form: str) -> None:
    actor = event["Actor"]
    about = actor["Attributes"]
    tests = (
        ("container", lambda text: text == about.get("name") or actor["ID"].startswith(text)),
        ("event", lambda text: event["Action"].partition(":")[0] == text),
        ("image", lambda text: text in (about.get("image"), str(about.get("image")).partition(":")[0])),
        ("type", lambda text: event["Type"] == text),
    )
    if any(filters.all(key) and not any(test(text) for text in filters.all(key)) for key, test in tests):
        return
    if not filters.labels_fit(about):
        return
    if form:
        from coso.cli.template import render

        sys.stdout.write(render("{{json .}}" if form == "json" else table.unescaped(form), event) + "\n")
    else:
        from coso.times import written as moment_text

        more = ", ".join(f"{name}={text}" for name, text in sorted(about.items()))
        when = moment_text(event["timeNano"])
        sys.stdout.write(f"{when} {event['Type']} {event['Action']} {actor['ID']} ({more})\n")
    sys.stdout.flush()
