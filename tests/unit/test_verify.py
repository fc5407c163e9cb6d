"""The reports of `coso verify`, without a container."""

from __future__ import annotations

import json
import re
from xml.etree import ElementTree

from coso.verify import probe, report
from coso.verify.checks import CHECKS, Check
from coso.verify.checks.check import NETWORK, options
from coso.verify.report import Report
from coso.verify.run import Result

RESULTS = [
    Result(CHECKS[0], "pass", "", 0.5),
    Result(CHECKS[1], "fail", 'it is "<there>"', 1.0),
    Result(CHECKS[2], "skip", "this kernel has none", 0.1),
]


def test_each_check_has_an_id_of_its_own_and_a_probe_that_exists() -> None:
    assert len({check.id for check in CHECKS}) == len(CHECKS)
    for check in CHECKS:
        assert check.probe.partition(":")[0] in {*probe.PROBES, "host"}
        assert check.severity in ("high", "medium", "low")
        assert check.source and check.title


REPORT = Report("coso", "1.0", RESULTS)
OTHER = Report("crun", "1.8.1", RESULTS)


def test_a_failure_is_in_every_report() -> None:
    text = report.terminal([REPORT])
    assert 'it is "<there>"' in text and text.endswith("1 pass, 1 fail, 1 skip\n")
    assert json.loads(report.as_json([REPORT]))["checks"][1]["result"] == "fail"
    suite = ElementTree.fromstring(report.junit([REPORT]))
    assert (suite.get("failures"), suite.get("skipped")) == ("1", "1")
    failure = suite.find("testcase/failure")
    assert failure is not None and failure.get("message") == 'it is "<there>"'
    assert report.tap([REPORT]).splitlines()[3:5] == [
        f"not ok 2 - {CHECKS[1].id}: {CHECKS[1].title}",
        '# it is "<there>"',
    ]
    assert "it is &quot;&lt;there&gt;&quot;" in report.html([REPORT])


def test_several_runtimes_stand_side_by_side() -> None:
    lacking = Report("youki", "", (), "youki is not installed")
    lines = report.terminal([REPORT, OTHER, lacking]).splitlines()
    assert lines[0].split() == ["coso", "crun", "youki"]
    assert lines[2].split() == [CHECKS[1].id, "FAIL", "FAIL"]
    assert lines[-1] == "youki : youki is not installed"
    assert [found["runtime"] for found in json.loads(report.as_json([REPORT, OTHER]))] == ["coso", "crun"]
    assert len(ElementTree.fromstring(report.junit([REPORT, OTHER]))) == 2
    assert not lacking.held()


def test_each_cell_of_the_page_leads_to_what_was_seen() -> None:
    page = report.html([REPORT, OTHER])
    targets = set(re.findall(r' id="([^"]+)"', page))
    links = set(re.findall(r'href="#([^"]+)"', page))
    assert links and links <= targets
    assert {f"{CHECKS[0].id}-coso", f"{CHECKS[0].id}-crun"} <= links
    assert "http" not in page.replace("http-equiv", "")  # self-contained


def test_the_options_of_a_control_replace_those_of_the_check() -> None:
    memory = Check("a", "b", "c", "low", "e", "f", given=("--memory=1m",))
    assert options(memory) == ("--network=none", "--memory=1m")
    assert options(memory, control=True) == ("--network=none",)
    shared = Check("a", "b", "c", "low", "e", "f", ("--network=host", "--cap-add=B"), given=(NETWORK, "--cap-add=A"))
    assert options(shared) == ("--cap-add=A",)
    assert options(shared, control=True) == ("--network=host", "--cap-add=A", "--cap-add=B")
