"""Where checks stand: one runtime, one root, what was laid out; and how a container is started there."""

from __future__ import annotations

import itertools
import json
import os
import shutil
import subprocess
import sys
import sysconfig
import time
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager, nullcontext

from coso.errors import MissingError
from coso.value import value
from coso.verify import bait, lab, probe
from coso.verify.checks import Check
from coso.verify.drivers import Driver, Wish

# Where the host's Python and the probes are shown inside.
INSIDE = "/coso-verify"
START = f"import sys; sys.path.insert(0, '{INSIDE}/lib'); import probe; probe.main()"
PLACES = (f"{INSIDE}/usr", f"{INSIDE}/python", f"{INSIDE}/lib/probe", f"{INSIDE}/shared")
PATIENCE = 60.0


@value
class Ground:
    """One runtime with a root to start it in, a scratch directory, the bait, and the containers of the past."""

    driver: Driver
    rootfs: str
    scratch: str
    bait: dict[str, object]
    containers: list[tuple[str, str]]


class Started:
    """A container that was started, or a runtime that tried: its process, its name, what it shares with the host."""

    def __init__(
        self, name: str, shared: str, process: subprocess.Popen[str], scratch: str, terminal: int = -1
    ) -> None:
        self.name = name
        self.shared = shared
        self.process = process
        self.scratch = scratch
        self.terminal = terminal

    def finish(self) -> tuple[list[dict[str, str]], str]:
        """Wait for the end; the probe's lines, and what the runtime said when it failed."""
        if self.terminal >= 0:
            return _read_terminal(self.terminal, self.process)
        try:
            said, complaint = self.process.communicate("the caller's input", timeout=PATIENCE)
        except subprocess.TimeoutExpired:
            self.process.kill()
            said, complaint = self.process.communicate()
            complaint += f"no end after {PATIENCE:.0f} s"
        return _lines(said), complaint.strip() or f"exit status {self.process.returncode}"

    def probe_process(self) -> int:
        """The process of the probe as the host numbers it; 0 when there is none."""
        found = [pid for pid in processes(self.name) if _command(pid).startswith(INSIDE.encode())]
        return min(found, default=0)

    def first_process(self) -> int:
        """Process 1 of the container, with which all of it ends: the probe, or a small init before it."""
        pid = self.probe_process()
        if pid and _namespace(pid) != _namespace(os.getpid()):
            for other in filter(str.isdecimal, os.listdir("/proc")):
                if _namespace(int(other)) == _namespace(pid) and _number_inside(int(other)) == "1":
                    return int(other)
        return pid


@contextmanager
def prepared(driver: Driver, rootfs: str) -> Iterator[Ground]:
    """Lay the bait, and make a root with mount points for every runtime but coso, which needs none."""
    with lab.directory() as scratch:
        root = rootfs
        if driver.name != "coso":
            root = f"{scratch}/rootfs"
            shutil.copytree(rootfs, root, symlinks=True)
            for place in PLACES:
                os.makedirs(f"{root}{place}", exist_ok=True)
        with driver.started(scratch) if driver.started else nullcontext(), bait.laid(scratch) as laid:
            ground = Ground(driver, root, scratch, laid, [])
            yield ground
            if driver.by_daemon:
                for container in ground.containers:
                    driver.remove(*container)


def start(
    ground: Ground,
    options: Sequence[str],
    probes: Sequence[str],
    *,
    facts: dict[str, object] | None = None,
    rootfs: str = "",
    program: Sequence[str] = (),
    volumes: Sequence[tuple[str, str, bool]] = (),
    around: Callable[[list[str]], list[str]] = list,
) -> Started:
    """Start a container with probes in it. Raises UnsupportedError for an option that the runtime cannot grant."""
    name = f"coso-verify-{os.urandom(5).hex()}"
    shared = f"{ground.scratch}/shared-{name}"
    if not any(inside == f"{INSIDE}/shared" for _, inside, _ in volumes):
        os.mkdir(shared)
        os.chmod(shared, 0o777)
        volumes = [*volumes, (shared, f"{INSIDE}/shared", False)]
    brought, python = _python()
    known = ground.bait | {"shared": f"{INSIDE}/shared", "volume": f"{INSIDE}/lib/probe", "name_of_container": name}
    command = (*(program or python), json.dumps(known | (facts or {})), *probes)
    scratch = f"{ground.scratch}/c{next(_numbers)}"  # Short: podman takes no path of more than 50 characters.
    os.mkdir(scratch)
    wish = Wish(rootfs or _own_root(ground, scratch), command, (*brought, *volumes), tuple(options))
    leak = int(str(ground.bait["leak"]))
    pipe = subprocess.PIPE
    ground.containers.append((name, scratch))
    words = around(ground.driver.command(wish, name, scratch))
    if "--tty" not in options:
        process = subprocess.Popen(words, stdin=pipe, stdout=pipe, stderr=pipe, text=True, pass_fds=(leak,))
        return Started(name, shared, process, scratch)
    ours, theirs = os.openpty()
    try:
        process = subprocess.Popen(
            words, stdin=theirs, stdout=theirs, stderr=pipe, text=True, pass_fds=(leak,), start_new_session=True
        )
    finally:
        os.close(theirs)
    return Started(name, shared, process, scratch, ours)


