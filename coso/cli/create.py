"""`coso create` and `start`, and `run` of containers that are kept: those with a monitor."""

from __future__ import annotations

import os
import sys

from coso.cli.sources import source_and_command
from coso.engine import control, events, launching, make, record
from coso.engine.attach import DEFAULT_KEYS, join, keys_of
from coso.errors import CosoError, UsageError
from coso.flags import Option, Words, read_words
from coso.images import blobs
from coso.options import OPTIONS

TYPE_CHECKING = False
if TYPE_CHECKING:
    from _socket import socket
    from collections.abc import Callable

    from coso.engine.record import Record
    from coso.images.source import Source

BOTH = {"stdout", "stderr"}


def run_kept(given: Words, source: Source, command: tuple[str, ...], claim: int) -> int:
    """Make a container and start it; in front, stay until its end. `claim` holds its image until it is written down."""
    if given.last("userns") == "host":
        from coso.runtime.protect import protect_interpreter

        # Now: this begins the command line again, and what was made by then would be made twice.
        protect_interpreter()
    detached = given.on("detach")
    terminal, interactive = given.on("tty"), given.on("interactive")
    if terminal and interactive and not detached and not os.isatty(0):
        raise UsageError(
            "-t and -i are given, and standard input is not a terminal",
            hint="leave out -t when input comes from a pipe or a file",
        )
    keys = keys_of(given.last("detach-keys", DEFAULT_KEYS))
    one = record.find(_create(given, source, command))
    os.close(claim)
    end = control.start(one, attach=not detached)
    assert end is not None
    if detached:
        sys.stdout.write(f"{one.id}\n")
        return 0
    streams = set(given.all("attach")) & BOTH if given.all("attach") else BOTH
    return _stay(one.id, end, interactive=interactive, terminal=terminal, keys=keys, given=given, streams=streams)


def start_in_front(one: Record) -> int:
    """Start a container that was made, and stay until its end; its exit status."""
    end = control.start(one, attach=True)
    assert end is not None
    keys = keys_of(DEFAULT_KEYS)
    interactive, terminal = one.switch("interactive"), one.switch("tty")
    return _stay(one.id, end, interactive=interactive, terminal=terminal, keys=keys, given=Words({}, ()), streams=BOTH)


def _stay(
    container: str, end: socket, *, interactive: bool, terminal: bool, keys: bytes, given: Words, streams: set[str]
) -> int:
    found = record.read(container)
    proxy = given.on("sig-proxy", True) and not terminal
    process = found.process if found and proxy else None
    code = join(end, process=process, terminal=terminal, interactive=interactive, keys=keys, streams=streams)
    end.close()
    if code is None:
        sys.stderr.write("read escape sequence\n")
        return 0
    return code


def create(words: list[str]) -> int:
    """`coso create`."""
    given = read_words(OPTIONS, words, "coso create [OPTIONS] IMAGE [COMMAND …]", anywhere=False)
    if given is None:
        return 0
    if not given.rest and not given.last("rootfs"):
        raise UsageError("an image is wanted", hint="coso create [OPTIONS] IMAGE [COMMAND …]")
    claim = blobs.locked("use", shared=True)
    source, command = source_and_command(given)
    container = _create(given, source, command)
    os.close(claim)
    sys.stdout.write(f"{container}\n")
    return 0


def _create(given: Words, source: Source, command: tuple[str, ...]) -> str:
    path = given.last("cidfile")
    if path and os.path.exists(path):
        raise UsageError(f"--cidfile {path} exists already", hint="another container may run; remove the file if not")
    container = make.create(given, source, command)
    if path:
        with open(path, "w") as file:
            file.write(container)
    events.tell("create", container, record.stored_config(container))
    return container


def start(words: list[str]) -> int:
    """`coso start`."""
    options = (
        Option("attach", "a", "", "show its output and pass signals on"),
        Option("interactive", "i", "", "pass standard input on"),
        Option("detach-keys", "", "KEYS", f"keys that leave it running (default {DEFAULT_KEYS})"),
        Option("sig-proxy", "", "", "pass signals on (default true)"),
    )
    given = read_words(options, words, "coso start [OPTIONS] CONTAINER [CONTAINER …]", least=1)
    if given is None:
        return 0
    if given.on("attach") or given.on("interactive"):
        if len(given.rest) > 1:
            raise UsageError("only one container can be attached to")
        return _start_and_stay(given)
    return each(given.rest, _start_quietly)


def _start_quietly(one: Record) -> None:
    end = control.start(_kept(one))
    if end:
        end.close()


def _kept(one: Record) -> Record:
    if not one.is_kept:
        raise CosoError(f"the container {one.id} runs in the foreground")
    return one


def _start_and_stay(given: Words) -> int:
    one = _kept(record.find(given.rest[0]))
    end = control.start(one, attach=True)
    if end is None:
        return attach_to(one, given, interactive=given.on("interactive"))
    keys = keys_of(given.last("detach-keys", DEFAULT_KEYS))
    interactive = given.on("interactive") and one.switch("interactive")
    return _stay(one.id, end, interactive=interactive, terminal=one.switch("tty"), keys=keys, given=given, streams=BOTH)


def attach(words: list[str]) -> int:
    """`coso attach`."""
    options = (
        Option("no-stdin", "", "", "do not pass standard input on"),
        Option("detach-keys", "", "KEYS", f"keys that leave it running (default {DEFAULT_KEYS})"),
        Option("sig-proxy", "", "", "pass signals on (default true)"),
    )
    given = read_words(options, words, "coso attach [OPTIONS] CONTAINER", 1, 1)
    if given is None:
        return 0
    return attach_to(record.find(given.rest[0]), given, interactive=not given.on("no-stdin"))


def attach_to(one: Record, given: Words, *, interactive: bool) -> int:
    """Join a container that runs."""
    if one.status == "paused":
        raise CosoError("the container is paused", hint=f"coso unpause {one.name}")
    end = launching.connect(one.id) if one.is_alive else None
    if end is None:
        said = "runs in the foreground, where its terminal is" if one.is_alive else "is not running"
        raise CosoError(f"the container {one.name or one.id} {said}")
    end.send(b"o")
    keys = keys_of(given.last("detach-keys", DEFAULT_KEYS))
    takes_input = interactive and one.switch("interactive")
    return _stay(one.id, end, interactive=takes_input, terminal=one.switch("tty"), keys=keys, given=given, streams=BOTH)


def each(words: tuple[str, ...], act: Callable[[Record], object], *, say_name: bool = True) -> int:
    """Do something to each container, and say its word; 1 when one of them failed."""
    from coso.cli.main import say

    failed = False
    for word in words:
        try:
            act(record.find(word))
            if say_name:
                sys.stdout.write(f"{word}\n")
                sys.stdout.flush()
        except (CosoError, OSError) as error:
            failed = True
            say(error)
    return 1 if failed else 0
