"""Networks as they stand on the host: bridges and rules, made by the first container and removed after the last.

What is made of a network stands in `/run/coso/network/made/NAME`, written
before anything is made; `ready` is said there when everything is.  All
changes happen under one lock.
"""

from __future__ import annotations

import fcntl
import os

from coso.errors import NetworkError
from coso.state import RUN, make_directories
from coso.value import replace
from cosonet import definition, firewall, lease, member, netlink
from cosonet.address import Address, Subnet
from cosonet.definition import Network
from cosonet.elements import mac_of

DIRECTORY = f"{RUN}/network"
MADE = f"{DIRECTORY}/made"
# iptables' table was not there before us, and goes with the last network.
FILTER_TABLE = f"{DIRECTORY}/filter-table"
READY = "ready"
LENGTH = 22  # 1021 containers; a Linux bridge has 1024 ports (net/bridge/br_private.h, BR_MAX_PORTS).
DEFAULTS = tuple(
    Subnet(4, (first << 24) + (second << 16), LENGTH)
    for first, seconds in ((10, (201, 202, 203, 211, 212, 213, 221, 222, 223)), (172, (29, 28, 27)))
    for second in seconds
)
USUAL_MTU = 1500
SHORTEST = {4: 4, 6: 8}


class locked:  # noqa: N801  # used like the function it would be, were contextlib not 4 ms to import
    """Hold the lock of all networks: `with locked(): …`."""

    def __enter__(self) -> None:
        while True:
            make_directories(DIRECTORY)
            self._fd = os.open(f"{DIRECTORY}/lock", os.O_CREAT | os.O_RDWR | os.O_CLOEXEC, 0o600)
            fcntl.flock(self._fd, fcntl.LOCK_EX)
            if os.fstat(self._fd).st_nlink:
                return
            os.close(self._fd)  # A tear-down has removed the file while we waited for it.

    def __exit__(self, *_: object) -> None:
        os.close(self._fd)


def ensure(name: str) -> Network:
    """A network, made where it is missing or half made. The caller holds the lock."""
    found = load(name)
    if found and (not found.is_bridge or _index(found.bridge)):
        return found
    if os.path.exists(f"{MADE}/{name}"):
        remove(name)
    network = resolved(definition.load(name))
    if network.is_bridge and _index(network.bridge):
        raise NetworkError(
            f"the interface {network.bridge} is there, and is not coso's",
            hint=f"`ip link del {network.bridge}`, should nobody need it",
        )
    _save(network, ready=False)
    try:
        if network.is_bridge:
            _make(network)
        elif not _index(network.parent):
            raise NetworkError(f"the parent {network.parent} of the network {name} is not there", hint="see `ip link`")
    except BaseException:
        remove(name)
        raise
    _save(network, ready=True)
    return network


def load(name: str) -> Network | None:
    """A network that is made whole, or None."""
    try:
        with open(f"{MADE}/{name}", encoding="utf-8") as file:
            text, _, state = file.read().partition("\n")
    except FileNotFoundError:
        return None
    return definition.from_text(text) if state.strip() == READY else None


def made() -> list[Network]:
    """Every network that is made whole."""
    return [network for network in map(load, names()) if network]


def last_use(name: str) -> float:
    """When somebody was last connected, or the network made."""
    try:
        return max(lease.last_use(name), os.stat(f"{MADE}/{name}").st_mtime)
    except FileNotFoundError:
        return 0.0


def names() -> list[str]:
    """Every network of which something may be made."""
    try:
        return sorted(name for name in os.listdir(MADE) if not name.startswith("."))
    except FileNotFoundError:
        return []


def _save(network: Network, *, ready: bool) -> None:
    make_directories(MADE)
    path = f"{MADE}/.{network.name}"
    with open(path, "w", encoding="utf-8") as file:
        file.write(definition.to_text(network) + (f"{READY}\n" if ready else "making\n"))
    os.rename(path, f"{MADE}/{network.name}")


def resolved(network: Network) -> Network:
    """A definition with what is chosen on this host, at this moment. Raises NetworkError."""
    if not network.is_bridge:
        return network
    known = network
    if not known.subnet:
        known = replace(known, subnet=free_subnet(DEFAULTS, known.name).text)
    else:
        for subnet in known.subnets():
            refuse_overlap(subnet, known.name, known.bridge)
    gateway, gateway6 = ([*(subnet.at(1).text for subnet in known.subnets()), ""])[:2]
    mtu = known.mtu or outer_mtu()
    return replace(known, gateway=known.gateway or gateway, gateway6=known.gateway6 or gateway6, mtu=mtu)


def _make(network: Network) -> None:
    if firewall.apply([*made(), network], member.everybody()):
        with open(FILTER_TABLE, "w"):
            pass
    firewall.accept(network.bridge, version6=bool(network.subnet6))
    make_bridge(network)


def make_bridge(network: Network) -> None:
    """Make the link of a network, with its addresses, and bring it up."""
    gateways = network.gateways()
    with netlink.connect() as end:
        mac = bytes.fromhex(mac_of(gateways[0]).replace(":", ""))
        netlink.request(end, netlink.new_bridge(network.bridge, network.mtu, mac))
        _set_up_kernel(network)
        index = _index(network.bridge)
        pairs = zip(network.subnets(), gateways, strict=True)
        addresses = [netlink.new_address(index, gateway.packed, subnet.length) for subnet, gateway in pairs]
        netlink.request(end, *addresses, netlink.link_up(index))


