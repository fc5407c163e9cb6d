"""Real containers on a machine of their own: the whole session runs in new network and mount namespaces.

Bridges, rules and mounts of these tests never meet the machine's, and state
directories are apart (COSO_RUN, COSO_LIB).  What the tests need of
Debian is installed by the project's own set-up.
"""

from __future__ import annotations

import os
import shutil
import subprocess
import tempfile
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path

import pytest

STATE = tempfile.mkdtemp(prefix="coso-test-", dir="/var/tmp")
os.environ["COSO_RUN"] = f"{STATE}/run"
os.environ["COSO_LIB"] = f"{STATE}/lib"

from coso import launcher, state  # noqa: E402
from coso.kernel.process import CLONE_NEWNET, setns  # noqa: E402
from coso.runtime.gc import collect  # noqa: E402
from coso.runtime.user import FIRST_ID  # noqa: E402
from coso.spawn import find, spawn  # noqa: E402
from coso.verify import lab  # noqa: E402
from cosonet import release  # noqa: E402
from provisioning import busybox, unpack  # noqa: E402
from provisioning.system import Package  # noqa: E402

ROOT = Path(__file__).resolve().parents[2]
Completed = subprocess.CompletedProcess[str]
Coso = Callable[..., Completed]
Start = Callable[..., "subprocess.Popen[str]"]


def pytest_collection_modifyitems(items: list[pytest.Item]) -> None:
    here = str(Path(__file__).parent)
    if os.geteuid() != 0:
        for item in items:
            if str(item.path).startswith(here) and not _elsewhere(item):
                item.add_marker(pytest.mark.skip(reason="needs root"))


def _elsewhere(item: pytest.Item) -> bool:
    """Whether a test runs against another machine, where it is root."""
    found = getattr(item, "callspec", None)
    host = found and found.params.get("_testinfra_host")
    return bool(host) and host.backend.NAME != "local"


@pytest.fixture(scope="session", autouse=True)
def _own_network(_packages: None) -> Iterator[None]:
    """Namespaces for the session, with loopback up, forwarding on, and mounts shared as systemd makes them."""
    global _machines_network
    if os.geteuid() != 0:
        yield  # Only tests of another machine run.
        shutil.rmtree(STATE)
        return
    _machines_network = os.open("/proc/self/ns/net", os.O_RDONLY)
    lab.enter()
    BEFORE.update(_of_coso())
    yield
    collect()
    release.remove_unused()
    shutil.rmtree(STATE)


_machines_network = -1


@contextmanager
def machines_network() -> Iterator[None]:
    """Back in the machine's own network for a while, where Debian's servers are."""
    if _machines_network < 0:
        yield  # Never left.
        return
    ours = os.open("/proc/self/ns/net", os.O_RDONLY)
    setns(_machines_network, CLONE_NEWNET)
    yield
    setns(ours, CLONE_NEWNET)
    os.close(ours)


@pytest.fixture
def package_servers() -> Iterator[None]:
    """A test that installs from Debian's servers."""
    with machines_network():
        yield


@pytest.fixture(scope="session")
def _packages() -> None:
    """Debian packages that the tests use as the other side."""
    if os.geteuid() != 0:
        return
    for name, program in (("iptables", "iptables"), ("nftables", "nft"), ("iproute2", "ip")):
        package = Package(name, program)
        found = package.inspect()
        if not found["installed"] and not found["program"]:
            change = package.plan(found)
            package.apply(change)  # type: ignore[arg-type]


@pytest.fixture(scope="session")
def rootfs() -> Iterator[Path]:
    """A root filesystem: real Alpine where a mirror is at hand, else Debian's busybox."""
    from tests.conftest import MIRROR

    with tempfile.TemporaryDirectory(prefix="coso-rootfs-", dir="/var/tmp") as directory:
        os.chmod(directory, 0o755)  # As /tmp: an ordinary user finds it too.
        target = Path(directory) / "rootfs"
        target.mkdir(mode=0o755)
        archives = sorted(MIRROR.glob("v3.20/releases/x86_64/*.tar.gz"))
        if archives:
            unpack.unpack(str(archives[0]), str(target))
        else:
            with machines_network():
                busybox.build(str(target))
        yield target


@pytest.fixture(scope="session")
def programs() -> Path:
    """A directory with the launchers `coso` and `cosonet`, as the set-up writes them."""
    directory = Path(STATE) / "bin"
    directory.mkdir()
    for name in launcher.ENTRIES:
        (directory / name).write_text(launcher.text(name))
        (directory / name).chmod(0o755)
    return directory


@pytest.fixture
def coso(programs: Path) -> Coso:
    """Run the installed program."""

    def run(*words: str, **more: object) -> Completed:
        given = (
            {"capture_output": True, "text": True, "timeout": 60, "stdin": subprocess.DEVNULL} | _env(programs) | more
        )
        if "input" in given:
            del given["stdin"]
        return subprocess.run([str(programs / "coso"), *words], check=False, **given)  # type: ignore[call-overload, no-any-return]

    return run


