"""What a container adds to the firewall: elements of sets and maps, sent to the kernel directly (netlink(7)).

The rules of a network stand once (cosonet.firewall, as text through nft); a
container that comes or goes changes sets only.  Starting nft for that would
take longer than the whole of an attachment, so the one message needed is
written here, and the unit tests hold it against pyroute2's encoder.
"""

from __future__ import annotations

import errno
from _socket import AF_NETLINK, SOCK_CLOEXEC, SOCK_RAW
from _struct import pack, unpack_from

from coso.errors import NetworkError, errno_name
from coso.value import value
from cosonet.address import Address, mac_text, parse
from cosonet.netlink import (
    NLM_F_ACK,
    NLM_F_CREATE,
    NLM_F_REQUEST,
    NLMSG_ERROR,
    Socket,
    attribute,
)

TYPE_CHECKING = False
if TYPE_CHECKING:
    from cosonet.member import Member

# include/uapi/linux/netfilter/nfnetlink.h, nf_tables.h
NETLINK_NETFILTER = 12
NFNL_MSG_BATCH_BEGIN, NFNL_MSG_BATCH_END, NFNL_SUBSYS_NFTABLES = 16, 17, 10
NFT_MSG_NEWSETELEM, NFT_MSG_DELSETELEM = 12, 14
# Each is answered, and all answers have to fit into the socket's buffer.
MOST_AT_ONCE = 128
LIST_TABLE, LIST_SET, LIST_ELEMENTS, LIST_ELEM = 1, 2, 3, 1
ELEM_KEY, ELEM_DATA, DATA_VALUE = 1, 2, 1
NFPROTO_INET, NFPROTO_BRIDGE = 1, 7
PROTOCOLS = {"tcp": 6, "udp": 17, "sctp": 132}
TABLE = "coso"


@value
class Element:
    """An element of a set, or with `data` of a map: parts of (kind, text)."""

    family: str
    set: str
    key: tuple[tuple[str, str], ...]
    data: tuple[tuple[str, str], ...] = ()

    @property
    def text(self) -> str:
        """As nft writes it."""
        key = " . ".join(_text(*part) for part in self.key)
        return f"{key} : {' . '.join(_text(*part) for part in self.data)}" if self.data else key


def _text(kind: str, word: str) -> str:
    if kind == "number6":
        return f"{parse(word, 'address').number:#034x}"
    return f'"{word}"' if kind == "ifname" else word


def _bytes(kind: str, word: str) -> bytes:
    """A part in its register: whole words of four bytes (nft_data)."""
    if kind == "ifname":
        return word.encode().ljust(16, b"\0")
    if kind == "mac":
        return bytes.fromhex(word.replace(":", "")) + bytes(2)
    if kind == "protocol":
        return pack("B3x", PROTOCOLS[word])
    if kind == "port":
        return pack(">H2x", int(word))
    return parse(word, "address").packed


def of_member(member: Member) -> list[Element]:
    """The elements of a connection to a bridge."""
    port, mac = ("ifname", member.host_link), ("mac", member.mac)
    found = [
        Element("bridge", "members", (port, mac)),
        Element("bridge", "members4", (port, mac, ("ip", member.address))),
    ]
    if member.address6:
        found += [
            Element("bridge", "members6", (port, mac, ("ip", member.address6))),
            Element("bridge", "neighbours", (port, mac, ("number6", member.address6))),
        ]
    return found + [_published(member, *port) for port in member.ports]


def _published(member: Member, protocol: str, host: str, host_port: int, inside: int) -> Element:
    address = parse(host, "address") if host else Address(4, 0)
    target = member.address if address.version == 4 else member.address6
    place = () if address.number == 0 else (("ip", address.text),)
    name = f"{'published' if place else 'open'}{address.version}"
    return Element(
        "inet",
        name,
        (("protocol", protocol), *place, ("port", str(host_port))),
        (("ip", target), ("port", str(inside))),
    )


def encode(kind: int, element: Element, sequence: int) -> bytes:
    """The message that adds or deletes an element."""
    family = NFPROTO_BRIDGE if element.family == "bridge" else NFPROTO_INET
    parts = _nested(ELEM_KEY, attribute(DATA_VALUE, b"".join(_bytes(*part) for part in element.key)))
    if element.data and kind == NFT_MSG_NEWSETELEM:
        parts += _nested(ELEM_DATA, attribute(DATA_VALUE, b"".join(_bytes(*part) for part in element.data)))
    body = (
        pack(">BBH", family, 0, 0)
        + attribute(LIST_TABLE, TABLE.encode() + b"\0")
        + attribute(LIST_SET, element.set.encode() + b"\0")
        + _nested(LIST_ELEMENTS, _nested(LIST_ELEM, parts))
    )
    flags = NLM_F_REQUEST | NLM_F_ACK | (NLM_F_CREATE if kind == NFT_MSG_NEWSETELEM else 0)
    return pack("IHHII", 16 + len(body), NFNL_SUBSYS_NFTABLES << 8 | kind, flags, sequence, 0) + body


def _nested(kind: int, content: bytes) -> bytes:
    return attribute(kind | 0x8000, content)


def _batch(kind: int, elements: list[Element]) -> bytes:
    def edge(message: int, sequence: int) -> bytes:
        return pack("IHHII", 20, message, NLM_F_REQUEST, sequence, 0) + pack(">BBH", 0, 0, NFNL_SUBSYS_NFTABLES)

    middle = b"".join(encode(kind, element, number) for number, element in enumerate(elements, 1))
    return edge(NFNL_MSG_BATCH_BEGIN, 0) + middle + edge(NFNL_MSG_BATCH_END, len(elements) + 1)


def add(elements: list[Element]) -> None:
    """Add elements, all or none; those that are there already stay. Raises NetworkError."""
    if number := _send(NFT_MSG_NEWSETELEM, elements):
        raise NetworkError(
            f"the firewall takes no more members: {errno_name(number)}",
            cause="somebody has removed the table `inet coso` or `bridge coso`" if number == errno.ENOENT else "",
            hint="`cosonet reload` makes it anew",
        )


def delete(elements: list[Element]) -> None:
    """Delete elements, as far as they are there."""
    for first in range(0, len(elements), MOST_AT_ONCE):
        some = elements[first : first + MOST_AT_ONCE]
        if _send(NFT_MSG_DELSETELEM, some):
            # A batch with one that is missing changes nothing: one by one then.
            for element in some:
                _send(NFT_MSG_DELSETELEM, [element])


def _send(kind: int, elements: list[Element]) -> int:
    """Send a batch; 0, or the first error number."""
    if not elements:
        return 0
    with Socket(AF_NETLINK, SOCK_RAW | SOCK_CLOEXEC, NETLINK_NETFILTER) as end:
        end.bind((0, 0))
        end.send(_batch(kind, elements))
        missing, first = set(range(1, len(elements) + 1)), 0
        while missing and not first:
            data = end.recv(65536)
            at = 0
            while at < len(data):
                length, message, _, sequence, _ = unpack_from("IHHII", data, at)
                if message == NLMSG_ERROR:
                    first = first or -unpack_from("i", data, at + 16)[0]
                    missing.discard(sequence)
                at += (length + 3) & ~3
    return first


def mac_of(address: Address) -> str:
    """A locally administered Ethernet address, derived from an IPv4 address: as unique as that is."""
    return mac_text(b"\x02\xc0" + address.packed)