def _lines(said: str) -> list[dict[str, str]]:
    return [json.loads(line) for line in said.splitlines() if line.startswith("{")]


def _read_terminal(ours: int, process: subprocess.Popen[str]) -> tuple[list[dict[str, str]], str]:
    """What comes out of a terminal until its last user closes it, which reads as EIO."""
    said = b""
    try:
        while chunk := os.read(ours, 65536):
            said += chunk
    except OSError:
        pass
    os.close(ours)
    complaint = process.communicate()[1]
    return _lines(said.decode()), complaint.strip() or f"exit status {process.returncode}"


_numbers = itertools.count()


def _own_root(ground: Ground, scratch: str) -> str:
    """A root for one container: a copy, unless the runtime never writes to what it is given."""
    if ground.driver.name == "coso" or ground.driver.by_daemon:
        return ground.rootfs
    shutil.copytree(ground.rootfs, f"{scratch}/rootfs", symlinks=True)
    return f"{scratch}/rootfs"


def remove(ground: Ground, started: Started) -> None:
    """Clean up after a runtime that was killed, as a person would."""
    ground.driver.remove(started.name, started.scratch)


def wait_for(path: str, started: Started) -> bool:
    """Wait until a container has made a file; False when it ended before."""
    while not os.path.exists(path):
        if started.process.poll() is not None:
            return os.path.exists(path)
        time.sleep(0.005)
    return True


def processes(name: str) -> list[int]:
    """The processes of the host that have the name of a container in their command line, zombies left out."""
    found = []
    for pid in filter(str.isdecimal, os.listdir("/proc")):
        # A zombie has no command line any more.
        if name.encode() in _command(int(pid)) and int(pid) != os.getpid():
            found.append(int(pid))
    return found


def _namespace(pid: int) -> str:
    try:
        return os.readlink(f"/proc/{pid}/ns/pid")
    except OSError:
        return ""


def _number_inside(pid: int) -> str:
    try:
        with open(f"/proc/{pid}/status") as file:
            return next(line.split()[-1] for line in file if line.startswith("NSpid:"))
    except OSError:
        return ""


def _command(pid: int) -> bytes:
    try:
        with open(f"/proc/{pid}/cmdline", "rb") as file:
            return file.read()
    except OSError:
        return b""


def group(checks: Sequence[Check], key: Callable[[Check], object]) -> list[list[Check]]:
    """Checks with the same key together, in the order of the first of each."""
    found: dict[object, list[Check]] = {}
    for check in checks:
        found.setdefault(key(check), []).append(check)
    return list(found.values())


def loader() -> str:
    """The host's loader. Raises MissingError."""
    found = os.path.realpath("/lib64/ld-linux-x86-64.so.2")
    if not found.startswith("/usr/") or not os.path.exists(found):
        raise MissingError(
            "the host's loader is not below /usr", hint="checks need an x86_64 system with a merged /usr"
        )
    return found


def _python() -> tuple[list[tuple[str, str, bool]], list[str]]:
    """The host's Python as volumes, and the words that run the probes with it, whatever libc the root has."""
    volumes = [("/usr", f"{INSIDE}/usr", True), (os.path.dirname(probe.__file__), f"{INSIDE}/lib/probe", True)]
    prefix = f"{INSIDE}/usr"
    if sys.base_prefix != "/usr":
        prefix = f"{INSIDE}/python"
        volumes.append((sys.base_prefix, prefix, True))
    libraries = f"{INSIDE}/usr/lib/{sysconfig.get_config_var('MULTIARCH') or 'x86_64-linux-gnu'}:{prefix}/lib"
    name = f"python{sys.version_info.major}.{sys.version_info.minor}"
    start = [f"{INSIDE}{loader()}", "--library-path", libraries, f"{prefix}/bin/{name}", "-ISBc", START]
    return volumes, start
