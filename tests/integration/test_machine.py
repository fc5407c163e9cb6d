"""A whole machine, through testinfra: the guest where `vagrant up` has been done, this machine otherwise.

testinfra's `--hosts` chooses explicitly.  Another machine is expected to have
the tree in /vagrant, and to be there for tests: its set-up is undone and done.
This machine is left as it was, its network apart, as for all tests here.
"""

from __future__ import annotations

import json
import os
import tempfile
from collections.abc import Iterator
from contextlib import ExitStack

import pytest
from testinfra.backend.base import CommandResult
from testinfra.host import Host

from coso.spec.defaults import NETWORK, ROOTFS
from coso.verify.checks import CHECKS, Check
from provisioning import vm
from tests.conftest import MIRROR
from tests.integration.conftest import ROOT, machines_network

# What testinfra tests when no --hosts is given.
testinfra_hosts = [vm.guest() or "local://"]

SETUPS = ("install", "fs-setup", "net-setup")
# At least 0.1 s of processor time on a quick machine: five periods' worth with --cpus 0.2.
SPIN = "i=0; while [ $i -lt 200000 ]; do i=$((i+1)); done"
FORKS = "for i in 1 2 3 4 5 6 7 8 9 10 11 12; do sleep 0.5 & done; wait; echo all"
EAT = "dd if=/dev/zero of=/dev/null bs=64M count=1"
# What the set-ups may change, in words that can be compared.
LOOK = """
for path in /usr/local/bin/coso {network} {rootfs} {rootfs}/.. /var/cache/coso /var/lib/coso /run/coso; do
    stat -c '%n %U %a' "$path" 2>/dev/null || echo "no $path"
done
sha256sum /usr/local/bin/coso {network} 2>/dev/null
sysctl net.ipv4.ip_forward
iptables -w -S
nft list tables
ip -o link | cut -d: -f2
"""


class Machine:
    """The machine under test: how to run something there, and where things are."""

    def __init__(self, host: Host, rootfs: str) -> None:
        self.host = host
        self.local = host.backend.NAME == "local"
        self.project = str(ROOT) if self.local else "/vagrant"
        self.rootfs = rootfs if self.local else ROOTFS
        self.mirror = f"export COSO_ALPINE_MIRROR=file://{MIRROR}; " if self.local and MIRROR.is_dir() else ""

    def sh(self, line: str) -> CommandResult:
        """Run a shell line as root, for a few minutes at most."""
        return self.host.run("cd %s && timeout 300 sh -c %s", self.project, self.mirror + line)

    def invoke(self, *words: str) -> CommandResult:
        """Run tasks; fs-setup gets the place of the root filesystem."""
        tasks = [f"{word} --rootfs {self.rootfs}" if word == "fs-setup" else word for word in words]
        return self.sh("./dev invoke " + " ".join(tasks))

    def coso(self, options: str, line: str) -> CommandResult:
        """Run a shell line in a container, with the installed program."""
        return self.sh(f"coso run -rootfs {self.rootfs} {options} -- /bin/sh -c '{line}'")

    def look(self) -> str:
        """What the set-ups may change, as it is now."""
        return self.sh(LOOK.format(network=NETWORK, rootfs=self.rootfs)).stdout


@pytest.fixture(scope="module")
def machine(host: Host) -> Iterator[Machine]:
    """The machine, before anything of coso's is set up; afterwards another one is as `vagrant up` leaves it."""
    with tempfile.TemporaryDirectory(prefix="coso-machine-", dir="/var/tmp") as place, ExitStack() as stack:
        os.chmod(place, 0o755)  # As /tmp: an ordinary user finds the root filesystem there.
        found = Machine(host, f"{place}/coso/rootfs")
        if not found.local:
            stack.enter_context(machines_network())
        undo(found)
        # As Docker leaves a machine, so that there is something to open.
        found.host.check_output("iptables -w -P FORWARD DROP; sysctl -w net.ipv4.ip_forward=0")
        yield found
        undo(found)
        if found.local:
            found.host.check_output("iptables -w -P FORWARD ACCEPT; sysctl -w net.ipv4.ip_forward=1")
        else:
            found.invoke(*SETUPS)
        vm.hang_up()


def undo(machine: Machine) -> None:
    done = machine.invoke("net-teardown", "fs-teardown", "uninstall")
    assert done.rc == 0, done.stdout + done.stderr


@pytest.fixture(scope="module")
def before(machine: Machine) -> str:
    return machine.look()


@pytest.fixture(scope="module", autouse=True)
def first(machine: Machine, before: str) -> CommandResult:
    """The first application of the set-ups, which every test here builds on."""
    done = machine.invoke(*SETUPS)
    assert done.rc == 0, done.stdout + done.stderr
    return done


def test_the_kernel_offers_what_limits_need(machine: Machine) -> None:
    unified = machine.host.file("/sys/fs/cgroup/cgroup.controllers")
    if unified.exists:
        assert {"cpu", "memory", "pids"} <= set(unified.content_string.split())
    else:
        assert machine.local, "the guest is to have control groups of version 2"
        assert all(machine.host.file(f"/sys/fs/cgroup/{name}").is_directory for name in ("cpu", "memory", "pids"))


