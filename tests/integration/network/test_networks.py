"""Named networks: what stands in them, who meets whom, and which address is whose."""

from __future__ import annotations

import subprocess
import time
from collections.abc import Callable
from pathlib import Path

import pytest
from pytest import FixtureRequest as Request

from coso.spawn import find, spawn
from tests.integration.conftest import Coso, Start, eventually, what_is_left
from tests.integration.network.conftest import OUTER4, OUTER6, Box, Cosonet, connects, inspected

Net = Callable[..., str]
Member = Callable[..., Box]
SHOW = "ip -4 -o addr show eth0 | sed 's/.*inet //; s,/.*,,'"


def test_a_network_is_made_listed_and_removed(coso: Coso) -> None:
    done = coso("network", "create", "--label", "a=b", "--subnet", "10.99.0.0/24", "web")
    assert (done.returncode, done.stdout) == (0, "web\n")
    found = inspected(coso, "web")
    assert found["IPAM"]["Config"][0]["Subnet"] == "10.99.0.0/24"
    assert (found["Labels"], found["Driver"], found["Made"]) == ({"a": "b"}, "bridge", False)
    assert "web" in coso("network", "ls", "-q").stdout.split()
    assert coso("network", "create", "web").returncode == 125
    assert coso("network", "rm", "web").stdout == "web\n"
    assert coso("network", "inspect", "web").returncode == 125
    assert not what_is_left()


def test_a_network_is_on_the_host_only_while_it_is_used(net: Net, member: Member, coso: Coso) -> None:
    net("web")
    bridge = inspected(coso, "web")["Interface"]
    assert bridge not in spawn([find("ip"), "link"])[1]
    one = member("-network", "web")
    assert bridge in spawn([find("ip"), "link"])[1]
    one.end()
    assert "network web" in coso("gc").stdout or eventually(lambda: bridge not in spawn([find("ip"), "link"])[1])
    assert bridge not in spawn([find("ip"), "link"])[1]


def test_members_meet_in_both_versions(net: Net, member: Member, both_versions: None) -> None:
    net("web", "--ipv6")
    one, other = member("-network", "web"), member("-network", "web")
    assert len(other.addresses()) == 2
    for address in other.addresses():
        assert one.reaches(address), address


def test_members_of_other_networks_are_not_reached(net: Net, member: Member, both_versions: None) -> None:
    """The control is the network's own member."""
    net("web", "--ipv6")
    net("db", "--ipv6")
    web, db, own = member("-network", "web"), member("-network", "db"), member("-network", "db")
    for address in db.addresses():
        assert not web.reaches(address), address
        assert own.reaches(address), address


def test_the_world_is_reached_through_translation(net: Net, member: Member, outer: Box, both_versions: None) -> None:
    net("web", "--ipv6")
    one = member("-network", "web")
    assert connects(one, OUTER4, 7777) == "198.51.100.1\n"
    assert connects(one, OUTER6, 7777) == "2001:db8::1\n"


def test_an_internal_network_has_no_way_out(net: Net, member: Member, outer: Box) -> None:
    net("inside", "--internal")
    one, other = member("-network", "inside"), member("-network", "inside")
    assert one.reaches(other.addresses()[0])
    assert not one.reaches(OUTER4)
    # Not by a route of its own either.
    gateway = one.addresses()[0].rsplit(".", 2)[0] + ".0.1"
    one.ip("route", "add", "default", "via", gateway)
    assert one.reaches(gateway)
    assert not one.reaches(OUTER4)


def test_a_mtu_is_as_said(net: Net, member: Member) -> None:
    net("small", "-o", "mtu=1280")
    assert "mtu 1280" in member("-network", "small").ip("link", "show", "eth0")


