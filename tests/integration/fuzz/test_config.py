"""Each configuration is created, started and deleted in a process of its own; what that leaves is looked for."""

from __future__ import annotations

import json
import os
import shutil
import signal
import tempfile
import traceback
from collections import Counter
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
from hypothesis import HealthCheck, given, settings

from coso.cgroups import hierarchies, remove
from coso.errors import CosoError
from coso.kernel.process import prctl
from coso.oci import control
from coso.oci.create import Wishes, create
from coso.oci.store import Place
from tests.integration.fuzz.configs import CHANGES, MARK, Config, Way, changed
from tests.integration.fuzz.oracle import differences
from tests.integration.oci.bundle import eventually

EXAMPLES = int(os.environ.get("COSO_FUZZ", "300"))
PR_SET_CHILD_SUBREAPER = 36
SECONDS = 20
NAME = "fuzzed"
# Words of the interpreter's, not of ours, and the sentence for what nobody has thought of.
UNCLEAR = ("Traceback", "object has no attribute", "NoneType", "a fault of coso", "Error(", "unhashable")
count: Counter[str] = Counter()


class Ground:
    """A bundle, a place for the state, and what the machine looks like without a container."""

    def __init__(self, directory: Path, rootfs: Path) -> None:
        self.bundle, self.state = directory / "bundle", directory / "state"
        self.bundle.mkdir()
        shutil.copytree(rootfs, self.bundle / "rootfs", symlinks=True)
        for name, target in (("link", "/tmp"), ("loop", "/loop"), ("up", "../../../.."), ("dangling", "/nosuch/x")):
            (self.bundle / "rootfs" / name).symlink_to(target)
        (self.bundle / "link").symlink_to("rootfs")
        for hierarchy in hierarchies():
            remove(f"{hierarchy.path}/{MARK}")  # A run that was killed may have left it.
        self.before = self.look()

    def look(self) -> list[str]:
        """Groups, mounts, states and processes."""
        found = [f"state {name}" for name in (os.listdir(self.state) if self.state.exists() else [])]
        for hierarchy in hierarchies():
            found += [f"group {path}" for path in Path(hierarchy.path).glob(f"{MARK}*")]
        found += [
            f"mount {line.split(' ')[4]}"
            for line in Path("/proc/self/mountinfo").read_bytes().decode().split("\n")[:-1]
        ]
        for task in os.listdir("/proc/self/task"):
            found += [f"process {pid}" for pid in Path(f"/proc/self/task/{task}/children").read_text().split()]
        return found

    def left(self) -> list[str]:
        """What is there now and was not before, given a moment."""
        eventually(lambda: reap() or self.look() == self.before)
        return [item for item in self.look() if item not in self.before]


def reap() -> None:
    """Collect processes whose parents have gone."""
    try:
        while os.waitpid(-1, os.WNOHANG)[0]:
            pass
    except ChildProcessError:
        pass


@pytest.fixture(scope="module")
def ground(rootfs: Path) -> Iterator[Ground]:
    prctl(PR_SET_CHILD_SUBREAPER, 1)
    directory = Path(tempfile.mkdtemp(prefix="coso-fuzz-", dir="/var/tmp"))
    directory.chmod(0o755)
    yield Ground(directory, rootfs)
    shutil.rmtree(directory)
    prctl(PR_SET_CHILD_SUBREAPER, 0)
    print(f"\n{EXAMPLES} configurations: {dict(count)}")


def live(ground: Ground, config: Config) -> dict[str, Any]:
    """A container's whole life in this process; how it went, by what `config` says."""
    warnings: list[str] = []
    place = Place(str(ground.state), NAME)
    begun = False
    try:
        create(str(ground.state), NAME, Wishes(bundle=str(ground.bundle)), warnings.append)
        begun = True
        control.start(place, warnings.append)
    except CosoError as error:
        return {"outcome": "refused at start" if begun else "refused", "said": str(error)}
    else:
        state = place.read()
        try:
            wrong = differences(config, state.pid, warnings)
        except (OSError, LookupError) as error:
            wrong = [f"{type(error).__name__}: {error}"]
        # One that is about to end has no memory, and so no command any more.
        if wrong and eventually(lambda: not control.alive(state), 0.2):
            return {"outcome": "ended at once", "said": "with a limit that it cannot live with, say"}
        return {"outcome": "wrong" if wrong else "right", "said": "; ".join(wrong)}
    finally:
        if begun:
            control.delete(place, warnings.append, force=True)


