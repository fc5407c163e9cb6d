"""Nobody speaks for another, nor reaches what is not theirs; each with a control, the same without the protection."""

from __future__ import annotations

import socket
import subprocess
import sys
from collections.abc import Callable

import pytest

from coso.spawn import find, spawn
from tests.integration.network.conftest import Box, Cosonet, inspected

Net = Callable[..., str]
Member = Callable[..., Box]
# Waits for a frame on eth0 that has some bytes in it, and says so.
LISTEN = """
import os, socket, sys, time
end = socket.socket(socket.AF_PACKET, socket.SOCK_RAW, socket.htons(3))
end.bind(("eth0", 0))
end.settimeout(0.2)
os.write(1, b"ready")
wanted, until = bytes.fromhex(sys.argv[1]), time.monotonic() + float(sys.argv[2])
while time.monotonic() < until:
    try:
        if wanted in end.recv(2000):
            os.write(1, b" heard")
            break
    except TimeoutError:
        pass
"""
SEND = """
import socket, sys
end = socket.socket(socket.AF_PACKET, socket.SOCK_RAW)
end.bind(("eth0", 0))
for _ in range(3):
    end.send(bytes.fromhex(sys.argv[1]))
"""
MARK = b"coso-was-here"
# The mark in an option that nobody knows (RFC 4861, 4.6).
OPTION = b"\xfd\2" + MARK + b"\0"
OFF = "table bridge coso\ndelete table bridge coso\n"


def mac_of(one: Box) -> bytes:
    return bytes.fromhex(one.ip("-o", "link", "show", "eth0").split("link/ether ")[1].split()[0].replace(":", ""))


def packed(address: str) -> bytes:
    return bytes(int(part) for part in address.split("."))


def checksum(header: bytes) -> bytes:
    total = sum(int.from_bytes(header[at : at + 2], "big") for at in range(0, len(header), 2))
    while total >> 16:
        total = (total & 0xFFFF) + (total >> 16)
    return (~total & 0xFFFF).to_bytes(2, "big")


def datagram(source: str, target: str) -> bytes:
    """An IPv4 packet with a UDP datagram that carries the mark."""
    udp = (9).to_bytes(2, "big") * 2 + (8 + len(MARK)).to_bytes(2, "big") + bytes(2) + MARK
    head = b"\x45\0" + (20 + len(udp)).to_bytes(2, "big") + bytes(4) + b"\x40\x11" + bytes(2)
    head += packed(source) + packed(target)
    return head[:10] + checksum(head) + head[12:] + udp


def arp(mac: bytes, address: str, asked: str) -> bytes:
    """An ARP answer: an address is at a MAC."""
    return b"\0\1\x08\0\6\4\0\2" + mac + packed(address) + b"\xff" * 6 + packed(asked) + MARK


def hears(listener: Box, sender: Box, frame: bytes) -> bool:
    """Whether a frame that one sends is heard by another."""
    line = listener.words(sys.executable, "-c", LISTEN, MARK.hex(), "1.5")
    process = subprocess.Popen(line, stdout=subprocess.PIPE)
    assert process.stdout and process.stdout.read(5) == b"ready"
    status, said = sender.run(sys.executable, "-c", SEND, frame.hex())
    assert status == 0, said
    return b"heard" in process.communicate(timeout=10)[0]


def forged(kind: str, attacker: Box, victim: Box, witness: Box) -> bytes:
    """A frame by which the attacker pretends to be the victim."""
    own, theirs, to = mac_of(attacker), mac_of(victim), mac_of(witness)
    victims, witness_address = victim.addresses()[0], witness.addresses()[0]
    return {
        "mac": to + theirs + b"\x08\0" + datagram(victims, witness_address),
        "address": to + own + b"\x08\0" + datagram(victims, witness_address),
        "arp": b"\xff" * 6 + own + b"\x08\6" + arp(own, victims, witness_address),
        "arp-mac": b"\xff" * 6 + own + b"\x08\6" + arp(theirs, attacker.addresses()[0], witness_address),
        "vlan": to + own + b"\x81\0\0\x01\x08\0" + datagram(victims, witness_address),
        "other": to + own + b"\x88\xcc" + MARK,
    }[kind]


@pytest.mark.parametrize("kind", ["mac", "address", "arp", "arp-mac", "vlan", "other"])
def test_a_member_does_not_pass_for_another(member: Member, kind: str) -> None:
    """It has every right over its own network namespace, as a box has. The control: without the rules it is heard."""
    attacker, victim, witness = member(), member(), member()
    frame = forged(kind, attacker, victim, witness)
    assert not hears(witness, attacker, frame)
    assert spawn([find("nft"), "-f", "-"], OFF)[0] == 0
    try:
        assert hears(witness, attacker, frame)
    finally:
        from cosonet.reload import reload

        reload()
    assert not hears(witness, attacker, frame)


def test_what_is_its_own_is_heard(member: Member) -> None:
    sender, witness = member(), member()
    own = mac_of(witness) + mac_of(sender) + b"\x08\0" + datagram(sender.addresses()[0], witness.addresses()[0])
    assert hears(witness, sender, own)


