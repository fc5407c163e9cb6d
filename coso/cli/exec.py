"""`coso exec`."""

from __future__ import annotations

import os
import sys

from coso.engine import inside, record
from coso.engine.adopt import adopt
from coso.errors import UsageError
from coso.flags import Option, read_words
from coso.spec import Process, Spec
from coso.spec.build import lines_of
from coso.value import replace

OPTIONS = (
    Option("detach", "d", "", "do not wait for its end"),
    Option("interactive", "i", "", "pass standard input on"),
    Option("tty", "t", "", "give it a terminal"),
    Option("env", "e", "NAME[=VALUE]", "environment variable", repeated=True),
    Option("env-file", "", "FILE", "environment variables, a line each", repeated=True),
    Option("user", "u", "NAME|UID[:GROUP]", "user (default the container's)"),
    Option("workdir", "w", "PATH", "working directory (default the container's)"),
    Option("privileged", "", "", "every capability over the container's namespaces"),
    Option("detach-keys", "", "KEYS", "(exec ends with its command)"),
)


def main(words: list[str]) -> int:
    """Run a command in a container and return its exit status."""
    given = read_words(OPTIONS, words, "coso exec [OPTIONS] CONTAINER COMMAND [ARGUMENT …]", least=2, anywhere=False)
    if given is None:
        return 0
    adopt()
    one = record.find(given.rest[0])
    if one.option("userns") == "host":
        from coso.runtime.protect import protect_interpreter

        # Root inside is the host's: what it finds as /proc/PID/exe of the newcomer must be out of its reach.
        protect_interpreter()
    terminal, interactive, detach = given.on("tty"), given.on("interactive"), given.on("detach")
    if terminal and interactive and not detach and not os.isatty(0):
        raise UsageError(
            "-t and -i are given, and standard input is not a terminal",
            hint="leave out -t when input comes from a pipe or a file",
        )
    spec = inside.spec_of(one)
    given_variables: dict[str, str] = {"TERM": os.environ.get("TERM", "xterm")} if terminal else {}
    for text in [*(line for path in given.all("env-file") for line in lines_of(path)), *given.all("env")]:
        name, equals, content = text.partition("=")
        if not name:
            raise UsageError(f"--env {text!r} has no name")
        if equals or name in os.environ:
            given_variables[name] = content if equals else os.environ[name]
    directory = given.last("workdir")
    if directory and not directory.startswith("/"):
        raise UsageError(f"--workdir {directory!r} is not an absolute path")
    wanted = inside.process_of(
        spec,
        given.rest[1:],
        variables=given_variables,
        user=given.last("user"),
        directory=directory,
        privileged=given.on("privileged"),
    )
    wanted = replace(wanted, terminal=terminal and not detach, interactive=interactive and not detach)
    if detach:
        return _in_background(one, spec, wanted)
    return inside.execute(one, spec, wanted, detach=False)


def _in_background(one: record.Record, spec: Spec, wanted: Process) -> int:
    """Let go of this process's streams: what runs on must not keep whoever waits for their end."""
    null = os.open("/dev/null", os.O_RDWR)
    kept = os.dup(2)
    os.set_inheritable(kept, False)
    for fd in (0, 1, 2):
        os.dup2(null, fd)
    try:
        return inside.execute(one, spec, wanted, detach=True)
    finally:
        sys.stdout = sys.stderr
        os.dup2(kept, 2)
