"""Networks, as people manage them: create, list, inspect, remove, connect, disconnect."""

from __future__ import annotations

import os
import time

from coso.errors import NetworkError, UsageError
from coso.value import replace
from cosonet import definition, member, network, owner, release
from cosonet.address import Subnet, parse, parse_subnet
from cosonet.definition import DEFAULT, DRIVERS, RESERVED, Network
from cosonet.listing import ports_of
from cosonet.netlink import MODES

TYPE_CHECKING = False
if TYPE_CHECKING:
    from coso.flags import Words

# Where subnets of networks that name none are taken from.
POOL = tuple(
    Subnet(4, (10 << 24) + (second << 16) + third * 1024, network.LENGTH)
    for second in (231, 232, 233)
    for third in range(64)
)
OPTIONS = {"parent", "mode", "mtu"}
USUAL_MODES = {"macvlan": "bridge", "ipvlan": "l2"}
LARGEST_MTU, LEAST_MTU6 = 65535, 1280


def create(name: str, words: Words) -> Network:
    """Define a network; nothing is made on the host before its first container. Raises CosoError."""
    definition.check_name(name)
    if name in (*RESERVED, DEFAULT):
        raise UsageError(f"{name!r} cannot be the name of a network: the word means something else")
    driver = words.last("driver", "bridge")
    if driver not in DRIVERS:
        raise UsageError(f"--driver {driver!r} is not one of {', '.join(DRIVERS)}")
    options = _options(words)
    labels = dict(text.partition("=")[::2] for text in words.all("label"))
    wanted = Network(name, driver, mtu=_mtu(options), internal=words.on("internal"), labels=labels)
    with network.locked():
        wanted = _with_addresses(wanted, words)
        if driver == "bridge":
            if extra := options.keys() & {"parent", "mode"}:
                raise UsageError(f"--opt {sorted(extra)[0]} is for macvlan and ipvlan; a bridge has no parent")
            wanted = replace(wanted, bridge=_free_bridge())
        else:
            wanted = _upper(wanted, options)
        wanted = replace(wanted, created=time.strftime("%Y-%m-%dT%H:%M:%SZ", time.gmtime()))
        definition.save(wanted)
    return wanted


def _options(words: Words) -> dict[str, str]:
    found = dict(text.partition("=")[::2] for text in words.all("opt"))
    for key in found.keys() - OPTIONS:
        raise UsageError(f"--opt {key!r} is not known", hint=f"{', '.join(sorted(OPTIONS))} are")
    return found


def _mtu(options: dict[str, str]) -> int:
    text = options.get("mtu", "")
    if not text:
        return 0
    if not text.isdecimal() or not 68 <= int(text) <= LARGEST_MTU:
        raise UsageError(f"--opt mtu={text!r} is not a number from 68 to {LARGEST_MTU}")
    return int(text)


def _with_addresses(wanted: Network, words: Words) -> Network:
    subnets = {4: "", 6: ""}
    for text in words.all("subnet"):
        subnet = parse_subnet(text, "--subnet")
        if subnets[subnet.version]:
            raise UsageError(f"--subnet {text!r}: a network has one subnet of version {subnet.version}")
        _check_size(subnet)
        if wanted.is_bridge:
            network.refuse_overlap(subnet, wanted.name)
        subnets[subnet.version] = subnet.text
    if not subnets[4]:
        if not wanted.is_bridge:
            raise UsageError(f"a {wanted.driver} network needs --subnet: that of the network it becomes part of")
        subnets[4] = network.free_subnet(POOL, wanted.name).text
    if words.on("ipv6") and not subnets[6]:
        subnets[6] = _unique_local().text
    found = replace(wanted, subnet=subnets[4], subnet6=subnets[6])
    if subnets[6] and 0 < found.mtu < LEAST_MTU6:
        raise UsageError(f"--opt mtu={found.mtu}: IPv6 needs {LEAST_MTU6} at least")
    gateways = {4: "", 6: ""}
    for text in words.all("gateway"):
        address = parse(text, "--gateway")
        mine = [subnet for subnet in found.subnets() if subnet.has(address)]
        if not mine:
            raise UsageError(f"--gateway {text!r} is in no subnet of the network")
        if address.number in (mine[0].base, mine[0].last):
            raise UsageError(f"--gateway {text!r} is the first or last address of {mine[0].text}, and nobody's")
        if gateways[address.version]:
            raise UsageError(f"--gateway {text!r}: a network has one gateway of version {address.version}")
        gateways[address.version] = address.text
    found = replace(found, gateway=gateways[4], gateway6=gateways[6])
    if text := words.last("ip-range"):
        pool, whole = parse_subnet(text, "--ip-range"), found.subnets()[0]
        if not (whole.has(pool.at(0)) and whole.has(pool.at(pool.size - 1))):
            raise UsageError(f"--ip-range {text!r} is not in {whole.text}")
        found = replace(found, ip_range=pool.text)
    return found


