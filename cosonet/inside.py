"""The inside of a network namespace, reached from outside: sockets act where they were made (network_namespaces(7))."""

from __future__ import annotations

import os

from coso.errors import KernelError, NetworkError
from coso.kernel.process import CLONE_NEWNET, setns
from cosonet import netlink, owner
from cosonet.member import Member

NAMED = "eth"


def open_namespace(who: str) -> int:
    """A descriptor of the network namespace of an owner; raises NetworkError where it has none of its own."""
    path = owner.namespace_of(who)
    try:
        fd = os.open(path, os.O_RDONLY | os.O_CLOEXEC)
    except PermissionError:
        raise NetworkError(f"{path} cannot be opened: permission denied", hint="run cosonet as root") from None
    except OSError:
        raise NetworkError(f"{owner.name_of(who)} has ended") from None
    if os.fstat(fd).st_ino == os.stat("/proc/self/ns/net").st_ino:
        os.close(fd)
        raise NetworkError(
            f"{owner.name_of(who)} is in the host's own network namespace",
            hint="give the pid of a process in another one",
        )
    return fd


def sockets_in(namespace: int, *, version6: bool = True) -> list[netlink.Socket]:
    """Sockets in another namespace: they stay where they were made."""
    home = os.open("/proc/self/ns/net", os.O_RDONLY | os.O_CLOEXEC)
    try:
        setns(namespace, CLONE_NEWNET)
        try:
            _set_defaults(version6)
            return [netlink.connect(), netlink.control()]
        finally:
            setns(home, CLONE_NEWNET)
    except KernelError as error:
        raise NetworkError(f"cannot enter the network namespace: {error.message}", hint="run cosonet as root") from None
    finally:
        os.close(home)


def _set_defaults(version6: bool) -> None:
    """Have new interfaces of this namespace tell their neighbours whose an address is, when it changes hands."""
    settings = ["ipv4/conf/default/arp_notify"]
    if version6:
        # Only then: beside a thousand namespaces the first look at /proc/sys/net/ipv6 takes half a millisecond.
        settings.append("ipv6/conf/default/ndisc_notify")
    for name in settings:
        try:
            fd = os.open(f"/proc/sys/net/{name}", os.O_WRONLY | os.O_CLOEXEC)
        except OSError:
            continue  # Without IPv6, or where /proc/sys may not be written: neighbours will find out.
        os.write(fd, b"1")
        os.close(fd)


def free_interface(control: netlink.Socket) -> str:
    """A name for the next interface inside."""
    number = 0
    while netlink.index_of(control, f"{NAMED}{number}"):
        number += 1
    return f"{NAMED}{number}"


def remove_inside(one: Member) -> None:
    """Remove the interface of a living process from within its namespace."""
    namespace = open_namespace(one.owner)
    try:
        ends = sockets_in(namespace)
    finally:
        os.close(namespace)
    try:
        netlink.request(ends[0], netlink.delete_link(one.interface))
    except netlink.RefusedError as error:
        if error.errno != netlink.ENODEV:
            raise
    finally:
        for end in ends:
            end.close()
