"""A small encoder for the rtnetlink messages of the attach path (rtnetlink(7), netlink(7)).

pyroute2 does all of this and more, and takes 170 ms to import; a start has
60.  So the few messages that every start sends are written here, and the
unit tests hold each byte against pyroute2's own encoder.
"""

from __future__ import annotations

import os
from _socket import AF_INET, AF_INET6, AF_NETLINK, SOCK_CLOEXEC, SOCK_DGRAM, SOCK_RAW, socket
from _struct import pack, unpack, unpack_from
from fcntl import ioctl

from coso.errors import NetworkError, errno_name

# include/uapi/linux/netlink.h, rtnetlink.h, if_link.h, if_addr.h
NLM_F_REQUEST, NLM_F_ACK, NLM_F_EXCL, NLM_F_CREATE = 0x1, 0x4, 0x200, 0x400
NLMSG_ERROR = 2
RTM_NEWLINK, RTM_DELLINK, RTM_GETLINK, RTM_NEWADDR, RTM_NEWROUTE = 16, 17, 18, 20, 24
IFLA_ADDRESS, IFLA_IFNAME, IFLA_MTU, IFLA_LINK, IFLA_MASTER, IFLA_LINKINFO, IFLA_NET_NS_FD = 1, 3, 4, 5, 10, 18, 28
IFLA_AF_SPEC, IFLA_INET6_ADDR_GEN_MODE = 26, 8
INFO_KIND, INFO_DATA, INFO_SLAVE_KIND, INFO_SLAVE_DATA, VETH_INFO_PEER = 1, 2, 4, 5, 1
BRPORT_STATE, BRPORT_MODE = 1, 4
# What a link on top of another does, and how wide the number is (IFLA_MACVLAN_MODE, IFLA_IPVLAN_MODE).
MODES = {
    "macvlan": ("I", {"private": 1, "vepa": 2, "bridge": 4, "passthru": 8}),
    "ipvlan": ("H", {"l2": 0, "l3": 1, "l3s": 2}),
}
IFLA_MODE = 1
IFA_F_NODAD = 0x02
IFA_ADDRESS, IFA_LOCAL, IFA_BROADCAST = 1, 2, 4
RTA_GATEWAY = 5
AF_UNSPEC = 0
ENODEV, EEXIST, EOPNOTSUPP, EAFNOSUPPORT = 19, 17, 95, 97
IFF_UP = 1
SIOCGIFINDEX, SIOCGIFMTU = 0x8933, 0x8921
RT_TABLE_MAIN, RTPROT_STATIC, RT_SCOPE_UNIVERSE, RTN_UNICAST = 254, 4, 0, 1
SOL_NETLINK, NETLINK_EXT_ACK, NLMSGERR_ATTR_MSG = 270, 11, 1

CREATE = NLM_F_REQUEST | NLM_F_ACK | NLM_F_CREATE | NLM_F_EXCL
CHANGE = NLM_F_REQUEST | NLM_F_ACK


class Message:
    """A request: its type, flags and body; what it is for, should the kernel refuse it."""

    __slots__ = ("body", "flags", "purpose", "type")

    def __init__(self, purpose: str, kind: int, flags: int, body: bytes) -> None:
        self.purpose = purpose
        self.type = kind
        self.flags = flags
        self.body = body

    def encode(self, sequence: int) -> bytes:
        """The message with its header (struct nlmsghdr)."""
        return pack("IHHII", 16 + len(self.body), self.type, self.flags, sequence, 0) + self.body


def attribute(kind: int, content: bytes) -> bytes:
    """A netlink attribute, padded to four bytes (struct nlattr)."""
    size = 4 + len(content)
    return pack("HH", size, kind) + content + bytes(-size % 4)


def name_attribute(name: str) -> bytes:
    """IFLA_IFNAME."""
    return attribute(IFLA_IFNAME, name.encode() + b"\0")


def link_header(index: int = 0, up: bool = False) -> bytes:
    """Struct ifinfomsg."""
    flags = IFF_UP if up else 0
    return pack("BxHiII", AF_UNSPEC, 0, index, flags, flags)


