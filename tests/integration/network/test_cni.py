"""cosonet as a CNI plugin under containerd, and other CNI plugins in cosonet's place."""

from __future__ import annotations

import json
import os
import subprocess
import tempfile
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import pytest

from coso.kernel import mount
from coso.spawn import find, spawn
from cosonet import definition, member
from tests.integration.conftest import Coso, Start, eventually, what_is_left
from tests.integration.network.conftest import HERE4, OUTER4, Box, connects
from tests.integration.network.test_firewalls import installed

Plugin = Callable[..., tuple[int, Any]]
CONFIG = {"cniVersion": "1.1.0", "name": "pods", "type": "cosonet"}


@pytest.fixture
def plugin(programs: Path, net: Callable[..., str]) -> Iterator[Plugin]:
    """Call cosonet as a runtime calls a CNI plugin: the status, and what it printed as JSON."""

    def call(
        command: str, box: Box | None = None, config: object = CONFIG, name: str = "", **env: str
    ) -> tuple[int, Any]:
        known = {"CNI_COMMAND": command, "CNI_CONTAINERID": name or "one", "CNI_IFNAME": "eth0", "CNI_PATH": "/x"}
        known |= {"CNI_NETNS": f"/proc/{box.pid}/ns/net"} if box else {}
        text = config if isinstance(config, str) else json.dumps(config)
        done = subprocess.run(
            [str(programs / "cosonet")],
            input=text,
            capture_output=True,
            text=True,
            env={**os.environ, **known, **env},
            timeout=30,
            check=False,
        )
        assert not done.stderr, done.stderr
        return done.returncode, json.loads(done.stdout) if done.stdout else None

    yield call
    for one in member.everybody():
        call("DEL", name=one.owner.partition(":")[2].rpartition("-")[0], config=CONFIG | {"name": one.network})
    if "pods" in definition.names():
        definition.forget("pods")


def test_a_namespace_is_connected_and_released(plugin: Plugin, box: Callable[[], Box], outer: Box) -> None:
    one = box()
    status, result = plugin("ADD", one)
    assert status == 0, result
    assert result["cniVersion"] == "1.1.0"
    (inside, outside), (ip,) = result["interfaces"], result["ips"]
    assert inside["name"] == "eth0" and inside["sandbox"] == f"/proc/{one.pid}/ns/net" and inside["mac"]
    assert outside["name"].startswith("coso-")
    assert one.addresses() == [ip["address"].partition("/")[0]] and ip["interface"] == 0
    assert result["routes"] == [{"dst": "0.0.0.0/0", "gw": ip["gateway"]}]
    assert connects(one, OUTER4, 7777) == f"{HERE4}\n"
    assert plugin("CHECK", one, CONFIG | {"prevResult": result}) == (0, None)
    assert plugin("DEL", one) == (0, None)
    assert one.ip("-o", "link").count("\n") == 1
    # What is not there any more is no error.
    assert plugin("DEL", one) == (0, None)
    assert plugin("CHECK", one)[1]["code"] == 100


@pytest.mark.parametrize("version", ["0.3.0", "0.3.1", "0.4.0", "1.0.0", "1.1.0"])
def test_the_result_is_in_the_words_of_its_version(plugin: Plugin, box: Callable[[], Box], version: str) -> None:
    status, result = plugin("ADD", box(), CONFIG | {"cniVersion": version})
    assert status == 0 and result["cniVersion"] == version
    assert result["ips"][0].get("version") == ("4" if version.startswith("0") else None)


def test_a_network_of_cosos_own_and_one_that_the_configuration_describes(
    plugin: Plugin, box: Callable[[], Box], net: Callable[..., str], both_versions: None
) -> None:
    net("web", "--subnet", "10.99.0.0/24")
    _, result = plugin("ADD", box(), CONFIG | {"network": "web"}, name="a")
    assert result["ips"][0]["address"].startswith("10.99.0.")
    described = CONFIG | {"subnet": "10.98.0.0/24", "ipv6": True, "mtu": 1300}
    status, result = plugin("ADD", box(), described, name="b")
    assert status == 0, result
    assert len(result["ips"]) == 2 and result["ips"][0]["gateway"] == "10.98.0.1"
    assert result["interfaces"][0]["mtu"] == 1300


def test_ports_addresses_and_ethernet_addresses_are_asked_for_by_capabilities(
    plugin: Plugin, box: Callable[[], Box], outer: Box
) -> None:
    one = box()
    asked = {
        "portMappings": [{"hostPort": 8080, "containerPort": 7, "protocol": "tcp"}],
        "ips": ["10.98.0.9/24"],
        "mac": "02:00:00:00:00:09",
    }
    status, result = plugin("ADD", one, CONFIG | {"subnet": "10.98.0.0/24", "runtimeConfig": asked})
    assert status == 0, result
    assert result["ips"][0]["address"] == "10.98.0.9/24" and result["interfaces"][0]["mac"] == "02:00:00:00:00:09"
    one.serve("import socket\nend = socket.create_server(('', 7))\nwhile True:\n    end.accept()[0].sendall(b'hi')")
    assert eventually(lambda: connects(outer, HERE4, 8080) == "hi", 3)


