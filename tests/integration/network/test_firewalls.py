"""Firewalls of others: Docker, ufw, firewalld, somebody who flushes everything; and what doctor says of it."""

from __future__ import annotations

import os
import subprocess
import tempfile
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path

import pytest

from coso.spawn import find, spawn
from cosonet import network
from tests.integration.conftest import eventually, machines_network
from tests.integration.network.conftest import HERE4, HERE6, OUTER4, OUTER6, Box, Cosonet, beyond, connects

Member = Callable[..., Box]
pytestmark = pytest.mark.usefixtures("own_host")


@pytest.fixture
def world(box: Callable[[], Box]) -> Iterator[Box]:
    """A host beyond this test's own."""
    with beyond(box()) as there:
        yield there


def installed(package: str, program: str) -> None:
    """A package of Debian's, put there where it is missing."""
    if find(program):
        return
    from provisioning.system import Package

    with machines_network():
        wanted = Package(package, program, idle=True)
        wanted.apply(wanted.plan(wanted.inspect()))  # type: ignore[arg-type]


def nft(text: str) -> None:
    status, said = spawn([find("nft"), "-f", "-"], text)
    assert status == 0, said


def published(cosonet: Cosonet, box: Callable[[], Box]) -> Box:
    """A member whose port 7 of TCP is published as 8080 for all."""
    one = box()
    status, said = cosonet("-pid", str(one.pid), "-publish", "0.0.0.0:8080:7")
    assert status == 0, said
    one.serve(ECHO)
    return one


ECHO = """
import socket
end = socket.create_server(("", 7))
while True:
    peer, _ = end.accept()
    peer.sendall(b"echo")
    peer.close()
"""


def works(one: Box, world: Box) -> bool:
    """Whether a member reaches the world, and the world what it has published."""
    return connects(one, OUTER4, 7777) == f"{HERE4}\n" and eventually(lambda: connects(world, HERE4, 8080) == "echo", 5)


@contextmanager
def dockerd() -> Iterator[None]:
    """A real dockerd, with rules of its own in this network."""
    installed("docker.io", "dockerd")
    with tempfile.TemporaryDirectory(prefix="coso-docker-", dir="/var/tmp") as place:
        words = [find("dockerd"), f"--data-root={place}/data", f"--exec-root={place}/exec", f"--pidfile={place}/pid"]
        words += [f"--host=unix://{place}/socket", "--storage-driver=vfs", "--bip=172.31.255.1/24"]
        # Only where it has switched forwarding on itself does it set the policy to DROP.
        Path("/proc/sys/net/ipv4/ip_forward").write_text("0")
        with open(f"{place}/log", "w") as log:
            daemon = subprocess.Popen(words, stdout=log, stderr=log)
        try:
            client = [find("docker"), "-H", f"unix://{place}/socket", "info"]
            if not eventually(lambda: os.path.exists(f"{place}/socket") and spawn(client)[0] == 0, 40):
                pytest.skip(f"dockerd does not run here: {Path(f'{place}/log').read_text()[-300:]}")
            yield
        finally:
            daemon.terminate()
            daemon.wait(30)
            spawn([find("umount"), "-R", "-q", f"{place}/exec"])


def test_beside_a_real_dockerd(cosonet: Cosonet, box: Callable[[], Box], world: Box) -> None:
    """Its FORWARD policy is DROP; what it had stays as it is, and goes on when coso's rules are gone."""
    with dockerd():
        before = spawn([find("iptables"), "-w", "-S"])[1]
        assert "-P FORWARD DROP" in before
        one = published(cosonet, box)
        assert works(one, world)
        # The control: without the rules in DOCKER-USER nothing passes.
        ours = [line[3:] for line in spawn([find("iptables"), "-w", "-S"])[1].splitlines() if "coso" in line]
        assert all(line.startswith("DOCKER-USER ") for line in ours)
        for line in ours:
            spawn([find("iptables"), "-w", "-D", *line.split()])
        assert connects(one, OUTER4, 7777) is None and connects(world, HERE4, 8080) is None
        assert cosonet("doctor")[0] == 1
        assert cosonet("reload")[0] == 0
        assert works(one, world)
        one.end()
        assert cosonet("gc")[0] == 0
        assert spawn([find("iptables"), "-w", "-S"])[1] == before


