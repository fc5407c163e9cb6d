"""What `linux.namespaces` and its neighbours say: new, shared and joined namespaces, ids, clocks, names."""

from __future__ import annotations

import os
import subprocess
from collections.abc import Iterator
from pathlib import Path

import pytest

from tests.integration.oci.bundle import FIRST_ID, IDS, Bundle
from tests.integration.oci.conftest import MakeBundle

# Names of the specification, and of the files in /proc/PID/ns.
FILES = {
    "pid": "pid",
    "network": "net",
    "mount": "mnt",
    "ipc": "ipc",
    "uts": "uts",
    "user": "user",
    "cgroup": "cgroup",
    "time": "time",
}
OTHERS = [kind for kind in FILES if kind not in ("mount", "user")]


def inode(kind: str, pid: int | str = "self") -> str:
    return os.readlink(f"/proc/{pid}/ns/{FILES[kind]}")


@pytest.fixture
def elsewhere() -> Iterator[int]:
    """A process in namespaces of its own."""
    words = ["unshare", "--net", "--ipc", "--uts", "--cgroup", "--time", "sleep", "100"]
    with subprocess.Popen(words) as process:
        while inode("time", process.pid) == inode("time") or "sleep" not in _command(process.pid):
            pass
        yield process.pid
        process.kill()


def _command(pid: int) -> str:
    return Path(f"/proc/{pid}/cmdline").read_text()


@pytest.mark.parametrize("kind", FILES)
def test_a_namespace_that_is_asked_for_is_new(bundle: Bundle, kind: str) -> None:
    if kind == "user":
        bundle.own_users()
    elif kind == "time":
        bundle.namespace("time").linux["timeOffsets"] = {}
    else:
        bundle.namespace(kind)
    assert inode(kind, bundle.up().pid) != inode(kind)


@pytest.mark.parametrize("kind", OTHERS)
def test_a_namespace_that_is_not_asked_for_is_the_runtimes(bundle: Bundle, kind: str) -> None:
    if kind == "uts":
        del bundle.config["hostname"]
    assert inode(kind, bundle.without(kind).up().pid) == inode(kind)


@pytest.mark.parametrize("kind", ["network", "ipc", "uts", "cgroup", "time"])
def test_a_namespace_that_exists_is_joined(bundle: Bundle, elsewhere: int, kind: str) -> None:
    if kind == "uts":
        del bundle.config["hostname"]
    bundle.namespace(kind, f"/proc/{elsewhere}/ns/{FILES[kind]}")
    assert inode(kind, bundle.up().pid) == inode(kind, elsewhere) != inode(kind)


@pytest.mark.parametrize("kind", ["pid", "user"])
def test_the_namespace_of_another_container_is_joined(make_bundle: MakeBundle, kind: str) -> None:
    first, second = make_bundle(), make_bundle()
    if kind == "user":
        first.own_users()
        second.own_users()
        del second.linux["uidMappings"], second.linux["gidMappings"]
    pid = first.up().pid
    second.namespace(kind, f"/proc/{pid}/ns/{kind}").up()
    assert inode(kind, second.pid) == inode(kind, pid) != inode(kind)


def test_containers_of_a_pod_share_what_they_were_told_to(make_bundle: MakeBundle) -> None:
    first, second = make_bundle().up(), make_bundle()
    del second.config["hostname"]
    for kind in ("network", "ipc", "uts"):
        second.namespace(kind, f"/proc/{first.pid}/ns/{FILES[kind]}")
    assert second.output("hostname") == "oci"


def test_a_path_to_a_namespace_of_another_type_is_refused(bundle: Bundle) -> None:
    bundle.namespace("network", "/proc/self/ns/ipc")
    bundle.refused()


@pytest.mark.parametrize("path", ["/no/such/namespace", "/etc/passwd", "relative/path"])
def test_a_path_that_is_no_namespace_is_refused(bundle: Bundle, path: str) -> None:
    bundle.namespace("network", path)
    bundle.refused()


def test_a_namespace_named_twice_is_refused(bundle: Bundle) -> None:
    bundle.linux["namespaces"].append({"type": "ipc"})
    bundle.refused()


def test_an_unknown_namespace_is_refused(bundle: Bundle) -> None:
    bundle.namespace("nothing")
    bundle.refused()


# Users.


def test_ids_are_mapped(bundle: Bundle) -> None:
    bundle.own_users().process["user"] = {"uid": 33, "gid": 44}
    bundle.up("id -u; id -g; cat /proc/self/uid_map /proc/self/gid_map; exec sleep 100")
    status = Path(f"/proc/{bundle.pid}").stat()
    assert (status.st_uid, status.st_gid) == (FIRST_ID + 33, FIRST_ID + 44)
    assert bundle.prints("44\n")
    assert bundle.printed().split()[:2] == ["33", "44"]
    assert bundle.printed().split()[2:] == ["0", str(FIRST_ID), str(IDS)] * 2


def test_a_mapping_may_have_several_ranges(bundle: Bundle) -> None:
    bundle.own_users().linux["uidMappings"] = [
        {"containerID": 0, "hostID": FIRST_ID, "size": 10},
        {"containerID": 1000, "hostID": 5000, "size": 1},
    ]
    assert bundle.output("cat /proc/self/uid_map").split() == ["0", str(FIRST_ID), "10", "1000", "5000", "1"]


