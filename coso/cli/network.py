"""`coso network …`: named networks; `coso port`."""

from __future__ import annotations

import os
import sys

from coso.errors import CosoError, PrivilegeError, UsageError
from coso.flags import Option, Words, parse, usage

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Callable

HELP = """coso network COMMAND …: networks that containers meet on

  coso network create [OPTIONS] NAME
  coso network ls [--quiet] [--format json]
  coso network inspect NAME …
  coso network rm NAME …
  coso network prune
  coso network connect [OPTIONS] NAME CONTAINER
  coso network disconnect NAME CONTAINER

Networks come onto the host with their first container and go after the last.
`coso` is the network of containers that name none.

create takes
"""
CREATE = (
    Option("driver", "d", "bridge|macvlan|ipvlan", "kind of network (default bridge)"),
    Option("subnet", "", "ADDRESS/LENGTH", "subnet; one of each version", repeated=True),
    Option("gateway", "", "ADDRESS", "router (default the first address)", repeated=True),
    Option("ip-range", "", "ADDRESS/LENGTH", "take addresses from this part of the subnet"),
    Option("ipv6", "", "", "a subnet of version 6 as well"),
    Option("internal", "", "", "no way out, and none in"),
    Option("opt", "o", "KEY=VALUE", "mtu; parent and mode of macvlan and ipvlan", repeated=True),
    Option("label", "", "KEY=VALUE", "a label", repeated=True),
)
CONNECT = (
    Option("ip", "", "ADDRESS", "address"),
    Option("ip6", "", "ADDRESS", "address of version 6"),
    Option("mac-address", "", "ADDRESS", "Ethernet address"),
    Option("alias", "", "NAME", "one more name on the network", repeated=True),
)
LIST = (
    Option("quiet", "q", "", "only names"),
    Option("format", "", "table|json", "form of the list"),
)
HELP_OPTION = Option("help", "h", "", "print help")


def main(words: list[str]) -> int:
    """Carry out `coso network …` and return the exit status."""
    if not words or words[0].lstrip("-") in ("h", "help"):
        sys.stdout.write(HELP + usage(CREATE) + "\n\nconnect takes\n\n" + usage(CONNECT) + "\n")
        return 0 if words else 125
    name = {"list": "ls", "remove": "rm"}.get(words[0], words[0])
    if name not in COMMANDS:
        raise UsageError(f"coso network has no command {words[0]!r}", hint="see `coso network --help`")
    table, least, most, carry_out = COMMANDS[name]
    given = parse((*table, HELP_OPTION), words[1:], f"coso network {name}", anywhere=True)
    if given.on("help"):
        return main(["--help"])
    if not least <= len(given.rest) <= most:
        raise UsageError(f"coso network {name}: {len(given.rest)} names are given", hint="see `coso network --help`")
    if os.geteuid() != 0:
        raise PrivilegeError(f"coso network {name} needs root", hint="run it with sudo")
    return carry_out(given)


def _create(given: Words) -> int:
    from cosonet import manage

    sys.stdout.write(f"{manage.create(given.rest[0], given).name}\n")
    return 0


def _ls(given: Words) -> int:
    from cosonet import definition, manage

    form = given.last("format", "table")
    if form not in ("table", "json"):
        raise UsageError(f"--format {form!r} is not table or json")
    found = [manage.inspect(name) for name in definition.names()]
    if form == "json":
        _print_json(found)
        return 0
    if given.on("quiet"):
        sys.stdout.write("".join(f"{item['Name']}\n" for item in found))
        return 0
    sys.stdout.write(f"{'NAME':<20} {'DRIVER':<8} {'SUBNET':<20} {'CONTAINERS':>10}  INTERFACE\n")
    for item in found:
        pools = item["IPAM"]["Config"]  # type: ignore[index]
        subnet = pools[0]["Subnet"] if pools else "-"
        count = len(item["Containers"])  # type: ignore[arg-type]
        sys.stdout.write(f"{item['Name']:<20} {item['Driver']:<8} {subnet:<20} {count:>10}  {item['Interface']}\n")
    return 0


def _inspect(given: Words) -> int:
    from cosonet import manage

    _print_json([manage.inspect(name) for name in given.rest])
    return 0


def _print_json(tree: object) -> None:
    import json

    sys.stdout.write(json.dumps(tree, indent=2) + "\n")


def _rm(given: Words) -> int:
    from cosonet import manage

    failures = []
    for name in given.rest:
        try:
            manage.remove(name)
            sys.stdout.write(f"{name}\n")
        except CosoError as error:
            sys.stderr.write(f"coso: {error}\n")
            failures.append(error)
    return failures[0].exit_status if failures else 0


def _prune(_: Words) -> int:
    from cosonet import manage

    sys.stdout.write("".join(f"{name}\n" for name in manage.prune()))
    return 0


def _connect(given: Words) -> int:
    from coso.runtime.running import find
    from cosonet import cli
    from cosonet.attach import attach
    from cosonet.release import remove_later

    name, container = given.rest
    running = find(container)
    words = ["-network", name, "-hosts", running.hosts]
    for option, texts in (
        ("-ip", given.all("ip")),
        ("-ip6", given.all("ip6")),
        ("-mac", given.all("mac-address")),
        ("-name", running.names()),
        ("-alias", given.all("alias")),
    ):
        words += [word for text in texts for word in (option, text)]
    try:
        attach(running.pid, cli.wishes(words))
    except BaseException:
        remove_later()
        raise
    return 0


def _disconnect(given: Words) -> int:
    from coso.errors import NetworkError
    from coso.runtime.running import find
    from cosonet.owner import of_process
    from cosonet.release import release, remove_later

    name, container = given.rest
    running = find(container)
    if not release(of_process(running.pid, running.started), name, remove_link=True):
        raise NetworkError(f"the container {container} is not connected to the network {name}")
    sys.stdout.flush()
    remove_later()
    return 0


def port(words: list[str]) -> int:
    """`coso port CONTAINER [PORT[/PROTOCOL]]`: where published ports are."""
    from coso.runtime.running import find
    from cosonet import member
    from cosonet.listing import ports_of
    from cosonet.owner import of_process

    given = parse((HELP_OPTION,), words, "coso port", anywhere=True)
    if given.on("help") or not 1 <= len(given.rest) <= 2:
        sys.stdout.write("coso port CONTAINER [PORT[/tcp|udp]]: where the ports of a container are published\n")
        return 0 if given.on("help") else 125
    running = find(given.rest[0])
    connections = member.of(of_process(running.pid, running.started))
    lines = [line for one in connections for line in ports_of(one)]
    if len(given.rest) == 2:
        number, slash, protocol = given.rest[1].partition("/")
        wanted = f"{number}/{protocol if slash else 'tcp'} -> "
        lines = [line.removeprefix(wanted) for line in lines if line.startswith(wanted)]
        if not lines:
            raise CosoError(f"port {given.rest[1]} of {given.rest[0]} is not published")
    sys.stdout.write("".join(f"{line}\n" for line in lines))
    return 0


MANY = 1 << 20
COMMANDS: dict[str, tuple[tuple[Option, ...], int, int, Callable[[Words], int]]] = {
    "create": (CREATE, 1, 1, _create),
    "ls": (LIST, 0, 0, _ls),
    "inspect": ((), 1, MANY, _inspect),
    "rm": ((), 1, MANY, _rm),
    "prune": ((), 0, 0, _prune),
    "connect": (CONNECT, 2, 2, _connect),
    "disconnect": ((), 2, 2, _disconnect),
}
