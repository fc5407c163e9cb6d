"""Real packets: between containers, to the host, through address translation, past other people's firewalls."""

from __future__ import annotations

import json
import os
import signal
import subprocess
import sys
import time
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest

from coso import state
from coso.kernel.process import CLONE_NEWNET, setns, unshare
from coso.spawn import find, spawn
from cosonet import firewall, network, release
from tests.integration.conftest import Coso, eventually, leftovers, what_is_left

GATEWAY_OF = "ip route | grep default | cut -d' ' -f3"
OUTER = """
import os, socket, sys
os.write(1, b"x")
sys.stdin.readline()
from pyroute2 import IPRoute
with IPRoute() as routes:
    index = routes.link_lookup(ifname="outer0")[0]
    routes.addr("add", index=index, address="198.51.100.2", prefixlen=24)
    routes.link("set", index=index, state="up")
server = socket.create_server(("198.51.100.2", 7777))
os.write(1, b"y")
while True:
    peer, address = server.accept()
    peer.sendall(address[0].encode() + b"\\n")
    peer.close()
"""
Start = Callable[..., "subprocess.Popen[str]"]


def iptables(*words: str) -> None:
    status, said = spawn([find("iptables"), "-w", *words])
    assert status == 0, said


@pytest.fixture
def outer() -> Iterator[str]:
    """A host beyond ours, 198.51.100.2, that has no route to any container and answers with the address it sees."""
    from pyroute2 import IPRoute

    from coso.kernel.process import CLONE_NEWNET, unshare

    pipe = subprocess.PIPE
    there = subprocess.Popen(
        [sys.executable, "-c", OUTER], stdin=pipe, stdout=pipe, preexec_fn=lambda: unshare(CLONE_NEWNET)
    )
    assert there.stdin and there.stdout
    there.stdout.read(1)
    with IPRoute() as routes:
        routes.link("add", ifname="toouter", kind="veth", peer={"ifname": "outer0", "net_ns_pid": there.pid})
        index = routes.link_lookup(ifname="toouter")[0]
        routes.addr("add", index=index, address="198.51.100.1", prefixlen=24)
        routes.link("set", index=index, state="up")
    there.stdin.write(b"\n")
    there.stdin.flush()
    assert there.stdout.read(1) == b"y"
    yield "198.51.100.2"
    there.kill()
    there.communicate()
    eventually(lambda: "toouter" not in spawn([find("ip"), "link"])[1])


def address_of(process: subprocess.Popen[str]) -> str:
    assert process.stdout
    return process.stdout.readline().split()[0]


SHOW = "ip -4 -o addr show eth0 | sed 's/.*inet //; s,/.*,,'"


def test_a_container_has_an_address_and_reaches_the_bridge(net_run: Coso) -> None:
    done = net_run(f"{SHOW}; ping -c 1 -W 2 $({GATEWAY_OF}); cat /etc/hosts")
    assert done.returncode == 0, done.stdout + done.stderr
    address = done.stdout.split()[0]
    assert f"{address}\t" in done.stdout.partition("/etc/hosts")[2] or address in done.stdout.splitlines()[-1]
    assert not what_is_left()


def test_without_a_network_there_is_only_loopback(run: Coso) -> None:
    assert run("ls /sys/class/net; ping -c 1 -W 1 127.0.0.1 > /dev/null && echo up").stdout.split() == ["lo", "up"]


def test_containers_reach_each_other(start: Start, net_run: Coso) -> None:
    first = address_of(start(f"{SHOW}; exec sleep 30", network="cosonet"))
    assert net_run(f"ping -c 1 -W 2 {first}").returncode == 0
    assert net_run("ping -c 1 -W 1 198.18.0.77").returncode != 0


def test_a_host_elsewhere_is_reached_through_translation(outer: str, net_run: Coso) -> None:
    done = net_run(f"ping -c 1 -W 2 {outer} > /dev/null && nc {outer} 7777")
    assert done.stdout == "198.51.100.1\n", done.stderr


