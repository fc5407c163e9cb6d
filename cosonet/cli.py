"""The program: `cosonet -pid PID`, `cosonet release -pid PID`, `cosonet list`, `cosonet gc`."""

from __future__ import annotations

import os
import sys

from coso.cli.flags import Option, Words, parse
from coso.errors import CosoError, PrivilegeError, UsageError

HELP = """cosonet: connects containers to the network

  cosonet -pid PID           connect the network namespace of a process; exit 0 when traffic can flow
  cosonet release -pid PID   give the address of a process back
  cosonet list               leases: address, pid, command, link
  cosonet gc                 end leases of dead processes, remove the network when nobody uses it
"""
OPTIONS = (Option("pid", "", "PID", "process"), Option("help", "h", "", "print help"))
COMMANDS = ("release", "list", "gc")


def main(words: list[str]) -> int:
    """Carry out a command line and return the exit status; one line of cause on failure."""
    try:
        return _carry_out(words)
    except CosoError as error:
        hint = f"; {error.hint}" if error.hint else ""
        sys.stderr.write(f"cosonet: {error.message}{hint}\n")
        return error.exit_status
    except OSError as error:
        sys.stderr.write(f"cosonet: {error}\n")
        return 125


def _carry_out(words: list[str]) -> int:
    command = words[0] if words and words[0] in COMMANDS else "attach"
    given = parse(OPTIONS, words[command != "attach" :], "cosonet")
    if given.on("help") or not words:
        sys.stdout.write(HELP)
        return 0 if words else 125
    if given.rest:
        raise UsageError(f"unexpected word {given.rest[0]!r}", hint="see `cosonet --help`")
    if os.geteuid() != 0:
        raise PrivilegeError("cosonet needs root", hint="run it with sudo; it is never installed setuid")
    if command == "list":
        return _list()
    if command == "gc":
        return _collect()
    return _attach(given) if command == "attach" else _release(given)


def _pid(given: Words) -> int:
    text = given.last("pid")
    if not text.isdecimal() or int(text) < 1:
        raise UsageError(f"-pid {text!r} is not a process id", hint="see `cosonet --help`")
    return int(text)


def _attach(given: Words) -> int:
    from cosonet.attach import attach

    attach(_pid(given))
    return 0


def _release(given: Words) -> int:
    from cosonet.release import release, remove_unused

    addresses = release(_pid(given))
    remove_unused()
    for address in addresses:
        sys.stdout.write(f"released {address}\n")
    return 0


def _collect() -> int:
    from cosonet.release import collect

    for item in collect():
        sys.stdout.write(f"removed {item}\n")
    return 0


def _list() -> int:
    from cosonet.listing import lines

    sys.stdout.write("\n".join(lines()) + "\n")
    return 0


def entry() -> None:
    """The installed program."""
    sys.stdout = sys.stdout or open(os.devnull, "w")
    sys.stderr = sys.stderr or open(os.devnull, "w")
    status = main(sys.argv[1:])
    sys.stdout.flush()
    os._exit(status)
