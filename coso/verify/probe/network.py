"""Probes of the network: the host's links and services, and what may be forged."""

from __future__ import annotations

import errno
import fcntl
import os
import socket
import struct

from .common import Lacking

TYPE_CHECKING = False
if TYPE_CHECKING:
    from .common import Bait

SIOCGIFADDR, SIOCSIFADDR = 0x8915, 0x8916
IP_HDRINCL, IP_TRANSPARENT, IP_FREEBIND = 3, 19, 15
# An address of the range kept for documentation (RFC 5737): nobody's.
NOBODYS = "192.0.2.77"


def loopback(bait: Bait) -> str:
    """Is a service on another's 127.0.0.1 out of reach?"""
    return _connect(("127.0.0.1", bait["port"]), "a service on the loopback of another")


def _connect(address: tuple[str, int], what: str) -> str:
    with socket.socket(socket.AF_INET, socket.SOCK_STREAM) as end:
        end.settimeout(2)
        try:
            end.connect(address)
        except OSError:
            return ""
    return f"{what} accepts connections from inside"


def resolver(bait: Bait) -> str:
    """Is a resolver on the host's loopback out of reach? A query for the root's name servers."""
    query = b"\xc0\x50\x01\x00\x00\x01\x00\x00\x00\x00\x00\x00\x00\x00\x02\x00\x01"
    with socket.socket(socket.AF_INET, socket.SOCK_DGRAM) as end:
        end.settimeout(0.3)
        try:
            end.connect(("127.0.0.1", bait["resolver"]))
            end.send(query)
            end.recv(512)
        except OSError:
            return ""
    return "the resolver on the host's loopback answers"


def sockets(bait: Bait) -> str:
    """Does /proc/net list no socket of the host?"""
    port = f":{bait['port']:04X}"
    with open("/proc/self/net/tcp") as file:
        seen = any(line.split()[1].endswith(port) for line in file)
    return f"the host's listening port {bait['port']} is listed" if seen else ""


def links(bait: Bait, how: str) -> str:
    """Is the host's link unknown to netlink (or to /sys)?"""
    name = bait["link"]
    if not name:
        raise Lacking("this kernel has no TUN device")
    if how == "sysfs":
        seen = os.path.exists(f"/sys/class/net/{name}")
    else:
        seen = name in [link for _, link in socket.if_nameindex()]
    return f"the host's link {name} is seen" if seen else ""


def no_way_out(_: Bait) -> str:
    """Is there neither link nor route, where no network was asked for?"""
    others = [name for _, name in socket.if_nameindex() if name != "lo"]
    up = [name for name in others if _address_of(name)]
    with open("/proc/self/net/route") as file:
        routes = file.readlines()[1:]
    if up or routes:
        return f"links {', '.join(up) or 'none'} and {len(routes)} routes are there"
    # Unconfigured links that every namespace is born with (tunl0, sit0) lead nowhere.
    return f"the host's link {others[0]} is there" if any(name.startswith("cvfy") for name in others) else ""


def _address_of(name: str) -> bytes:
    with socket.socket(socket.AF_INET, socket.SOCK_DGRAM) as end:
        try:
            return fcntl.ioctl(end.fileno(), SIOCGIFADDR, struct.pack("16s24x", name.encode()))[20:24]
        except OSError:
            return b""


def _link() -> str:
    """The link that leads to others, "" where there is none: then nobody can be deceived."""
    return next((name for _, name in socket.if_nameindex() if name != "lo" and _address_of(name)), "")


def forged_frame(_: Bait) -> str:
    """Can no frame be sent with another's hardware address: an ARP answer that takes an address away?"""
    try:
        end = socket.socket(socket.AF_PACKET, socket.SOCK_RAW, socket.htons(0x0806))
    except PermissionError:
        return ""
    with end:
        link = _link()
        if not link:
            return ""
        mac, address = b"\x02\x00\x00\x00\x00\x77", socket.inet_aton(NOBODYS)
        answer = struct.pack("!HHBBH", 1, 0x0800, 6, 4, 2) + mac + address + mac + address
        end.bind((link, 0x0806))
        end.send(b"\xff" * 6 + mac + b"\x08\x06" + answer)
    return "a forged ARP answer was sent"


def forged_packet(_: Bait) -> str:
    """Can no packet be sent from another's address?"""
    target = ("127.0.0.1", 9)
    if not _link():
        return ""
    try:
        with socket.socket(socket.AF_INET, socket.SOCK_RAW, socket.IPPROTO_UDP) as end:
            end.setsockopt(socket.IPPROTO_IP, IP_HDRINCL, 1)
            datagram = struct.pack("!4H", 9, 9, 8, 0)
            header = struct.pack(
                "!BBHHHBBH4s4s", 0x45, 0, 28, 1, 0, 64, 17, 0, socket.inet_aton(NOBODYS), b"\x7f\0\0\1"
            )
            end.sendto(header + datagram, target)
        return f"a packet was sent from {NOBODYS}"
    except PermissionError:
        pass
    with socket.socket(socket.AF_INET, socket.SOCK_DGRAM) as end:
        try:
            end.setsockopt(socket.IPPROTO_IP, IP_TRANSPARENT, 1)
            return "a socket may take any address as its own (IP_TRANSPARENT)"
        except OSError as error:
            if error.errno not in (errno.EPERM, errno.ENOPROTOOPT):
                raise
        end.setsockopt(socket.IPPROTO_IP, IP_FREEBIND, 1)
        try:
            end.bind((NOBODYS, 0))
            end.sendto(b"forged", target)
        except OSError:
            return ""
    return f"a datagram was sent from {NOBODYS}"


def another_address(_: Bait) -> str:
    """Can the interface be given no other address?"""
    name = _link()
    if not name:
        return ""
    request = struct.pack("16sHH4s16x", name.encode(), socket.AF_INET, 0, _address_of(name))
    with socket.socket(socket.AF_INET, socket.SOCK_DGRAM) as end:
        try:
            fcntl.ioctl(end.fileno(), SIOCSIFADDR, request)
        except PermissionError:
            return ""
    return f"the address of {name} can be set at will"


PROBES = (
    loopback,
    resolver,
    sockets,
    links,
    no_way_out,
    forged_frame,
    forged_packet,
    another_address,
)
