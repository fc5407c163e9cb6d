"""`coso verify`: everything holds for coso, every check can fail, and a coso that lacks a step is caught."""

from __future__ import annotations

import functools
import json
import os
from collections.abc import Callable
from pathlib import Path
from xml.etree import ElementTree

import pytest

from coso.runtime import handover, last, plan
from coso.runtime.gc import collect
from coso.spec import NAMESPACES, Process, Root, Spec, TimeOffset, defaults
from coso.verify import lab
from coso.verify import run as verify
from coso.verify.checks import CHECKS, Check
from coso.verify.drivers.coso import driver
from tests.integration.broken import without
from tests.integration.conftest import Coso, what_is_left

BY_ID = {check.id: check for check in CHECKS}
Found = dict[str, tuple[str, str]]


def apart(work: Callable[[], list[verify.Result]]) -> Found:
    """Results by id, from a process in a lab of its own: what a broken coso mounts is gone with it."""
    reading, writing = os.pipe()
    child = os.fork()
    if not child:
        try:
            lab.enter()
            found: object = {result.check.id: (result.result, result.reason) for result in work()}
        except BaseException as error:
            found = f"{type(error).__name__}: {error}"
        collect()
        with os.fdopen(writing, "w") as pipe:
            json.dump(found, pipe)
        os._exit(0)
    os.close(writing)
    with os.fdopen(reading) as pipe:
        answer = json.load(pipe)
    os.waitpid(child, 0)
    collect()
    assert isinstance(answer, dict), answer
    return {name: (result, reason) for name, (result, reason) in answer.items()}


@pytest.fixture(scope="session")
def controls(rootfs: Path) -> Callable[..., Found]:
    """The controls of all checks of a scene that lack the same, run once; what one leaves is not there for others."""

    @functools.cache
    def run(what: str, scene: str, options: tuple[str, ...]) -> Found:
        checks = [check for check in CHECKS if (check.without, check.scene) == (what, scene)]
        if what == "undoing":
            checks = [check for check in checks if check.control == options]
        broken = driver(without(what)) if what else driver()
        return apart(lambda: verify.verify(checks, str(rootfs), driver=broken, control=True))

    return run


def test_everything_holds(coso: Coso, rootfs: Path) -> None:
    done = coso("verify", "--rootfs", str(rootfs), "--format", "json", timeout=120)
    assert done.returncode == 0, done.stdout + done.stderr
    found = json.loads(done.stdout)
    assert found["runtime"] == "coso"
    assert [check["id"] for check in found["checks"]] == list(BY_ID)
    for check in found["checks"]:
        # A check may be skipped for one reason alone.
        assert check["result"] == "pass" or check["reason"].startswith("this kernel has no "), check
    assert not what_is_left()


@pytest.mark.parametrize("check", CHECKS, ids=BY_ID)
def test_each_check_fails_where_its_protection_is_taken_away(check: Check, controls: Callable[..., Found]) -> None:
    result, reason = controls(check.without, check.scene, check.control if check.without == "undoing" else ())[check.id]
    if result == "skip":
        assert reason.startswith("this kernel has no ")
        pytest.skip(reason)
    assert result == "fail", reason


# Steps that give something, and protect from nothing: without them there is less in the container, or it is useless.
GIVING = {
    "attach /etc files": "names and addresses",
    "attach the network": "a way out",
    "bring up loopback": "a loopback interface",
    "mount /dev/mqueue": "POSIX queues",
    "mount /dev/pts": "terminals",
    "mount /dev/shm": "shared memory",
    "mount /sys": "facts about the machine",
    "mount /sys/fs/cgroup": "facts about limits",
    "set kernel parameters": "low ports and ping, without a capability",
    "write /etc files": "names and addresses",
    "write the address": "its own name's address",
}


def _steps() -> list[str]:
    """Every step of the parent and of the child for a container with all eight namespaces and a network."""
    spec = Spec(
        process=Process(("/bin/true",), no_new_privileges=True, interactive=False),
        root=Root("/", overlay=True),
        mounts=defaults.MOUNTS,
        namespaces=NAMESPACES,
        time_offsets=(("monotonic", TimeOffset(1)),),
        sysctl=defaults.NETWORK_SYSCTLS,
        seccomp="default",
        names=True,
        network="helper",
    )
    waits = {step.name for step in (handover.IDS, handover.ROOT, handover.FILES)}
    parts = (plan.before_clone, plan.ids, plan.roots, plan.files, plan.network, plan.in_child, last.at_last)
    return [step.name for part in parts for step in part(spec) if step.name not in waits]


@pytest.mark.parametrize("step", [name for name in _steps() if name not in GIVING])
def test_a_step_left_out_is_caught(step: str, rootfs: Path) -> None:
    checks = [check for check in CHECKS if not check.id.startswith(("left-", "limit-cpu", "call-"))]
    found = apart(lambda: verify.verify(checks, str(rootfs), driver=driver(without(step))))
    breached = [name for name, (result, _) in found.items() if result in ("fail", "error")]
    assert breached


def test_what_gives_without_protecting_is_still_in_the_plan() -> None:
    assert set(GIVING) <= set(_steps())


def test_leaving_nothing_out_changes_nothing(rootfs: Path) -> None:
    """The control of those above: it is the missing step that is seen, not the way in which it is left out."""
    found = apart(lambda: verify.verify(CHECKS, str(rootfs), driver=driver(without("no such step"))))
    assert {result for result, _ in found.values()} <= {"pass", "skip"}, found


def test_reports_for_ci_systems(coso: Coso, rootfs: Path, tmp_path: Path) -> None:
    file = tmp_path / "report.xml"
    words = ("verify", "--rootfs", str(rootfs), "--checks", "ipc-[sm]*", "--checks", "pid-first")
    assert coso(*words, "--format", "junit", "--output", str(file)).returncode == 0
    suite = ElementTree.parse(file).getroot()
    assert suite.get("tests") == "5" and suite.get("failures") == "0"
    lines = coso(*words, "--format", "tap").stdout.splitlines()
    assert lines[:2] == ["TAP version 13", "1..5"]
    assert all(line.startswith("ok ") for line in lines[2:])


def test_the_list_says_where_each_check_is_written(coso: Coso) -> None:
    lines = coso("verify", "--list").stdout.splitlines()
    assert len(lines) == len(CHECKS) >= 80
    assert all("[" in line for line in lines)


@pytest.mark.parametrize(
    ("words", "said"),
    [
        (("--checks", "none-*"), "no check matches none-*"),
        (("--format", "pdf"), "--format 'pdf' is not known"),
        (("--rootfs", "/nowhere"), "no rootfs at /nowhere"),
        (("extra",), "unexpected word 'extra'"),
        (("--runtime", "nix"), "--runtime 'nix' is not known"),
        (("--compare", "coso,nix"), "--compare 'nix' is not known"),
        (("--compare", "coso", "--runtime", "coso"), "--runtime and --compare"),
        (("--compare", "coso", "--format", "tap"), "--format tap"),
        (("--output", "/nowhere/report"), "/nowhere/report cannot be written"),
    ],
)
def test_bad_words_are_explained(coso: Coso, words: tuple[str, ...], said: str) -> None:
    done = coso("verify", *words)
    assert done.returncode == 125
    assert said in done.stderr
    assert "Traceback" not in done.stderr
