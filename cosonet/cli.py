"""The program: `cosonet -pid PID`, and what looks after networks: release, list, gc, reload, doctor."""

from __future__ import annotations

import os
import sys

from coso.errors import CosoError, PrivilegeError, UsageError
from coso.flags import Option, Words, parse

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Callable

    from coso.steps import Observer
    from cosonet.attach import Wishes

HELP = """cosonet: connects containers to networks

  cosonet -pid PID [OPTIONS]    connect the network namespace of a process; exit 0 when traffic can flow
  cosonet release -pid PID      give back what a process has: addresses, ports, names
  cosonet list                  who is connected: address, network, pid, command, link, ports
  cosonet gc                    end connections of dead processes, remove networks that nobody uses
  cosonet reload                make rules and links anew after somebody has removed them
  cosonet doctor                explain what keeps traffic from flowing, and what mends it

Called without words and with CNI_COMMAND set, it is a CNI plugin.

"""
PID = Option("pid", "", "PID", "process")
NETWORK = Option("network", "", "NAME", "network (default coso)")
ATTACH = (
    NETWORK,
    Option("ip", "", "ADDRESS", "address (default a free one)"),
    Option("ip6", "", "ADDRESS", "address of version 6"),
    Option("mac", "", "ADDRESS", "Ethernet address (default derived from the address)"),
    Option("interface", "", "NAME", "interface inside (default eth0, or the next that is free)"),
    Option("name", "", "NAME", "name on the network: the container's", repeated=True),
    Option("alias", "", "NAME", "one more name on the network", repeated=True),
    Option("hosts", "", "FILE", "hosts file of the container, kept up to date"),
    Option("publish", "", "[IP:]HOST:PORT[/udp]", "lead a port of the host (127.0.0.1) inside", repeated=True),
)
EXPLAIN = Option("explain", "", "", "print each step")
HELP_OPTION = Option("help", "h", "", "print help")
OPTIONS = (PID, *ATTACH, EXPLAIN, HELP_OPTION)


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
    command = words[0] if words and words[0] in COMMANDS else ""
    table = {"": OPTIONS, "release": (PID, NETWORK, HELP_OPTION)}.get(command, (HELP_OPTION,))
    given = parse(table, words[bool(command) :], f"cosonet {command}".strip())
    if given.on("help") or not words:
        from coso.flags import usage

        sys.stdout.write(HELP + usage(OPTIONS) + "\n")
        return 0 if words else 125
    if given.rest:
        raise UsageError(f"unexpected word {given.rest[0]!r}", hint="see `cosonet --help`")
    if os.geteuid() != 0:
        raise PrivilegeError("cosonet needs root", hint="run it with sudo; it is never installed setuid")
    return COMMANDS[command](given) if command else _attach(given)


def wishes(words: list[str]) -> Wishes:
    """What the words of the contract after `-pid PID` ask for; raises UsageError."""
    return _wishes(parse(ATTACH, words, "cosonet"))


def _wishes(given: Words) -> Wishes:
    from cosonet.attach import Wishes
    from cosonet.definition import DEFAULT
    from cosonet.publish import parse_publish

    for option in ("name", "alias"):
        for name in given.all(option):
            if not name or set(name) & set(" \t\r\n#"):
                raise UsageError(f"-{option} {name!r} is not one word")
    interface = given.last("interface")
    if interface and (len(interface) > 15 or set(interface) & set("/ \t\n:")):
        raise UsageError(f"-interface {interface!r} cannot be the name of an interface", hint="up to 15 characters")
    return Wishes(
        network=given.last("network", DEFAULT),
        ip=given.last("ip"),
        ip6=given.last("ip6"),
        mac=given.last("mac"),
        interface=interface,
        names=tuple(given.all("name")),
        aliases=tuple(given.all("alias")),
        hosts=given.last("hosts"),
        publish=tuple(item for text in given.all("publish") for item in parse_publish(text)),
    )


def _pid(given: Words) -> int:
    text = given.last("pid")
    if not text.isdecimal() or int(text) < 1:
        raise UsageError(f"-pid {text!r} is not a process id", hint="see `cosonet --help`")
    return int(text)


def _attach(given: Words) -> int:
    from cosonet.attach import attach

    pid = _pid(given)
    try:
        attach(pid, _wishes(given), _explainer() if given.on("explain") else None)
    except BaseException:
        from cosonet.release import remove_unused

        remove_unused()
        raise
    return 0


def _explainer() -> Observer:
    """Print each step when it is done, with its microseconds."""
    from time import perf_counter_ns

    begun = 0

    def observe(moment: str, step: object) -> None:
        nonlocal begun
        if moment == "before":
            begun = perf_counter_ns()
            return
        spent = (perf_counter_ns() - begun) // 1000
        sys.stdout.write(f"{step.name}: {step.what}\n  {step.call}  {spent} µs\n  {step.why}  [{step.man}]\n")  # type: ignore[attr-defined]

    return observe


def _release(given: Words) -> int:
    from cosonet.owner import of_process
    from cosonet.release import release, remove_unused

    gone = release(of_process(_pid(given)), given.last("network"))
    remove_unused()
    for one in gone:
        for address in one.addresses:
            sys.stdout.write(f"released {address}\n")
    return 0


def _collect(_: Words) -> int:
    from cosonet.release import collect

    for item in collect():
        sys.stdout.write(f"removed {item}\n")
    return 0


def _list(_: Words) -> int:
    from cosonet.listing import lines

    sys.stdout.write("\n".join(lines()) + "\n")
    return 0


def _reload(_: Words) -> int:
    from cosonet.reload import reload

    for item in reload():
        sys.stdout.write(f"{item}\n")
    return 0


def _doctor(_: Words) -> int:
    from cosonet.doctor import report

    return report(sys.stdout.write)


COMMANDS: dict[str, Callable[[Words], int]] = {
    "release": _release,
    "list": _list,
    "gc": _collect,
    "reload": _reload,
    "doctor": _doctor,
}


def entry() -> None:
    """The installed program."""
    from coso import bundle

    sys.stdout = sys.stdout or open(os.devnull, "w")
    sys.stderr = sys.stderr or open(os.devnull, "w")
    if len(sys.argv) == 1 and "CNI_COMMAND" in os.environ:
        from cosonet import cni

        status = cni.main()
    else:
        status = main(sys.argv[1:])
    bundle.write()
    sys.stdout.flush()
    os._exit(status)