def new_veth(name: str, bridge: int, mtu: int, peer: str, mac: bytes, namespace: int) -> Message:
    """A veth pair in one message: this end up and in the bridge, the other in `namespace` (a descriptor)."""
    other = (
        link_header()
        + name_attribute(peer)
        + attribute(IFLA_ADDRESS, mac)
        + attribute(IFLA_MTU, pack("I", mtu))
        + attribute(IFLA_NET_NS_FD, pack("I", namespace))
    )
    info = attribute(INFO_KIND, b"veth\0") + attribute(INFO_DATA, attribute(VETH_INFO_PEER, other))
    body = (
        link_header(up=True)
        + name_attribute(name)
        + attribute(IFLA_MTU, pack("I", mtu))
        + attribute(IFLA_MASTER, pack("I", bridge))
        + attribute(IFLA_LINKINFO, info)
    )
    return Message(f"make the link {name}", RTM_NEWLINK, CREATE, body)


def hairpin(name: str) -> Message:
    """Let a bridge send frames back through the port they came from (IFLA_BRPORT_MODE)."""
    info = attribute(INFO_SLAVE_KIND, b"bridge\0") + attribute(INFO_SLAVE_DATA, attribute(BRPORT_MODE, b"\1"))
    body = link_header() + name_attribute(name) + attribute(IFLA_LINKINFO, info)
    return Message(f"set up the port {name}", RTM_NEWLINK, CHANGE, body)


def new_bridge(name: str, mtu: int, mac: bytes) -> Message:
    """A bridge, down, with a fixed address: one of its own would change with its ports."""
    body = (
        link_header()
        + name_attribute(name)
        + attribute(IFLA_ADDRESS, mac)
        + attribute(IFLA_MTU, pack("I", mtu))
        + attribute(IFLA_LINKINFO, attribute(INFO_KIND, b"bridge\0"))
    )
    return Message(f"make the bridge {name}", RTM_NEWLINK, CREATE, body)


def link_up(index: int) -> Message:
    """Bring a link up."""
    return Message("bring the link up", RTM_NEWLINK, CHANGE, link_header(index, up=True))


def no_link_local(index: int) -> Message:
    """Have a link take no IPv6 address of its own accord (IFLA_INET6_ADDR_GEN_MODE, IN6_ADDR_GEN_MODE_NONE)."""
    family = attribute(AF_INET6, attribute(IFLA_INET6_ADDR_GEN_MODE, b"\1"))
    body = link_header(index) + attribute(IFLA_AF_SPEC, family)
    return Message("take no link-local address", RTM_NEWLINK, CHANGE, body)


def set_mac(index: int, mac: bytes) -> Message:
    """Give a link its Ethernet address, which it may have already."""
    return Message("set the Ethernet address", RTM_NEWLINK, CHANGE, link_header(index) + attribute(IFLA_ADDRESS, mac))


def rename(index: int, name: str) -> Message:
    """Give a link that is down another name."""
    return Message(f"call the link {name}", RTM_NEWLINK, CHANGE, link_header(index) + name_attribute(name))


def delete_link(name: str) -> Message:
    """Remove a link by name."""
    return Message(f"remove the link {name}", RTM_DELLINK, CHANGE, link_header() + name_attribute(name))


def new_upper(kind: str, mode: str, parent: int, mtu: int, name: str, mac: bytes, namespace: int) -> Message:
    """A macvlan or ipvlan on top of another link, in `namespace` (a descriptor); an ipvlan has that one's MAC."""
    width, modes = MODES[kind]
    info = attribute(INFO_KIND, kind.encode() + b"\0") + attribute(
        INFO_DATA, attribute(IFLA_MODE, pack(width, modes[mode]))
    )
    body = (
        link_header()
        + name_attribute(name)
        + (attribute(IFLA_ADDRESS, mac) if mac else b"")
        + (attribute(IFLA_MTU, pack("I", mtu)) if mtu else b"")
        + attribute(IFLA_LINK, pack("I", parent))
        + attribute(IFLA_NET_NS_FD, pack("I", namespace))
        + attribute(IFLA_LINKINFO, info)
    )
    return Message(f"make the {kind} {name}", RTM_NEWLINK, CREATE, body)


def new_address(index: int, address: bytes, length: int) -> Message:
    """An address with its prefix length on a link (struct ifaddrmsg); one of version 6 is used at once."""
    if len(address) == 16:
        # Its number is ours to give away: nobody need be asked whether it is taken (RFC 4862, 5.4).
        body = pack("BBBBI", AF_INET6, length, IFA_F_NODAD, 0, index)
    else:
        size = 1 << 32 - length
        last = int.from_bytes(address, "big") // size * size + size - 1
        body = pack("BBBBI", AF_INET, length, 0, 0, index) + attribute(IFA_BROADCAST, last.to_bytes(4, "big"))
    body += attribute(IFA_LOCAL, address) + attribute(IFA_ADDRESS, address)
    return Message("add the address", RTM_NEWADDR, CREATE, body)


