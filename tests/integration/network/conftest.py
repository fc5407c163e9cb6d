"""Hosts, boxes and containers for the tests of the network."""

from __future__ import annotations

import json
import os
import subprocess
import sys
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import pytest

from coso.kernel.process import CLONE_NEWNET, setns, unshare
from coso.spawn import find, spawn
from cosonet import network, release
from tests.integration.conftest import Coso, eventually

HERE4, OUTER4 = "198.51.100.1", "198.51.100.2"
HERE6, OUTER6 = "2001:db8::1", "2001:db8::2"
# Answers on TCP port 7777 with the address it sees, of both families.
SERVER = """
import os, socket, threading
def serve(family, address):
    end = socket.create_server((address, 7777), family=family)
    os.write(1, b"x")
    while True:
        peer, where = end.accept()
        peer.sendall(where[0].encode() + b"\\n")
        peer.close()
threading.Thread(target=serve, args=(socket.AF_INET, "198.51.100.2"), daemon=True).start()
serve(socket.AF_INET6, "2001:db8::2")
"""
Cosonet = Callable[..., tuple[int, str]]


class Box:
    """A process with an empty network namespace, in which other programs can be run."""

    def __init__(self) -> None:
        self._servers: list[subprocess.Popen[bytes]] = []
        self.process = subprocess.Popen([find("unshare"), "-n", find("sleep"), "600"])
        here = os.readlink("/proc/self/ns/net")
        assert eventually(lambda: os.readlink(f"/proc/{self.process.pid}/ns/net") != here)
        self.ip("link", "set", "lo", "up")

    @property
    def pid(self) -> int:
        """Its number."""
        return self.process.pid

    def words(self, *words: str) -> list[str]:
        """The words that run a program in it."""
        return [find("nsenter"), "-n", "-t", str(self.pid), *words]

    def run(self, *words: str) -> tuple[int, str]:
        """Run a program in it; the status, and what it said."""
        return spawn(self.words(*words))

    def ip(self, *words: str) -> str:
        """Run ip(8) in it."""
        status, said = self.run(find("ip"), *words)
        assert status == 0, said
        return said

    def python(self, script: str) -> tuple[int, str]:
        """Run a script in it."""
        return self.run(sys.executable, "-c", script)

    def reaches(self, address: str, port: int = 0) -> bool:
        """Whether it can ping an address, or connect to a port."""
        if port:
            return connects(self, address, port) is not None
        return self.run(find("ping"), "-c", "1", "-W", "1", "-q", address)[0] == 0

    def addresses(self, interface: str = "eth0") -> list[str]:
        """The global addresses of an interface."""
        links = json.loads(self.ip("-j", "addr", "show", interface))
        return [str(item["local"]) for link in links for item in link.get("addr_info", []) if item["scope"] == "global"]

    def serve(self, script: str) -> None:
        """Have a script run in it as long as it lives."""
        self._servers.append(subprocess.Popen(self.words(sys.executable, "-c", script)))

    def end(self) -> None:
        """End it."""
        for process in (*self._servers, self.process):
            process.kill()
            process.wait()


ASK = """
import socket, sys
try:
    end = socket.create_connection((sys.argv[1], int(sys.argv[2])), 1.5)
    sys.stdout.write(end.recv(4096).decode())
except OSError as error:
    sys.exit(str(error))
"""


def connects(where: Box | None, address: str, port: int) -> str | None:
    """What a server says, asked from a box or from here; None when it cannot be reached."""
    words = [sys.executable, "-c", ASK, address, str(port)]
    status, said = where.run(*words) if where else spawn(words)
    return said if status == 0 else None


@pytest.fixture(scope="session", autouse=True)
def _ping(_packages: None) -> None:
    from provisioning.system import Package

    if not find("ping"):
        from tests.integration.conftest import machines_network

        with machines_network():
            package = Package("iputils-ping", "ping")
            package.apply(package.plan(package.inspect()))  # type: ignore[arg-type]


@pytest.fixture
def box(net: Callable[..., str]) -> Iterator[Callable[[], Box]]:
    """Makes boxes, which end with the test, before its networks."""
    made: list[Box] = []

    def make() -> Box:
        made.append(Box())
        return made[-1]

    yield make
    for one in made:
        one.end()
    release.collect()


@pytest.fixture
def member(box: Callable[[], Box], cosonet: Cosonet) -> Callable[..., Box]:
    """Makes boxes that are connected."""

    def make(*words: str) -> Box:
        one = box()
        status, said = cosonet("-pid", str(one.pid), *words)
        assert status == 0, said
        return one

    return make


@pytest.fixture
def outer(box: Callable[[], Box]) -> Iterator[Box]:
    """A host beyond ours that has no route to any container, and answers with the address it sees."""
    with beyond(box()) as there:
        yield there


@contextmanager
def beyond(there: Box) -> Iterator[Box]:
    """Put a box on a link of ours, with a server on it."""
    here = find("ip")
    for words in (
        f"link add toouter type veth peer name outer0 netns {there.pid}",
        f"addr add {HERE4}/24 dev toouter",
        f"addr add {HERE6}/64 dev toouter nodad",
        "link set toouter up",
    ):
        status, said = spawn([here, *words.split()])
        assert status == 0, said
    there.ip("addr", "add", f"{OUTER4}/24", "dev", "outer0")
    there.ip("addr", "add", f"{OUTER6}/64", "dev", "outer0", "nodad")
    there.ip("link", "set", "outer0", "up")
    server = subprocess.Popen(there.words(sys.executable, "-c", SERVER), stdout=subprocess.PIPE)
    assert server.stdout and len(server.stdout.read(2)) == 2
    yield there
    server.kill()
    server.communicate()
    there.end()
    eventually(lambda: "toouter" not in spawn([here, "link"])[1])


@pytest.fixture
def cosonet(programs: Path) -> Cosonet:
    """Run cosonet."""
    return lambda *words: spawn([str(programs / "cosonet"), *words])


@pytest.fixture
def net(coso: Coso) -> Iterator[Callable[..., str]]:
    """Makes networks, which are gone after the test: `net("web", "--ipv6")`."""
    made: list[str] = []

    def make(name: str, *words: str) -> str:
        done = coso("network", "create", *words, name)
        assert done.returncode == 0, done.stderr
        made.append(name)
        return name

    yield make
    release.collect()
    for name in made:
        coso("network", "rm", name)


@pytest.fixture
def both_versions() -> Iterator[None]:
    """The host forwards packets of version 6 too."""
    switch = Path("/proc/sys/net/ipv6/conf/all/forwarding")
    before = switch.read_text()
    switch.write_text("1")
    yield
    switch.write_text(before)


@pytest.fixture
def own_host() -> Iterator[None]:
    """A host that is this test's alone: an empty network namespace that forwards."""
    ours = os.open("/proc/self/ns/net", os.O_RDONLY | os.O_CLOEXEC)
    release.remove_unused()
    unshare(CLONE_NEWNET)
    spawn([find("ip"), "link", "set", "lo", "up"])
    Path("/proc/sys/net/ipv4/ip_forward").write_text("1")
    yield
    release.collect()
    with network.locked():
        for name in network.names():
            network.remove(name)
    setns(ours, CLONE_NEWNET)
    os.close(ours)


def inspected(coso: Coso, name: str) -> dict[str, Any]:
    """What `coso network inspect` says of a network."""
    found: list[dict[str, Any]] = json.loads(coso("network", "inspect", name).stdout)
    return found[0]
