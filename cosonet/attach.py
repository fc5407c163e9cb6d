"""`cosonet -pid PID`: connect a process's network namespace (veth(4), network_namespaces(7)).

Everything is checked before anything is changed, and what was changed is
taken back when a later part fails.  Returns when traffic can flow.
"""

from __future__ import annotations

import os
import time
from _socket import inet_aton

from coso.errors import KernelError, NetworkError
from coso.kernel.process import CLONE_NEWNET, setns, start_time
from cosonet import lease, netlink, network

INTERFACE = "eth0"
FORWARDING = 3
PATIENCE = 2.0


def attach(pid: int) -> str:
    """Connect a process and return its address. Raises NetworkError, with nothing left behind."""
    started = start_time(pid)
    if not started:
        raise NetworkError(f"there is no process {pid}", hint="give the pid of a running container's process")
    namespace = _open_namespace(pid)
    try:
        _check_forwarding()
        if lease.of(pid, started):
            raise NetworkError(
                f"process {pid} is connected already, with {lease.of(pid, started)[0]}",
                hint=f"`cosonet release -pid {pid}` gives the address back",
            )
        with network.locked():
            shared = network.ensure()
            address = lease.take(pid, started, shared.base, shared.length)
        try:
            _connect(shared, address, namespace)
        except BaseException:
            lease.give_back(pid, started)
            raise
    finally:
        os.close(namespace)
    return address


def _open_namespace(pid: int) -> int:
    path = f"/proc/{pid}/ns/net"
    try:
        fd = os.open(path, os.O_RDONLY | os.O_CLOEXEC)
    except PermissionError:
        raise NetworkError(f"{path} cannot be opened: permission denied", hint="run cosonet as root") from None
    except OSError:
        raise NetworkError(f"process {pid} has ended") from None
    if os.fstat(fd).st_ino == os.stat("/proc/self/ns/net").st_ino:
        os.close(fd)
        raise NetworkError(
            f"process {pid} is in the host's own network namespace", hint="give the pid of a process in another one"
        )
    return fd


def _check_forwarding() -> None:
    with open("/proc/sys/net/ipv4/ip_forward") as file:
        if file.read().strip() == "0":
            raise NetworkError(
                "the host does not forward packets: sysctl net.ipv4.ip_forward is 0",
                hint="run `invoke net-setup`, or `sysctl -w net.ipv4.ip_forward=1`",
            )


def _connect(shared: network.Network, address: str, namespace: int) -> None:
    name = f"coso-{os.urandom(4).hex()}"
    raw = inet_aton(address)
    inside, inside_control = _sockets_in(namespace)
    with inside, inside_control, netlink.connect() as outside, netlink.control() as control:
        bridge = netlink.index_of(control, shared.bridge)
        veth = netlink.new_veth(name, bridge, shared.mtu, INTERFACE, network.mac(raw), namespace)
        netlink.request(outside, veth)
        try:
            index = netlink.index_of(inside_control, INTERFACE)
            netlink.request(
                inside,
                netlink.new_address(index, raw, shared.length, inet_aton(shared.broadcast)),
                netlink.link_up(index),
                netlink.new_default_route(inet_aton(shared.gateway)),
            )
            _await_forwarding(outside, name, netlink.index_of(control, name))
        except BaseException:
            netlink.request(outside, netlink.delete_link(name))
            raise


def _sockets_in(namespace: int) -> tuple[netlink.Socket, netlink.Socket]:
    """A routing and a control socket in another namespace: sockets stay where they were made."""
    home = os.open("/proc/self/ns/net", os.O_RDONLY | os.O_CLOEXEC)
    try:
        setns(namespace, CLONE_NEWNET)
        try:
            inside, control = netlink.connect(), netlink.control()
        finally:
            setns(home, CLONE_NEWNET)
    except KernelError as error:
        raise NetworkError(f"cannot enter the network namespace: {error.message}", hint="run cosonet as root") from None
    finally:
        os.close(home)
    return inside, control


def _await_forwarding(end: netlink.Socket, name: str, index: int) -> None:
    """Wait until the bridge forwards from and to the new port, normally at once."""
    deadline = time.monotonic() + PATIENCE
    while time.monotonic() < deadline:
        if netlink.port_state(end, index) == FORWARDING:
            return
        time.sleep(0.0002)
    raise NetworkError(f"the bridge does not forward from {name} after {PATIENCE:.0f} s", hint="see `bridge link`")