def new_default_route(gateway: bytes) -> Message:
    """The default route of the gateway's family (struct rtmsg)."""
    family = AF_INET if len(gateway) == 4 else AF_INET6
    body = pack(
        "BBBBBBBBI", family, 0, 0, 0, RT_TABLE_MAIN, RTPROT_STATIC, RT_SCOPE_UNIVERSE, RTN_UNICAST, 0
    ) + attribute(RTA_GATEWAY, gateway)
    return Message("add the default route", RTM_NEWROUTE, CREATE, body)


class Socket(socket):
    """A socket that `with` closes: the C half of the module leaves that to the Python half, 8 ms to import."""

    def __enter__(self) -> Socket:
        return self

    def __exit__(self, *_: object) -> None:
        self.close()


def control() -> Socket:
    """A socket for interface requests in the caller's network namespace of the moment (netdevice(7))."""
    return Socket(AF_INET, SOCK_DGRAM | SOCK_CLOEXEC)


def index_of(end: Socket, name: str) -> int:
    """The index of an interface, 0 when there is none; by ioctl, as /sys shows the namespace it was mounted in."""
    return _ask(end, SIOCGIFINDEX, name)


def mtu_of(end: Socket, name: str) -> int:
    """The MTU of an interface, 0 when there is none."""
    return _ask(end, SIOCGIFMTU, name)


def _ask(end: Socket, question: int, name: str) -> int:
    try:
        answer: int = unpack("16si20x", ioctl(end.fileno(), question, pack("16si20x", name.encode(), 0)))[1]
    except OSError:
        return 0
    return answer


def port_state(end: Socket, index: int) -> int:
    """The state of a bridge's port: 3 is forwarding (IFLA_BRPORT_STATE, br_get_link)."""
    message = Message("ask for the link", RTM_GETLINK, NLM_F_REQUEST, link_header(index))
    end.send(message.encode(0))
    data = end.recv(65536)
    info = find_attribute(data[16 + 16 : unpack_from("I", data)[0]], IFLA_LINKINFO)
    return int.from_bytes(find_attribute(find_attribute(info, INFO_SLAVE_DATA), BRPORT_STATE), "little")


def find_attribute(data: bytes, wanted: int) -> bytes:
    """The content of the first attribute of a kind, empty when there is none."""
    at = 0
    while at + 4 <= len(data):
        size, kind = unpack_from("HH", data, at)
        if size < 4:
            break
        if kind & 0x3FFF == wanted:  # Less NLA_F_NESTED and NLA_F_NET_BYTEORDER.
            return data[at + 4 : at + size]
        at += (size + 3) & ~3
    return b""


def connect() -> Socket:
    """A routing socket in the caller's network namespace of the moment."""
    end = Socket(AF_NETLINK, SOCK_RAW | SOCK_CLOEXEC, 0)
    end.setsockopt(SOL_NETLINK, NETLINK_EXT_ACK, 1)
    end.bind((0, 0))
    return end


def request(end: socket, *messages: Message) -> None:
    """Send messages in one piece and read their acknowledgements; raise NetworkError for the first refusal."""
    end.send(b"".join(message.encode(number) for number, message in enumerate(messages)))
    failure: NetworkError | None = None
    missing = len(messages)
    while missing:
        data = end.recv(65536)
        at = 0
        while at < len(data):
            length, kind, _, sequence, _ = unpack_from("IHHII", data, at)
            if kind == NLMSG_ERROR:
                missing -= 1
                number = -unpack_from("i", data, at + 16)[0]
                if number and failure is None:
                    failure = refusal(messages[sequence], number, _kernel_words(data[at : at + length]))
            at += (length + 3) & ~3
    if failure:
        raise failure


class RefusedError(NetworkError):
    """The kernel refused a message; `errno` says why."""

    errno = 0


def refusal(message: Message, number: int, words: str) -> NetworkError:
    """The error for a refused message."""
    more = f" ({words})" if words else ""
    error = RefusedError(f"cannot {message.purpose}: {os.strerror(number)} [{errno_name(number)}]{more}")
    error.errno = number
    return error


def _kernel_words(message: bytes) -> str:
    """The extended acknowledgement's text, behind the header, the errno and the header of the request."""
    return find_attribute(message[16 + 4 + 16 :], NLMSGERR_ATTR_MSG).rstrip(b"\0").decode(errors="replace")
