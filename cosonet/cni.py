"""cosonet as a CNI plugin: ADD, DEL, CHECK, GC, STATUS, VERSION (CNI specification 1.1).

The configuration comes on standard input, the rest in the environment; the
answer goes to standard output, an error too.  `network` in the configuration
names one of coso's networks; without it there is one under the
configuration's own name, made from `subnet`, `ipv6`, `internal` and `mtu`.
"""

from __future__ import annotations

import json
import os
import sys

from coso.errors import CosoError, NetworkError
from coso.flags import Words
from coso.kernel.process import CLONE_NEWNET, setns
from cosonet import definition, manage, member, netlink, network, owner, release
from cosonet.address import BITS, parse
from cosonet.member import Member
from cosonet.publish import HIGHEST, PROTOCOLS, Publish

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Callable
    from typing import Any

    Config = dict[str, Any]

VERSIONS = ("0.3.0", "0.3.1", "0.4.0", "1.0.0", "1.1.0")
# Error codes of the specification ("Error"), and one of our own.
INCOMPATIBLE, INVALID_ENVIRONMENT, CANNOT_DECODE, INVALID_CONFIG, NOT_READY, FAILED = 1, 4, 6, 7, 50, 100
IDENTIFIER = frozenset("abcdefghijklmnopqrstuvwxyzABCDEFGHIJKLMNOPQRSTUVWXYZ0123456789_.-")
LONGEST_INTERFACE = 15


class CniError(CosoError):
    """An error with its number."""

    def __init__(self, code: int, message: str, details: str = "") -> None:
        super().__init__(message, cause=details)
        self.code = code


def main() -> int:
    """Carry out what CNI_COMMAND says; 0, or 1 with an error on standard output."""
    version = VERSIONS[-1]
    try:
        command = os.environ["CNI_COMMAND"]
        if command not in COMMANDS:
            raise CniError(INVALID_ENVIRONMENT, f"CNI_COMMAND {command!r} is not one of {', '.join(COMMANDS)}")
        config = _config()
        version = str(config.get("cniVersion", "0.3.0"))
        if command != "VERSION":
            _check_version(version)
        COMMANDS[command](config)
        return 0
    except CniError as error:
        known = {"cniVersion": version, "code": error.code, "msg": error.message, "details": error.cause}
    except (CosoError, OSError) as error:
        text = error.message if isinstance(error, CosoError) else str(error)
        details = getattr(error, "hint", "") or getattr(error, "cause", "")
        known = {"cniVersion": version, "code": FAILED, "msg": text, "details": details}
    except (ValueError, TypeError, KeyError, AttributeError, OverflowError) as error:
        text = f"the configuration makes no sense: {type(error).__name__}: {error}"
        known = {"cniVersion": version, "code": INVALID_CONFIG, "msg": text, "details": ""}
    _print(known)
    return 1


def _print(tree: object) -> None:
    sys.stdout.write(json.dumps(tree, indent=2) + "\n")


def _config() -> Config:
    try:
        tree = json.loads(sys.stdin.read() or "{}")
    except ValueError as error:
        raise CniError(CANNOT_DECODE, f"the configuration is no JSON: {error}") from None
    if not isinstance(tree, dict):
        raise CniError(CANNOT_DECODE, "the configuration is no JSON object")
    return tree


def _check_version(version: str) -> None:
    if version not in VERSIONS:
        raise CniError(INCOMPATIBLE, f"cniVersion {version!r} is not supported", f"{', '.join(VERSIONS)} are")


def _environment(name: str, *, required: bool = True) -> str:
    text = os.environ.get(name, "")
    if required and not text:
        raise CniError(INVALID_ENVIRONMENT, f"{name} is not set")
    return text


