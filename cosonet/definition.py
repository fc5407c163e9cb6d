"""Networks as people define them: a JSON file each in /var/lib/coso/networks; and one by default that nobody makes.

A definition outlives containers and reboots.  What of it stands on the host
at the moment is the business of cosonet.network.
"""

from __future__ import annotations

import os

from coso import quickjson
from coso.errors import NetworkError, UsageError
from coso.state import LIB, make_directories
from coso.value import fields_of, names_of, value
from cosonet.address import Address, Subnet, parse, parse_subnet

DIRECTORY = f"{LIB}/networks"
DEFAULT = "coso"
DRIVERS = ("bridge", "macvlan", "ipvlan")
# Words of --network that mean something else, with Docker too.
RESERVED = ("bridge", "container", "default", "host", "none")
ALLOWED = frozenset("abcdefghijklmnopqrstuvwxyzABCDEFGHIJKLMNOPQRSTUVWXYZ0123456789_.-")
LONGEST_NAME = 63


@value
class Network:
    """A network: addresses are text, and empty as long as nobody has chosen them; `mtu` 0 is the host's."""

    name: str
    driver: str = "bridge"
    bridge: str = ""
    subnet: str = ""
    gateway: str = ""
    ip_range: str = ""
    subnet6: str = ""
    gateway6: str = ""
    mtu: int = 0
    internal: bool = False
    parent: str = ""
    mode: str = ""
    labels: dict[str, str] = {}  # noqa: RUF012  # a value: frozen like the others
    created: str = ""

    @property
    def is_bridge(self) -> bool:
        """Whether it is a bridge of ours, and not a part of somebody else's network."""
        return self.driver == "bridge"

    def subnets(self) -> list[Subnet]:
        """Its subnets, that of version 4 first."""
        return [parse_subnet(text, "subnet") for text in (self.subnet, self.subnet6) if text]

    def gateways(self) -> list[Address]:
        """The routers of its subnets, in the same order; on a bridge, the bridge itself."""
        return [parse(text, "gateway") for text in (self.gateway, self.gateway6) if text]


def load(name: str) -> Network:
    """The definition of a network; raises NetworkError when there is none of that name."""
    try:
        with open(f"{DIRECTORY}/{check_name(name)}.json", encoding="utf-8") as file:
            return from_text(file.read())
    except FileNotFoundError:
        if name == DEFAULT:
            return Network(DEFAULT, bridge="coso0")
    raise NetworkError(f"there is no network {name!r}", hint=f"`coso network create {name}`, or see `coso network ls`")


def from_text(text: str) -> Network:
    """A definition from its JSON; raises NetworkError for a damaged one."""
    try:
        known = quickjson.loads(text)
        return Network(**{name: known[name] for name in names_of(Network) if name in known})
    except (ValueError, TypeError) as error:
        raise NetworkError(f"the definition of a network cannot be read: {error}") from None


def to_text(network: Network) -> str:
    """A definition as JSON."""
    known = fields_of(network)
    return quickjson.dumps(known) + "\n"


def save(network: Network) -> None:
    """Keep a new definition; raises NetworkError when the name is taken. The caller holds the networks' lock."""
    make_directories(DIRECTORY)
    path, beside = f"{DIRECTORY}/{network.name}.json", f"{DIRECTORY}/.new"
    fd = os.open(beside, os.O_CREAT | os.O_WRONLY | os.O_TRUNC | os.O_CLOEXEC, 0o600)
    try:
        os.write(fd, to_text(network).encode())
        os.link(beside, path)
    except FileExistsError:
        raise NetworkError(f"a network {network.name!r} exists already", hint="`coso network ls` lists them") from None
    finally:
        os.close(fd)
        os.unlink(beside)


def forget(name: str) -> None:
    """Remove a definition."""
    os.unlink(f"{DIRECTORY}/{name}.json")


def names() -> list[str]:
    """The names of all networks, the default one first."""
    try:
        found = sorted(name[:-5] for name in os.listdir(DIRECTORY) if name.endswith(".json"))
    except FileNotFoundError:
        found = []
    return [DEFAULT, *(name for name in found if name != DEFAULT)]


def check_name(name: str) -> str:
    """The name, if it can be one; raises UsageError."""
    good = name and len(name) <= LONGEST_NAME and not set(name) - ALLOWED and name[0] not in "_.-"
    if not good:
        raise UsageError(
            f"the network name {name!r} is not valid",
            hint=f"up to {LONGEST_NAME} letters, digits and _ . - with a letter or digit first",
        )
    return name
