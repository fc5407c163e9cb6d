"""Connecting a network namespace: cosonet in this process and as a program, and what others use; and growth."""

from __future__ import annotations

import json
import os
import random
import subprocess
import time
from collections.abc import Callable, Iterator
from concurrent.futures import ThreadPoolExecutor

from benchmarks.ground import SCRATCH, Ground
from benchmarks.measure import Result
from coso.spawn import find, spawn
from cosonet import attach, release
from provisioning.resource import Change
from provisioning.system import Package

CNI_PLUGINS, NETAVARK = "/usr/lib/cni", "/usr/lib/podman/netavark"
PACKAGES = {
    "iproute2": find("ip"),
    "nftables": find("nft"),
    "containernetworking-plugins": f"{CNI_PLUGINS}/bridge",
    "netavark": NETAVARK,
}
MEMBERS = 250
CNI = {
    "cniVersion": "1.0.0",
    "name": "bench",
    "type": "bridge",
    "bridge": "cnibench0",
    "isGateway": True,
    "ipMasq": True,
    "ipam": {
        "type": "host-local",
        "subnet": "10.240.0.0/22",
        "dataDir": f"{SCRATCH}/cni",
        "routes": [{"dst": "0.0.0.0/0"}],
    },
}
SUBNET = {"gateway": "10.241.0.1", "subnet": "10.241.0.0/22"}
NETAVARK_NETWORK = {
    "dns_enabled": False,
    "driver": "bridge",
    "id": "53ce4390f2adb1681eb1a90ec8b48c49c015e0a8d336c197637e7f65e365fa9e",
    "internal": False,
    "ipv6_enabled": False,
    "name": "bench",
    "network_interface": "navbench0",
    "subnets": [SUBNET],
}
WARM_UP = 2


def results(ground: Ground, runs: int) -> Iterator[Result]:
    """One connection; many."""
    for name, program in PACKAGES.items():
        package = Package(name, program, idle=True)
        if not os.path.exists(program) and isinstance(plan := package.plan(package.inspect()), Change):
            package.apply(plan)
    try:
        yield one_connection(runs)
        yield growth()
    finally:
        release.collect()


class Box:
    """A process with an empty network namespace."""

    def __init__(self) -> None:
        self.process = subprocess.Popen([find("unshare"), "-n", find("sleep"), "600"])
        here = os.readlink("/proc/self/ns/net")
        while os.readlink(f"/proc/{self.process.pid}/ns/net") == here:
            time.sleep(0.001)
        self.namespace = f"/proc/{self.process.pid}/ns/net"

    def end(self) -> None:
        """End it."""
        self.process.kill()
        self.process.wait()


def one_connection(runs: int) -> Result:
    """One connection of each kind, in turn; the network is there before, and the addresses are given back between."""
    keep = Box()
    attach.attach(keep.process.pid)
    ip = find("ip")
    for words in ("link add ipbench0 type bridge", "addr add 10.242.0.1/22 dev ipbench0", "link set ipbench0 up"):
        spawn([ip, *words.split()])
    ways: dict[str, Callable[[Box, int], object]] = {
        "cosonet, in process": lambda box, _: attach.attach(box.process.pid),
        "cosonet -pid": lambda box, _: _run([f"{SCRATCH}/cosonet", "-pid", str(box.process.pid)]),
        "ip -batch": lambda box, number: _run([ip, "-batch", "-"], _batch(box, number)),
        "CNI bridge (Debian)": lambda box, number: _cni("ADD", box, number),
        "netavark": lambda box, number: _run([NETAVARK, "setup", box.namespace], _netavark(number)),
    }
    times: dict[str, list[float]] = {name: [] for name in ways}
    for number in range(runs + WARM_UP):
        for name in random.sample(list(ways), len(ways)):
            box = Box()
            begun = time.perf_counter()
            ways[name](box, number)
            spent = (time.perf_counter() - begun) * 1000
            if number >= WARM_UP:
                times[name].append(spent)
            if name.startswith("CNI"):
                _cni("DEL", box, number)
            if name == "netavark":
                _run([NETAVARK, "teardown", box.namespace], _netavark(number))
            box.end()
            release.collect()
    keep.end()
    return Result("connection", "Connect a network namespace to a bridge", "ms", times, base="cosonet -pid")


def _run(words: list[str], text: str = "", **env: str) -> str:
    done = subprocess.run(words, input=text, capture_output=True, text=True, check=False, env={**os.environ, **env})
    if done.returncode:
        raise SystemExit(f"{' '.join(words)} failed: {done.stdout}{done.stderr}")
    return done.stdout


def _batch(box: Box, number: int) -> str:
    """What a shell script would do: ip(8) cannot set up the inside but from inside, so that is a second one."""
    name, pid = f"ipb{number}", box.process.pid
    return (
        f"link add {name} type veth peer name eth0 netns {pid}\nlink set {name} master ipbench0 up\n"
        f"netns attach ipb{number} {pid}\n"
        f"netns exec ipb{number} {find('ip')} addr add 10.242.{1 + number // 250}.{2 + number % 250}/22 dev eth0\n"
        f"netns exec ipb{number} {find('ip')} link set eth0 up\n"
        f"netns exec ipb{number} {find('ip')} route add default via 10.242.0.1\n"
        f"netns delete ipb{number}\n"
    )


def _cni(command: str, box: Box, number: int) -> str:
    return _run(
        [f"{CNI_PLUGINS}/bridge"],
        json.dumps(CNI),
        CNI_COMMAND=command,
        CNI_CONTAINERID=f"bench{number}",
        CNI_NETNS=box.namespace,
        CNI_IFNAME="eth0",
        CNI_PATH=CNI_PLUGINS,
    )


def _netavark(number: int) -> str:
    address = f"10.241.{1 + number // 250}.{2 + number % 250}"
    return json.dumps(
        {
            "container_id": f"{number:064x}",
            "container_name": f"bench{number}",
            "networks": {"bench": {"interface_name": "eth0", "static_ips": [address]}},
            "network_info": {"bench": NETAVARK_NETWORK},
        }
    )


def growth() -> Result:
    """Many connections to one network, 16 at a time, each by a program of its own, as runtimes call it."""
    boxes = [Box() for _ in range(MEMBERS)]

    def connect(box: Box) -> float:
        begun = time.perf_counter()
        _run([f"{SCRATCH}/cosonet", "-pid", str(box.process.pid)])
        return (time.perf_counter() - begun) * 1000

    with ThreadPoolExecutor(16) as pool:
        times = list(pool.map(connect, boxes))
    for box in boxes:
        box.end()
    first, last = "the first ten", f"the last ten of {MEMBERS}"
    values = {last: times[-10:], first: times[:10]}
    return Result("connections", f"Connect {MEMBERS} to one network, 16 at a time", "ms", values, base=last)
