"""Real engines run their containers on coso-oci: podman and Docker, as Debian has them.

The same words are given to both.  Storage, state and the daemon are the
module's own, in a directory that goes with it.
"""

from __future__ import annotations

import os
import shutil
import subprocess
import tempfile
import time
from collections.abc import Iterator
from contextlib import ExitStack
from pathlib import Path
from typing import Protocol

import pytest

from coso.spawn import find
from coso.verify.drivers import host
from provisioning.peers import peers
from provisioning.resource import Change
from tests.integration.conftest import machines_network, nothing_is_left

Done = subprocess.CompletedProcess[str]
IMAGE = "coso-engines"


class Engine(Protocol):
    """An engine's command line: its words in, what it did out."""

    def __call__(self, *words: str, stdin: int = subprocess.DEVNULL) -> Done: ...


@pytest.fixture(scope="module", params=["podman", "docker"])
def engine(request: pytest.FixtureRequest, programs: Path, rootfs: Path) -> Iterator[Engine]:
    """The engine, with coso-oci as its runtime and the rootfs as an image."""
    for package in peers():
        if package.program in (request.param, "dockerd") and isinstance(
            plan := package.plan(package.inspect()), Change
        ):
            package.apply(plan)
    scratch = tempfile.mkdtemp(prefix="coso-engines-", dir="/var/tmp")
    words = {"podman": _podman, "docker": _docker}[request.param](scratch, str(programs / "coso-oci"))

    def run(*more: str, stdin: int = subprocess.DEVNULL) -> Done:
        return subprocess.run(
            [*words, *more], stdin=stdin, capture_output=True, text=True, timeout=60, check=False, cwd=scratch
        )

    with ExitStack() as stack:
        stack.callback(shutil.rmtree, scratch, ignore_errors=True)
        stack.callback(host.drop_empty_groups, "libpod_parent/conmon", "libpod_parent")
        stack.callback(host.unmount_below, scratch)
        if request.param == "docker":
            stack.enter_context(_daemon(scratch, str(programs / "coso-oci")))
            run_options = ("--runtime", "coso")
        else:
            run_options = ()
        with subprocess.Popen(["tar", "-C", str(rootfs), "-c", "."], stdout=subprocess.PIPE) as pack:
            assert pack.stdout
            done = run("import", "-", IMAGE, stdin=pack.stdout.fileno())
        assert done.returncode == 0, done.stderr

        def with_options(*more: str, stdin: int = subprocess.DEVNULL) -> Done:
            if more[0] == "run":
                more = ("run", *run_options, *more[1:])
            return run(*more, stdin=stdin)

        yield with_options


def _install() -> None:
    with machines_network():
        for package in peers():
            if isinstance(plan := package.plan(package.inspect()), Change):
                package.apply(plan)


def _podman(scratch: str, runtime: str) -> list[str]:
    places = [f"--{name}={scratch}/{name}" for name in ("root", "runroot", "tmpdir")]
    return [find("podman"), *places, f"--runtime={runtime}"]


def _docker(scratch: str, _: str) -> list[str]:
    return [find("docker"), f"--host=unix://{scratch}/socket"]


class _daemon:  # noqa: N801  # reads as the noun it is
    """A dockerd that leaves the firewall alone, for the time of a `with`."""

    def __init__(self, scratch: str, runtime: str) -> None:
        places = {"--data-root": "data", "--exec-root": "exec", "--pidfile": "pid"}
        words = [find("setpriv"), "--pdeathsig=TERM", find("dockerd"), f"--host=unix://{scratch}/socket"]
        words += [f"{option}={scratch}/{name}" for option, name in places.items()]
        words += ["--iptables=false", "--ip6tables=false", "--ip-forward=false", "--bridge=none"]
        self._words = [*words, f"--add-runtime=coso={runtime}"]
        self._scratch = scratch

    def __enter__(self) -> None:
        with open(f"{self._scratch}/log", "w") as log:
            self._own = subprocess.Popen(self._words, stdout=log, stderr=log)
        end = time.monotonic() + 60
        while subprocess.run([*_docker(self._scratch, ""), "version"], capture_output=True, check=False).returncode:
            if self._own.poll() is not None or time.monotonic() > end:
                pytest.fail(Path(f"{self._scratch}/log").read_text()[-2000:])
            time.sleep(0.1)

    def __exit__(self, *_: object) -> None:
        self._own.terminate()
        self._own.wait(30)