def _owner() -> tuple[str, str]:
    """The owner that CNI_CONTAINERID and CNI_IFNAME stand for, and the interface."""
    container, interface = _environment("CNI_CONTAINERID"), _environment("CNI_IFNAME")
    if set(container) - IDENTIFIER or container[0] in "_.-":
        raise CniError(INVALID_ENVIRONMENT, f"CNI_CONTAINERID {container!r} is not valid")
    if len(interface) > LONGEST_INTERFACE or set(interface) & set("/: \t\n") or interface in (".", ".."):
        raise CniError(INVALID_ENVIRONMENT, f"CNI_IFNAME {interface!r} cannot be the name of an interface")
    return owner.of_namespace(container, interface), interface


def _network_name(config: Config) -> str:
    name = config.get("network") or config.get("name")
    if not isinstance(name, str) or not name:
        raise CniError(INVALID_CONFIG, "the configuration has no `name`")
    if config.get("ipam"):
        raise CniError(INVALID_CONFIG, "`ipam`: cosonet gives addresses itself; leave it out")
    return name


def _ensure_defined(config: Config) -> str:
    """The network's name; it is defined where the configuration names none of coso's."""
    name = _network_name(config)
    if "network" in config or name in definition.names():
        definition.load(name)
        return name
    options: dict[str, list[str]] = {
        "subnet": [config[key] for key in ("subnet", "subnet6") if key in config],
        "ipv6": [_switch(config, "ipv6")],
        "internal": [_switch(config, "internal")],
        "opt": [f"mtu={config['mtu']}"] if "mtu" in config else [],
        "label": [f"cni={name}"],
    }
    try:
        manage.create(name, Words({key: words for key, words in options.items() if words}, ()))
    except NetworkError:
        if name not in definition.names():  # Somebody else may have made it at this moment.
            raise
    return name


def _switch(config: Config, key: str) -> str:
    if config.get(key, False) not in (True, False):
        raise CniError(INVALID_CONFIG, f"`{key}` is not true or false")
    return "true" if config.get(key) else "false"


def _ports(config: Config) -> tuple[Publish, ...]:
    """The port mappings of the capability `portMappings`; for every address of the host, unless one is named."""
    found = []
    for item in (config.get("runtimeConfig") or {}).get("portMappings") or []:
        protocol = str(item.get("protocol", "tcp")).lower()
        if protocol not in PROTOCOLS:
            raise CniError(INVALID_CONFIG, f"portMappings: {protocol!r} is not tcp, udp or sctp")
        if item.get("hostPort"):
            host = parse(str(item.get("hostIP") or "0.0.0.0"), "portMappings: hostIP").text
            ports = int(item["hostPort"]), int(item["containerPort"])
            if not all(0 < port <= HIGHEST for port in ports):
                raise CniError(INVALID_CONFIG, f"portMappings: {item!r} names no ports")
            found.append(Publish(protocol, host, *ports))
    return tuple(found)


def add(config: Config) -> None:
    """Connect a namespace and print the result."""
    from cosonet.attach import Wishes, connect

    who, interface = _owner()
    path = _environment("CNI_NETNS")
    name = _ensure_defined(config)
    asked = config.get("runtimeConfig") or {}
    ips = [str(text).partition("/")[0] for text in asked.get("ips") or []]
    by_version = {parse(text, "ips").version: text for text in ips}
    wishes = Wishes(
        network=name,
        ip=by_version.get(4, ""),
        ip6=by_version.get(6, ""),
        mac=str(asked.get("mac") or ""),
        origin=str(config.get("name")),
        interface=interface,
        publish=_ports(config),
    )
    owner.remember(who, path)
    try:
        connecting = connect(who, wishes)
    except BaseException:
        if not member.of(who):
            owner.forget(who)
        release.remove_unused()
        raise
    # The namespace has no runtime of ours beside it that could keep the ports bound.
    for end in connecting.held:
        end.close()
    _print(result(connecting.record, str(config.get("cniVersion", VERSIONS[0])), path))


