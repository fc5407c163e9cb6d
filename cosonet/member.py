"""Who is connected to what: a record for each owner and network, written before anything is made.

Release, roll-back, `gc` and `reload` go by these records alone.
"""

from __future__ import annotations

import os

from coso import quickjson
from coso.errors import NetworkError
from coso.state import RUN, make_directories
from coso.value import fields_of, value
from cosonet.owner import is_alive

DIRECTORY = f"{RUN}/network/members"

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Iterable

    # Protocol, the host's address or "" for every one, the host's port, the container's.
    Port = tuple[str, str, int, int]


@value
class Member:
    """An owner in a network: the interface inside, the link outside, its addresses, ports and names.

    `hosts` is the hosts file of its container, kept up to date; `host_link`
    is empty where no link of ours stays outside; `origin` is the name of the
    CNI configuration that asked for it.
    """

    owner: str
    network: str
    interface: str
    host_link: str
    address: str
    address6: str = ""
    mac: str = ""
    ports: list[Port] = []  # noqa: RUF012  # a value: frozen like the others
    names: list[str] = []  # noqa: RUF012
    hosts: str = ""
    origin: str = ""

    @property
    def addresses(self) -> list[str]:
        """Its addresses, that of version 4 first."""
        return [address for address in (self.address, self.address6) if address]

    @property
    def is_alive(self) -> bool:
        """Whether its owner is still there."""
        return is_alive(self.owner)


def _path(who: str, network: str) -> str:
    return f"{DIRECTORY}/{who}:{network}"


def write(member: Member) -> None:
    """Write a record, whole or not at all."""
    make_directories(DIRECTORY)
    known = fields_of(member)
    path = _path(member.owner, member.network)
    # No record begins with a dot: half a file is passed over.
    beside = f"{DIRECTORY}/.{os.path.basename(path)}"
    fd = os.open(beside, os.O_CREAT | os.O_WRONLY | os.O_TRUNC | os.O_CLOEXEC, 0o600)
    try:
        os.write(fd, quickjson.dumps(known).encode())
    finally:
        os.close(fd)
    os.rename(beside, path)


def forget(member: Member) -> None:
    """Remove a record."""
    try:
        os.unlink(_path(member.owner, member.network))
    except FileNotFoundError:
        pass


def of(who: str) -> list[Member]:
    """The connections of an owner."""
    begin = f"{who}:"
    return _read_all(name for name in _names() if name.startswith(begin))


def find(who: str, network: str) -> Member | None:
    """The connection of an owner to a network, or None."""
    name = f"{who}:{network}"
    return _read(name)


def everybody(network: str = "") -> list[Member]:
    """Every connection, or every one to a network."""
    return _read_all(name for name in _names() if not network or name.split(":", 2)[2] == network)


def dead() -> list[Member]:
    """The connections of owners that are gone."""
    return _read_all(name for name in _names() if not is_alive(name.rpartition(":")[0]))


def _names() -> list[str]:
    try:
        return sorted(name for name in os.listdir(DIRECTORY) if not name.startswith("."))
    except FileNotFoundError:
        return []


def _read_all(names: Iterable[str]) -> list[Member]:
    return [found for found in map(_read, names) if found]


def _read(name: str) -> Member | None:
    """A record; None where it has gone meanwhile."""
    try:
        with open(f"{DIRECTORY}/{name}", encoding="utf-8") as file:
            text = file.read()
    except FileNotFoundError:
        return None
    try:
        known = quickjson.loads(text)
        known["ports"] = [tuple(port) for port in known["ports"]]
        return Member(**known)
    except (ValueError, TypeError, KeyError) as error:
        raise NetworkError(f"the record {DIRECTORY}/{name} cannot be read: {error}") from None