@pytest.mark.parametrize(
    ("command", "config", "env", "code"),
    [
        ("ADD", CONFIG | {"cniVersion": "9.0.0"}, {}, 1),
        ("ADD", CONFIG, {"CNI_CONTAINERID": ""}, 4),
        ("ADD", CONFIG, {"CNI_CONTAINERID": "../x"}, 4),
        ("ADD", CONFIG, {"CNI_IFNAME": "a/b"}, 4),
        ("ADD", CONFIG, {"CNI_NETNS": ""}, 4),
        ("ADD", CONFIG, {"CNI_NETNS": "/nowhere"}, 100),
        ("ADD", "{", {}, 6),
        ("ADD", "[]", {}, 6),
        ("ADD", {"cniVersion": "1.1.0", "type": "cosonet"}, {}, 7),
        ("ADD", CONFIG | {"ipam": {"type": "host-local"}}, {}, 7),
        ("ADD", CONFIG | {"network": "nowhere"}, {}, 100),
        ("ADD", CONFIG | {"subnet": "10.0.0.1/8"}, {}, 100),
        ("ADD", CONFIG | {"subnet": 5}, {}, 7),
        ("ADD", CONFIG | {"runtimeConfig": 5}, {}, 7),
        ("ADD", CONFIG | {"runtimeConfig": {"portMappings": [{"hostPort": 70000, "containerPort": 1}]}}, {}, 7),
        ("ADD", CONFIG | {"runtimeConfig": {"portMappings": [{"hostPort": 7}]}}, {}, 7),
        ("ADD", CONFIG | {"runtimeConfig": {"portMappings": [{"hostPort": "x", "containerPort": 1}]}}, {}, 7),
        ("ADD", CONFIG | {"runtimeConfig": {"mac": "02:+1:00:00:00:01"}}, {}, 100),
        ("GC", CONFIG | {"cni.dev/valid-attachments": [5]}, {}, 7),
        ("GC", CONFIG, {}, 7),
        ("SUB", CONFIG, {}, 4),
    ],
)
def test_an_error_has_its_number(
    plugin: Plugin, box: Callable[[], Box], command: str, config: Any, env: dict[str, str], code: int
) -> None:
    status, result = plugin(command, box(), config, **env)
    assert status == 1 and result["code"] == code and result["msg"], result
    assert member.everybody() == []


def test_versions_are_said(plugin: Plugin) -> None:
    status, result = plugin("VERSION", config={"cniVersion": "1.1.0"})
    assert status == 0 and "1.1.0" in result["supportedVersions"] and "0.4.0" in result["supportedVersions"]


def test_what_the_runtime_has_forgotten_is_collected(plugin: Plugin, box: Callable[[], Box]) -> None:
    for name in ("a", "b"):
        assert plugin("ADD", box(), name=name)[0] == 0
    valid = {"cni.dev/valid-attachments": [{"containerID": "b", "ifname": "eth0"}]}
    assert plugin("GC", config=CONFIG | valid) == (0, None)
    assert [one.owner for one in member.everybody()] == ["cni:b-eth0"]


def test_a_namespace_that_is_gone_gives_its_address_back(plugin: Plugin, box: Callable[[], Box], coso: Coso) -> None:
    one = box()
    assert plugin("ADD", one)[0] == 0
    one.end()
    assert len(member.everybody()) == 1
    assert coso("gc").returncode == 0
    assert member.everybody() == []


def test_status_says_whether_connections_can_be_made(plugin: Plugin) -> None:
    assert plugin("STATUS") == (0, None)
    switch = Path("/proc/sys/net/ipv4/ip_forward")
    switch.write_text("0")
    try:
        status, result = plugin("STATUS")
    finally:
        switch.write_text("1")
    assert status == 1 and result["code"] == 50 and "ip_forward is 0" in result["msg"]


@contextmanager
def covered(path: str) -> Iterator[Path]:
    """A directory of the machine's, empty for a while: this session has mounts of its own."""
    os.makedirs(path, exist_ok=True)
    mount.move_mount(mount.new_mount("tmpfs", {"source": "coso"}), path)
    yield Path(path)
    mount.unmount(path)


def test_containerd_connects_its_containers_by_cosonet(
    programs: Path, rootfs: Path, outer: Box, plugin: Plugin, tmp_path: Path
) -> None:
    installed("containerd", "containerd")
    with (
        tempfile.TemporaryDirectory(prefix="coso-containerd-", dir="/var/tmp") as place,
        covered("/etc/cni"),
        covered("/opt/cni"),
    ):
        _cni_in_place(programs)
        words = [find("containerd"), "--root", f"{place}/root", "--state", f"{place}/state", "--address", f"{place}/s"]
        with open(f"{place}/log", "w") as log:
            daemon = subprocess.Popen(words, stdout=log, stderr=log)
        try:
            client = [find("ctr"), "--address", f"{place}/s"]
            assert eventually(lambda: spawn([*client, "version"])[0] == 0, 30), Path(f"{place}/log").read_text()
            run = [
                *client,
                "run",
                "--rm",
                "--cni",
                "--runc-binary",
                str(programs / "coso-oci"),
                "--rootfs",
                str(rootfs),
            ]
            script = f"ip -4 -o addr show eth0; nc {OUTER4} 7777 < /dev/null"
            status, said = spawn([find("timeout"), "30", *run, tmp_path.name, "/bin/sh", "-c", script])
            assert status == 0, said
            assert "10.97.0." in said and HERE4 in said
            assert eventually(lambda: not member.everybody(), 10)
        finally:
            daemon.terminate()
            daemon.wait(30)
            spawn([find("umount"), "-R", "-q", f"{place}/state"])
    definition.forget("containerd")
    assert not what_is_left()


