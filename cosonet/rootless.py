"""Connecting without root: pasta, or slirp4netns where that is missing; both act as the ordinary user they belong to.

There is no bridge, no address of one's own and no name on a network: what the
container sends, a process of the user's sends for it (pasta(1),
slirp4netns(1)).  That process is recorded like everything else, and ends with
the container.
"""

from __future__ import annotations

import os
import time

from coso.errors import MissingError, NetworkError, PrivilegeError, UsageError
from coso.kernel.process import start_time
from coso.spawn import find

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Callable
    from typing import Protocol

    from cosonet.attach import Wishes
    from cosonet.member import Port

    class Outside(Protocol):
        """How programs are started as the ordinary user that this process was, with descriptors they can open."""

        def start(self, words: list[str], fds: tuple[int, ...]) -> int:
            """Start one that goes on; its number."""


INTERFACE = "eth0"
TUN = "/dev/net/tun"
PATIENCE = 10.0
# What slirp4netns gives (slirp4netns(1), "DESCRIPTION").
SLIRP_ADDRESS = "10.0.2.100"


def check(wishes: Wishes) -> None:
    """Raise for what cannot be had without root."""
    from cosonet.definition import DEFAULT

    for option, given in (
        ("-network", wishes.network != DEFAULT),
        ("-ip", bool(wishes.ip)),
        ("-ip6", bool(wishes.ip6)),
        ("-mac", bool(wishes.mac)),
        ("-alias", bool(wishes.aliases)),
    ):
        if given:
            raise UsageError(f"{option} needs root: without it there is no network of coso's own", hint="use sudo")
    for item in wishes.publish:
        if item.protocol == "sctp":
            raise UsageError("-publish: sctp needs root")
    program()
    check_device()


def check_device() -> None:
    """Raise PrivilegeError where an ordinary user may not make an interface."""
    if not os.access(TUN, os.R_OK | os.W_OK):
        raise PrivilegeError(
            f"{TUN} cannot be opened, by which an ordinary user's container gets its interface",
            hint=f"as root: `modprobe tun`, `chmod 666 {TUN}`; or give -network none",
        )


def program() -> str:
    """pasta, or slirp4netns; raises MissingError."""
    for name in ("pasta", "slirp4netns"):
        if found := find(name):
            return found
    raise MissingError(
        "neither pasta nor slirp4netns is installed, and without root one of them makes the network",
        hint="install Debian's package passt, or give -network none",
    )


def attach(
    pid: int, wishes: Wishes, record: Callable[..., None], outside: Outside, descriptor: str, directory: str
) -> str:
    """Connect a process of ours; return its address.

    `record` writes down which process does it; `descriptor` is what stands for
    the path of a descriptor in the words that `outside` is given; `directory`
    is the container's, which goes with it.  Raises CosoError.
    """
    from cosonet.publish import reserve

    check(wishes)
    ports, held = reserve(list(wishes.publish), index=False)
    for end in held:
        end.close()  # The program binds them itself.
    kept = [(protocol, host or "0.0.0.0", port, inside) for protocol, host, port, inside in ports]
    users = os.open("/proc/self/ns/user", os.O_RDONLY | os.O_CLOEXEC)
    network = os.open(f"/proc/{pid}/ns/net", os.O_RDONLY | os.O_CLOEXEC)
    places = [descriptor.format(number) for number in range(4)]
    try:
        if os.path.basename(program()) == "pasta":
            _pasta(kept, record, outside, (users, network), places)
            return _address_of(pid)
        _slirp4netns(kept, record, outside, (users, network), places, directory)
        return SLIRP_ADDRESS
    finally:
        os.close(users)
        os.close(network)