def test_a_dockerd_that_comes_later_is_met_by_reload(cosonet: Cosonet, box: Callable[[], Box], world: Box) -> None:
    one = published(cosonet, box)
    assert works(one, world)
    with dockerd():
        status, said = cosonet("reload")
        assert status == 0, said
        assert works(one, world)


def test_the_drop_policy_of_ip6tables_is_no_obstacle(
    net: Callable[..., str], cosonet: Cosonet, box: Callable[[], Box], world: Box
) -> None:
    Path("/proc/sys/net/ipv6/conf/all/forwarding").write_text("1")
    assert spawn([find("ip6tables"), "-w", "-P", "FORWARD", "DROP"])[0] == 0
    net("web", "--ipv6")
    one = box()
    assert cosonet("-pid", str(one.pid), "-network", "web")[0] == 0
    assert connects(one, OUTER6, 7777) == f"{HERE6}\n"
    # The control: without the rules nothing passes, and doctor says why.
    assert spawn([find("ip6tables"), "-w", "-F", "FORWARD"])[0] == 0
    assert connects(one, OUTER6, 7777) is None
    status, said = cosonet("doctor")
    assert status == 1 and "policy of FORWARD is DROP (ip6tables)" in said
    assert cosonet("reload")[0] == 0
    assert connects(one, OUTER6, 7777) == f"{HERE6}\n"


def test_beside_ufw(cosonet: Cosonet, box: Callable[[], Box], world: Box, tmp_path: Path) -> None:
    """Its rules, loaded as ufw loads them: everything that is forwarded is dropped, unless a rule says otherwise."""
    installed("ufw", "ufw")
    shown = spawn([find("ufw"), "--version"])
    assert shown[0] == 0
    with ufw():
        assert "-P FORWARD DROP" in spawn([find("iptables"), "-w", "-S"])[1]
        one = published(cosonet, box)
        assert works(one, world)


@contextmanager
def ufw() -> Iterator[None]:
    """ufw switched on, and its files as they were afterwards."""
    kept = {path: Path(path).read_bytes() for path in ("/etc/ufw/ufw.conf", "/etc/default/ufw")}
    status, said = spawn([find("ufw"), "--force", "enable"])
    try:
        if status:
            pytest.skip(f"ufw cannot be switched on here: {said.strip()[-300:]}")
        yield
    finally:
        spawn([find("ufw"), "--force", "disable"])
        for path, text in kept.items():
            Path(path).write_bytes(text)


def test_beside_firewalld(cosonet: Cosonet, box: Callable[[], Box], world: Box) -> None:
    installed("firewalld", "firewalld")
    with firewalld() as command:
        one = published(cosonet, box)
        assert works(one, world)
        assert "coso0" in command("--zone=trusted", "--list-interfaces").split()
        # The control: a bridge that is not trusted is not forwarded.
        command("--zone=trusted", "--remove-interface=coso0")
        assert connects(one, OUTER4, 7777) is None
        status, said = cosonet("doctor")
        assert status == 1 and "firewalld does not trust the bridge coso0" in said
        assert cosonet("reload")[0] == 0
        assert works(one, world)
        one.end()
        cosonet("gc")
        assert "coso0" not in command("--zone=trusted", "--list-interfaces")


@contextmanager
def firewalld() -> Iterator[Callable[..., str]]:
    """A firewalld with a bus of its own, that guards this network."""
    daemon = find("dbus-daemon")
    socket = "/run/dbus/system_bus_socket"
    if not daemon or os.path.exists(socket):
        pytest.skip("firewalld needs a system bus, and one is there already" if daemon else "no dbus-daemon")
    os.makedirs("/run/dbus", exist_ok=True)
    bus = subprocess.Popen([daemon, "--system", "--nofork", "--nopidfile"], stderr=subprocess.DEVNULL)
    assert eventually(lambda: os.path.exists(socket), 5)
    guard = subprocess.Popen(
        ["/usr/bin/python3", "-I", "/usr/sbin/firewalld", "--nofork", "--nopid"],
        stdout=subprocess.DEVNULL,
        stderr=subprocess.DEVNULL,
    )

    def command(*words: str) -> str:
        return spawn([find("firewall-cmd"), *words])[1].strip()

    try:
        if not eventually(lambda: command("--state") == "running", 20):
            pytest.skip(f"firewalld does not run here: {command('--state')}")
        yield command
    finally:
        guard.terminate()
        guard.wait(20)
        bus.terminate()
        bus.wait(10)
        Path(socket).unlink(missing_ok=True)