@pytest.mark.parametrize("program", ["iptables", "iptables-legacy"])
def test_dockers_drop_policy_is_no_obstacle(outer: str, net_run: Coso, program: str) -> None:
    path = find(program)
    if not path:
        pytest.skip(f"{program} is not installed")
    spawn([path, "-w", "-P", "FORWARD", "DROP"])
    try:
        done = net_run(f"nc {outer} 7777")
        assert done.stdout == "198.51.100.1\n", done.stderr
        assert eventually(lambda: not network.names())
        assert "coso" not in spawn([path, "-w", "-S"])[1]
        assert "-P FORWARD DROP" in spawn([path, "-w", "-S"])[1]
    finally:
        spawn([path, "-w", "-P", "FORWARD", "ACCEPT"])


def test_with_docker_the_rules_go_where_docker_looks_first(outer: str, net_run: Coso) -> None:
    iptables("-N", "DOCKER-USER")
    iptables("-A", "FORWARD", "-j", "DOCKER-USER")
    iptables("-A", "FORWARD", "-i", "docker0", "-j", "ACCEPT")
    iptables("-P", "FORWARD", "DROP")
    try:
        before = spawn([find("iptables"), "-w", "-S"])[1]
        assert net_run(f"nc {outer} 7777").stdout == "198.51.100.1\n"
        assert not what_is_left()
        assert spawn([find("iptables"), "-w", "-S"])[1] == before
    finally:
        iptables("-P", "FORWARD", "ACCEPT")
        iptables("-F", "FORWARD")
        iptables("-X", "DOCKER-USER")


def test_on_a_host_without_any_rule_no_table_is_left(net_run: Coso) -> None:
    ours = os.open("/proc/self/ns/net", os.O_RDONLY)
    unshare(CLONE_NEWNET)
    try:
        spawn([find("ip"), "link", "set", "lo", "up"])
        Path("/proc/sys/net/ipv4/ip_forward").write_text("1")
        assert net_run(f"ping -c 1 -W 2 $({GATEWAY_OF})").returncode == 0
        assert eventually(lambda: spawn([find("nft"), "list", "ruleset"]) == (0, ""))
    finally:
        setns(ours, CLONE_NEWNET)
        os.close(ours)


def test_nobody_outside_reaches_a_container_that_did_not_ask(outer: str, start: Start) -> None:
    """The control: the host itself, which is no stranger, does reach it."""
    server = start(f"{SHOW}; exec nc -l -p 8000 -e echo hello", network="cosonet")
    inside = address_of(server)
    script = f"import socket; socket.create_connection(('{inside}', 8000), 1)"
    pid = next(p for p in os.listdir("/proc") if p.isdecimal() and b"198.51.100.2" in _cmdline(p))
    route = [find("nsenter"), "-n", "-t", pid, find("ip"), "route", "add", "10.0.0.0/8", "via", "198.51.100.1"]
    assert spawn(route)[0] == 0
    stranger = spawn([find("nsenter"), "-n", "-t", pid, sys.executable, "-c", script])
    assert stranger[0] != 0
    assert eventually(lambda: spawn([sys.executable, "-c", script])[0] == 0, 3)


def _cmdline(pid: str) -> bytes:
    try:
        return Path(f"/proc/{pid}/cmdline").read_bytes()
    except OSError:
        return b""


def test_twenty_containers_at_once_get_twenty_addresses(start: Start) -> None:
    line = f"{SHOW}; ping -c 1 -W 5 $({GATEWAY_OF}) > /dev/null && echo reached; exec sleep 60"
    processes = [start(line, network="cosonet") for _ in range(20)]
    addresses = [address_of(process) for process in processes]
    assert len(set(addresses)) == 20
    assert [process.stdout.readline() for process in processes] == ["reached\n"] * 20  # type: ignore[union-attr]
    for process in processes[:10]:
        process.kill()
    for process in processes[10:]:
        for _ in range(3):
            process.send_signal(signal.SIGINT)
            time.sleep(0.01)
    for process in processes:
        process.communicate()