def _pasta(
    ports: list[Port], record: Callable[..., None], outside: Outside, namespaces: tuple[int, int], places: list[str]
) -> None:
    """Pasta goes into the background when all is set up, and says who it is in a file."""
    words = [program(), "--config-net", "--ns-ifname", INTERFACE, "--no-map-gw", "--foreground", "--quiet"]
    # Unless told otherwise it opens every port of the container on the host, and the host's in the container.
    for protocol, option in (("tcp", "-t"), ("udp", "-u")):
        mine = [f"{host}/{port}:{inside}" for kind, host, port, inside in ports if kind == protocol]
        words += [part for text in mine or ["none"] for part in (option, text)]
    words += ["-T", "none", "-U", "none", "--userns", places[0], "--netns", places[1], "--pid", places[2]]
    ready, told = os.pipe2(os.O_CLOEXEC)
    complaints, said = os.pipe2(os.O_CLOEXEC)
    child = outside.start(["/bin/sh", "-c", f'exec "$@" 2> {places[3]}', "sh", *words], (*namespaces, told, said))
    os.close(told)
    os.close(said)
    if child:
        record("kill", str(child), str(start_time(child)))
    with os.fdopen(ready) as pipe, os.fdopen(complaints, errors="replace") as errors:
        # It writes its number when all is set up.
        if not pipe.readline().strip().isdecimal():
            raise NetworkError(f"pasta failed: {_words(errors.read())}", hint="or give -network none")


def _words(said: str) -> str:
    """What a program said, without complaints about a log that is not there."""
    lines = [line for line in said.splitlines() if "syslog" not in line]
    return "; ".join(lines) or "it said nothing"


def _slirp4netns(
    ports: list[Port],
    record: Callable[..., None],
    outside: Outside,
    namespaces: tuple[int, int],
    places: list[str],
    directory: str,
) -> None:
    """slirp4netns stays in the foreground, says by a pipe when it is ready, and takes ports over a socket."""
    ready, told = os.pipe2(os.O_CLOEXEC)
    words = [program(), "--configure", "--mtu=65520", "--disable-host-loopback", f"--userns-path={places[0]}"]
    words += ["--netns-type=path", f"--api-socket={directory}/slirp4netns", places[1], INTERFACE]
    # It takes the number of a descriptor, not a path: a shell opens what the path names under a number it knows.
    shell = ["/bin/sh", "-c", f'exec 9> {places[2]}; exec "$@" --ready-fd=9', "sh"]
    child = outside.start([*shell, *words], (*namespaces, told))
    os.close(told)
    if child:
        record("kill", str(child), str(start_time(child)))
    with os.fdopen(ready, "rb") as pipe:
        if pipe.read(1) != b"1":
            raise NetworkError("slirp4netns ended before the network was ready", hint="or give -network none")
    for port in ports:
        _forward(f"{directory}/slirp4netns", *port)


def _forward(path: str, protocol: str, host: str, host_port: int, inside: int) -> None:
    """Ask slirp4netns for a port (slirp4netns(1), "API SOCKET")."""
    import json
    import socket

    wanted = {"proto": protocol, "host_addr": host, "host_port": host_port, "guest_port": inside}
    deadline = time.monotonic() + PATIENCE
    with socket.socket(socket.AF_UNIX) as end:
        while True:
            try:
                end.connect(path)
                break
            except OSError:
                if time.monotonic() > deadline:
                    raise
                time.sleep(0.005)
        end.sendall(json.dumps({"execute": "add_hostfwd", "arguments": wanted}).encode())
        end.shutdown(socket.SHUT_WR)
        answer = json.loads(end.makefile().read() or "{}")
    if "error" in answer:
        raise NetworkError(f"port {host_port} cannot be published: {answer['error'].get('desc', answer['error'])}")


def _address_of(pid: int) -> str:
    """The first address inside that is not loopback's: that of a local route of 32 bits (proc(5), net/fib_trie)."""
    last, found = "", ""
    with open(f"/proc/{pid}/net/fib_trie") as file:
        for line in file:
            if "--" in line:
                last = line.split()[-1]
            elif "/32 host LOCAL" in line and not last.startswith("127."):
                found = found or last
    return found
