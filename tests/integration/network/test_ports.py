"""Published ports: who reaches them, from where, and what happens when they are taken."""

from __future__ import annotations

import re
import socket
import subprocess
import sys
from collections.abc import Callable, Iterator

import pytest

from coso.spawn import find, spawn
from tests.integration.conftest import Coso, Start, eventually, what_is_left
from tests.integration.network.conftest import HERE4, HERE6, Box, Cosonet, connects

Net = Callable[..., str]
Serve = Callable[..., Box]
# A server of both protocols and versions that says which port it is, and whom it sees.
SERVER = """
import os, socket, sys, threading
def stream(port):
    end = socket.create_server(("::", port), family=socket.AF_INET6, dualstack_ipv6=True)
    while True:
        peer, where = end.accept()
        peer.sendall(f"{port} {where[0].removeprefix('::ffff:')}".encode())
        peer.close()
def packets(port):
    end = socket.socket(socket.AF_INET, socket.SOCK_DGRAM)
    end.bind(("", port))
    while True:
        _, where = end.recvfrom(100)
        end.sendto(f"{port} {where[0]}".encode(), where)
for port in map(int, sys.argv[1:]):
    threading.Thread(target=stream, args=(port,), daemon=True).start()
    threading.Thread(target=packets, args=(port,), daemon=True).start()
os.write(1, b"x")
threading.Event().wait()
"""
ASK_UDP = """
import socket, sys
end = socket.socket(socket.AF_INET, socket.SOCK_DGRAM)
end.settimeout(1.5)
end.sendto(b"?", (sys.argv[1], int(sys.argv[2])))
sys.stdout.write(end.recv(100).decode())
"""


def asks(where: Box | None, address: str, port: int) -> str | None:
    """What a server says to a datagram."""
    words = [sys.executable, "-c", ASK_UDP, address, str(port)]
    status, said = where.run(*words) if where else spawn(words)
    return said if status == 0 else None


@pytest.fixture
def serve(box: Callable[[], Box], cosonet: Cosonet) -> Iterator[Serve]:
    """Makes connected boxes with a server on each of some ports: `serve([80], "-publish", "8080:80")`."""
    servers: list[subprocess.Popen[bytes]] = []

    def make(ports: list[int], *words: str) -> Box:
        one = box()
        status, said = cosonet("-pid", str(one.pid), *words)
        assert status == 0, said
        line = one.words(sys.executable, "-c", SERVER, *map(str, ports))
        server = subprocess.Popen(line, stdout=subprocess.PIPE)
        servers.append(server)
        assert server.stdout and server.stdout.read(1)
        return one

    yield make
    for server in servers:
        server.kill()
        server.communicate()


def test_a_port_is_the_hosts_own_loopback_unless_said_otherwise(serve: Serve, outer: Box) -> None:
    serve([80], "-publish", "8080:80")
    assert (connects(None, "127.0.0.1", 8080) or "").startswith("80 10.")
    assert connects(None, HERE4, 8080) is None
    assert connects(outer, HERE4, 8080) is None


def test_a_port_of_loopback_is_not_reached_by_a_neighbour_of_the_host(serve: Serve, outer: Box) -> None:
    """One on the same wire can send to 127.0.0.1 by the host's Ethernet address. The control is without the rule."""
    serve([80], "-publish", "8080:80")
    for command in (
        "echo 1 > /proc/sys/net/ipv4/conf/all/route_localnet",
        "ip addr del 127.0.0.1/8 dev lo",
        f"ip route add 127.0.0.1 via {HERE4} dev outer0 src 198.51.100.2",
    ):
        assert outer.run("/bin/sh", "-c", command)[0] == 0
    assert connects(outer, "127.0.0.1", 8080) is None
    assert spawn([find("nft"), "flush", "chain", "inet", "coso", "guard"])[0] == 0
    assert connects(outer, "127.0.0.1", 8080)


def test_a_port_of_every_address_is_reached_from_everywhere(serve: Serve, outer: Box) -> None:
    """Whoever asks from outside is seen with their own address."""
    serve([80], "-publish", "0.0.0.0:8080:80")
    assert connects(outer, HERE4, 8080) == "80 198.51.100.2"
    assert connects(None, HERE4, 8080)
    assert connects(None, "127.0.0.1", 8080)


def test_a_port_of_one_address_is_reached_there(serve: Serve, outer: Box) -> None:
    serve([80], "-publish", f"{HERE4}:8080:80")
    assert connects(outer, HERE4, 8080) == "80 198.51.100.2"
    assert connects(None, "127.0.0.1", 8080) is None


def test_a_port_of_version_6(net: Net, serve: Serve, outer: Box, both_versions: None) -> None:
    net("web", "--ipv6")
    serve([80], "-network", "web", "-publish", "[::]:8080:80", "-publish", f"[{HERE6}]:8081:80")
    assert connects(outer, HERE6, 8080) == "80 2001:db8::2"
    assert connects(outer, HERE6, 8081) == "80 2001:db8::2"
    assert connects(outer, HERE4, 8080) is None


def test_datagrams(serve: Serve, outer: Box) -> None:
    serve([53], "-publish", "0.0.0.0:5353:53/udp")
    assert asks(outer, HERE4, 5353) == "53 198.51.100.2"
    assert asks(None, "127.0.0.1", 5353)
    # The control: it is that protocol alone.
    assert connects(outer, HERE4, 5353) is None


def test_a_range_is_that_many_ports(serve: Serve, outer: Box) -> None:
    serve([80, 81, 82], "-publish", "0.0.0.0:8000-8002:80-82")
    assert [connects(outer, HERE4, port) for port in (8000, 8001, 8002)] == [
        f"{port} 198.51.100.2" for port in (80, 81, 82)
    ]


