"""Flows of datagrams that the kernel still translates for a member that has left (conntrack, ctnetlink).

A flow of TCP ends by itself.  One of UDP lives on as long as its client sends,
and would go on leading to nobody, though another container has the port now.
"""

from __future__ import annotations

import errno
from _socket import AF_NETLINK, SOCK_CLOEXEC, SOCK_RAW
from _struct import pack, unpack_from

from coso.errors import NetworkError, errno_name
from cosonet.address import parse
from cosonet.elements import NETLINK_NETFILTER
from cosonet.netlink import NLM_F_ACK, NLM_F_REQUEST, NLMSG_ERROR, Socket, attribute, find_attribute

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Iterator

# include/uapi/linux/netfilter/nfnetlink_conntrack.h
NFNL_SUBSYS_CTNETLINK, CT_GET, CT_DELETE = 1, 1, 2
NLM_F_DUMP, NLMSG_DONE = 0x300, 3
TUPLE_ORIG, TUPLE_REPLY, TUPLE_IP, TUPLE_PROTO, PROTO_NUM = 1, 2, 1, 2, 1
SOURCE = {2: 1, 10: 3}  # By family: CTA_IP_V4_SRC, CTA_IP_V6_SRC.
UDP, AF_INET, AF_INET6 = 17, 2, 10


def forget(addresses: list[str]) -> None:
    """Forget the flows of UDP that lead to these addresses. Raises NetworkError."""
    wanted = {parse(text, "address").packed for text in addresses}
    with Socket(AF_NETLINK, SOCK_RAW | SOCK_CLOEXEC, NETLINK_NETFILTER) as end:
        end.bind((0, 0))
        for family in {AF_INET if len(address) == 4 else AF_INET6 for address in wanted}:
            for original in list(_flows(end, family, wanted)):
                _delete(end, family, original)


def _message(kind: int, flags: int, family: int, body: bytes = b"") -> bytes:
    head = pack("IHHII", 20 + len(body), NFNL_SUBSYS_CTNETLINK << 8 | kind, NLM_F_REQUEST | flags, 1, 0)
    return head + pack(">BBH", family, 0, 0) + body


def _flows(end: Socket, family: int, wanted: set[bytes]) -> Iterator[bytes]:
    """The original tuples of flows whose answers come from one of the addresses."""
    end.send(_message(CT_GET, NLM_F_DUMP, family))
    while True:
        data = end.recv(1 << 18)
        at = 0
        while at < len(data):
            length, kind = unpack_from("IH", data, at)
            if kind == NLMSG_DONE:
                return
            if kind == NLMSG_ERROR:
                raise _refused(-unpack_from("i", data, at + 16)[0])
            body = data[at + 20 : at + length]
            reply = find_attribute(body, TUPLE_REPLY)
            source = find_attribute(find_attribute(reply, TUPLE_IP), SOURCE[family])
            if source in wanted and find_attribute(find_attribute(reply, TUPLE_PROTO), PROTO_NUM) == bytes([UDP]):
                yield find_attribute(body, TUPLE_ORIG)
            at += (length + 3) & ~3


def _delete(end: Socket, family: int, original: bytes) -> None:
    end.send(_message(CT_DELETE, NLM_F_ACK, family, attribute(TUPLE_ORIG | 0x8000, original)))
    number = -unpack_from("i", end.recv(65536), 16)[0]
    if number not in (0, errno.ENOENT):
        raise _refused(number)


def _refused(number: int) -> NetworkError:
    return NetworkError(f"the kernel does not tell of its flows, or forget them: {errno_name(number)}")