def test_after_twenty_killed_runtimes_gc_leaves_nothing(start: Start, coso: Coso) -> None:
    processes = [start("echo up; exec sleep 60", network="cosonet") for _ in range(20)]
    for process in processes:
        assert process.stdout and process.stdout.readline() == "up\n"
    for process in processes:
        process.kill()
        process.communicate()
    assert leftovers()
    done = coso("gc")
    assert done.returncode == 0
    assert not what_is_left()


def test_the_subnet_avoids_what_the_host_routes(net_run: Coso) -> None:
    assert not what_is_left()
    first = network.DEFAULTS[0].text.partition("/")[0]
    busy = f"{first}/16"
    ip = find("ip")
    spawn([ip, "link", "add", "busy0", "type", "bridge"])
    spawn([ip, "link", "set", "busy0", "up"])
    assert spawn([ip, "route", "add", busy, "dev", "busy0"])[0] == 0
    try:
        address = net_run(SHOW).stdout.strip()
        assert address and not address.startswith(first.rsplit(".", 2)[0])
    finally:
        spawn([ip, "link", "del", "busy0"])


def test_a_host_that_does_not_forward_is_named_with_the_remedy(net_run: Coso) -> None:
    switch = Path("/proc/sys/net/ipv4/ip_forward")
    switch.write_text("0")
    try:
        done = net_run("true")
    finally:
        switch.write_text("1")
    assert done.returncode == 125
    assert "ip_forward is 0" in done.stderr and "invoke net-setup" in done.stderr
    assert not what_is_left()


def test_resolvers_on_the_hosts_loopback_are_not_passed_on(run: Coso) -> None:
    lines = run("cat /etc/resolv.conf").stdout.splitlines()
    assert lines and not [line for line in lines if line.startswith("nameserver 127.")]


def test_another_program_can_be_the_helper(coso: Coso, rootfs: Path, tmp_path: Path) -> None:
    helper = tmp_path / "helper"
    helper.write_text(f'#!/bin/sh\n[ "$#$1" = 2-pid ] && readlink /proc/$2/ns/net > {tmp_path}/seen\n')
    helper.chmod(0o755)
    words = ("run", "-rootfs", str(rootfs), "-network", str(helper), "--name", "one")
    done = coso(*words, "--", "readlink", "/proc/self/ns/net")
    assert done.returncode == 0, done.stderr
    assert (tmp_path / "seen").read_text() == done.stdout


def test_the_container_s_own_reason_is_told_and_not_what_follows_from_it(net_run: Coso) -> None:
    # Both sides work at once: its first process fails while the other one connects it.
    for _ in range(5):
        done = net_run("--sysctl", "kernel.hostname=x", "--", "true")
        assert done.returncode == 125
        assert "kernel.hostname cannot be set" in done.stderr
    assert not what_is_left()


def test_a_helper_that_fails_is_quoted_and_nothing_runs(coso: Coso, rootfs: Path, tmp_path: Path) -> None:
    helper = tmp_path / "helper"
    helper.write_text("#!/bin/sh\necho no cable today >&2\nexit 3\n")
    helper.chmod(0o755)
    done = coso("run", "-rootfs", str(rootfs), "-network", str(helper), "--", "echo", "ran")
    assert (done.returncode, done.stdout) == (125, "")
    assert "status 3: no cable today" in done.stderr
    assert not what_is_left()


@pytest.fixture
def cosonet(programs: Path) -> Callable[..., tuple[int, str]]:
    return lambda *words: spawn([str(programs / "cosonet"), *words])