def outcome(ground: Ground, config: Config) -> dict[str, Any]:
    """The same in a process that cannot harm this one, with an end."""
    report = os.memfd_create("report")
    pid = os.fork()
    if pid == 0:
        signal.alarm(SECONDS)
        quiet = os.open("/dev/null", os.O_RDWR)
        for fd in (0, 1, 2):
            os.dup2(quiet, fd)
        try:
            found = live(ground, config)
        except BaseException:
            found = {"outcome": "traceback", "said": traceback.format_exc()}
        os.write(report, json.dumps(found).encode())
        os._exit(0)
    status = os.waitstatus_to_exitcode(os.waitpid(pid, 0)[1])
    text = os.pread(report, 1 << 20, 0)
    os.close(report)
    return json.loads(text) if text else {"outcome": "died", "said": f"status {status}"}


@settings(
    max_examples=EXAMPLES,
    deadline=None,
    database=None,
    derandomize="COSO_FUZZ" not in os.environ,
    suppress_health_check=list(HealthCheck),
)
@given(CHANGES)
def test_a_clear_error_or_a_right_container_and_nothing_left(ground: Ground, changes: list[tuple[Way, Any]]) -> None:
    config = changed(changes)
    (ground.bundle / "config.json").write_text(json.dumps(config), errors="surrogatepass")
    found = outcome(ground, config)
    count[found["outcome"]] += 1
    assert found["outcome"] in ("refused", "refused at start", "ended at once", "right"), found["said"]
    assert not any(word in found["said"] for word in UNCLEAR), found["said"]
    assert found["said"].strip() or found["outcome"] == "right"
    left = ground.left()
    assert not left, (left, found)


OTHERS: list[tuple[Way, Any]] = [
    (("hostname",), "another"),
    (("process", "args"), ["sleep", "99"]),
    (("process", "env"), ["KEY=value"]),
    (("process", "user"), {"uid": 5, "gid": 0}),
    (("process", "user"), {"uid": 0, "gid": 0, "umask": 0o77}),
    (("process", "oomScoreAdj"), 7),
    (("process", "noNewPrivileges"), False),
    (("process", "capabilities", "bounding"), ["CAP_SYS_ADMIN"]),
    (("process", "capabilities", "inheritable"), ["CAP_KILL"]),
    (("process", "rlimits"), [{"type": "RLIMIT_CORE", "soft": 1, "hard": 2}]),
    (("root", "readonly"), True),
    (("mounts", "+"), {"destination": "/mnt", "type": "tmpfs"}),
    (("linux", "namespaces", "+"), {"type": "cgroup"}),
    (("linux", "namespaces"), [{"type": "mount"}]),
    (("linux", "cgroupsPath"), f"/{MARK}/other"),
    (("linux", "resources", "pids"), {"limit": 5}),
    (("linux", "seccomp"), {"defaultAction": "SCMP_ACT_ALLOW"}),
    (("linux", "readonlyPaths"), ["/tmp"]),
]


@pytest.mark.parametrize(
    ("way", "value"), OTHERS, ids=lambda part: "-".join(map(str, part)) if isinstance(part, tuple) else ""
)
def test_another_container_than_the_one_that_was_asked_for_is_noticed(ground: Ground, way: Way, value: Any) -> None:
    """The control: the plain container, held against a configuration that asks for something else."""
    (ground.bundle / "config.json").write_text(json.dumps(changed([])))
    assert outcome(ground, changed([]))["outcome"] == "right"
    assert outcome(ground, changed([(way, value)]))["outcome"] == "wrong"


def test_both_happen() -> None:
    """The control: configurations that are all refused, or all accepted, would show nothing."""
    if not count:
        pytest.skip("the other test has not run")
    total = sum(count.values())
    assert count["right"] > total // 10 and count["refused"] > total // 10, count