def _check_size(subnet: Subnet) -> None:
    if subnet.size < 4:
        raise UsageError(f"--subnet {subnet.text!r} has no room: it needs an address for the gateway and a container")


def _unique_local() -> Subnet:
    """A subnet that is nobody else's, by chance (RFC 4193)."""
    return Subnet(6, int.from_bytes(b"\xfd" + os.urandom(5) + bytes(10), "big"), 64)


def _upper(wanted: Network, options: dict[str, str]) -> Network:
    parent, mode = options.get("parent", ""), options.get("mode", USUAL_MODES[wanted.driver])
    if not parent:
        raise UsageError(f"a {wanted.driver} network needs --opt parent=INTERFACE", hint="see `ip link`")
    known = MODES[wanted.driver][1]
    if mode not in known:
        raise UsageError(f"--opt mode={mode!r} is not one of {', '.join(known)}")
    if wanted.internal:
        raise UsageError(f"--internal: a {wanted.driver} network is part of the network outside")
    return replace(wanted, parent=parent, mode=mode)


def _free_bridge() -> str:
    taken = {definition.load(name).bridge for name in definition.names()}
    number = 1
    while f"coso{number}" in taken or os.path.exists(f"/sys/class/net/coso{number}"):
        number += 1
    return f"coso{number}"


def inspect(name: str) -> dict[str, object]:
    """All that is known of a network, in the words of Docker's `network inspect`. Raises NetworkError."""
    defined = definition.load(name)
    found = network.load(name) or defined
    pairs = zip(found.subnets(), [*found.gateways(), None, None], strict=False)
    pools = [
        {"Subnet": subnet.text, "Gateway": gateway.text if gateway else ""}
        | ({"IPRange": found.ip_range} if found.ip_range and subnet.version == 4 else {})
        for subnet, gateway in pairs
    ]
    options = {"mtu": str(found.mtu)} if found.mtu else {}
    options |= {key: text for key, text in (("parent", found.parent), ("mode", found.mode)) if text}
    return {
        "Name": name,
        "Driver": found.driver,
        "Created": found.created,
        "Scope": "local",
        "EnableIPv6": bool(found.subnet6),
        "IPAM": {"Driver": "default", "Config": pools},
        "Internal": found.internal,
        "Interface": found.bridge or found.parent,
        "Made": network.load(name) is not None,
        "Options": options,
        "Labels": found.labels,
        "Containers": {one.owner: _member(one) for one in member.everybody(name)},
    }


def _member(one: member.Member) -> dict[str, object]:
    return {
        "Pid": owner.pid_of(one.owner),
        "Names": one.names,
        "Interface": one.interface,
        "HostLink": one.host_link,
        "MacAddress": one.mac,
        "IPv4Address": one.address,
        "IPv6Address": one.address6,
        "Ports": ports_of(one),
        "Alive": one.is_alive,
    }


def remove(name: str) -> None:
    """Forget a network that nobody uses; raises NetworkError."""
    definition.load(name)
    if name == DEFAULT:
        raise NetworkError(f"the network {name} is always there", hint="`cosonet gc` takes it off the host")
    with network.locked():
        release.drop_dead(name)
        if users := [one for one in member.everybody(name) if one.is_alive]:
            who = ", ".join(owner.name_of(one.owner) for one in users)
            raise NetworkError(f"the network {name} is in use by {who}", hint="end these, or disconnect them")
        network.remove(name)
        definition.forget(name)


def prune() -> list[str]:
    """Forget every network that people have made and nobody uses; return their names."""
    removed = []
    for name in definition.names():
        if name == DEFAULT:
            continue
        try:
            remove(name)
            removed.append(name)
        except NetworkError:
            continue  # It has come into use, or gone, at this moment.
    return removed
