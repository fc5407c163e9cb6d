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
from coso.errors import MissingError, NetworkError, PrivilegeError, UsageError
from coso.kernel.process import CLONE_NEWNET, is_limited, start_time
from coso.runtime.container import Container
from coso.spawn import spawn
from coso.spec import HOST_GATEWAY
from coso.spec.network import without_name
from coso.state import RUN
from coso.steps import Step

FLAG = CLONE_NEWNET

SIOCGIFFLAGS, SIOCSIFFLAGS, IFF_UP = 0x8913, 0x8914, 1
LOCALHOST = "127.0.0.1\tlocalhost\n::1\tlocalhost ip6-localhost ip6-loopback\n"

# A value of `-network` that is a CNI configuration, not a program.
RELEASE = "release-network"
CNI_SUFFIXES = (".conflist", ".conf", ".json")


def check_helper(path: str, words: tuple[str, ...] = (), more: tuple[tuple[str, ...], ...] = ()) -> None:
    """Raise MissingError unless the helper can be executed, UsageError for what the bundled one cannot do."""
    if path in ("", "none", "host"):
        return
    if path.endswith(CNI_SUFFIXES):
        from coso.runtime import cni

        if is_limited():
            raise PrivilegeError("CNI plugins need root", hint="leave -network out: pasta connects you")
        cni.check(path, words)
        return
    if not os.path.isfile(path):
        raise MissingError(
            f"the network helper {path} does not exist",
            hint="run `invoke net-setup` to install cosonet, or give -network none",
        )
    if not os.access(path, os.X_OK):
        raise MissingError(f"the network helper {path} is not executable", hint=f"run `chmod +x {path}`")
    if is_bundled(path) and is_limited():
        from cosonet import cli, rootless

        if more:
            raise PrivilegeError("a container of an ordinary user has one network", hint="run it as root")
        rootless.check(cli.wishes(list(words)))
    elif is_bundled(path):
        if words or more:
            from cosonet import cli, definition

            for one in (words, *more):
                definition.load(cli.wishes(list(one)).network)
    elif more:
        raise UsageError(f"several networks take cosonet, and the helper is {path}")


def attach(container: Container) -> None:
    """Let the helper connect the container."""
    helper, pid = container.spec.network, container.pid
    record = (RELEASE, helper, str(pid), str(start_time(pid)), container.id)
    container.journal.record(*record, *container.spec.network_words)
    words = container.spec.network_words
    if helper.endswith(CNI_SUFFIXES):
        from coso.runtime import cni

        cni.attach(container)
    elif is_bundled(helper) and container.spec.limited:
        from coso.runtime.outside import DESCRIPTOR
        from cosonet import cli, rootless

        assert container.outside
        wishes = cli.wishes(list(words))
        container.address = rootless.attach(
            pid, wishes, container.journal.record, container.outside, DESCRIPTOR, container.directory
        )
    elif is_bundled(helper):
        from cosonet import attach as cosonet
        from cosonet import cli

        hosts = f"{container.directory}/hosts" if container.spec.names else ""
        connected = cosonet.attach(pid, cli.wishes([*words, "-hosts", hosts]), container.nested)
        container.address = connected.record.address
        # As long as they are open here, nobody else on the host takes the published ports.
        container.held += connected.held
        for more in container.spec.networks_more:
            cosonet.attach(pid, cli.wishes([*more, "-hosts", hosts]))
    else:
        # The name is the container's; another helper need not know what to do with it.
        _execute(helper, "-pid", str(pid), *without_name(words))


def release(helper: str, pid: int, started: int, container: str = "", words: tuple[str, ...] = ()) -> None:
    """Give back what cosonet leased to a process; other helpers live by the contract, which ends with the namespace."""
    if helper.endswith(CNI_SUFFIXES):
        from coso.runtime import cni

        cni.release(helper, pid, container, words)
    elif is_bundled(helper) and not is_limited():
        from cosonet import owner
        from cosonet import release as cosonet

        cosonet.release(owner.of_process(pid, started))


