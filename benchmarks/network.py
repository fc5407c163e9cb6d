"""`./dev invoke bench-network`: connecting a network namespace, coso's way and others'.

Everything happens in a network namespace apart (coso.verify.lab).  First one
connection, in turn and in a random order: cosonet in this process and as a
program, `ip -batch`, Debian's CNI bridge plugin, netavark.  Then growth: many
connections to one network, 16 at a time, and beside it podman's containers on
its own bridge, one after the other; the first ten and the last ten of each.
"""

from __future__ import annotations

import argparse
import json
import os
import random
import statistics
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

SCRATCH = tempfile.mkdtemp(prefix="coso-bench-", dir="/var/tmp")
# Before anything reads where state is kept.
os.environ["COSO_RUN"], os.environ["COSO_LIB"] = f"{SCRATCH}/run", f"{SCRATCH}/lib"

from coso import launcher  # noqa: E402
from coso.runtime.undo import remove_tree  # noqa: E402
from coso.spawn import find, spawn  # noqa: E402
from coso.verify import lab  # noqa: E402
from coso.verify.drivers import podman  # noqa: E402
from cosonet import attach, release  # noqa: E402
from provisioning.resource import Change  # noqa: E402
from provisioning.system import Package  # noqa: E402

CNI_PLUGINS, NETAVARK = "/usr/lib/cni", "/usr/lib/podman/netavark"
PACKAGES = {
    "iproute2": find("ip"),
    "iptables": find("iptables"),
    "nftables": find("nft"),
    "containernetworking-plugins": f"{CNI_PLUGINS}/bridge",
    "netavark": NETAVARK,
    "podman": find("podman"),
}
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


def main() -> int:
    """Run both parts and print them."""
    parser = argparse.ArgumentParser(prog="python -m benchmarks.network", description=__doc__)
    parser.add_argument("--runs", type=int, default=30)
    parser.add_argument("--members", type=int, default=250)
    parser.add_argument("--containers", type=int, default=100, help="how many of podman's (0: none)")
    parser.add_argument("--rootfs", default="/tmp/coso/rootfs")
    given = parser.parse_args()
    if os.geteuid() != 0:
        print("benchmarks need root", file=sys.stderr)
        return 1
    for name, program in PACKAGES.items():
        if not os.path.exists(program):
            package = Package(name, program, idle=True)
            if isinstance(plan := package.plan(package.inspect()), Change):
                package.apply(plan)
    lab.enter()
    try:
        compare(given.runs)
        grow(given.members)
        if given.containers:
            grow_podman(given.containers, given.rootfs)
    finally:
        release.collect()
        remove_tree(SCRATCH)
    return 0


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


def compare(runs: int) -> None:
    """One connection of each kind, in turn; the network is there before, and the addresses are given back between."""
    keep = Box()
    attach.attach(keep.process.pid)
    ip = find("ip")
    for words in ("link add ipbench0 type bridge", "addr add 10.242.0.1/22 dev ipbench0", "link set ipbench0 up"):
        spawn([ip, *words.split()])
    program = f"{SCRATCH}/cosonet"
    Path(program).write_text(launcher.text("cosonet"))
    os.chmod(program, 0o755)
    ways: dict[str, Callable[[Box, int], object]] = {
        "cosonet, in process": lambda box, _: attach.attach(box.process.pid),
        "cosonet -pid": lambda box, _: _run([program, "-pid", str(box.process.pid)]),
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
    own = statistics.median(times["cosonet -pid"])
    print(f"\n| one connection, {runs} of each | median ms | min | max | ÷ cosonet -pid |\n|---|---|---|---|---|")
    for name, found in times.items():
        middle = statistics.median(found)
        print(f"| {name} | {middle:.1f} | {min(found):.1f} | {max(found):.1f} | {middle / own:.2f} |")
    keep.end()


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


def grow(members: int) -> None:
    """Many connections to one network, 16 at a time, each by a program of its own, as runtimes call it."""
    boxes = [Box() for _ in range(members)]

    def connect(box: Box) -> float:
        begun = time.perf_counter()
        _run([f"{SCRATCH}/cosonet", "-pid", str(box.process.pid)])
        return (time.perf_counter() - begun) * 1000

    begun = time.perf_counter()
    with ThreadPoolExecutor(16) as pool:
        times = list(pool.map(connect, boxes))
    whole = time.perf_counter() - begun
    _print_growth(f"cosonet -pid, {members} members, 16 at a time", times, whole)
    one_by_one = []
    for _ in range(20):
        box = Box()
        boxes.append(box)
        begun = time.perf_counter()
        attach.attach(box.process.pid)
        one_by_one.append((time.perf_counter() - begun) * 1000)
    print(f"| in process, with {members} there | {statistics.median(one_by_one):.1f} | | |")
    for box in boxes:
        box.end()
    release.collect()


def _print_growth(title: str, times: list[float], whole: float) -> None:
    first, last = (statistics.median(part) for part in (times[:10], times[-10:]))
    print(f"\n| {title} | median ms | ratio last ÷ first | in all s |\n|---|---|---|---|")
    print(f"| first ten | {first:.1f} | | |\n| last ten | {last:.1f} | {last / first:.2f} | {whole:.1f} |")


def grow_podman(containers: int, rootfs: str) -> None:
    """As many containers on podman's own bridge, one after the other."""
    if not Path(rootfs).is_dir():
        print(f"\nwithout podman: there is no rootfs at {rootfs} (`invoke fs-setup`)")
        return
    times, begun_all = [], time.perf_counter()
    names = [f"coso-bench-{number}" for number in range(containers)]
    try:
        for name in names:
            words = ["run", "-d", "--name", name, *podman.limits_in_reach(), "--rootfs", f"{rootfs}:O", "sleep", "600"]
            begun = time.perf_counter()
            _run(podman.words(SCRATCH, *words))
            times.append((time.perf_counter() - begun) * 1000)
        _print_growth(f"podman run -d, {containers} on its bridge", times, time.perf_counter() - begun_all)
    finally:
        namespaces = podman.network_namespaces(SCRATCH).values()
        subprocess.run(podman.words(SCRATCH, "rm", "-fa", "-t", "0"), capture_output=True, check=False)
        podman.remove(names[0], SCRATCH)
        for path in namespaces:
            # What was mounted there went with this process's own mounts; podman leaves the file.
            if os.path.exists(path) and not os.path.ismount(path):
                os.unlink(path)


if __name__ == "__main__":
    sys.exit(main())