def _env(programs: Path) -> dict[str, dict[str, str]]:
    """Networks are those of this tree's cosonet."""
    return {"env": {**os.environ, "COSO_NETWORK": str(programs / "cosonet")}}


@pytest.fixture
def run(coso: Coso, rootfs: Path) -> Coso:
    """Run a command in a container without network: options, `--`, command; or a shell line alone."""

    def in_container(*words: str, **more: object) -> Completed:
        options, command = _split(words)
        return coso("run", "-rootfs", str(rootfs), "-network", "none", *options, "--", *command, **more)

    return in_container


@pytest.fixture
def net_run(coso: Coso, rootfs: Path, programs: Path) -> Coso:
    """Run a command in a container with the bundled cosonet."""

    def in_container(*words: str, **more: object) -> Completed:
        options, command = _split(words)
        helper = str(programs / "cosonet")
        return coso("run", "-rootfs", str(rootfs), "-network", helper, *options, "--", *command, **more)

    return in_container


def _split(words: tuple[str, ...]) -> tuple[tuple[str, ...], tuple[str, ...]]:
    if len(words) == 1:
        return (), ("/bin/sh", "-c", words[0])
    if "--" in words:
        at = words.index("--")
        return words[:at], words[at + 1 :]
    return words[:-1], ("/bin/sh", "-c", words[-1])


@pytest.fixture
def start(programs: Path, rootfs: Path) -> Iterator[Callable[..., subprocess.Popen[str]]]:
    """Start a container and go on; it is ended after the test."""
    started: list[subprocess.Popen[str]] = []

    def begin(*words: str, network: str = "none", **more: object) -> subprocess.Popen[str]:
        options, command = _split(words)
        helper = str(programs / "cosonet") if network == "cosonet" else network
        line = [str(programs / "coso"), "run", "-rootfs", str(rootfs), "-network", helper, *options, "--", *command]
        pipe = subprocess.PIPE
        given = {"stdin": subprocess.DEVNULL, "stdout": pipe, "stderr": pipe, "text": True} | _env(programs) | more
        process: subprocess.Popen[str] = subprocess.Popen(line, **given)  # type: ignore[call-overload]
        started.append(process)
        return process

    yield begin
    for process in started:
        if process.poll() is None:
            process.kill()
        process.communicate()
    collect()


def eventually(holds: Callable[[], object], seconds: float = 10.0) -> bool:
    """Whether something comes to hold in time."""
    end = time.monotonic() + seconds
    while time.monotonic() < end:
        if holds():
            return True
        time.sleep(0.02)
    return bool(holds())


BEFORE: set[str] = set()


def leftovers() -> list[str]:
    """What coso has left on this machine since the session began."""
    return [item for item in _of_coso() if item not in BEFORE]


def _of_coso() -> list[str]:
    found: list[str] = []
    for directory in (
        state.JOURNALS,
        state.USER_RANGES,
        state.LAYERS,
        f"{state.RUN}/oci",
        state.NAMES,
        *(f"{state.RUN}/network/{name}" for name in ("leases", "made", "members", "names", "namespaces", "ports")),
        f"{state.LIB}/networks",
    ):
        found += [f"{directory}/{name}" for name in os.listdir(directory)] if os.path.isdir(directory) else []
    found += [
        f"mount {line.split()[4]}" for line in Path("/proc/self/mountinfo").read_text().splitlines() if STATE in line
    ]
    # Not by glob: a group that goes away meanwhile would be an error to it.
    groups = (directory for directory, _, _ in os.walk("/sys/fs/cgroup"))
    found += [f"cgroup {group}" for group in groups if os.path.basename(group).startswith("coso-")]
    links = spawn([find("ip"), "-o", "link"])[1]
    found += [f"link {line.split(': ')[1]}" for line in links.splitlines() if ": coso" in line]
    tables = spawn([find("nft"), "list", "tables"])[1]
    found += [line for line in tables.splitlines() if line.endswith(" coso")]
    rules = spawn([find("iptables"), "-w", "-S"])[1]
    found += [line for line in rules.splitlines() if "coso" in line]
    for pid in filter(str.isdecimal, os.listdir("/proc")):
        try:
            mapping = Path(f"/proc/{pid}/uid_map").read_text().split()
            zombie = ") Z " in Path(f"/proc/{pid}/stat").read_text()
            words = Path(f"/proc/{pid}/cmdline").read_bytes()[:80]
        except OSError:
            continue
        # A zombie has ended; when it is reaped is up to the machine's init.
        if mapping and not zombie and int(mapping[1]) >= FIRST_ID and mapping[2] == "65536":
            found.append(f"process {pid} {words!r}")
    return found


def what_is_left() -> list[str]:
    """What of coso's stays on this machine; the kernel takes links away a moment after their namespace."""
    eventually(lambda: not leftovers())
    return leftovers()