def owner_of(container: Container) -> str:
    """As whom the bundled helper knows the container, if it has anything that another process may take back."""
    if container.spec.limited or not container.pid or not is_bundled(container.spec.network):
        return ""
    for kind, *words in container.journal.records:
        if kind == RELEASE:
            from cosonet import owner

            return owner.of_process(int(words[1]), int(words[2]))
    return ""


def release_soon(owner: str) -> None:
    """Have the bundled helper's release done by another process; the owner has ended."""
    from cosonet import release as cosonet

    cosonet.release_soon(owner)


def is_bundled(path: str) -> bool:
    """Whether the helper is the launcher of the cosonet beside this package."""
    return launcher.is_ours(path, "cosonet")


def leave(container: Container) -> None:
    """After the lease was given back: see to the network when this was its last container."""
    if container.has("network") and not container.spec.limited:
        leave_as(container.pid, container.spec.network)


def leave_as(pid: int, network: str) -> None:
    """As `leave`, for a container that was the process `pid`; `network` is its helper, or "none"."""
    later = False
    # Networks that it was connected to while it ran; cosonet names who is connected by the process (owner.of_process).
    members = f"{RUN}/network/members"
    if os.path.isdir(members) and any(name.startswith(f"{pid}:") for name in os.listdir(members)):
        from cosonet import release as cosonet

        later = cosonet.release_pid(pid)
    wanted = network not in ("", "none")
    if later or (wanted and is_bundled(network)):
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
    pairs = container.spec.resolver.hosts
    hosts = LOCALHOST + "".join(f"{address}\t{name}\n" for name, address in pairs if address != HOST_GATEWAY)
    contents = {"hostname": f"{container.hostname}\n", "hosts": hosts, "resolv.conf": resolv_conf(container)}
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
    lines = [(address, container.hostname)]
    lines += [(_gateway(container), name) for name, where in container.spec.resolver.hosts if where == HOST_GATEWAY]
    os.write(fd, "".join(f"{address}\t{name}\n" for address, name in lines if address).encode())
    os.close(fd)


def _gateway(container: Container) -> str:
    """The host, as the container reaches it: by its default route, or as itself (proc(5), net/route)."""
    if not container.has("network"):
        return "127.0.0.1"
    with open(f"/proc/{container.pid}/net/route") as file:
        for line in file.readlines()[1:]:
            words = line.split()
            if words[1] == words[7] == "00000000":
                return ".".join(str(part) for part in reversed(bytes.fromhex(words[2])))
    raise NetworkError(
        f"--add-host NAME:{HOST_GATEWAY}: the container has no way to the host", hint="leave it out with -network none"
    )


def resolv_conf(container: Container) -> str:
    """What was asked for; for the rest the host's resolvers, less those on its loopback, which cannot be reached.

    Where systemd-resolved's stub is the only one, its upstream file is used
    (`/run/systemd/resolve/resolv.conf`).  A container that shares the host's
    network gets the host's file.
    """
    wanted = container.spec.resolver
    replaced = {"nameserver": wanted.servers, "search": wanted.search, "options": wanted.options}
    lines = [
        *(f"nameserver {server}" for server in wanted.servers),
        *([f"search {' '.join(wanted.search)}"] if wanted.search else []),
        *([f"options {' '.join(wanted.options)}"] if wanted.options else []),
    ]
    asked = {name for name, words in replaced.items() if words} | ({"domain"} if wanted.search else set())
    lines += [line for line in _of_host(container) if line.split()[:1] and line.split()[0] not in asked]
    if not any(line.startswith("nameserver") for line in lines):
        lines.append("# The host has no resolver that can be reached from here.")
    return "\n".join(lines) + "\n"


def _of_host(container: Container) -> list[str]:
    host = not container.has("network")
    for path in ("/etc/resolv.conf", "/run/systemd/resolve/resolv.conf"):
        try:
            with open(path, errors="replace") as file:
                lines = file.read().splitlines()
        except OSError:
            continue
        kept = [line for line in lines if host or not _is_loopback_resolver(line)]
        if any(line.startswith("nameserver") for line in kept):
            return kept
    return []


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