@pytest.mark.parametrize("setup", SETUPS)
def test_the_first_application_changes_the_machine(first: CommandResult, setup: str) -> None:
    (recap,) = [line for line in first.stdout.splitlines() if line.startswith(f"{setup}: ok=")]
    assert "changed=0" not in recap and recap.endswith("failed=0")


@pytest.mark.parametrize("setup", SETUPS)
def test_the_second_application_changes_nothing(machine: Machine, setup: str) -> None:
    done = machine.invoke(setup)
    assert done.rc == 0 and "changed=0 " in done.stdout, done.stdout + done.stderr


def test_the_root_filesystem_is_there_and_roots(machine: Machine) -> None:
    tree = machine.host.file(machine.rootfs)
    assert tree.is_directory and tree.user == "root"
    assert machine.host.file(f"{machine.rootfs}/bin/busybox").mode & 0o777 == 0o755


@pytest.mark.parametrize("program", ["/usr/local/bin/coso", NETWORK])
def test_a_program_is_installed_for_everybody(machine: Machine, program: str) -> None:
    file = machine.host.file(program)
    assert (file.user, file.group, file.mode) == ("root", "root", 0o755)


def test_packets_are_forwarded(machine: Machine) -> None:
    assert machine.host.check_output("iptables -w -S FORWARD").splitlines()[0] == "-P FORWARD ACCEPT"
    assert machine.host.sysctl("net.ipv4.ip_forward") == 1


def test_the_task_runs_a_command_in_a_container(machine: Machine) -> None:
    line = f"./dev invoke run --rootfs {machine.rootfs} --command 'id -u; ip -4 -o addr show eth0; exit 3'"
    done = machine.sh(line)
    assert done.rc == 3, done.stderr
    assert done.stdout.startswith("0\n") and " 10." in done.stdout


def test_the_installed_program_runs_a_command_in_a_container(machine: Machine) -> None:
    done = machine.coso("-network none", "cat /proc/1/comm; exit 4")
    assert (done.rc, done.stdout) == (4, "sh\n"), done.stderr


def test_a_container_reaches_hosts_beyond_the_machine(machine: Machine) -> None:
    """The host beyond is a network namespace that knows no way to the container's addresses: they are translated."""
    link = "ip link add coso-test type veth peer name eth0 netns coso-test && ip addr add 198.51.100.1/24 dev coso-test"
    peer = "ip -n coso-test addr add 198.51.100.2/24 dev eth0 && ip -n coso-test link set eth0 up"
    made = machine.sh(f"ip netns add coso-test && {link} && ip link set coso-test up && {peer}")
    try:
        assert made.rc == 0, made.stderr
        done = machine.coso("", "ping -c 1 -W 5 198.51.100.2")
        assert done.rc == 0, done.stdout + done.stderr
    finally:
        machine.sh("ip link del coso-test; ip netns del coso-test")


@pytest.fixture(scope="module")
def verified(machine: Machine, first: CommandResult) -> dict[str, dict[str, str]]:
    """What `coso verify` finds there, by the ids of its checks."""
    done = machine.sh(f"coso verify --rootfs {machine.rootfs} --format json")
    assert done.stdout, done.stderr
    return {check["id"]: check for check in json.loads(done.stdout)["checks"]}


@pytest.mark.parametrize("check", CHECKS, ids=lambda check: check.id)
def test_isolation_holds(verified: dict[str, dict[str, str]], check: Check) -> None:
    found = verified[check.id]
    if found["result"] == "skip" and found["reason"].startswith("this kernel has no "):
        pytest.skip(found["reason"])
    assert found["result"] == "pass", f"{check.title}: {found['reason']}"


def test_memory_is_limited(machine: Machine) -> None:
    done = machine.coso("-network none --memory 32m", EAT)
    assert done.rc == 137 and "memory limit of 32768 KiB" in done.stderr
    assert machine.coso("-network none --memory 256m", EAT).rc == 0


def test_processes_are_limited(machine: Machine) -> None:
    done = machine.coso("-network none --pids-limit 10", FORKS)
    assert done.rc != 0 and "fork" in done.stderr
    assert machine.coso("-network none --pids-limit 20", FORKS).stdout == "all\n"


def test_processor_time_is_limited(machine: Machine) -> None:
    def throttled(options: str) -> int:
        """How often the kernel made the container wait, by its own count (cgroups(7), cpu.stat)."""
        count = "cat /sys/fs/cgroup/cpu.stat /sys/fs/cgroup/cpu/cpu.stat 2>/dev/null | grep nr_throttled"
        done = machine.coso(f"-network none {options}", f"{SPIN}; {count}")
        assert done.rc == 0, done.stderr
        return int(done.stdout.split()[1])

    assert throttled("--cpus 0.2") > 0
    assert throttled("--cpus $(nproc)") == 0