def test_rules_that_somebody_has_flushed_are_put_back(cosonet: Cosonet, box: Callable[[], Box], world: Box) -> None:
    one = published(cosonet, box)
    assert works(one, world)
    nft("flush ruleset")
    assert connects(one, OUTER4, 7777) is None
    assert cosonet("reload")[0] == 0
    assert works(one, world)
    # Twice is as good as once.
    assert cosonet("reload")[0] == 0
    rules = spawn([find("iptables"), "-w", "-S"])[1]
    assert rules.count("coso0") == 3


def test_a_bridge_that_somebody_has_removed_is_put_back(cosonet: Cosonet, box: Callable[[], Box], world: Box) -> None:
    one = published(cosonet, box)
    spawn([find("ip"), "link", "del", "coso0"])
    status, said = cosonet("reload")
    assert status == 0 and "made the bridge coso0" in said and "put coso-" in said
    assert works(one, world)


def test_an_address_that_somebody_has_removed_is_put_back(cosonet: Cosonet, box: Callable[[], Box], world: Box) -> None:
    one = published(cosonet, box)
    spawn([find("ip"), "addr", "flush", "dev", "coso0"])
    spawn([find("ip"), "link", "set", "coso0", "down"])
    assert cosonet("reload")[0] == 0
    # The container's own route went with nothing of ours.
    assert works(one, world)


def problems(cosonet: Cosonet) -> str:
    return cosonet("doctor")[1]


def test_doctor_finds_nothing_where_nothing_is_wrong(cosonet: Cosonet, member: Member) -> None:
    assert cosonet("doctor")[0] == 0
    member()
    status, said = cosonet("doctor")
    assert status == 0 and "nothing that coso knows of" in said, said


def test_doctor_and_forwarding(cosonet: Cosonet) -> None:
    Path("/proc/sys/net/ipv4/ip_forward").write_text("0")
    status, said = cosonet("doctor")
    assert status == 1 and "net.ipv4.ip_forward is 0" in said and "sysctl -w net.ipv4.ip_forward=1" in said


def test_doctor_and_a_policy(cosonet: Cosonet, member: Member) -> None:
    member()
    spawn([find("iptables"), "-w", "-P", "FORWARD", "DROP"])
    assert cosonet("doctor")[0] == 0
    spawn([find("iptables"), "-w", "-F", "FORWARD"])
    status, said = cosonet("doctor")
    assert status == 1 and "policy of FORWARD is DROP" in said and "cosonet reload" in said
    assert cosonet("reload")[0] == 0
    assert cosonet("doctor")[0] == 0


def test_doctor_and_the_chain_of_another(cosonet: Cosonet, member: Member, world: Box) -> None:
    """What it says is what mends it."""
    one = member()
    nft("add table inet mine\nadd chain inet mine forward { type filter hook forward priority 10; policy drop; }\n")
    assert connects(one, OUTER4, 7777) is None
    status, said = cosonet("doctor")
    assert status == 1 and "the chain forward of the table inet mine drops" in said
    for command in said.split("mend it with: ")[1].splitlines()[0].split("; "):
        assert spawn(["/bin/sh", "-c", command])[0] == 0
    assert connects(one, OUTER4, 7777) == f"{HERE4}\n"


def test_doctor_and_links_and_rules(cosonet: Cosonet, member: Member) -> None:
    member()
    spawn([find("ip"), "link", "set", "coso0", "down"])
    assert "the bridge coso0 of the network coso is down" in problems(cosonet)
    spawn([find("nft"), "delete", "table", "bridge", "coso"])
    assert "the table bridge coso is gone" in problems(cosonet)
    spawn([find("ip"), "link", "del", "coso0"])
    assert "the bridge coso0 of the network coso is gone" in problems(cosonet)
    assert cosonet("reload")[0] == 0
    assert cosonet("doctor")[0] == 0


def test_doctor_and_what_is_harmless(cosonet: Cosonet, member: Member) -> None:
    member().end()
    assert eventually(lambda: "connections of processes that have ended" in problems(cosonet), 5)
    if Path("/proc/sys/net/bridge/bridge-nf-call-iptables").exists():
        Path("/proc/sys/net/bridge/bridge-nf-call-iptables").write_text("1")
        assert "br_netfilter is on" in problems(cosonet)
    assert cosonet("doctor")[0] == 0
    assert network.names()
