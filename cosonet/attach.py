"""`cosonet -pid PID`: connect a process's network namespace (veth(4), network_namespaces(7)).

Everything is checked before anything is changed; what is going to be made is
written down (cosonet.member) before it is, and taken back when a later step
fails.  Returns when traffic can flow.
"""

from __future__ import annotations

import os
import time

from coso import steps
from coso.errors import CosoError, NetworkError, UsageError
from coso.kernel.process import start_time
from coso.steps import Step
from coso.value import value
from cosonet import definition, elements, inside, lease, member, names, netlink, network, owner, publish
from cosonet.address import Address, mac_text, parse, parse_mac
from cosonet.definition import Network
from cosonet.member import Member

TYPE_CHECKING = False
if TYPE_CHECKING:
    from _socket import socket

    from cosonet.member import Port
    from cosonet.publish import Publish

FORWARDING = 3
PATIENCE = 2.0


@value
class Wishes:
    """What is asked for besides the process; texts are empty where nothing is. `origin` is the CNI configuration."""

    network: str = definition.DEFAULT
    ip: str = ""
    ip6: str = ""
    mac: str = ""
    interface: str = ""
    names: tuple[str, ...] = ()
    aliases: tuple[str, ...] = ()
    origin: str = ""
    hosts: str = ""
    publish: tuple[Publish, ...] = ()


class Connecting:
    """An owner on its way into a network: the steps find here what earlier ones left."""

    def __init__(self, owner: str, wishes: Wishes, namespace: int) -> None:
        self.owner = owner
        self.wishes = wishes
        self.namespace = namespace
        self.network = Network("")
        self.member: Member | None = None
        # Sockets in the process's namespace: routing, control.
        self.inside: list[netlink.Socket] = []
        # Bound sockets that keep others off the published ports, as long as their holder lives.
        self.held: list[socket] = []

    @property
    def record(self) -> Member:
        """What was written down."""
        assert self.member
        return self.member


def attach(pid: int, wishes: Wishes | None = None, observe: steps.Observer | None = None) -> Connecting:
    """Connect a process. Raises CosoError, with nothing left behind.

    The result's `held` sockets are the caller's, to keep or to close.
    """
    if not start_time(pid):
        raise NetworkError(f"there is no process {pid}", hint="give the pid of a running container's process")
    return connect(owner.of_process(pid), wishes or Wishes(), observe)


def connect(who: str, wishes: Wishes, observe: steps.Observer | None = None) -> Connecting:
    """Connect an owner; else as `attach`."""
    from cosonet import release

    connecting = Connecting(who, wishes, inside.open_namespace(who))
    try:
        check(connecting)
        steps.execute(plan(connecting.network), connecting, observe)
    except BaseException as error:
        for end in connecting.held:
            end.close()
        if connecting.member:
            release.take_back(connecting.member, remove_link=True)
        if isinstance(error, steps.FailedStep) and isinstance(error.__cause__, OSError | CosoError):
            raise error.__cause__ from None
        raise
    finally:
        for end in connecting.inside:
            end.close()
        os.close(connecting.namespace)
    return connecting


def check(connecting: Connecting) -> None:
    """Raise for what can be known to fail before anything is changed."""
    wishes = connecting.wishes
    wanted = network.load(wishes.network) or network.resolved(definition.load(wishes.network))
    connecting.network = wanted
    network.check_forwarding(wanted)
    for text, version, option in ((wishes.ip, 4, "-ip"), (wishes.ip6, 6, "-ip6")):
        if text and parse(text, option).version != version:
            raise UsageError(f"{option} {text!r} is no address of version {version}")
        if text and not network.pool(wanted, version):
            raise NetworkError(f"{option} {text}: the network {wanted.name} has no subnet of version {version}")
    if wishes.mac:
        parse_mac(wishes.mac, "-mac")
        if wanted.driver == "ipvlan":
            raise UsageError("-mac: whoever is on an ipvlan has the Ethernet address of its parent")
    if wishes.publish and (not wanted.is_bridge or wanted.internal):
        kind = "internal" if wanted.internal else f"a {wanted.driver}"
        raise UsageError(
            f"-publish: the network {wanted.name} is {kind}: there is no port of the host's to publish on",
            hint="use a bridge network that is not internal",
        )
    for item in wishes.publish:
        if ":" in item.host and not network.pool(wanted, 6):
            raise UsageError(
                f"-publish [{item.host}]: the network {wanted.name} has no subnet of version 6",
                hint="make one with `coso network create --ipv6`",
            )
        if parse(item.host, "-publish").number == 1:
            raise UsageError(
                "-publish [::1]: the kernel translates no packet to ::1", hint="publish on 127.0.0.1, or on an address"
            )
    _refuse_twice(connecting)


def _refuse_twice(connecting: Connecting) -> None:
    if member.find(connecting.owner, connecting.network.name):
        raise NetworkError(
            f"{owner.name_of(connecting.owner)} is connected to {connecting.network.name} already",
            hint="`cosonet release -pid PID` gives its address back",
        )