def test_a_container_reaches_its_own_and_its_neighbours_port_by_the_hosts_address(
    serve: Serve, member: Callable[..., Box], net: Net, outer: Box
) -> None:
    """The hairpin; and what is published for all is so for other networks."""
    net("other")
    one = serve([80], "-publish", "0.0.0.0:8080:80")
    neighbour, stranger = member(), member("-network", "other")
    for asking in (one, neighbour, stranger):
        assert connects(asking, HERE4, 8080), asking.addresses()
    # The control: without a port, the other network is out of reach.
    assert connects(stranger, one.addresses()[0], 80) is None


def test_the_kernel_chooses_a_port(start: Start, coso: Coso) -> None:
    process = start(
        "--name", "one", "-p", "80", "-p", "53/udp", "echo up; exec nc -lk -p 80 -e echo hello", network="bridge"
    )
    assert process.stdout and process.stdout.readline() == "up\n"
    lines = coso("port", "one").stdout.splitlines()
    assert [re.sub(r"\d+$", "N", line) for line in lines] == ["80/tcp -> 127.0.0.1:N", "53/udp -> 127.0.0.1:N"]
    port = int(coso("port", "one", "80").stdout.rpartition(":")[2])
    assert eventually(lambda: connects(None, "127.0.0.1", port) == "hello\n", 3)
    done = coso("port", "one", "81")
    assert done.returncode == 125 and "port 81 of one is not published" in done.stderr


def test_a_program_of_the_host_keeps_its_port(
    coso: Coso, start: Start, cosonet: Cosonet, box: Callable[[], Box]
) -> None:
    with socket.create_server(("127.0.0.1", 8080)):
        status, said = cosonet("-pid", str(box().pid), "-publish", "8080:80")
    assert status == 125
    assert "port 8080/tcp of 127.0.0.1 is taken: a program of the host has it" in said and "ss -ltnp" in said
    assert not what_is_left()


def test_a_port_of_another_container_is_not_taken_from_it(
    serve: Serve, box: Callable[[], Box], cosonet: Cosonet
) -> None:
    one = serve([80], "-publish", "0.0.0.0:8080:80")
    other = box()
    for text in ("8080:80", "0.0.0.0:8080:81", "9000:80", "8079-8081:79-81"):
        status, said = cosonet("-pid", str(other.pid), "-publish", "9000:90", "-publish", text)
        assert status == 125, text
    assert f"process {one.pid} has published it" in said
    assert other.ip("-o", "link").count("\n") == 1
    # Neither is one of a protocol or an address apart.
    assert cosonet("-pid", str(other.pid), "-publish", "8080:80/udp")[0] == 0
    assert connects(None, "127.0.0.1", 8080)


def test_a_port_is_free_again_after_its_container(serve: Serve, cosonet: Cosonet, box: Callable[[], Box]) -> None:
    one = serve([80], "-publish", "8080:80")
    one.end()
    other = box()
    assert eventually(lambda: cosonet("-pid", str(other.pid), "-publish", "8080:80")[0] == 0)


def test_a_client_that_goes_on_sending_meets_the_next_container(serve: Serve, outer: Box, cosonet: Cosonet) -> None:
    """From one and the same port: the kernel takes that for the flow to the container before."""
    script = (
        "import socket, sys\n"
        "end = socket.socket(socket.AF_INET, socket.SOCK_DGRAM)\n"
        "end.bind(('', 5555))\n"
        "end.settimeout(1.5)\n"
        f"end.sendto(b'?', ('{HERE4}', 5353))\n"
        "sys.stdout.write(end.recv(100).decode())\n"
    )
    first = serve([53], "-publish", "0.0.0.0:5353:53/udp")
    assert outer.python(script) == (0, "53 198.51.100.2")
    first.end()
    assert cosonet("gc")[0] == 0
    serve([54], "-publish", "0.0.0.0:5353:54/udp")
    assert outer.python(script) == (0, "54 198.51.100.2")


def test_nobody_on_the_host_takes_a_port_while_its_container_runs(start: Start) -> None:
    process = start("-p", "8080:80", "echo up; exec sleep 30", network="bridge")
    assert process.stdout and process.stdout.readline() == "up\n"
    with pytest.raises(OSError), socket.create_server(("127.0.0.1", 8080)):
        pass


@pytest.mark.parametrize(
    ("text", "said"),
    [
        ("203.0.113.9:8080:80", "the host has no such address"),
        ("[::1]:8080:80", "no subnet of version 6"),
        ("8080", ""),
    ],
)
def test_a_port_that_cannot_be_published_is_named(
    cosonet: Cosonet, box: Callable[[], Box], text: str, said: str
) -> None:
    status, found = cosonet("-pid", str(box().pid), "-publish", text)
    assert (status == 125 and said in found) if said else status == 0, found


def test_an_internal_network_has_no_ports(net: Net, cosonet: Cosonet, box: Callable[[], Box]) -> None:
    net("inside", "--internal")
    status, said = cosonet("-pid", str(box().pid), "-network", "inside", "-publish", "8080:80")
    assert status == 125 and "is internal" in said


def test_the_address_translation_is_gone_with_the_container(serve: Serve, cosonet: Cosonet) -> None:
    one = serve([80], "-publish", "0.0.0.0:8080:80")
    shown = spawn([find("nft"), "list", "map", "inet", "coso", "open4"])[1]
    assert "8080" in shown
    assert cosonet("release", "-pid", str(one.pid))[0] == 0
    assert connects(None, "127.0.0.1", 8080) is None
    assert "8080" not in spawn([find("nft"), "list", "ruleset"])[1]
