"""The reports of `coso verify`, without a container."""

from __future__ import annotations

import json
from xml.etree import ElementTree

from coso.verify import probe, report
from coso.verify.checks import CHECKS
from coso.verify.run import Result

RESULTS = [
    Result(CHECKS[0], "pass", "", 0.5),
    Result(CHECKS[1], "fail", 'it is "<there>"', 1.0),
    Result(CHECKS[2], "skip", "this kernel has none", 0.1),
]


def test_each_check_has_an_id_of_its_own_and_a_probe_that_exists() -> None:
    assert len({check.id for check in CHECKS}) == len(CHECKS)
    for check in CHECKS:
        assert check.probe.partition(":")[0] in probe.PROBES
        assert check.severity in ("high", "medium", "low")
        assert check.source and check.title


def test_a_failure_is_in_every_report() -> None:
    assert 'it is "<there>"' in report.terminal(RESULTS)
    assert report.terminal(RESULTS).endswith("1 pass, 1 fail, 1 skip\n")
    assert json.loads(report.as_json(RESULTS))["checks"][1]["result"] == "fail"
    suite = ElementTree.fromstring(report.junit(RESULTS))
    assert (suite.get("failures"), suite.get("skipped")) == ("1", "1")
    failure = suite.find("testcase/failure")
    assert failure is not None and failure.get("message") == 'it is "<there>"'
    assert report.tap(RESULTS).splitlines()[3:5] == [
        f"not ok 2 - {CHECKS[1].id}: {CHECKS[1].title}",
        '# it is "<there>"',
    ]
