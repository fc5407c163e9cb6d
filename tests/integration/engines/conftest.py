"""An engine that is ready, with the runtime that RUNTIME names, on the machine that testinfra is told."""

from __future__ import annotations

import json
import os
import re
import shlex
from collections.abc import Iterator
from contextlib import ExitStack, contextmanager
from pathlib import Path

import pytest
from testinfra.backend.base import CommandResult
from testinfra.host import Host

from coso import launcher
from coso.spec.defaults import ROOTFS
from coso.verify.drivers import host as hosts
from tests.integration.conftest import ROOT, machines_network
from tests.integration.engines.engines import IMAGE, Containerd, Docker, Engine, Shell

RUNTIME = os.environ.get("RUNTIME", "coso")
PROGRAMS = {"podman": ("podman", "catatonit", "newuidmap"), "docker": ("dockerd", "docker"), "containerd": ("ctr",)}
# A server of busybox's, for as many as ask.
SERVE = "while :; do echo served | nc -l -p 80; done"
UNIFIED = "/sys/fs/cgroup/cgroup.controllers"


_outcomes: dict[str, dict[str, str]] = {}
_about: dict[str, str] = {}


def pytest_addoption(parser: pytest.Parser) -> None:
    parser.addoption("--engines-report", metavar="FILE", help="write the outcomes of tests/integration/engines")


def pytest_runtest_logreport(report: pytest.TestReport) -> None:
    """Remember the worst that was said of each test, by engine."""
    test, _, parameters = report.nodeid.rpartition("::")[2].partition("[")
    engine = next((name for name in PROGRAMS if name in parameters), "")
    if "engines/" in report.nodeid and engine and (report.when == "call" or not report.passed):
        _outcomes.setdefault(engine, {})[test] = report.outcome


def pytest_sessionfinish(session: pytest.Session) -> None:
    if place := session.config.getoption("engines_report", None):
        Path(place).write_text(json.dumps({"runtime": RUNTIME, **_about, "outcomes": _outcomes}, indent=1) + "\n")


class Place:
    """A machine, with a directory of the tests' own on it."""

    def __init__(self, host: Host) -> None:
        self.host = host
        self.local = host.backend.NAME == "local"
        self.directory = host.check_output("mktemp -d /var/tmp/coso-engines-XXXXXX")

    def sh(self, line: str) -> CommandResult:
        """Run a line of shell as root, for a minute or two at most."""
        return self.host.run("cd %s && timeout 120 sh -c %s </dev/null", self.directory, line)

    def ok(self, line: str) -> str:
        """What a line prints that must succeed."""
        done = self.sh(line)
        assert done.rc == 0, f"{line}\n{done.stdout}{done.stderr}"
        return done.stdout

    @property
    def unified(self) -> bool:
        """Whether this machine has control groups of version 2 only, made by systemd."""
        return bool(self.host.file(UNIFIED).exists)


@pytest.fixture(scope="module")
def place(host: Host) -> Iterator[Place]:
    found = Place(host)
    with ExitStack() as stack:
        if not found.local:
            stack.enter_context(machines_network())
        groups = "control groups of version 2, made by systemd" if found.unified else "control groups of version 1"
        machine = found.ok("echo Linux $(uname -r) $(uname -m)").strip()
        _about.update(where="here" if found.local else "virtual machine", machine=f"{machine}, {groups}")
        yield found
        found.host.check_output(f"rm -rf --one-file-system {found.directory}")


@pytest.fixture(scope="module")
def shell(place: Place) -> Shell:
    return place.sh


@pytest.fixture(scope="module")
def runtime(place: Place) -> str:
    """The path of the runtime's program there."""
    if RUNTIME != "coso":
        return place.ok(f"command -v {RUNTIME}").strip()
    if not place.local:
        return place.ok("command -v coso-oci").strip()
    program = Path(place.directory) / "coso-oci"
    program.write_text(launcher.text("coso-oci"))
    program.chmod(0o755)
    return str(program)


@pytest.fixture(scope="module")
def image(place: Place, rootfs: Path) -> str:
    """A root filesystem that the engines may change."""
    source = str(rootfs) if place.local else ROOTFS
    place.ok(f"mkdir rootfs && cp -a {source}/. rootfs && chmod 755 . rootfs")
    return f"{place.directory}/rootfs"


@pytest.fixture(scope="module", params=list(PROGRAMS))
def engine(request: pytest.FixtureRequest, place: Place, runtime: str, image: str) -> Iterator[Engine]:
    """The engine, with an image of Alpine."""
    name = request.param
    install(place, *PROGRAMS[name], *([] if RUNTIME == "coso" else [RUNTIME]))
    with ExitStack() as stack:
        stack.callback(tidy, place)
        stack.enter_context(hidden_controllers(place))
        yield stack.enter_context({"podman": podman, "docker": docker, "containerd": containerd}[name](place, runtime))


