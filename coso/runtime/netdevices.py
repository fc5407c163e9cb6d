"""`linux.netDevices`: network interfaces of the host that move into the container (OCI config-linux.md 1.3).

Rare, and never on the way of `coso run`: hence pyroute2, and not an encoder
of our own.  The kernel decides what becomes of an interface with the end of
its namespace: real ones go back to the machine, virtual ones are destroyed.
Until the container is ready its namespace is held open here, so that a
failure brings the interfaces back as they were.
"""

from __future__ import annotations

import errno
import os

from coso.errors import KernelError, NetworkError
from coso.kernel.process import CLONE_NEWNET, setns
from coso.runtime.container import Container
from coso.steps import Step

TYPE_CHECKING = False
if TYPE_CHECKING:
    from pyroute2 import IPRoute

EVERYWHERE = 0  # RT_SCOPE_UNIVERSE: the addresses that are worth keeping; the kernel makes the others anew.
IFA_F_PERMANENT = 0x80
IFF_UP = 1
CAUSES = {
    errno.EEXIST: "the container's network has an interface of that name",
    errno.EINVAL: "an interface of this kind stays in the namespace it was made in",
    errno.EOPNOTSUPP: "an interface of this kind stays in the namespace it was made in",
}


def move(container: Container) -> None:
    """Move every interface that the specification names; each keeps its addresses and is up."""
    container.network_namespace = os.open(f"/proc/{container.pid}/ns/net", os.O_RDONLY | os.O_CLOEXEC)
    held = f"/proc/{os.getpid()}/fd/{container.network_namespace}"
    home = os.open("/proc/self/ns/net", os.O_RDONLY | os.O_CLOEXEC)
    try:
        for outside, inside in container.spec.net_devices:
            container.journal.record("return-interface", held, os.readlink(held), inside, outside)
            _move(home, container.network_namespace, outside, inside)
    finally:
        os.close(home)


def give_back(held: str, namespace: str, inside: str, outside: str) -> None:
    """Bring an interface back from a namespace that this process holds open under `held`."""
    try:
        if os.readlink(held) != namespace:
            return
        away, home = (os.open(path, os.O_RDONLY | os.O_CLOEXEC) for path in (held, "/proc/self/ns/net"))
    except FileNotFoundError:
        return  # The runtime has died or is done, and the kernel sees to the namespace.
    try:
        if _exists(away, inside):
            _move(away, home, inside, outside)
    finally:
        os.close(away)
        os.close(home)


def settle(container: Container) -> None:
    """Leave the interfaces to the container."""
    if container.network_namespace >= 0:
        os.close(container.network_namespace)
        container.network_namespace = -1


def _exists(namespace: int, name: str) -> bool:
    with _routes(namespace) as routes:
        return bool(routes.link_lookup(ifname=name))


def _move(origin: int, goal: int, name: str, new: str) -> None:
    from pyroute2.netlink.exceptions import NetlinkError

    try:
        with _routes(origin) as here, _routes(goal) as there:
            found = here.link_lookup(ifname=name)
            if not found:
                raise NetworkError(f"linux.netDevices: there is no interface {name}", hint="`ip link` lists them")
            kept = [item for item in here.get_addr(index=found[0]) if _is_kept(item)]
            here.link("set", index=found[0], net_ns_fd=goal, ifname=new)
            index = there.link_lookup(ifname=new)[0]
            for item in kept:
                _add(there, index, item)
            there.link("set", index=index, state="up")
    except NetlinkError as error:
        raise NetworkError(
            f"linux.netDevices: the interface {name} cannot be moved: {os.strerror(error.code)}",
            cause=CAUSES.get(error.code, ""),
        ) from None


def _is_kept(address: dict[str, int]) -> bool:
    return address["scope"] == EVERYWHERE and bool(address["flags"] & IFA_F_PERMANENT)


def _add(routes: IPRoute, index: int, address: dict[str, int]) -> None:
    """Give an interface an address that it had; not the route to its network twice, which the kernel makes."""
    wanted = ("IFA_LOCAL", "IFA_ADDRESS", "IFA_BROADCAST")
    given = {name[4:].lower(): value for name, value in address["attrs"] if name in wanted}  # type: ignore[attr-defined]
    routes.addr("add", index=index, family=address["family"], prefixlen=address["prefixlen"], **given)


def _routes(namespace: int) -> IPRoute:
    """A routing socket in a namespace: it stays where it was made."""
    from pyroute2 import IPRoute

    home = os.open("/proc/self/ns/net", os.O_RDONLY | os.O_CLOEXEC)
    try:
        setns(namespace, CLONE_NEWNET)
        try:
            return IPRoute()
        finally:
            setns(home, CLONE_NEWNET)
    except KernelError as error:
        raise NetworkError(f"linux.netDevices: the network namespace cannot be entered: {error.message}") from None
    finally:
        os.close(home)


MOVE = Step(
    "move network interfaces",
    "move the interfaces that the specification names into the container, with their addresses, and bring them up",
    "RTM_NEWLINK (IFLA_NET_NS_FD)",
    "an interface is in one network namespace only",
    "network_namespaces(7), OCI config-linux.md (netDevices)",
    move,
)