def run(engine: Engine, *words: str) -> Done:
    """A container without a network that goes with its command."""
    options = words[: words.index("--")]
    return engine("run", "--rm", "--network=none", *options, IMAGE, *words[words.index("--") + 1 :])


def output(engine: Engine, *words: str) -> str:
    """What it printed, when its status was 0."""
    done = run(engine, *words)
    assert done.returncode == 0, done.stderr
    return done.stdout.strip()


def test_a_command_runs(engine: Engine) -> None:
    assert output(engine, "--", "echo", "hello") == "hello"


def test_the_status_is_the_commands(engine: Engine) -> None:
    assert run(engine, "--", "sh", "-c", "exit 3").returncode == 3


def test_a_command_that_is_not_there_is_status_127(engine: Engine) -> None:
    done = run(engine, "--", "nosuch")
    assert done.returncode == 127 and "nosuch" in done.stderr


def test_a_command_that_cannot_be_executed_is_status_126(engine: Engine) -> None:
    assert run(engine, "--", "/etc/passwd").returncode == 126


def test_limits(engine: Engine) -> None:
    files = "memory/memory.limit_in_bytes pids/pids.max cpu/cpu.cfs_quota_us"
    if os.path.exists("/sys/fs/cgroup/cgroup.controllers"):
        files = "memory.max pids.max cpu.max"
    script = f"cd /sys/fs/cgroup && cat {files}"
    found = output(engine, "--memory=64m", "--pids-limit=50", "--cpus=0.5", "--", "sh", "-c", script).split()
    assert found[:3] == ["67108864", "50", "50000"]


def test_a_read_only_root(engine: Engine) -> None:
    done = run(engine, "--read-only", "--", "touch", "/file")
    assert done.returncode == 1 and "Read-only" in done.stderr


def test_capabilities_and_user(engine: Engine) -> None:
    found = output(
        engine, "--cap-drop=all", "--user=5:6", "--", "sh", "-c", "id -u; id -g; grep CapBnd /proc/self/status"
    )
    assert found.split() == ["5", "6", "CapBnd:", "0000000000000000"]


def test_volumes(engine: Engine, tmp_path: Path) -> None:
    (tmp_path / "file").write_text("shown")
    volume = f"--volume={tmp_path}:/data"
    assert output(engine, f"{volume}:ro", "--", "cat", "/data/file") == "shown"
    assert run(engine, f"{volume}:ro", "--", "touch", "/data/new").returncode == 1
    assert run(engine, volume, "--", "touch", "/data/new").returncode == 0
    assert (tmp_path / "new").exists()


def test_a_terminal(engine: Engine) -> None:
    found = output(engine, "--tty", "--", "sh", "-c", "tty")
    assert found.startswith("/dev/pts/")


def test_the_life_of_a_detached_container(engine: Engine) -> None:
    script = "trap 'echo ended; exit 5' TERM; echo begun; while :; do sleep 0.1; done"
    done = engine("run", "--detach", "--name=life", "--network=none", IMAGE, "sh", "-c", script)
    assert done.returncode == 0, done.stderr
    try:
        assert engine("exec", "life", "hostname").stdout.strip() == done.stdout[:12]
        assert engine("exec", "--user=7", "--workdir=/tmp", "life", "sh", "-c", "id -u; pwd").stdout.split() == [
            "7",
            "/tmp",
        ]
        assert engine("exec", "life", "sh", "-c", "exit 9").returncode == 9
        assert engine("exec", "life", "nosuch").returncode in (126, 127)
        assert engine("pause", "life").returncode == 0
        assert engine("inspect", "--format={{.State.Status}}", "life").stdout.strip() == "paused"
        assert engine("unpause", "life").returncode == 0
        assert engine("top", "life").returncode == 0
        assert engine("stop", "--time=10", "life").returncode == 0
        assert engine("inspect", "--format={{.State.ExitCode}}", "life").stdout.strip() == "5"
        assert engine("logs", "life").stdout.split() == ["begun", "ended"]
        assert engine("start", "life").returncode == 0
        assert engine("kill", "life").returncode == 0
    finally:
        engine("rm", "--force", "life")


def test_nothing_is_left(engine: Engine) -> None:
    assert run(engine, "--", "true").returncode == 0
    assert nothing_is_left()