def join(connecting: Connecting) -> None:
    """Make sure that the network is there, and write down what this owner will have of it."""
    from cosonet import release

    wishes = connecting.wishes
    version6 = not connecting.network.is_bridge or bool(network.pool(connecting.network, 6))
    connecting.inside = inside.sockets_in(connecting.namespace, version6=version6)
    with network.locked():
        _refuse_twice(connecting)
        interface = wishes.interface or inside.free_interface(connecting.inside[1])
        if netlink.index_of(connecting.inside[1], interface):
            raise NetworkError(f"the interface {interface} is there already", hint="leave -interface out")
        if wishes.publish and publish.any_dead():
            release.drop_dead()
        ports, connecting.held = publish.reserve(list(wishes.publish))
        wanted = connecting.network = network.ensure(wishes.network)
        one = connecting.member = _record(connecting, interface, ports)
        member.write(one)
        for address in one.addresses:
            lease.take(wanted.name, address, one.owner)
        publish.take(ports, one.owner)


def _record(connecting: Connecting, interface: str, ports: list[Port]) -> Member:
    """What this owner will have."""
    wishes, wanted = connecting.wishes, connecting.network
    first, second = (_choose(wanted, version, text) for version, text in ((4, wishes.ip), (6, wishes.ip6)))
    assert first  # Every network has a subnet of version 4.
    asked = mac_text(parse_mac(wishes.mac, "-mac")) if wishes.mac else ""
    return Member(
        connecting.owner,
        wanted.name,
        interface,
        host_link=f"coso-{first.packed.hex()}" if wanted.is_bridge else "",
        address=first.text,
        address6=second.text if second else "",
        mac="" if wanted.driver == "ipvlan" else asked or elements.mac_of(first),
        ports=ports,
        names=[*wishes.names, *wishes.aliases],
        hosts=wishes.hosts,
        origin=wishes.origin,
    )


def _choose(wanted: Network, version: int, text: str) -> Address | None:
    from cosonet import release

    subnet = network.pool(wanted, version)
    if not subnet:
        return None
    asked = parse(text, "-ip") if text else None
    holder = lease.holder_of(wanted.name, asked) if asked else ""
    if holder and not owner.is_alive(holder):
        release.drop_dead(wanted.name)
    try:
        return lease.choose(wanted, subnet, asked)
    except lease.PoolError:
        if not release.drop_dead(wanted.name):
            raise
        return lease.choose(wanted, subnet, asked)


def open_firewall(connecting: Connecting) -> None:
    """Let the firewall know the addresses and ports of the member."""
    with network.locked():
        elements.add(elements.of_member(connecting.record))


def make_link(connecting: Connecting) -> None:
    """Make the link, with one end inside."""
    one, wanted = connecting.record, connecting.network
    mac = bytes.fromhex(one.mac.replace(":", ""))
    with netlink.connect() as outside, netlink.control() as control:
        if not wanted.is_bridge:
            parent = netlink.index_of(control, wanted.parent)
            # The kernel looks for the name among the host's links, which may well have an eth0; so it comes after.
            name = f"coso-{parse(one.address, 'address').packed.hex()}"
            link = netlink.new_upper(wanted.driver, wanted.mode, parent, wanted.mtu, name, mac, connecting.namespace)
            _make_upper(outside, link, wanted.driver)
            _name_inside(connecting, name)
            return
        bridge = netlink.index_of(control, wanted.bridge)
        veth = netlink.new_veth(one.host_link, bridge, wanted.mtu, one.interface, mac, connecting.namespace)
        # Where br_netfilter translates what is bridged, a container that asks for its own published port is answered
        # through the port it came from.
        port = netlink.hairpin(one.host_link)
        try:
            netlink.request(outside, veth, port)
        except netlink.RefusedError as error:
            # A link of this name is that of an earlier owner of the address, whose namespace the kernel has yet to end.
            if error.errno != netlink.EEXIST or not netlink.index_of(control, one.host_link):
                raise
            network.delete_link(one.host_link)
            netlink.request(outside, veth, port)


def _make_upper(outside: netlink.Socket, link: netlink.Message, driver: str) -> None:
    try:
        netlink.request(outside, link)
    except netlink.RefusedError as error:
        if error.errno != netlink.EOPNOTSUPP:
            raise
        raise NetworkError(
            f"this kernel has no {driver}", hint=f"`modprobe {driver}`, or a kernel with CONFIG_{driver.upper()}"
        ) from None


def _name_inside(connecting: Connecting, name: str) -> None:
    routing, control = connecting.inside
    try:
        netlink.request(routing, netlink.rename(netlink.index_of(control, name), connecting.record.interface))
    except BaseException:
        netlink.request(routing, netlink.delete_link(name))
        raise


