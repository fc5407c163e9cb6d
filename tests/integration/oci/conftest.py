"""The runtime that RUNTIME names, bundles for it, and a look at what each test leaves behind."""

from __future__ import annotations

import ctypes
import itertools
import json
import os
import shutil
import subprocess
import tempfile
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest

from coso import launcher
from tests.integration.oci import differences, groups
from tests.integration.oci.bundle import Bundle, eventually, mounts
from tests.integration.oci.runtime import Runtime, find

WANTED = os.environ.get("RUNTIME", "coso")
NAME = Path(WANTED).name.removesuffix("-oci")
HERE = Path(__file__).parent
CONTROLLERS = Path("/sys/fs/cgroup/unified/cgroup.controllers")
MS_BIND, MNT_DETACH = 0x1000, 2
# In the name of every container, so that nobody else's are looked at.
MARK = f"oci{os.getpid()}"

MakeBundle = Callable[..., Bundle]
_outcomes: dict[str, str] = {}
_versions: dict[str, str] = {}
_numbers = itertools.count(1)


def pytest_addoption(parser: pytest.Parser) -> None:
    parser.addoption("--oci-report", metavar="FILE", help="write the outcome of each test of tests/integration/oci")


def pytest_collection_modifyitems(items: list[pytest.Item]) -> None:
    for item in items:
        if HERE in item.path.parents and (reason := differences.reason(NAME, item.nodeid)):
            item.add_marker(pytest.mark.xfail(reason=f"{NAME}: {reason}", strict=False))


def pytest_runtest_logreport(report: pytest.TestReport) -> None:
    """Remember the worst that was said of each test."""
    if f"{HERE.name}/test_" not in report.nodeid:
        return
    test = report.nodeid.split(f"{HERE.name}/", 1)[-1]
    expected = hasattr(report, "wasxfail")
    if report.skipped:
        _outcomes[test] = "differs" if expected else "skipped"
    elif report.failed:
        _outcomes[test] = "failed" if report.when == "call" else "error"
    elif report.when == "call":
        _outcomes[test] = "passed although a difference is noted" if expected else "passed"


def pytest_sessionfinish(session: pytest.Session) -> None:
    if place := session.config.getoption("oci_report", None):
        about = {"runtime": NAME, "version": _versions.get(NAME, NAME), "machine": groups.machine()}
        report = {**about, "outcomes": dict(sorted(_outcomes.items()))}
        Path(place).write_text(json.dumps(report, indent=1) + "\n")


@pytest.fixture(scope="session")
def place(_own_network: None) -> Iterator[Path]:
    """A directory for the session through which everybody may walk, in memory: hundreds of roots are made in it."""
    directory = Path(tempfile.mkdtemp(prefix="oci-", dir="/var/tmp"))
    _mount("tmpfs", directory, "tmpfs")
    directory.chmod(0o755)
    yield directory
    _unmount(directory)
    directory.rmdir()


@pytest.fixture(scope="session")
def template(rootfs: Path, place: Path) -> Path:
    """A root filesystem of which every bundle gets a copy."""
    subprocess.run(["cp", "-a", str(rootfs), str(place / "template")], check=True)
    return place / "template"


@pytest.fixture(scope="session")
def runtime(place: Path) -> Iterator[Runtime]:
    """The runtime under test, with state of its own."""
    program = _coso(place) if WANTED == "coso" else find(WANTED)
    if not program:
        pytest.fail(f"there is no program {WANTED!r}", pytrace=False)
    root = place / "state"
    root.mkdir(mode=0o711)
    hidden = NAME.startswith("crun") and _hide_controllers()
    found = Runtime(NAME, program, root)
    _versions[NAME] = found("--version").out.partition("\n")[0]
    yield found
    if hidden:
        _unmount(CONTROLLERS)


def _coso(place: Path) -> str:
    """A launcher of this tree's coso-oci."""
    if "coso-oci" not in launcher.ENTRIES:
        pytest.skip("this tree has no coso-oci yet; name another runtime: RUNTIME=crun")
    program = place / "coso-oci"
    program.write_text(launcher.text("coso-oci"))
    program.chmod(0o755)
    return str(program)


_libc = ctypes.CDLL(None, use_errno=True)


def _hide_controllers() -> bool:
    """Let version 2 look as if it had no controllers: crun refuses a hybrid machine where it has any."""
    if not CONTROLLERS.exists() or not CONTROLLERS.read_text().strip():
        return False
    _mount("/dev/null", CONTROLLERS, flags=MS_BIND)
    return True


def _mount(source: str, target: Path, kind: str = "", flags: int = 0) -> None:
    words = (os.fsencode(word) or None for word in (source, str(target), kind))
    assert _libc.mount(*words, flags, None) == 0, os.strerror(ctypes.get_errno())


def _unmount(target: Path) -> None:
    _libc.umount2(os.fsencode(target), MNT_DETACH)


@pytest.fixture
def make_bundle(request: pytest.FixtureRequest, runtime: Runtime, place: Path, template: Path) -> Iterator[MakeBundle]:
    """Make bundles; their containers are ended after the test, and nothing may be left of them."""
    made: list[Bundle] = []
    before = set(mounts())

    def make(name: str = "") -> Bundle:
        number = next(_numbers)
        made.append(Bundle(runtime, place / str(number), template, name or f"{MARK}-{number}"))
        return made[-1]

    yield make
    for bundle in made:
        bundle.clean()
    left = _left(runtime, before)
    for point in reversed(mounts()):
        if point.startswith(f"{place}/"):
            _unmount(Path(point))
    for group in groups.named(MARK):
        group.rmdir()
    for entry in runtime.root.iterdir():
        shutil.rmtree(entry) if entry.is_dir() else entry.unlink()
    for bundle in made:
        shutil.rmtree(bundle.path)
    expected = request.node.get_closest_marker("xfail")
    assert not left or expected, f"left behind: {left}"


def _left(runtime: Runtime, before: set[str]) -> list[str]:
    def now() -> list[str]:
        return [
            *(f"state {entry.name}" for entry in runtime.root.iterdir() if MARK in entry.name),
            *(f"cgroup {group}" for group in groups.named(MARK)),
            *(f"mount {point}" for point in mounts() if point not in before),
        ]

    eventually(lambda: not now(), 2)
    return now()


@pytest.fixture
def bundle(make_bundle: MakeBundle) -> Bundle:
    """A bundle with the defaults."""
    return make_bundle()