@pytest.fixture
def stranger() -> Iterator[subprocess.Popen[bytes]]:
    """A process with an empty network namespace, made by nobody of ours."""
    process = subprocess.Popen([find("unshare"), "-n", find("sleep"), "60"])
    assert eventually(lambda: os.readlink(f"/proc/{process.pid}/ns/net") != os.readlink("/proc/self/ns/net"))
    yield process
    process.kill()
    process.wait()


Cosonet = Callable[..., tuple[int, str]]


def test_cosonet_serves_any_runtime_by_its_contract(cosonet: Cosonet, stranger: subprocess.Popen[bytes]) -> None:
    pid = str(stranger.pid)
    assert cosonet("-pid", pid) == (0, "")
    shown = spawn([find("nsenter"), "-n", "-t", pid, find("ip"), "-j", "addr"])[1]
    eth0 = next(link for link in json.loads(shown) if link["ifname"] == "eth0")
    address = eth0["addr_info"][0]["local"]
    assert spawn([find("nsenter"), "-n", "-t", pid, find("ip"), "route"])[1].startswith("default via 10.")
    status, listed = cosonet("list")
    assert status == 0 and address in listed and pid in listed and "coso-" in listed
    assert cosonet("release", "-pid", pid) == (0, f"released {address}\n")
    assert cosonet("--pid", "999999999")[0] == 125


def test_a_second_attachment_is_refused(cosonet: Cosonet, stranger: subprocess.Popen[bytes]) -> None:
    pid = str(stranger.pid)
    assert cosonet("-pid", pid)[0] == 0
    status, said = cosonet("-pid", pid)
    assert status == 125 and "already" in said
    assert len(cosonet("list")[1].splitlines()) == 3
    cosonet("release", "-pid", pid)


@pytest.mark.parametrize(
    ("words", "said"),
    [
        (["-pid", "999999"], "there is no process 999999"),
        (["-pid", "x"], "is not a process id"),
        (["-pid", "1"], "host's own network namespace|There is no"),
        (["-pid"], "needs a value"),
        (["-pidd", "1"], "has no option"),
    ],
)
def test_cosonet_says_what_is_wrong_in_one_line(cosonet: Cosonet, words: list[str], said: str) -> None:
    if words == ["-pid", "1"]:
        words = ["-pid", str(os.getpid())]
    status, text = cosonet(*words)
    assert status == 125
    assert any(part in text for part in said.split("|")), text
    assert text.count("\n") == 1


def test_a_lease_of_a_dead_process_is_collected(cosonet: Cosonet, stranger: subprocess.Popen[bytes]) -> None:
    assert cosonet("-pid", str(stranger.pid))[0] == 0
    stranger.kill()
    stranger.wait()
    status, said = cosonet("gc")
    assert status == 0 and "removed lease 10." in said and "removed network coso" in said
    assert not what_is_left()


def test_the_rules_are_one_table_of_our_own(start: Start) -> None:
    start("echo up; exec sleep 20", network="cosonet").stdout.readline()  # type: ignore[union-attr]
    table = spawn([find("nft"), "list", "table", *firewall.TABLE.split()])[1]
    assert "masquerade" in table and 'iifname "coso0" oifname "coso0" accept' in table


def test_no_container_can_advertise_a_route_to_the_host(start: Start) -> None:
    start("echo up; exec sleep 20", network="cosonet").stdout.readline()  # type: ignore[union-attr]
    settings = Path("/proc/sys/net/ipv6/conf/coso0")
    assert not settings.exists() or (settings / "disable_ipv6").read_text() == "1\n"


def test_a_tear_down_is_not_undone_by_the_process_that_waits(net_run: Coso) -> None:
    assert net_run("true").returncode == 0
    assert Path(release.ALONE).exists()  # It waits for the next container.
    release.remove_unused()
    state.remove_empty_directories()
    assert not Path(network.DIRECTORY).exists()
    time.sleep(release.LINGER + 0.5)
    assert not Path(network.DIRECTORY).exists()
