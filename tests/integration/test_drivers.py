"""Other runtimes really start a container as a wish says, and leave nothing when they are killed."""

from __future__ import annotations

import os
import shutil
import signal
import subprocess
import tempfile
from collections.abc import Iterator
from contextlib import ExitStack
from pathlib import Path

import pytest

from coso.errors import ProvisionError, UnsupportedError
from coso.verify.drivers import DRIVERS, Driver, Wish, docker
from provisioning.peers import peers
from provisioning.resource import Change
from tests.integration.conftest import eventually, machines_network

SHELL = ("/bin/busybox", "sh", "-c")
NAME = f"coso-drivers-{os.getpid()}"
# Long, and not to be met in anybody else's list of processes.
SLEEP = f"{100_000 + os.getpid()}"


@pytest.fixture(scope="session")
def _peers() -> None:
    """The runtimes from Debian, where apt can be had; the drivers say what is missing otherwise."""
    with machines_network():
        try:
            for package in peers():
                if isinstance(plan := package.plan(package.inspect()), Change):
                    package.apply(plan)
        except (ProvisionError, OSError):
            return


@pytest.fixture(scope="module")
def scratch() -> Iterator[str]:
    with tempfile.TemporaryDirectory(prefix="coso-drivers-", dir="/var/tmp") as directory:
        os.chmod(directory, 0o755)
        yield directory


@pytest.fixture(scope="module", params=DRIVERS)
def driver(request: pytest.FixtureRequest, scratch: str, _peers: None) -> Iterator[Driver]:
    """Each driver that can run here, with what has to run around its commands."""
    driver = DRIVERS[request.param]
    if reason := driver.lacking():
        pytest.skip(reason)
    with ExitStack() as stack:
        if driver.started:
            stack.enter_context(driver.started(scratch))
        yield driver


@pytest.fixture(scope="module")
def root(driver: Driver, rootfs: Path, scratch: str) -> str:
    """A root that the containers of a driver may write to, with mount points."""
    target = f"{scratch}/{driver.name}-root"
    shutil.copytree(rootfs, target, symlinks=True)
    for name in ("given", "proc", "sys", "dev"):
        os.makedirs(f"{target}/{name}", exist_ok=True)
    return target


def run(driver: Driver, scratch: str, wish: Wish, text: str = "") -> subprocess.CompletedProcess[str]:
    words = driver.command(wish, NAME, scratch)
    try:
        return subprocess.run(words, input=text, capture_output=True, text=True, timeout=60, check=False)
    finally:
        driver.remove(NAME, scratch)


def test_input_and_output_and_the_exit_status_are_the_commands(driver: Driver, root: str, scratch: str) -> None:
    done = run(driver, scratch, Wish(root, (*SHELL, "cat; exit 7"), options=("--interactive",)), "passed on\n")
    assert (done.stdout, done.returncode) == ("passed on\n", 7), done.stderr


def test_a_read_only_volume_is_seen(driver: Driver, root: str, scratch: str, tmp_path: Path) -> None:
    (tmp_path / "file").write_text("of the host")
    for directory in (tmp_path, *tmp_path.parents[:2]):
        directory.chmod(0o755)  # For those whose root is nobody outside.
    line = "cat /given/file; echo > /given/more && exit 1; exit 0"
    done = run(driver, scratch, Wish(root, (*SHELL, line), ((str(tmp_path), "/given", True),)))
    assert (done.stdout, done.returncode) == ("of the host", 0), done.stderr
    assert os.listdir(tmp_path) == ["file"]


