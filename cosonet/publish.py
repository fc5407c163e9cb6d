"""Published ports: `-publish [IP:]HOST:CONTAINER[/tcp|udp|sctp]`, with ranges, or chosen by the kernel.

What is taken is found out before anything is changed: a port is bound here
for a moment, or as long as the caller keeps its socket, and an index of links
says which are published already.
"""

from __future__ import annotations

import errno
import os
from _socket import AF_INET, AF_INET6, IPPROTO_IPV6, IPV6_V6ONLY, SOCK_CLOEXEC, SOCK_DGRAM, SOCK_STREAM, socket

from coso.errors import NetworkError, UsageError
from coso.state import RUN, make_directories
from coso.value import value
from cosonet import owner
from cosonet.address import parse

DIRECTORY = f"{RUN}/network/ports"
LOCALHOST = "127.0.0.1"
PROTOCOLS = ("tcp", "udp", "sctp")
HIGHEST = 65535
HINT = "write it as 8080:80, 0.0.0.0:53:53/udp, 8000-8010:80-90, [::]:8080:80, or 80 for a port of the kernel's choice"

TYPE_CHECKING = False
if TYPE_CHECKING:
    from cosonet.member import Port


@value
class Publish:
    """A port of the host that leads into the container; `host_port` 0 is for the kernel to choose."""

    protocol: str
    host: str
    host_port: int
    inside: int


def parse_publish(text: str, option: str = "-publish") -> list[Publish]:
    """The ports that one word asks for; raises UsageError."""
    rest, slash, protocol = text.partition("/")
    protocol = protocol if slash else "tcp"
    if protocol not in PROTOCOLS:
        raise UsageError(f"{option} {text!r}: {protocol!r} is not tcp, udp or sctp", hint=HINT)
    head, _, inside = rest.rpartition(":")
    host, _, outside = head.rpartition(":")
    if head.startswith("["):
        host, outside = head.rpartition("]")[0][1:], head.rpartition("]")[2].removeprefix(":")
    elif not host and "." in head:
        host, outside = head, ""
    if host:
        host = parse(host, f"{option} {text!r}: the address").text
    targets = _range(inside, text, option)
    if not outside or outside == "0":
        if protocol == "sctp":
            raise UsageError(f"{option} {text!r}: a port of the host has to be said for sctp", hint=HINT)
        return [Publish(protocol, host or LOCALHOST, 0, port) for port in targets]
    places = _range(outside, text, option)
    if len(places) != len(targets):
        raise UsageError(f"{option} {text!r}: {len(places)} ports of the host for {len(targets)} inside", hint=HINT)
    return [Publish(protocol, host or LOCALHOST, *pair) for pair in zip(places, targets, strict=True)]


def _range(text: str, whole: str, option: str) -> range:
    first, dash, last = text.partition("-")
    last = last if dash else first
    good = all(part.isascii() and part.isdecimal() and 0 < int(part) <= HIGHEST for part in (first, last))
    if not good or int(first) > int(last):
        raise UsageError(f"{option} {whole!r}: {text!r} is no port and no range of ports", hint=HINT)
    return range(int(first), int(last) + 1)


def reserve(wanted: list[Publish], *, index: bool = True) -> tuple[list[Port], list[socket]]:
    """The ports with those that the kernel has chosen, and the sockets that keep others off them.

    Without `index`, the ports of root's containers are found out by binding alone.
    Raises NetworkError for the first that is taken, and closes what was opened.
    """
    taken = _taken() if wanted and index else []
    held: list[socket] = []
    found: list[Port] = []
    try:
        for item in wanted:
            for other_protocol, other_host, other_port, who in taken:
                same = (other_protocol, other_port) == (item.protocol, item.host_port)
                if same and _collide(other_host, item.host):
                    raise _conflict(item, f"{owner.name_of(who)} has published it")
            port, end = _bind(item)
            while item.host_port == 0 and any(
                (protocol, number) == (item.protocol, port) and _collide(host, item.host)
                for protocol, host, number, _ in taken
            ):
                # Chosen by the kernel, which knows nothing of ports that are published without a socket.
                if end:
                    held.append(end)
                port, end = _bind(item)
            if end:
                held.append(end)
            host = "" if parse(item.host, "").number == 0 and ":" not in item.host else item.host
            found.append((item.protocol, host, port, item.inside))
    except BaseException:
        for end in held:
            end.close()
        raise
    return found, held


def _bind(item: Publish) -> tuple[int, socket | None]:
    """Bind a port of the host and keep it; its number and the socket."""
    if item.protocol == "sctp":
        return item.host_port, None  # Few kernels have it for sockets, and all of them translate it.
    version6 = ":" in item.host
    kind = SOCK_STREAM if item.protocol == "tcp" else SOCK_DGRAM
    end = socket(AF_INET6 if version6 else AF_INET, kind | SOCK_CLOEXEC)
    try:
        if version6:
            end.setsockopt(IPPROTO_IPV6, IPV6_V6ONLY, 1)
        end.bind((item.host, item.host_port))
        return end.getsockname()[1], end
    except OSError as error:
        end.close()
        if error.errno == errno.EADDRINUSE:
            flag = "t" if item.protocol == "tcp" else "u"
            raise _conflict(
                item, "a program of the host has it", f"`ss -l{flag}np 'sport = :{item.host_port}'` shows which"
            ) from None
        if error.errno == errno.EADDRNOTAVAIL:
            raise NetworkError(
                f"port {item.host_port} cannot be published on {item.host}: the host has no such address",
                hint="see `ip addr`; 0.0.0.0 is for all of them",
            ) from None
        raise NetworkError(f"port {item.host_port} of {item.host} cannot be published: {error.strerror}") from None


def _conflict(item: Publish, why: str, hint: str = "") -> NetworkError:
    return NetworkError(
        f"port {item.host_port}/{item.protocol} of {item.host} is taken: {why}",
        hint=hint or "publish another port of the host",
    )


def _collide(one: str, other: str) -> bool:
    """Whether two addresses of the host may be the same one; an empty one is every one of version 4."""
    first, second = one or "0.0.0.0", other or "0.0.0.0"
    if (":" in first) != (":" in second):
        return False
    return first == second or parse(first, "").number == 0 or parse(second, "").number == 0


def _taken() -> list[tuple[str, str, int, str]]:
    found = []
    for name in os.listdir(DIRECTORY) if os.path.isdir(DIRECTORY) else []:
        protocol, port, host = name.split("-", 2)
        try:
            found.append((protocol, host, int(port), os.readlink(f"{DIRECTORY}/{name}")))
        except FileNotFoundError:
            continue
    return found


def any_dead() -> bool:
    """Whether ports stand in the index whose owners have ended."""
    return any(not owner.is_alive(who) for _, _, _, who in _taken())


def take(ports: list[Port], who: str) -> None:
    """Write down whose ports these are."""
    if ports:
        make_directories(DIRECTORY)
    for protocol, host, port, _ in ports:
        os.symlink(who, f"{DIRECTORY}/{protocol}-{port}-{host}")


def give_back(ports: list[Port], who: str) -> None:
    """Forget whose ports these were."""
    for protocol, host, port, _ in ports:
        owner.give_back(f"{DIRECTORY}/{protocol}-{port}-{host}", who)
