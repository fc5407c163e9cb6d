"""`coso verify`: everything holds for coso, and every check can fail."""

from __future__ import annotations

import json
from pathlib import Path
from xml.etree import ElementTree

import pytest

from coso import launcher
from coso.errors import CosoError
from coso.verify import run as verify
from coso.verify.checks import CHECKS, Check
from tests.integration.conftest import Coso, nothing_is_left

BY_ID = {check.id: check for check in CHECKS}


def test_everything_holds(coso: Coso, rootfs: Path) -> None:
    done = coso("verify", "--rootfs", str(rootfs), "--format", "json")
    assert done.returncode == 0, done.stdout + done.stderr
    found = json.loads(done.stdout)
    assert found["runtime"] == "coso"
    assert [check["id"] for check in found["checks"]] == list(BY_ID)
    for check in found["checks"]:
        # A check may be skipped for one reason alone.
        assert check["result"] == "pass" or check["reason"].startswith("this kernel has no "), check
    assert nothing_is_left()


def without(step: str) -> str:
    """A coso that leaves a step of the child's plan out."""
    return launcher.text("coso").replace(
        "entry()\n",
        f"""from coso.runtime import plan
whole = plan.in_child
plan.in_child = lambda spec: [step for step in whole(spec) if step.name != {step!r}]
entry()
""",
    )


@pytest.mark.parametrize("check", CHECKS, ids=BY_ID)
def test_each_check_fails_where_its_protection_is_taken_away(check: Check, rootfs: Path) -> None:
    if check.without:
        (result,) = verify.verify([check], str(rootfs), start=without(check.without))
    else:
        result = verify.control(check, str(rootfs))
    if result.result == "skip":
        pytest.skip(result.reason)
    assert result.result == "fail", result.reason


@pytest.mark.parametrize(
    "step",
    [
        "name the host",
        "mount /proc",
        "mask paths",
        "protect paths",
        "redirect input",
        "filter system calls",
        "become the user",
    ],
)
def test_a_step_left_out_is_caught(step: str, rootfs: Path) -> None:
    results = verify.verify(CHECKS, str(rootfs), start=without(step))
    assert {result.result for result in results} & {"fail", "error"}


def test_without_control_groups_of_its_own_nothing_starts(rootfs: Path) -> None:
    with pytest.raises(CosoError, match="after 0 of"):
        verify.verify(CHECKS, str(rootfs), start=without("enter control groups"))


def test_leaving_nothing_out_changes_nothing(rootfs: Path) -> None:
    """The control of the two above: it is the missing step that is seen, not the way in which it is left out."""
    results = verify.verify(CHECKS, str(rootfs), start=without("no such step"))
    assert {result.result for result in results} <= {"pass", "skip"}


def test_reports_for_ci_systems(coso: Coso, rootfs: Path, tmp_path: Path) -> None:
    file = tmp_path / "report.xml"
    words = ("verify", "--rootfs", str(rootfs), "--checks", "ipc-*", "--checks", "pid-first")
    assert coso(*words, "--format", "junit", "--output", str(file)).returncode == 0
    suite = ElementTree.parse(file).getroot()
    assert suite.get("tests") == "5" and suite.get("failures") == "0"
    lines = coso(*words, "--format", "tap").stdout.splitlines()
    assert lines[:2] == ["TAP version 13", "1..5"]
    assert all(line.startswith("ok ") for line in lines[2:])


def test_the_list_says_where_each_check_is_written(coso: Coso) -> None:
    lines = coso("verify", "--list").stdout.splitlines()
    assert len(lines) == len(CHECKS)
    assert all("[" in line for line in lines)


@pytest.mark.parametrize(
    ("words", "said"),
    [
        (("--checks", "none-*"), "no check matches none-*"),
        (("--format", "pdf"), "--format 'pdf' is not known"),
        (("--rootfs", "/nowhere"), "no rootfs at /nowhere"),
        (("extra",), "unexpected word 'extra'"),
    ],
)
def test_bad_words_are_explained(coso: Coso, words: tuple[str, ...], said: str) -> None:
    done = coso("verify", *words)
    assert done.returncode == 125
    assert said in done.stderr
    assert "Traceback" not in done.stderr