@pytest.mark.parametrize(
    ("option", "line", "printed"),
    [
        ("--memory=64m", "echo started", "started"),
        ("--pids-limit=64", "echo started", "started"),
        ("--cpus=0.5", "echo started", "started"),
        ("--network=none", "ls /proc/sys/net/ipv4/conf | grep -c -v -e all -e default -e tunl -e sit", "1"),
        ("--network=host", "readlink /proc/self/ns/net", "net"),
        ("--pid=host", "readlink /proc/self/ns/pid", "pid"),
        ("--ipc=host", "readlink /proc/self/ns/ipc", "ipc"),
        ("--uts=host", "readlink /proc/self/ns/uts", "uts"),
        ("--cgroupns=host", "readlink /proc/self/ns/cgroup", "cgroup"),
        ("--cap-add=SYS_TIME", "grep CapBnd /proc/self/status", ""),
        ("--cap-add=ALL", "grep CapBnd /proc/self/status", ""),
        ("--security-opt=seccomp=unconfined", "grep Seccomp: /proc/self/status", "Seccomp:\t0"),
        ("--security-opt=no-new-privileges=false", "grep NoNewPrivs: /proc/self/status", "NoNewPrivs:\t0"),
        ("--workdir=/tmp", "pwd", "/tmp"),
        ("--hostname=inside", "hostname", "inside"),
        (
            "--monotonic=100000000",
            "test $(cut -d. -f1 /proc/uptime) -gt 0 && grep mono /proc/self/timens_offsets",
            None,
        ),
    ],
)
def test_an_option_is_granted_or_refused_by_name(
    driver: Driver, root: str, scratch: str, option: str, line: str, printed: str | None
) -> None:
    options = (option, "--userns=host") if option.endswith("=host") or "NewPriv" in line else (option,)
    try:
        done = run(driver, scratch, Wish(root, (*SHELL, line), options=options))
    except UnsupportedError as refusal:
        assert str(refusal).endswith(f" has no way to grant {option}")
        return
    if "Failed to read link /sys/fs/cgroup/" in done.stderr:
        pytest.skip("nspawn needs the names that systemd gives joint v1 hierarchies (net_cls for net_cls,net_prio)")
    assert done.returncode == 0, done.stderr
    said = done.stdout.strip()
    if option.endswith("=host"):
        assert said == os.readlink(f"/proc/self/ns/{printed}")
    elif option.startswith("--cap-add"):
        assert int(said.split()[1], 16) >> 25 & 1  # CAP_SYS_TIME
    elif printed is not None:
        assert said == printed
    else:
        assert said.split()[1] == "100000000"


def test_a_killed_runtime_leaves_nothing_after_removal(driver: Driver, root: str, scratch: str) -> None:
    words = driver.command(Wish(root, (*SHELL, f"echo up; sleep {SLEEP}")), NAME, scratch)
    before = groups()
    with subprocess.Popen(words, stdin=subprocess.DEVNULL, stdout=subprocess.PIPE, text=True) as process:
        printed = process.stdout.readline() if process.stdout else ""
        slept = eventually(sleepers)
        process.send_signal(signal.SIGKILL)
    assert (printed, slept) == ("up\n", True)
    driver.remove(NAME, scratch)
    assert eventually(lambda: not sleepers())
    assert eventually(lambda: not groups() - before)
    mounts = Path("/proc/self/mountinfo").read_text().splitlines()
    assert driver.by_daemon or not [line for line in mounts if scratch in line]
    assert run(driver, scratch, Wish(root, (*SHELL, "echo again"))).stdout == "again\n"


def test_nothing_to_remove_is_no_error(driver: Driver, scratch: str) -> None:
    driver.remove(f"{NAME}-never-was", scratch)


def test_a_version_is_a_number(driver: Driver) -> None:
    assert driver.version()[0].isdecimal()


def test_a_daemon_of_our_own_leaves_nothing(_peers: None, rootfs: Path, scratch: str) -> None:
    if (reason := docker.lacking()) or os.environ.get("DOCKER_HOST") or os.path.exists("/run/docker.sock"):
        pytest.skip(reason or "the daemon would be the machine's")
    before = traces(scratch)
    with docker.started(scratch):
        run(docker.DRIVER, scratch, Wish(str(rootfs), ("/bin/busybox", "true")))
        assert traces(scratch) != before
    assert traces(scratch) == before


def traces(scratch: str) -> list[str]:
    """What a daemon of Docker's may leave on a machine."""
    places = ["/etc/docker", "/etc/docker/key.json", "/run/docker", "/run/containerd", "/sys/class/net/docker0"]
    found = [place for place in places if os.path.exists(place)]
    found += [line for line in Path("/proc/self/mountinfo").read_text().splitlines() if scratch in line]
    found += [str(path) for path in Path("/sys/fs/cgroup").glob("*/docker")]
    for pid in filter(str.isdecimal, os.listdir("/proc")):
        try:
            words = Path(f"/proc/{pid}/cmdline").read_text()
        except OSError:
            continue
        found += [words] if scratch in words and "pytest" not in words else []
    return found


def sleepers() -> list[str]:
    """Processes that run the command of a killed runtime."""
    found = []
    for pid in filter(str.isdecimal, os.listdir("/proc")):
        try:
            words = Path(f"/proc/{pid}/cmdline").read_bytes().split(b"\0")
        except OSError:
            continue
        if SLEEP.encode() in words:
            found.append(pid)
    return found


def groups() -> set[str]:
    """Control groups that a container's name or a runtime's habit gives away."""
    found = Path("/sys/fs/cgroup").glob("**/*")
    return {str(path) for path in found if path.is_dir() and (NAME in path.name or "libpod" in path.name)}