def neighbour_advertisement(source: bytes, target: bytes, mac: bytes) -> bytes:
    """An ICMPv6 neighbour advertisement for a target, to all nodes (RFC 4861, 4.4)."""
    every = bytes.fromhex("ff020000000000000000000000000001")
    body = b"\x88\0\0\0\x20\0\0\0" + target + b"\2\1" + mac + OPTION
    pseudo = source + every + len(body).to_bytes(4, "big") + b"\0\0\0\x3a"
    body = body[:2] + checksum(pseudo + body) + body[4:]
    packet = b"\x60\0\0\0" + len(body).to_bytes(2, "big") + b"\x3a\xff" + source + every + body
    return bytes.fromhex("333300000001") + mac + b"\x86\xdd" + packet


def test_a_member_does_not_pass_for_another_in_version_6(net: Net, member: Member, both_versions: None) -> None:
    net("web", "--ipv6")
    attacker, victim, witness = (member("-network", "web") for _ in range(3))
    own, theirs = (socket.inet_pton(socket.AF_INET6, one.addresses()[1]) for one in (attacker, victim))
    false = [neighbour_advertisement(who, theirs, mac_of(attacker)) for who in (own, theirs)]
    for frame in false:
        assert not hears(witness, attacker, frame)
    assert hears(witness, attacker, neighbour_advertisement(own, own, mac_of(attacker)))
    spawn([find("nft"), "-f", "-"], OFF)
    assert hears(witness, attacker, false[0])


def test_no_member_is_a_router_to_others(net: Net, member: Member, both_versions: None) -> None:
    net("web", "--ipv6")
    attacker, witness = member("-network", "web"), member("-network", "web")
    mac = mac_of(attacker)
    source = bytes.fromhex("fe80000000000000") + bytes((mac[0] ^ 2, *mac[1:3], 0xFF, 0xFE, *mac[3:]))
    every = bytes.fromhex("ff020000000000000000000000000001")
    body = b"\x86\0\0\0\x40\0\x07\x08" + bytes(8) + OPTION
    pseudo = source + every + len(body).to_bytes(4, "big") + b"\0\0\0\x3a"
    body = body[:2] + checksum(pseudo + body) + body[4:]
    frame = bytes.fromhex("333300000001") + mac + b"\x86\xdd"
    frame += b"\x60\0\0\0" + len(body).to_bytes(2, "big") + b"\x3a\xff" + source + every + body
    assert not hears(witness, attacker, frame)
    spawn([find("nft"), "-f", "-"], OFF)
    assert hears(witness, attacker, frame)


def test_services_on_the_hosts_loopback_are_not_reached(net: Net, member: Member) -> None:
    """Though the bridge may route to 127.0.0.1, which published ports need; the control is without the rule."""
    net("web")
    one = member("-network", "web", "-publish", "8099:80")
    router = one.ip("route").split("via ")[1].split()[0]
    for command in (
        "echo 1 > /proc/sys/net/ipv4/conf/all/route_localnet",
        "ip addr del 127.0.0.1/8 dev lo",
        f"ip route add 127.0.0.1 via {router} dev eth0 src {one.addresses()[0]}",
    ):
        assert one.run("/bin/sh", "-c", command)[0] == 0
    script = "import socket; socket.create_connection(('127.0.0.1', 7070), 1.5).close()"
    with socket.create_server(("127.0.0.1", 7070)) as server:
        assert one.python(script)[0] != 0
        assert spawn([find("nft"), "flush", "chain", "inet", "coso", "guard"])[0] == 0
        server.settimeout(5)
        process = subprocess.Popen(one.words(sys.executable, "-c", script))
        server.accept()[0].close()
        process.wait()


def test_another_network_is_not_reached_by_a_route_of_ones_own(net: Net, member: Member, coso: object) -> None:
    net("web")
    net("db")
    one, other = member("-network", "web"), member("-network", "db")
    gateway = one.ip("route").split("via ")[1].split()[0]
    one.ip("route", "add", other.addresses()[0], "via", gateway)
    assert not one.reaches(other.addresses()[0])
    bridge = inspected(coso, "db")["Interface"]  # type: ignore[arg-type]
    assert spawn([find("nft"), "insert", "rule", "inet", "coso", "forward", "oifname", bridge, "accept"])[0] == 0
    assert one.reaches(other.addresses()[0])


@pytest.mark.parametrize(
    "words",
    [
        ["-network", "../../etc"],
        ["-network", "web/../x"],
        ["-interface", "../eth0"],
        ["-interface", "a" * 16],
        ["-name", "a b"],
        ["-name", "x\ny"],
        ["-mac", "01:00:5e:00:00:01"],
        ["-mac", "02:00:00:00:01"],
        ["-mac", "00:00:00:00:00:00"],
        ["-ip", "10.0.0.0/8"],
        ["-ip6", "10.0.0.1"],
        ["-publish", "80:80:80:80"],
        ["-publish", "70000:80"],
        ["-publish", "80-70:80-90"],
        ["-publish", "80:80/icmp"],
        ["-publish", "x:80"],
        ["-publish", "0:0"],
        ["-publish", ""],
    ],
)
def test_words_that_make_no_sense_are_refused_by_name(
    cosonet: Cosonet, box: Callable[[], Box], words: list[str]
) -> None:
    status, said = cosonet("-pid", str(box().pid), *words)
    assert status == 125 and said.count("\n") == 1
    assert repr(words[1]) in said, said
