"""The shared network: one bridge with a subnet that the host does not use, made by the first container
and removed after the last.

What it is stands in `/run/coso/network/state`, written before anything is
made; `ready` as its last word is added when everything is.  All changes
happen under a lock on that directory.
"""

from __future__ import annotations

import fcntl
import os
from _socket import inet_aton

from coso.errors import NetworkError
from coso.state import RUN, make_directories
from coso.value import replace, value
from cosonet import firewall, lease, netlink

DIRECTORY = f"{RUN}/network"
STATE = f"{DIRECTORY}/state"
BRIDGE = "coso0"
PREFIX = 22  # 1021 containers; a Linux bridge has 1024 ports (net/bridge/br_private.h, BR_MAX_PORTS).
CANDIDATES = tuple((10 << 24) + (second << 16) for second in (201, 202, 203, 211, 212, 213, 221, 222, 223)) + tuple(
    (172 << 24) + (second << 16) for second in (29, 28, 27)
)
ENODEV = 19
USUAL_MTU = 1500


@value
class Network:
    """The network as it stands: bridge, first address of the subnet, prefix length, MTU.

    `made_filter_table`: iptables' table was not there before, and goes with the network.
    """

    bridge: str
    base: int
    length: int
    mtu: int
    made_filter_table: bool = False

    @property
    def gateway(self) -> str:
        """The bridge's own address."""
        return lease.to_text(self.base + 1)

    @property
    def broadcast(self) -> str:
        """The subnet's last address."""
        return lease.to_text(self.base + (1 << 32 - self.length) - 1)

    @property
    def subnet(self) -> str:
        """The subnet as address/length."""
        return f"{lease.to_text(self.base)}/{self.length}"


class locked:  # noqa: N801  # used like the function it would be, were contextlib not 4 ms to import
    """Hold the network's lock: `with locked(): …`."""

    def __enter__(self) -> None:
        while True:
            make_directories(DIRECTORY, lease.DIRECTORY)
            self._fd = os.open(f"{DIRECTORY}/lock", os.O_CREAT | os.O_RDWR | os.O_CLOEXEC, 0o600)
            fcntl.flock(self._fd, fcntl.LOCK_EX)
            if os.fstat(self._fd).st_nlink:
                return
            os.close(self._fd)  # A tear-down has removed the file while we waited for it.

    def __exit__(self, *_: object) -> None:
        os.close(self._fd)


def ensure() -> Network:
    """The network, made where it is missing or half made. The caller holds the lock."""
    found = load()
    if found and _index(found.bridge):
        return found
    if os.path.exists(STATE):
        remove()
    network = Network(BRIDGE, free_subnet(), PREFIX, outer_mtu())
    _save(network, ready=False)
    try:
        network = _make(network)
    except BaseException:
        remove()
        raise
    _save(network, ready=True)
    return network


def load() -> Network | None:
    """The network that the state file describes, or None when it is not complete."""
    try:
        with open(STATE) as file:
            words = file.read().split()
    except FileNotFoundError:
        return None
    return _parse(words) if words[-1:] == ["ready"] else None


def _parse(words: list[str]) -> Network:
    return Network(words[0], int(words[1]), int(words[2]), int(words[3]), words[4] == "new-table")


def _save(network: Network, *, ready: bool) -> None:
    table = "new-table" if network.made_filter_table else "old-table"
    state = "ready" if ready else "making"
    text = f"{network.bridge} {network.base} {network.length} {network.mtu} {table} {state}\n"
    with open(f"{STATE}.new", "w") as file:
        file.write(text)
    os.rename(f"{STATE}.new", STATE)


def _make(network: Network) -> Network:
    if firewall.make_table(network.bridge, network.subnet):
        network = replace(network, made_filter_table=True)
        _save(network, ready=False)
    firewall.accept(network.bridge)
    gateway = inet_aton(network.gateway)
    with netlink.connect() as end:
        netlink.request(end, netlink.new_bridge(network.bridge, network.mtu, mac(gateway)))
        _refuse_ipv6(network.bridge)
        index = _index(network.bridge)
        address = netlink.new_address(index, gateway, network.length, inet_aton(network.broadcast))
        netlink.request(end, address, netlink.link_up(index))
    return network


def _refuse_ipv6(bridge: str) -> None:
    """Before the bridge is up: a container's router advertisement must not become the host's route (CVE-2020-13401)."""
    for key, text in (("accept_ra", "0"), ("disable_ipv6", "1")):
        try:
            with open(f"/proc/sys/net/ipv6/conf/{bridge}/{key}", "w") as file:
                file.write(text)
        except FileNotFoundError:
            return  # A host without IPv6.


def remove() -> None:
    """Take the network away, as far as it is there. The caller holds the lock."""
    try:
        with open(STATE) as file:
            made_filter_table = _parse(file.read().split()).made_filter_table
    except FileNotFoundError:
        made_filter_table = False
    firewall.close(BRIDGE, made_filter_table=made_filter_table)
    with netlink.connect() as end:
        try:
            netlink.request(end, netlink.delete_link(BRIDGE))
        except netlink.RefusedError as error:
            if error.errno != ENODEV:
                raise
    if os.path.exists(STATE):
        os.unlink(STATE)


def _index(name: str) -> int:
    with netlink.control() as end:
        return netlink.index_of(end, name)


def mac(address: bytes) -> bytes:
    """A locally administered Ethernet address, derived from the IPv4 address: as unique as that is."""
    return b"\x02\xc0" + address


def free_subnet() -> int:
    """The first candidate that no route of the host overlaps. Raises NetworkError."""
    taken = _routes()
    size = 1 << 32 - PREFIX
    for base in CANDIDATES:
        if all(base + size <= first or last < base for first, last in taken):
            return base
    raise NetworkError("no subnet is free: the host has routes to every candidate", hint="see `ip route`")


def _routes() -> list[tuple[int, int]]:
    """First and last address of each route but the default one (proc(5), /proc/net/route: little-endian words)."""
    ranges = []
    with open("/proc/net/route") as file:
        for line in file.readlines()[1:]:
            words = line.split()
            base, mask = (int.from_bytes(bytes.fromhex(words[at]), "little") for at in (1, 7))
            if mask:
                ranges.append((base, base | ~mask & 0xFFFFFFFF))
    return ranges


def outer_mtu() -> int:
    """The MTU of the interface with the default route: larger packets would be lost beyond it."""
    with open("/proc/net/route") as file:
        for line in file.readlines()[1:]:
            words = line.split()
            if words[1] == "00000000":
                with netlink.control() as end:
                    return netlink.mtu_of(end, words[0]) or USUAL_MTU
    return USUAL_MTU
