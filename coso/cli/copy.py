"""`coso cp`, `diff`, `export` and `commit`."""

from __future__ import annotations

import os
import sys

from coso.engine import control, files
from coso.engine.adopt import adopt
from coso.errors import UsageError
from coso.flags import Option, read_words


def cp(words: list[str]) -> int:
    """`coso cp`."""
    options = (
        Option("archive", "a", "", "keep owners"),
        Option("follow-link", "L", "", "copy what a symbolic link leads to"),
        Option("quiet", "q", "", "(nothing is said anyway)"),
    )
    line = "coso cp [OPTIONS] CONTAINER:PATH PATH|-  or  coso cp [OPTIONS] PATH|- CONTAINER:PATH"
    given = read_words(options, words, line, 2, 2)
    if given is None:
        return 0
    adopt()
    source, target = given.rest
    keep, follow = given.on("archive"), given.on("follow-link")
    from_container, to_container = _is_inside(source), _is_inside(target)
    if from_container == to_container:
        both = "between containers" if from_container else "on the host"
        raise UsageError(f"cp copies from or to a container, not {both}", hint=f"usage: {line}")
    name, _, path = (source if from_container else target).partition(":")
    with control.settled(name) as one:
        if from_container:
            files.copy_from(one, path or "/", target, keep_owners=keep, follow=follow)
        else:
            files.copy_to(one, source, path or "/", keep_owners=keep, follow=follow)
    return 0


def _is_inside(text: str) -> bool:
    name, colon, _ = text.partition(":")
    return bool(colon) and "/" not in name and not name.startswith(".")


def diff(words: list[str]) -> int:
    """`coso diff`."""
    given = read_words((), words, "coso diff CONTAINER", 1, 1)
    if given is None:
        return 0
    adopt()
    with control.settled(given.rest[0]) as one:
        found = files.changes(one)
    sys.stdout.write("".join(f"{kind} {path}\n" for kind, path in found))
    return 0


def export(words: list[str]) -> int:
    """`coso export`."""
    given = read_words(
        (Option("output", "o", "FILE", "write to a file"),), words, "coso export [OPTIONS] CONTAINER", 1, 1
    )
    if given is None:
        return 0
    adopt()
    path = given.last("output")
    if not path:
        with control.settled(given.rest[0]) as one:
            files.export(one, sys.stdout.buffer)
        return 0
    beside = f"{path}.{os.getpid()}"
    try:
        with control.settled(given.rest[0]) as one, open(beside, "wb") as file:
            files.export(one, file)
        os.rename(beside, path)
    finally:
        if os.path.exists(beside):
            os.unlink(beside)
    return 0


def commit(words: list[str]) -> int:
    """`coso commit`."""
    options = (
        Option("author", "a", "TEXT", "author of the image"),
        Option("change", "c", "INSTRUCTION", "apply CMD, ENV and the like to the image", repeated=True),
        Option("message", "m", "TEXT", "a comment in its history"),
        Option("pause", "p", "", "freeze the container meanwhile (default true)"),
    )
    given = read_words(options, words, "coso commit [OPTIONS] CONTAINER [NAME[:TAG]]", 1, 2)
    if given is None:
        return 0
    adopt()
    name = given.rest[1] if len(given.rest) > 1 else ""
    with control.settled(given.rest[0]) as one:
        digest = files.commit(
            one,
            name,
            author=given.last("author"),
            message=given.last("message"),
            instructions=given.all("change"),
            pause=given.on("pause", True),
        )
    sys.stdout.write(f"{digest}\n")
    return 0
