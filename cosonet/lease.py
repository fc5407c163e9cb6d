"""Addresses, leased to processes.

A lease is a symbolic link named like the address in the directory of its
network, pointing to its owner (cosonet.owner).  Whoever takes one holds the
network's lock.
"""

from __future__ import annotations

import os
from itertools import islice

from coso.errors import NetworkError
from coso.state import RUN, make_directories
from cosonet import owner
from cosonet.address import Address, Subnet, parse_subnet
from cosonet.definition import Network

DIRECTORY = f"{RUN}/network/leases"
# Addresses that are tried before all leases are looked at.
FEW = 16


def directory(network: str) -> str:
    """Where the leases of a network are."""
    return f"{DIRECTORY}/{network}"


def choose(network: Network, subnet: Subnet, wanted: Address | None) -> Address:
    """A free address of a subnet, or the one that is wanted. Raises NetworkError."""
    place = directory(network.name)
    make_directories(place)
    if wanted:
        return _fixed(network, subnet, wanted)
    pool = parse_subnet(network.ip_range, "ip-range") if network.ip_range and subnet.version == 4 else subnet
    kept = {address.number for address in network.gateways()} | {subnet.base, subnet.last}
    # An address is not used again soon: others still know the last owner's.
    begin = int.from_bytes(os.urandom(8), "big")
    # Of a huge subnet a part will do: it is never full.
    size = min(pool.size, 1 << 20)
    numbers = (pool.base + (begin + offset) % size for offset in range(size))
    rest = (Address(subnet.version, number) for number in numbers if number not in kept)
    for address in islice(rest, FEW):
        if not os.path.lexists(f"{place}/{address.text}"):
            return address
    # It is rather full: looking for each takes longer than a look at all.
    taken = set(os.listdir(place))
    for address in rest:
        if address.text not in taken:
            return address
    raise PoolError(
        f"all addresses of {pool.text} in the network {network.name} are leased",
        cause="as many containers run",
        hint=f"see `coso network inspect {network.name}`; end some containers, or use a larger subnet",
    )


class PoolError(NetworkError):
    """No address is left."""


def _fixed(network: Network, subnet: Subnet, wanted: Address) -> Address:
    if not subnet.has(wanted):
        raise NetworkError(f"the address {wanted.text} is not in {subnet.text}, the subnet of {network.name}")
    if wanted.number in (subnet.base, subnet.last) or wanted in network.gateways():
        raise NetworkError(f"the address {wanted.text} is the network's own: it names the subnet, or its gateway")
    holder = holder_of(network.name, wanted)
    if holder and owner.is_alive(holder):
        raise NetworkError(
            f"the address {wanted.text} is in use by {owner.name_of(holder)}",
            hint=f"`coso network inspect {network.name}` shows who has which",
        )
    return wanted


def holder_of(network: str, address: Address) -> str:
    """Who has an address, `""` when nobody has."""
    try:
        return os.readlink(f"{directory(network)}/{address.text}")
    except FileNotFoundError:
        return ""


def take(network: str, address: str, who: str) -> None:
    """Write a lease down."""
    os.symlink(who, f"{directory(network)}/{address}")


def give_back(network: str, address: str, who: str) -> None:
    """End a lease, if it is still of that owner."""
    owner.give_back(f"{directory(network)}/{address}", who)


def any_left(network: str) -> bool:
    """Whether anybody has a lease of a network."""
    try:
        return bool(os.listdir(directory(network)))
    except FileNotFoundError:
        return False


def last_use(network: str) -> float:
    """When the last lease of a network was taken or given back: its directory changed then."""
    try:
        return os.stat(directory(network)).st_mtime
    except FileNotFoundError:
        return 0.0