def install(place: Place, *programs: str) -> None:
    """Have the peers' set-up install what is missing."""
    if all(place.host.exists(program) for program in programs):
        return
    project = ROOT if place.local else "/vagrant"
    with machines_network():
        done = place.sh(f"cd {project} && ./dev invoke peers-setup")
    if done.rc != 0:
        pytest.skip(f"{programs[0]} cannot be installed: {done.stderr[-200:]}")


def tidy(place: Place) -> None:
    """Take away what engines leave when their storage goes."""
    if place.local:
        hosts.unmount_below(place.directory)
        hosts.drop_empty_groups("libpod_parent/conmon", "libpod_parent", "docker", "default")
        return
    place.sh(f"grep -o '{place.directory}[^ ]*' /proc/self/mounts | sort -r | xargs -r umount -l")


@contextmanager
def hidden_controllers(place: Place) -> Iterator[None]:
    """Let version 2 look as if it had no controllers: crun refuses a hybrid machine where it has any."""
    file = hosts.HYBRID_CONTROLLERS
    hide = RUNTIME == "crun" and place.sh(f"grep -q . {file}").rc == 0
    if hide:
        place.ok(f"mount --bind /dev/null {file}")
    yield
    if hide:
        place.ok(f"umount {file}")


@contextmanager
def podman(place: Place, runtime: str) -> Iterator[Engine]:
    places = " ".join(f"--{name}={place.directory}/podman/{name}" for name in ("root", "runroot", "tmpdir"))
    words = f"podman {places} --runtime={runtime}"
    if RUNTIME != "coso":
        # podman asks for a million open files; others fail where root may not raise the limit.
        place.ok('printf \'[containers]\\ndefault_ulimits = ["nofile=1024:1024", "nproc=1024:1024"]\\n\' > limits')
        words = f"CONTAINERS_CONF={place.directory}/limits {words}"
    place.ok(f"tar -C rootfs -c . | {words} import - {IMAGE}")
    yield Docker("podman", words, "", place.sh)


@contextmanager
def docker(place: Place, runtime: str) -> Iterator[Engine]:
    places = {"data-root": "docker", "exec-root": "docker-exec", "pidfile": "docker.pid"}
    words = [f"--{option}={place.directory}/{name}" for option, name in places.items()]
    words += [f"--host=unix://{place.directory}/docker.sock", f"--add-runtime=chosen={runtime}"]
    client = f"docker --host=unix://{place.directory}/docker.sock"
    with own_rules(place), daemon(place, "docker", f"dockerd {' '.join(words)}", f"{client} version"):
        place.ok(f"tar -C rootfs -c . | {client} import - {IMAGE}")
        yield Docker("docker", client, "--runtime=chosen", place.sh)


@contextmanager
def own_rules(place: Place) -> Iterator[None]:
    """Take Docker's rules and bridge away again; another machine is the tests' own, and keeps them."""
    place.ok("iptables-save > rules")
    yield
    if place.local:
        tables = "for t in filter nat mangle raw; do iptables -w -t $t -F; iptables -w -t $t -X; done 2>/dev/null"
        place.sh(f"{tables}; iptables -w -P FORWARD ACCEPT; iptables-restore < rules; ip link del docker0")


@contextmanager
def containerd(place: Place, runtime: str) -> Iterator[Engine]:
    directory = f"{place.directory}/containerd"
    config = f'version = 2\nroot = "{directory}/root"\nstate = "{directory}/state"\n'
    config += f'disabled_plugins = ["io.containerd.grpc.v1.cri"]\n[grpc]\naddress = "{directory}/socket"\n'
    place.ok(f"mkdir {directory} && printf %s {shlex.quote(config)} > {directory}/config")
    options = f"--runc-binary {runtime} --runc-root {directory}/runc"
    if place.unified:
        options += " --runc-systemd-cgroup --cgroup system.slice:coso-engines:{}"
    client = f"ctr --address {directory}/socket"
    with daemon(place, "containerd", f"containerd --config {directory}/config", f"{client} version"):
        yield Containerd(client, options, f"{place.directory}/rootfs", place.sh)


@contextmanager
def daemon(place: Place, name: str, words: str, ready: str) -> Iterator[None]:
    """A daemon for the time of a `with`; it must come to answer."""
    log, pid = f"{place.directory}/{name}.log", f"{place.directory}/{name}.started"
    place.ok(f"setsid {words} > {log} 2>&1 & echo $! > {pid}")
    wait = f"for i in $(seq 300); do {ready} > /dev/null 2>&1 && exit; kill -0 $(cat {pid}) || break; sleep 0.2; done"
    done = place.sh(f"{wait}; tail -5 {log}; exit 1")
    try:
        if done.rc != 0:
            pytest.fail(f"{name} does not come up: {done.stdout}")
        yield
    finally:
        place.sh(
            f"kill $(cat {pid}); for i in $(seq 100); do kill -0 $(cat {pid}) 2>/dev/null || exit; sleep 0.1; done"
        )


def words(done: CommandResult) -> list[str]:
    """What a command that must succeed printed, word by word."""
    assert done.rc == 0, done.stdout + done.stderr
    return re.split(r"\s+", done.stdout.strip())