def _set_up_kernel(network: Network) -> None:
    """Before the bridge is up: a container's router advertisement must not become the host's route (CVE-2020-13401).

    Answers of the host to itself carry 127.0.0.1, which may cross a bridge
    only where route_localnet says so; a rule keeps containers from using that.
    """
    settings = (
        ("ipv6", "accept_ra", "0"),
        # Without a link-local address of its own, no router asks for neighbours: for a second or two, while it waits
        # for others to claim it (RFC 4862, 5.4).
        ("ipv6", "accept_dad", "0"),
        ("ipv6", "disable_ipv6", "0" if network.subnet6 else "1"),
        ("ipv4", "route_localnet", "1"),
    )
    for family, key, text in settings:
        try:
            with open(f"/proc/sys/net/{family}/conf/{network.bridge}/{key}", "w") as file:
                file.write(text)
        except FileNotFoundError:
            continue  # A host without IPv6.


def remove(name: str) -> None:
    """Take a network away, as far as it is there. The caller holds the lock."""
    try:
        with open(f"{MADE}/{name}", encoding="utf-8") as file:
            network = definition.from_text(file.readline())
    except FileNotFoundError:
        return
    if network.is_bridge:
        others = [other for other in made() if other.name != name]
        firewall.close(network.bridge)
        firewall.apply(others, member.everybody())
        if not any(other.is_bridge for other in others) and os.path.exists(FILTER_TABLE):
            firewall.remove_filter_table()
            os.unlink(FILTER_TABLE)
        delete_link(network.bridge)
    try:
        os.rmdir(lease.directory(name))
    except OSError:
        pass
    os.unlink(f"{MADE}/{name}")


def delete_link(name: str) -> None:
    """Remove a link of this network namespace, if it is there."""
    with netlink.connect() as end:
        try:
            netlink.request(end, netlink.delete_link(name))
        except netlink.RefusedError as error:
            if error.errno != netlink.ENODEV:
                raise


def _index(name: str) -> int:
    with netlink.control() as end:
        return netlink.index_of(end, name)


def free_subnet(candidates: tuple[Subnet, ...], name: str) -> Subnet:
    """The first candidate that no route of the host and no other network overlaps. Raises NetworkError."""
    taken = [*routes(), *_of_others(name)]
    for subnet in candidates:
        if not any(subnet.overlaps(other) for other in taken):
            return subnet
    raise NetworkError(
        "no subnet is free: the host has routes to every candidate", hint="see `ip route`, and choose one by --subnet"
    )


def refuse_overlap(subnet: Subnet, name: str, bridge: str = "") -> None:
    """Raise NetworkError where a subnet is the host's, or another network's; what a half-made bridge has is its own."""
    for other in _of_others(name):
        if subnet.overlaps(other):
            raise NetworkError(f"the subnet {subnet.text} overlaps {other.text} of another network")
    for other in routes(bridge):
        if subnet.overlaps(other):
            raise NetworkError(
                f"the subnet {subnet.text} overlaps the host's route to {other.text}",
                hint="choose another by --subnet; see `ip route`",
            )


def _of_others(name: str) -> list[Subnet]:
    others = [*made(), *(definition.load(other) for other in definition.names())]
    return [subnet for other in others if other.name != name and other.is_bridge for subnet in other.subnets()]


def routes(but: str = "") -> list[Subnet]:
    """Where the host has routes to, those of an interface left out (proc(5), /proc/net/route and ipv6_route).

    The default routes are left out too, and the halves and quarters in which VPNs set them.
    """
    found = []
    with open("/proc/net/route") as file:
        for line in file.readlines()[1:]:
            words = line.split()
            base, mask = (int.from_bytes(bytes.fromhex(words[at]), "little") for at in (1, 7))
            if mask.bit_count() >= SHORTEST[4] and words[0] != but:
                found.append(Subnet(4, base, mask.bit_count()))
    try:
        with open("/proc/net/ipv6_route") as file:
            lines = file.readlines()
    except FileNotFoundError:
        return found
    for line in lines:
        words = line.split()
        base, length = int(words[0], 16), int(words[1], 16)
        # Link-local and multicast prefixes are every interface's.
        if (
            length >= SHORTEST[6]
            and words[9] != but
            and base >> 118 != 0xFE80 >> 6
            and base >> 120 != 0xFF
            and words[9] != "lo"
        ):
            found.append(Subnet(6, base, length))
    return found


def outer_mtu() -> int:
    """The MTU of the interface with the default route: larger packets would be lost beyond it."""
    with open("/proc/net/route") as file:
        for line in file.readlines()[1:]:
            words = line.split()
            if words[1] == "00000000":
                with netlink.control() as end:
                    return netlink.mtu_of(end, words[0]) or USUAL_MTU
    return USUAL_MTU


def check_forwarding(network: Network) -> None:
    """Raise NetworkError where the host would not pass on what containers send."""
    for version, path, setup in (
        (4, "net/ipv4/ip_forward", "invoke net-setup"),
        (6, "net/ipv6/conf/all/forwarding", "invoke net-setup --ipv6"),
    ):
        wanted = any(subnet.version == version for subnet in network.subnets())
        if not wanted or not network.is_bridge or network.internal:
            continue
        try:
            with open(f"/proc/sys/{path}") as file:
                forwards = file.read().strip() != "0"
        except FileNotFoundError:
            said = f"the network {network.name} has a subnet of version {version}, and the host has no such"
            raise NetworkError(said) from None
        if not forwards:
            key = path.replace("/", ".")
            raise NetworkError(
                f"the host does not forward packets: sysctl {key} is 0",
                hint=f"run `{setup}`, or `sysctl -w {key}=1`",
            )


def pool(network: Network, version: int) -> Subnet | None:
    """The subnet of a family, or None."""
    return next((subnet for subnet in network.subnets() if subnet.version == version), None)


def gateway(network: Network, version: int) -> Address | None:
    """The router of a family; none in an internal network."""
    found = [address for address in network.gateways() if address.version == version]
    return found[0] if found and not network.internal else None