def result(one: Member, version: str, path: str) -> dict[str, object]:
    """The result of a connection, in the words of a version ("ADD Success")."""
    made = network.load(one.network) or definition.load(one.network)
    subnets = {subnet.version: subnet for subnet in made.subnets()}
    addresses, routes = [], []
    for text in one.addresses:
        address = parse(text, "address")
        router = network.gateway(made, address.version)
        entry: dict[str, object] = {"address": f"{text}/{subnets[address.version].length}", "interface": 0}
        if router:
            entry["gateway"] = router.text
            routes.append({"dst": f"{'0.0.0.0' if BITS[address.version] == BITS[4] else '::'}/0", "gw": router.text})
        if version.startswith("0."):
            entry["version"] = str(address.version)
        addresses.append(entry)
    inside_link: dict[str, object] = {"name": one.interface, "mac": one.mac, "sandbox": path}
    if version == "1.1.0" and made.mtu:
        inside_link["mtu"] = made.mtu
    links = [inside_link, *([{"name": one.host_link}] if one.host_link else [])]
    return {"cniVersion": version, "interfaces": links, "ips": addresses, "routes": routes, "dns": {}}


def delete(config: Config) -> None:
    """Release a namespace; what is not there is no error ("DEL")."""
    who, _ = _owner()
    release.release(who, _network_name(config), remove_link=bool(_environment("CNI_NETNS", required=False)))
    release.remove_later()


def check(config: Config) -> None:
    """See whether a connection still is what ADD has made ("CHECK")."""
    who, interface = _owner()
    name = _network_name(config)
    one = member.find(who, name)
    if not one:
        raise CniError(FAILED, f"{owner.name_of(who)} is not connected to {name}")
    addresses = _addresses_inside(_environment("CNI_NETNS"), interface)
    if addresses is None:
        raise CniError(FAILED, f"the interface {interface} is not there")
    for text in one.addresses:
        if text not in addresses:
            raise CniError(FAILED, f"the interface {interface} has lost its address {text}")
    with netlink.control() as end:
        if one.host_link and not netlink.index_of(end, one.host_link):
            raise CniError(FAILED, f"the link {one.host_link} is not there")
    status(config)


def _addresses_inside(path: str, interface: str) -> set[str] | None:
    """The addresses of an interface in a namespace, or None when there is no such interface."""
    from pyroute2 import IPRoute

    home = os.open("/proc/self/ns/net", os.O_RDONLY | os.O_CLOEXEC)
    there = os.open(path, os.O_RDONLY | os.O_CLOEXEC)
    try:
        setns(there, CLONE_NEWNET)
        with IPRoute() as routes:
            links = routes.link_lookup(ifname=interface)
            return {str(item.get("address")) for item in routes.get_addr(index=links[0])} if links else None
    finally:
        setns(home, CLONE_NEWNET)
        os.close(there)
        os.close(home)


def collect(config: Config) -> None:
    """Release what the runtime no longer knows of ("GC")."""
    name = _network_name(config)
    valid = config.get("cni.dev/valid-attachments")
    if not isinstance(valid, list):
        raise CniError(INVALID_CONFIG, "`cni.dev/valid-attachments` is missing")
    kept = {owner.of_namespace(str(item.get("containerID")), str(item.get("ifname"))) for item in valid}
    for one in member.everybody(name):
        # Another configuration may use the network too, and its runtime says for itself what it knows of.
        if owner.pid_of(one.owner) == 0 and one.origin == str(config.get("name")) and one.owner not in kept:
            release.release(one.owner, name)
    release.collect()


def status(config: Config) -> None:
    """Whether connections can be made ("STATUS")."""
    from cosonet.doctor import examine

    wrong = [finding for finding in examine() if not finding.harmless]
    if wrong:
        raise CniError(NOT_READY, wrong[0].sentence, f"mend it with: {wrong[0].remedy}")


def version(_: Config) -> None:
    """Print which versions of the specification are known."""
    _print({"cniVersion": VERSIONS[-1], "supportedVersions": list(VERSIONS)})


COMMANDS: dict[str, Callable[[Config], None]] = {
    "ADD": add,
    "DEL": delete,
    "CHECK": check,
    "GC": collect,
    "STATUS": status,
    "VERSION": version,
}