@pytest.mark.parametrize("driver", ["macvlan", "ipvlan"])
def test_a_part_of_the_network_outside(
    net: Net, box: Callable[[], Box], cosonet: Cosonet, outer: Box, coso: Coso, driver: str, request: Request
) -> None:
    """It has an address there, and is seen there with it."""
    net("lan", "-d", driver, "-o", "parent=toouter", "--subnet", "198.51.100.0/24", "--gateway", OUTER4)
    # As on most hosts: an interface of the same name as that inside.
    assert spawn([find("ip"), "link", "add", "eth0", "type", "bridge"])[0] == 0
    request.addfinalizer(lambda: spawn([find("ip"), "link", "del", "eth0"]))
    one = box()
    status, said = cosonet("-pid", str(one.pid), "-network", "lan", "-ip", "198.51.100.77")
    if "this kernel has no" in said:
        pytest.skip(said.strip())
    assert status == 0, said
    assert one.addresses() == ["198.51.100.77"]
    assert connects(one, OUTER4, 7777) == "198.51.100.77\n"
    assert outer.reaches("198.51.100.77")
    assert next(iter(inspected(coso, "lan")["Containers"].values()))["IPv4Address"] == "198.51.100.77"


def test_a_fixed_address_is_given_once(net: Net, member: Member, box: Callable[[], Box], cosonet: Cosonet) -> None:
    net("web", "--subnet", "10.99.0.0/24")
    one = member("-network", "web", "-ip", "10.99.0.50", "-mac", "02:00:00:00:00:50")
    assert one.addresses() == ["10.99.0.50"]
    assert "02:00:00:00:00:50" in one.ip("link", "show", "eth0")
    other = box()
    status, said = cosonet("-pid", str(other.pid), "-network", "web", "-ip", "10.99.0.50")
    assert status == 125 and f"in use by process {one.pid}" in said
    one.end()
    assert eventually(lambda: cosonet("-pid", str(other.pid), "-network", "web", "-ip", "10.99.0.50")[0] == 0)


@pytest.mark.parametrize(
    ("address", "said"),
    [
        ("10.98.0.5", "is not in 10.99.0.0/24"),
        ("10.99.0.1", "the network's own"),
        ("10.99.0.255", "the network's own"),
        ("10.99.0", "is not an IP address"),
        ("fd00::1", "no address of version 4"),
    ],
)
def test_an_address_that_cannot_be_given_is_named(
    net: Net, box: Callable[[], Box], cosonet: Cosonet, address: str, said: str
) -> None:
    net("web", "--subnet", "10.99.0.0/24")
    status, text = cosonet("-pid", str(box().pid), "-network", "web", "-ip", address)
    assert status == 125 and said in text and text.count("\n") == 1


def test_addresses_come_from_the_range(net: Net, member: Member) -> None:
    net("web", "--subnet", "10.99.0.0/24", "--ip-range", "10.99.0.64/30")
    found = {member("-network", "web").addresses()[0] for _ in range(4)}
    assert found == {f"10.99.0.{number}" for number in range(64, 68)}


def test_a_full_network_is_a_clear_error_and_the_dead_make_room(
    net: Net, member: Member, box: Callable[[], Box], cosonet: Cosonet
) -> None:
    net("tiny", "--subnet", "10.99.0.0/29")
    members = [member("-network", "tiny") for _ in range(5)]
    assert {one.addresses()[0] for one in members} == {f"10.99.0.{number}" for number in range(2, 7)}
    late = box()
    status, said = cosonet("-pid", str(late.pid), "-network", "tiny")
    assert status == 125 and "all addresses of 10.99.0.0/29 in the network tiny are leased" in said
    members[2].end()
    assert cosonet("-pid", str(late.pid), "-network", "tiny")[0] == 0


def test_a_container_joins_and_leaves_while_it_runs(net: Net, coso: Coso, start: Start, outer: Box) -> None:
    net("web")
    net("db")
    first = start("--name", "one", f"{SHOW}; exec sleep 30", network="web")
    assert first.stdout and first.stdout.readline()
    assert coso("network", "connect", "db", "one").returncode == 0
    second = coso("network", "connect", "db", "one")
    assert second.returncode == 125 and "already" in second.stderr
    shown = coso("run", "-rootfs", _rootfs(first), "--network", "container:one", "--", "ls", "/sys/class/net").stdout
    assert shown.split() == ["eth0", "eth1", "lo"]
    # The first network's router stays the way to the world.
    asked = coso("run", "-rootfs", _rootfs(first), "--network", "container:one", "--", "nc", OUTER4, "7777")
    assert asked.stdout == "198.51.100.1\n"
    assert coso("network", "disconnect", "db", "one").returncode == 0
    shown = coso("run", "-rootfs", _rootfs(first), "--network", "container:one", "--", "ls", "/sys/class/net").stdout
    assert shown.split() == ["eth0", "lo"]
    assert coso("network", "disconnect", "db", "one").returncode == 125