def set_up_inside(connecting: Connecting) -> None:
    """Give the interface its addresses, bring it up, and set the default route where there is none yet."""
    one, wanted = connecting.record, connecting.network
    routing, control = connecting.inside
    index = netlink.index_of(control, one.interface)
    subnets = {subnet.version: subnet for subnet in wanted.subnets()}
    addresses = [parse(text, "address") for text in one.addresses]
    if wanted.is_bridge and 6 not in subnets:
        _keep_quiet(routing, index)
    # Up before it has an address: else that would be announced at once, while the bridge may not forward yet.
    netlink.request(
        routing,
        netlink.link_up(index),
        *(netlink.new_address(index, address.packed, subnets[address.version].length) for address in addresses),
    )
    for address in addresses:
        router = network.gateway(wanted, address.version)
        if not router:
            continue
        try:
            netlink.request(routing, netlink.new_default_route(router.packed))
        except netlink.RefusedError as error:
            if error.errno != netlink.EEXIST:  # Another network was first.
                raise


def _keep_quiet(routing: netlink.Socket, index: int) -> None:
    """Without IPv6 it takes no link-local address: each tells all others of it, and of a thousand that is a lot."""
    try:
        netlink.request(routing, netlink.no_link_local(index))
    except netlink.RefusedError as error:
        if error.errno != netlink.EAFNOSUPPORT:  # This kernel has none anyway.
            raise


def await_forwarding(connecting: Connecting) -> None:
    """Wait until the bridge forwards from and to the new port, normally at once."""
    name = connecting.record.host_link
    deadline = time.monotonic() + PATIENCE
    with netlink.connect() as end, netlink.control() as control:
        index = netlink.index_of(control, name)
        while time.monotonic() < deadline:
            if netlink.port_state(end, index) == FORWARDING:
                return
            time.sleep(0.0002)
    raise NetworkError(f"the bridge does not forward from {name} after {PATIENCE:.0f} s", hint="see `bridge link`")


def announce(connecting: Connecting) -> None:
    """Have the kernel tell the neighbours whose the address is now: it does when the Ethernet address is set again.

    On a bridge all of them hear it, one after the other, and mostly know already: the Ethernet address follows from
    that of version 4 unless another was asked for.
    """
    one, wishes = connecting.record, connecting.wishes
    is_known = connecting.network.is_bridge and not (wishes.mac or wishes.ip or one.address6)
    if one.mac and not is_known:
        routing, control = connecting.inside
        index = netlink.index_of(control, one.interface)
        netlink.request(routing, netlink.set_mac(index, bytes.fromhex(one.mac.replace(":", ""))))


def write_names(connecting: Connecting) -> None:
    """Write names into hosts files."""
    with network.locked():
        names.arrive(connecting.record)


def plan(wanted: Network) -> list[Step]:
    """The steps into a network."""
    bridged = wanted.is_bridge
    return [
        JOIN,
        *([FIREWALL] if bridged else []),
        LINK,
        INSIDE,
        *([FORWARD] if bridged else []),
        ANNOUNCE,
        NAMES,
    ]


JOIN = Step(
    "join the network",
    "make the network where it is missing, and write down an address for this process",
    "flock(), link(), symlink()",
    "an address belongs to one process at a time, and ends with it",
    "flock(2), proc(5)",
    join,
)
FIREWALL = Step(
    "open the firewall",
    "add the link, its addresses and its published ports to the sets that the rules look at",
    "NFT_MSG_NEWSETELEM",
    "whoever speaks with another's address is not heard, and only published ports are reached from outside",
    "nft(8)",
    open_firewall,
)
LINK = Step(
    "make the link",
    "make a pair of interfaces, one end in the bridge and one inside",
    "RTM_NEWLINK(veth, IFLA_MASTER, IFLA_NET_NS_FD)",
    "one message makes both ends where they belong",
    "veth(4), rtnetlink(7)",
    make_link,
)
INSIDE = Step(
    "set up the interface",
    "set addresses, bring it up and set the default route",
    "RTM_NEWADDR, RTM_NEWLINK(IFF_UP), RTM_NEWROUTE",
    "sockets opened inside the namespace act there, whoever holds them",
    "rtnetlink(7), network_namespaces(7)",
    set_up_inside,
)
FORWARD = Step(
    "await the bridge",
    "wait until the bridge forwards packets of the new port",
    "RTM_GETLINK(IFLA_BRPORT_STATE)",
    "the command must not start before traffic can flow",
    "bridge(8)",
    await_forwarding,
)
ANNOUNCE = Step(
    "announce the address",
    "have a gratuitous ARP request sent, by setting the Ethernet address again",
    "RTM_NEWLINK(IFLA_ADDRESS)",
    "neighbours may remember an earlier owner; a packet socket would take the kernel 10 ms to close",
    "arp(7), Documentation/networking/ip-sysctl.rst (arp_notify)",
    announce,
)
NAMES = Step(
    "write the names",
    "write names and addresses into the hosts files of the network",
    "write(hosts)",
    "names must resolve at once, from any C library, without a server",
    "hosts(5)",
    write_names,
)