def test_root_of_a_user_namespace_is_root_over_its_own(bundle: Bundle) -> None:
    bundle.own_users().grant("CAP_SYS_ADMIN", "CAP_NET_ADMIN")
    bundle.output("mount -t tmpfs tmpfs /mnt; hostname other; ip link set lo mtu 1000")


def test_a_user_namespace_without_mappings_is_refused(bundle: Bundle) -> None:
    bundle.namespace("user")
    bundle.refused()


def test_a_user_outside_of_the_mappings_is_refused(bundle: Bundle) -> None:
    bundle.own_users().process["user"]["uid"] = IDS + 1
    bundle.refused()


def test_setgroups_works_where_root_made_the_mapping(bundle: Bundle) -> None:
    bundle.own_users().process["user"]["additionalGids"] = [7, 8]
    assert {"7", "8"} <= set(bundle.output("id -G").split())


# Clocks.


def test_clocks_are_offset(bundle: Bundle) -> None:
    bundle.namespace("time").linux["timeOffsets"] = {
        "monotonic": {"secs": 86400},
        "boottime": {"secs": 604800, "nanosecs": 500},
    }
    lines = bundle.output("cat /proc/self/timens_offsets; cat /proc/uptime").splitlines()
    assert [line.split()[1:] for line in lines[:2]] == [["86400", "0"], ["604800", "500"]]
    assert float(lines[2].split()[0]) > 604800


def test_offsets_of_an_unknown_clock_are_refused(bundle: Bundle) -> None:
    bundle.namespace("time").linux["timeOffsets"] = {"realtime": {"secs": 1}}
    bundle.refused()


# Names.


def test_the_host_name_is_the_containers(bundle: Bundle) -> None:
    bundle.config["hostname"] = "a-name.example"
    assert bundle.output("hostname; cat /proc/sys/kernel/hostname").split() == ["a-name.example"] * 2
    assert os.uname().nodename != "a-name.example"


def test_the_domain_name_is_the_containers(bundle: Bundle) -> None:
    bundle.config["domainname"] = "example.org"
    assert bundle.output("cat /proc/sys/kernel/domainname") == "example.org"


@pytest.mark.parametrize("field", ["hostname", "domainname"])
def test_the_machines_own_name_is_not_changed(bundle: Bundle, field: str) -> None:
    before = os.uname()
    del bundle.config["hostname"]
    bundle.without("uts").config[field] = "captured"
    bundle.run()
    assert os.uname() == before
    assert "captured" not in Path("/proc/sys/kernel/domainname").read_text()


def test_a_new_network_has_loopback_up_and_nothing_else(bundle: Bundle) -> None:
    assert bundle.output("ls /sys/class/net; ip -4 -o addr show dev lo").split()[0] == "lo"
    assert "127.0.0.1/8" in bundle.output("ip -4 -o addr show dev lo")
    bundle.output("ping -c1 -W1 127.0.0.1 || nc -l -p 1000 & sleep 0.1; nc -z 127.0.0.1 1000; true")


@pytest.fixture
def interface() -> Iterator[str]:
    """An interface that is up and has an address."""
    name = f"oci{os.getpid() % 10**6}"
    made = f"link add {name} type veth peer {name}-peer"
    for words in (made, f"addr add 192.0.2.7/28 dev {name}", f"link set {name} up"):
        subprocess.run(["ip", *words.split()], check=True)
    yield name
    # The other end: the kernel removes both, wherever the one has gone.
    subprocess.run(["ip", "link", "delete", f"{name}-peer"], check=False, stderr=subprocess.DEVNULL)


def _interfaces() -> list[str]:
    return os.listdir("/sys/class/net")


def test_an_interface_moves_with_its_address_and_is_up(bundle: Bundle, interface: str) -> None:
    bundle.linux["netDevices"] = {interface: {"name": "inner0"}}
    bundle.up()
    found = bundle.exec("ip", "addr", "show", "inner0").ok().out
    assert "192.0.2.7/28" in found and ",UP" in found
    assert interface not in _interfaces()


def test_parameters_may_name_a_moved_interface(bundle: Bundle, interface: str) -> None:
    bundle.linux["netDevices"] = {interface: {}}
    bundle.linux["sysctl"] = {f"net.ipv4.conf.{interface}.forwarding": "1"}
    assert bundle.output(f"cat /proc/sys/net/ipv4/conf/{interface}/forwarding") == "1"


def test_an_interface_comes_back_when_create_fails(bundle: Bundle, interface: str) -> None:
    bundle.linux["netDevices"] = {interface: {"name": "inner0"}}
    bundle.mount("/data", "/no/such/source")
    bundle.refused()
    assert interface in _interfaces()
    shown = subprocess.run(["ip", "addr", "show", interface], check=True, capture_output=True, text=True).stdout
    assert "192.0.2.7/28" in shown and ",UP" in shown


def test_an_interface_that_is_not_there_is_an_error(bundle: Bundle) -> None:
    bundle.linux["netDevices"] = {"nosuch0": {}}
    assert "nosuch0" in bundle.refused()


def test_an_interface_needs_a_network_of_ones_own(bundle: Bundle, interface: str) -> None:
    bundle.without("network").linux["netDevices"] = {interface: {}}
    bundle.refused()
    assert interface in _interfaces()
