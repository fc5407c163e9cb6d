"""The network namespace: an empty stack, filled by a helper (network_namespaces(7)).

The helper's contract: `<path> -pid <pid of the first process>`; exit status 0
when traffic can flow; otherwise one line of cause on standard error.  The
bundled cosonet is called in this process, through the same entry point, to
save a second interpreter; any other program in its place is executed.
"""

from __future__ import annotations

import os
import sys
from _socket import AF_INET, SOCK_DGRAM, socket
from _struct import pack, unpack
from fcntl import ioctl

from coso import launcher
from coso.errors import MissingError, NetworkError
from coso.kernel.process import CLONE_NEWNET, start_time
from coso.runtime.container import Container
from coso.spawn import spawn
from coso.steps import Step

FLAG = CLONE_NEWNET

SIOCGIFFLAGS, SIOCSIFFLAGS, IFF_UP = 0x8913, 0x8914, 1
LOCALHOST = "127.0.0.1\tlocalhost\n::1\tlocalhost ip6-localhost ip6-loopback\n"


def check_helper(path: str) -> None:
    """Raise MissingError unless the helper can be executed."""
    if path in ("", "none", "host"):
        return
    if not os.path.isfile(path):
        raise MissingError(
            f"the network helper {path} does not exist",
            hint="run `invoke net-setup` to install cosonet, or give -network none",
        )
    if not os.access(path, os.X_OK):
        raise MissingError(f"the network helper {path} is not executable", hint=f"run `chmod +x {path}`")


def attach(container: Container) -> None:
    """Let the helper connect the container."""
    helper, pid = container.spec.network, container.pid
    container.journal.record("release-network", helper, str(pid), str(start_time(pid)))
    if is_bundled(helper):
        from cosonet import attach as cosonet

        container.address = cosonet.attach(pid)
    else:
        _execute(helper, "-pid", str(pid))


def release(helper: str, pid: int, started: int) -> None:
    """Give back what cosonet leased to a process; other helpers live by the contract, which ends with the namespace."""
    if is_bundled(helper):
        from cosonet import release as cosonet

        cosonet.release(pid, started)


def is_bundled(path: str) -> bool:
    """Whether the helper is the launcher of the cosonet beside this package."""
    return launcher.is_ours(path, "cosonet")


def leave(container: Container) -> None:
    """After the lease was given back: see to the network when this was its last container."""
    if container.has("network") and container.spec.network not in ("", "none") and is_bundled(container.spec.network):
        from cosonet.release import remove_later

        remove_later()


def _execute(helper: str, *words: str) -> None:
    """Run another helper; raise NetworkError with its own words."""
    try:
        status, said = spawn([helper, *words])
    except OSError as error:
        raise NetworkError(f"the network helper {helper} cannot be executed: {error.strerror}") from None
    said = said.strip()
    if status != 0:
        raise NetworkError(
            f"the network helper {helper} failed with status {status}: {said or 'it said nothing'}",
            hint=f"run `{helper} -pid PID` by hand, or give -network none",
        )
    if said:
        sys.stderr.write(said + "\n")


def write_etc(container: Container) -> None:
    """Write hostname, hosts and resolv.conf; hosts gets its address once there is one."""
    contents = {"hostname": f"{container.hostname}\n", "hosts": LOCALHOST, "resolv.conf": resolv_conf(container)}
    for name, text in contents.items():
        path = f"{container.directory}/{name}"
        fd = os.open(path, os.O_CREAT | os.O_WRONLY | os.O_EXCL | os.O_CLOEXEC, 0o644)
        os.write(fd, text.encode())
        os.fchmod(fd, 0o644)
        os.fchown(fd, container.root_uid, container.root_gid)
        os.close(fd)


def write_address(container: Container) -> None:
    """Add the container's own name to its hosts file."""
    address = container.address or "127.0.1.1"
    fd = os.open(f"{container.directory}/hosts", os.O_WRONLY | os.O_APPEND | os.O_CLOEXEC)
    os.write(fd, f"{address}\t{container.hostname}\n".encode())
    os.close(fd)


def resolv_conf(container: Container) -> str:
    """The host's resolvers, less those on its loopback, which the container cannot reach.

    Where systemd-resolved's stub is the only one, its upstream file is used
    (`/run/systemd/resolve/resolv.conf`).  A container that shares the host's
    network gets the host's file.
    """
    host = not container.has("network")
    for path in ("/etc/resolv.conf", "/run/systemd/resolve/resolv.conf"):
        try:
            with open(path, errors="replace") as file:
                lines = file.read().splitlines()
        except OSError:
            continue
        kept = [line for line in lines if host or not _is_loopback_resolver(line)]
        if any(line.startswith("nameserver") for line in kept):
            return "\n".join(kept) + "\n"
    return "# The host has no resolver that can be reached from here.\n"


def _is_loopback_resolver(line: str) -> bool:
    words = line.split()
    return len(words) > 1 and words[0] == "nameserver" and (words[1].startswith("127.") or words[1] == "::1")


def prepare(container: Container) -> None:
    """Bring the loopback interface up; runs in the child."""
    control = socket(AF_INET, SOCK_DGRAM)
    request = pack("16sH14x", b"lo", 0)
    flags = unpack("16sH14x", ioctl(control.fileno(), SIOCGIFFLAGS, request))[1]
    ioctl(control.fileno(), SIOCSIFFLAGS, pack("16sH14x", b"lo", flags | IFF_UP))
    control.close()


ETC = Step(
    "write /etc files",
    "write hostname, hosts and resolv.conf of the container",
    "open(), write()",
    "a resolver on the host's loopback cannot be reached from another network namespace",
    "resolv.conf(5), hosts(5)",
    write_etc,
)
PREPARE = Step(
    "bring up loopback",
    "bring the loopback interface up",
    "ioctl(SIOCSIFFLAGS)",
    "a new network namespace has a loopback interface, and it is down",
    "network_namespaces(7), netdevice(7)",
    prepare,
)
ATTACH = Step(
    "attach the network",
    "let the network helper connect the container",
    "HELPER -pid PID",
    "only the host may put one end of a link into the host's bridge",
    "veth(4), bridge(8)",
    attach,
)
ADDRESS = Step(
    "write the address",
    "add the container's address to its hosts file",
    "write(hosts)",
    "programs look up their own host name",
    "hosts(5)",
    write_address,
)