def _rootfs(process: object) -> str:
    words = process.args  # type: ignore[attr-defined]
    return str(words[words.index("-rootfs") + 1])


def test_a_network_in_use_stays(net: Net, member: Member, coso: Coso) -> None:
    net("web")
    one = member("-network", "web")
    done = coso("network", "rm", "web")
    assert done.returncode == 125 and f"in use by process {one.pid}" in done.stderr
    assert coso("network", "prune").stdout == ""
    one.end()
    assert coso("gc").returncode == 0
    assert coso("network", "prune").stdout == "web\n"


@pytest.mark.parametrize(
    ("words", "said"),
    [
        (["--subnet", "10.99.0.0"], "is not ADDRESS/LENGTH"),
        (["--subnet", "10.99.0.7/24"], "did you mean 10.99.0.0/24"),
        (["--subnet", "10.99.0.0/31"], "has no room"),
        (["--subnet", "10.99.0.0/24", "--subnet", "10.98.0.0/24"], "one subnet of version 4"),
        (["--subnet", "10.99.0.0/24", "--gateway", "10.98.0.1"], "in no subnet of the network"),
        (["--subnet", "10.99.0.0/24", "--ip-range", "10.98.0.0/28"], "is not in 10.99.0.0/24"),
        (["-o", "mtu=12"], "is not a number from 68"),
        (["-o", "icc=false"], "is not known"),
        (["-o", "parent=lo"], "a bridge has no parent"),
        (["-d", "overlay"], "is not one of bridge, macvlan, ipvlan"),
        (["-d", "macvlan"], "needs --subnet"),
        (["-d", "macvlan", "--subnet", "10.99.0.0/24"], "needs --opt parent"),
        (["-d", "ipvlan", "--subnet", "10.99.0.0/24", "-o", "parent=lo", "-o", "mode=l9"], "is not one of l2, l3"),
        (["--sbunet", "10.99.0.0/24"], "did you mean --subnet"),
    ],
)
def test_a_network_that_makes_no_sense_is_refused(coso: Coso, words: list[str], said: str) -> None:
    done = coso("network", "create", *words, "web")
    assert done.returncode == 125 and said in done.stderr, done.stderr
    assert "web" not in coso("network", "ls", "-q").stdout
    assert not what_is_left()


@pytest.mark.parametrize("name", ["host", "none", "default", "coso", "../x", "-x", "", "a b", "x" * 64])
def test_a_name_that_cannot_be_one_is_refused(coso: Coso, name: str) -> None:
    assert coso("network", "create", "--", name).returncode == 125
    assert not what_is_left()


def test_subnets_do_not_overlap(net: Net, coso: Coso, outer: Box) -> None:
    net("web", "--subnet", "10.99.0.0/24")
    assert "of another network" in coso("network", "create", "--subnet", "10.99.0.128/25", "db").stderr
    assert "the host's route to 198.51.100.0/24" in coso("network", "create", "--subnet", "198.51.0.0/16", "db").stderr


def test_a_container_names_a_network_that_is_not_there(coso: Coso, rootfs: Path) -> None:
    done = coso("run", "-rootfs", str(rootfs), "--network", "nowhere", "--", "true")
    assert done.returncode == 125
    assert "there is no network 'nowhere'" in done.stderr and "coso network create nowhere" in done.stderr


def test_a_container_shares_the_network_of_another(start: Start, coso: Coso) -> None:
    first = start("--name", "one", f"{SHOW}; exec sleep 30", network="bridge")
    assert first.stdout
    address = first.stdout.readline().strip()
    second = start(f"{SHOW}; cat /proc/1/comm", network="container:one")
    said, _ = second.communicate(timeout=10)
    # Nothing else is shared.
    assert said.splitlines() == [address, "cat"]
    refused = coso("run", "-rootfs", _rootfs(first), "--network", "container:one", "-p", "80", "--", "true")
    assert refused.returncode == 125 and "--publish needs a network of the container's own" in refused.stderr