# A host beyond the machine's, with a server on it.
WORLD = """
set -e
ip netns add world
ip link add toworld type veth peer name world0 netns world
ip addr add 203.0.113.1/24 dev toworld
ip link set toworld up
ip -n world addr add 203.0.113.2/24 dev world0
ip -n world link set world0 up
mkdir -p /var/tmp/coso-world
echo from the world > /var/tmp/coso-world/index.html
ip netns exec world python3 -m http.server --directory /var/tmp/coso-world 7777 > /dev/null 2>&1 &
echo $! > /var/tmp/coso-world.pid
for i in $(seq 50); do {fetch} http://203.0.113.2:7777 2>/dev/null && break; sleep 0.2; done
"""
NO_WORLD = """
kill $(cat /var/tmp/coso-world.pid)
ip netns del world
rm -rf /var/tmp/coso-world /var/tmp/coso-world.pid
"""
FETCH = "python3 -c 'import sys, urllib.request; print(urllib.request.urlopen(sys.argv[1], timeout=5).read().decode())'"
ECHO = (
    "python3 -c 'import socket, sys; end = socket.create_connection((sys.argv[1], int(sys.argv[2])), 3); "
    'end.sendall(b"inside"); print(end.recv(100).decode())\''
)


@pytest.fixture
def world(machine: Machine) -> Iterator[None]:
    if machine.local:
        pytest.skip("tests/integration/network shows it here")
    done = machine.sh(WORLD.replace("{fetch}", FETCH))
    assert done.rc == 0, done.stdout + done.stderr
    yield
    machine.sh(NO_WORLD)


@pytest.mark.parametrize("driver", ["macvlan", "ipvlan"])
def test_a_container_is_part_of_the_network_outside(machine: Machine, world: None, driver: str) -> None:
    """By its own address, as the host beyond sees it; some kernels lack a driver, the guest's has both."""
    words = "-o parent=toworld --subnet 203.0.113.0/24 --gateway 203.0.113.1"
    try:
        done = machine.sh(f"modprobe {driver}; coso network create -d {driver} {words} lan")
        assert done.rc == 0, done.stderr
        run = f"coso run -rootfs {machine.rootfs} --network lan --ip 203.0.113.77"
        done = machine.sh(f"{run} -- /bin/sh -c 'ip -4 -o addr show eth0; wget -qO- http://203.0.113.2:7777'")
        assert "203.0.113.77/24" in done.stdout and "from the world" in done.stdout, done.stdout + done.stderr
        neighbours = machine.sh("ip -n world neigh show 203.0.113.77")
        assert "lladdr" in neighbours.stdout
    finally:
        assert machine.sh("coso gc; coso network rm lan").rc == 0


def test_an_ordinary_users_container_reaches_the_world_and_is_reached(machine: Machine, world: None) -> None:
    user = "setpriv --reuid=65534 --regid=65534 --clear-groups env -u XDG_RUNTIME_DIR HOME=/var/tmp/coso-user"
    run = f"{user} coso run -rootfs {machine.rootfs}"
    done = machine.sh("install -d -o 65534 -g 65534 /var/tmp/coso-user; modprobe tun")
    assert done.rc == 0, done.stderr
    try:
        done = machine.sh(f"{run} -- wget -qO- http://203.0.113.2:7777")
        assert done.stdout == "from the world\n", done.stderr
        asked = (
            f"{run} -p 8080:7 -p 0.0.0.0:8081:7 -- timeout 25 nc -lk -p 7 -e cat > /dev/null 2>&1 & "
            f"for i in $(seq 40); do {ECHO} 127.0.0.1 8080 2>/dev/null && break; sleep 0.5; done; "
            f"ip netns exec world {ECHO} 203.0.113.1 8081; "
            f"ip netns exec world {ECHO} 203.0.113.1 8080 2>/dev/null || echo closed; wait $!"
        )
        done = machine.sh(asked)
        assert done.stdout.split() == ["inside", "inside", "closed"], done.stdout + done.stderr
        assert machine.sh("find /var/tmp/coso-user -mindepth 6; pgrep -a passt").stdout == ""
    finally:
        machine.sh("rm -rf /var/tmp/coso-user")


def test_what_takes_root_is_said_to_an_ordinary_user(machine: Machine) -> None:
    done = machine.sh("setpriv --reuid=65534 --regid=65534 --clear-groups env HOME=/ coso network create web")
    assert done.rc == 125
    assert "needs root" in done.stderr.splitlines()[0]
    assert "Traceback" not in done.stderr


def test_nothing_of_the_containers_is_left(machine: Machine) -> None:
    """Two seconds after the last container its bridge and rules are gone."""
    line = "for i in $(seq 50); do ip -o link | grep -q ': coso' || break; sleep 0.2; done; ip -o link; nft list tables"
    assert "coso" not in machine.sh(line).stdout
    assert machine.sh("find /sys/fs/cgroup -type d -name 'coso-*'").stdout == ""


def test_the_tear_downs_leave_the_machine_as_before(machine: Machine, before: str) -> None:
    undo(machine)
    assert machine.look() == before