def _cni_in_place(programs: Path) -> None:
    config = {
        "cniVersion": "1.0.0",
        "name": "containerd",
        "plugins": [{"type": "cosonet", "subnet": "10.97.0.0/24"}],
    }
    Path("/etc/cni/net.d").mkdir()
    Path("/etc/cni/net.d/10-cosonet.conflist").write_text(json.dumps(config))
    Path("/opt/cni/bin").mkdir()
    for name in os.listdir("/usr/lib/cni"):
        os.symlink(f"/usr/lib/cni/{name}", f"/opt/cni/bin/{name}")
    text = (programs / "cosonet").read_text()
    Path("/opt/cni/bin/cosonet").write_text(text)
    Path("/opt/cni/bin/cosonet").chmod(0o755)


DEBIAN = {
    "cniVersion": "1.0.0",
    "name": "debian",
    "plugins": [
        {
            "type": "bridge",
            "bridge": "cnitest0",
            "isGateway": True,
            "ipMasq": True,
            "ipam": {
                "type": "host-local",
                "ranges": [[{"subnet": "10.96.0.0/24"}]],
                "routes": [{"dst": "0.0.0.0/0"}],
            },
        },
        {"type": "portmap", "capabilities": {"portMappings": True}, "snat": True},
    ],
}


@pytest.fixture
def conflist(tmp_path: Path) -> Iterator[str]:
    """Debian's bridge plugin with its ports, and addresses kept in the test's own directory."""
    installed("containernetworking-plugins", "../lib/cni/bridge")
    config = json.loads(json.dumps(DEBIAN))
    config["plugins"][0]["ipam"]["dataDir"] = str(tmp_path / "ipam")
    path = tmp_path / "debian.conflist"
    path.write_text(json.dumps(config))
    yield str(path)
    spawn([find("ip"), "link", "del", "cnitest0"])


def test_debians_bridge_plugin_in_cosonets_place(conflist: str, start: Start, outer: Box, tmp_path: Path) -> None:
    before = spawn([find("iptables"), "-t", "nat", "-S"])[1]
    process = start("-p", "0.0.0.0:8080:7", f"nc {OUTER4} 7777; echo up; exec nc -lk -p 7 -e echo hi", network=conflist)
    assert process.stdout
    assert process.stdout.readline() == f"{HERE4}\n"
    assert process.stdout.readline() == "up\n"
    assert eventually(lambda: connects(outer, HERE4, 8080) == "hi\n", 3)
    leases = lambda: [name for name in os.listdir(tmp_path / "ipam" / "debian") if name.startswith("10.")]  # noqa: E731
    assert len(leases()) == 1
    for _ in range(3):
        process.send_signal(2)
    process.communicate(timeout=15)
    # DEL was called with the namespace still there: neither an address nor a rule is left.
    assert leases() == []
    after = spawn([find("iptables"), "-t", "nat", "-S"])[1]
    assert [line for line in after.splitlines() if "10.96.0." in line and line not in before] == []


def test_a_killed_runtimes_connection_is_taken_back_by_gc(
    conflist: str, start: Start, coso: Coso, tmp_path: Path
) -> None:
    process = start("echo up; exec sleep 30", network=conflist)
    assert process.stdout and process.stdout.readline() == "up\n"
    process.kill()
    process.communicate()
    assert coso("gc").returncode == 0
    assert [name for name in os.listdir(tmp_path / "ipam" / "debian") if name.startswith("10.")] == []


@pytest.mark.parametrize(
    ("change", "said"),
    [
        ({"plugins": []}, "needs `name`, and plugins"),
        ({"plugins": [{"type": "nonsense"}]}, "the CNI plugin 'nonsense' is not installed"),
        ({"plugins": [{"type": "../bin/sh"}]}, "is not installed"),
        ({"plugins": [{"type": "bridge", "ipam": {"type": "nonsense"}}]}, "failed with status 1"),
        ({"name": ""}, "needs `name`"),
    ],
)
def test_a_configuration_that_makes_no_sense_is_named(
    coso: Coso, rootfs: Path, tmp_path: Path, change: dict[str, object], said: str
) -> None:
    path = tmp_path / "bad.conflist"
    path.write_text(json.dumps({**DEBIAN, **change}))
    done = coso("run", "-rootfs", str(rootfs), "-network", str(path), "--", "true")
    assert done.returncode == 125 and said in done.stderr, done.stderr
    spawn([find("ip"), "link", "del", "cni0"])
    assert not what_is_left()