def test_an_interface_has_addresses_of_version_6_where_the_network_has(
    net: Net, start: Start, both_versions: None
) -> None:
    """Each link-local address would be told to all others on the network."""
    net("plain")
    net("web", "--ipv6")
    show = "ip -6 -o addr show eth0"
    assert start(show, network="plain").communicate(timeout=10) == ("", "")
    out, _ = start(show, network="web").communicate(timeout=10)
    assert "fe80:" in out and "scope global" in out


def test_a_name_is_given_once(start: Start, coso: Coso) -> None:
    first = start("--name", "one", "echo up; exec sleep 30")
    assert first.stdout and first.stdout.readline() == "up\n"
    done = coso("run", "-rootfs", _rootfs(first), "-network", "none", "--name", "one", "--", "true")
    assert done.returncode == 125 and "the name one is that of the container" in done.stderr
    first.kill()
    first.communicate()
    assert coso("gc").returncode == 0
    assert coso("run", "-rootfs", _rootfs(first), "-network", "none", "--name", "one", "--", "true").returncode == 0


def test_networks_that_a_container_was_connected_to_later_are_left_at_its_end(
    net: Net, coso: Coso, start: Start
) -> None:
    net("web")
    process = start("--name", "one", "echo up; exec sleep 30")
    assert process.stdout and process.stdout.readline() == "up\n"
    assert coso("network", "connect", "web", "one").returncode == 0
    for _ in range(3):
        process.send_signal(2)
        time.sleep(0.05)
    process.communicate(timeout=10)
    assert inspected(coso, "web")["Containers"] == {}


def test_two_at_once_connect_a_container_once(net: Net, box: Callable[[], Box], programs: Path) -> None:
    net("web")
    one = box()
    words = [str(programs / "cosonet"), "-pid", str(one.pid), "-network", "web"]
    attempts = [subprocess.Popen(words, stderr=subprocess.DEVNULL) for _ in range(4)]
    assert sorted(attempt.wait(20) for attempt in attempts) == [0, 125, 125, 125]
    assert one.ip("-o", "link").count("\n") == 2
    assert len(one.addresses()) == 1


def test_an_interface_that_is_there_is_left_alone(net: Net, member: Member, cosonet: Cosonet) -> None:
    net("web")
    net("db")
    one = member("-network", "web")
    status, said = cosonet("-pid", str(one.pid), "-network", "db", "-interface", "eth0")
    assert status == 125 and "the interface eth0 is there already" in said
    assert one.addresses()


def test_a_bridge_of_somebody_else_is_left_alone(
    net: Net, box: Callable[[], Box], cosonet: Cosonet, coso: Coso
) -> None:
    net("web")
    bridge = inspected(coso, "web")["Interface"]
    assert spawn([find("ip"), "link", "add", bridge, "type", "bridge"])[0] == 0
    try:
        status, said = cosonet("-pid", str(box().pid), "-network", "web")
        assert status == 125 and f"the interface {bridge} is there, and is not coso's" in said
        assert bridge in spawn([find("ip"), "link"])[1]
    finally:
        spawn([find("ip"), "link", "del", bridge])


def test_neighbours_learn_at_once_whose_an_address_is_now(
    net: Net, member: Member, box: Callable[[], Box], cosonet: Cosonet
) -> None:
    """With another Ethernet address than the last owner's, which a neighbour still remembers."""
    net("web", "--subnet", "10.99.0.0/24")
    neighbour, first = member("-network", "web"), member("-network", "web", "-ip", "10.99.0.9")
    assert neighbour.reaches("10.99.0.9")
    first.end()
    second = box()
    words = ("-pid", str(second.pid), "-network", "web", "-ip", "10.99.0.9", "-mac", "02:00:00:00:00:09")
    assert eventually(lambda: cosonet(*words)[0] == 0)
    assert "02:00:00:00:00:09" in neighbour.ip("neigh", "show", "10.99.0.9")
    assert neighbour.reaches("10.99.0.9")
