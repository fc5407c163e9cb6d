"""The ports that a container has published."""

from __future__ import annotations

from _socket import AF_INET, AF_INET6, IPPROTO_IPV6, IPV6_V6ONLY, SOCK_CLOEXEC, SOCK_DGRAM, SOCK_STREAM, socket

from coso.kernel.process import is_limited

TYPE_CHECKING = False
if TYPE_CHECKING:
    from cosonet.member import Member, Port


def members_of(pid: int, ticks: int) -> list[Member]:
    """How the network knows the process of a container: a record for each network that it is on."""
    if is_limited() or not pid:
        return []
    from cosonet import member, owner

    return member.of(owner.of_process(pid, ticks))


def ports_of(pid: int, ticks: int) -> list[Port]:
    """What is published: protocol, address and port of the host, port inside."""
    return [port for one in members_of(pid, ticks) for port in one.ports]


def hold(pid: int, ticks: int) -> list[int]:
    """Bind the published ports, so that nobody else comes to listen where packets never arrive; the descriptors."""
    held = []
    for protocol, host, port, _ in ports_of(pid, ticks):
        if protocol == "sctp":
            continue
        family = AF_INET6 if ":" in host else AF_INET
        end = socket(family, (SOCK_STREAM if protocol == "tcp" else SOCK_DGRAM) | SOCK_CLOEXEC)
        try:
            if family == AF_INET6:
                end.setsockopt(IPPROTO_IPV6, IPV6_V6ONLY, 1)
            end.bind((host, port))
            held.append(end.detach())
        except OSError:
            end.close()  # Somebody was faster.
    return held
