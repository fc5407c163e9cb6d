"""Results in the forms that people and CI systems read: of one runtime, or of several side by side."""

from __future__ import annotations

import os
from collections import Counter
from collections.abc import Callable, Sequence

from coso.value import value
from coso.verify.run import Result

# In the order of a recap.
KINDS = ("pass", "fail", "error", "skip")
MARKS = {"pass": "ok", "fail": "FAIL", "error": "error", "skip": "-"}


@value
class Report:
    """What was found of one runtime; `lacking` says why there is nothing."""

    runtime: str
    version: str
    results: Sequence[Result]
    lacking: str = ""

    def counts(self) -> Counter[str]:
        """How many checks ended in each way."""
        return Counter(result.result for result in self.results)

    def held(self) -> bool:
        """Whether everything that could be tried held."""
        return not self.lacking and not self.counts()["fail"] and not self.counts()["error"]


def recap(report: Report) -> str:
    """`120 pass, 2 fail`."""
    counts = report.counts()
    return ", ".join(f"{counts[kind]} {kind}" for kind in KINDS if counts[kind]) or report.lacking


def terminal(reports: Sequence[Report]) -> str:
    """A line per check, as listed, and a recap; with several runtimes a column for each."""
    return _matrix(reports) if len(reports) > 1 else _lines(reports[0])


def _lines(report: Report) -> str:
    width = max(len(result.check.id) for result in report.results)
    lines = []
    for result in report.results:
        reason = f": {result.reason}" if result.reason else ""
        lines.append(f"{result.result:<5} {result.check.id:<{width}}  {result.check.title}{reason}")
    return "\n".join([*lines, recap(report)]) + "\n"


def _matrix(reports: Sequence[Report]) -> str:
    checks = next((report.results for report in reports if report.results), ())
    width = max((len(result.check.id) for result in checks), default=10)
    columns = [max(len(report.runtime), 5) for report in reports]
    head = "  ".join(f"{report.runtime:<{wide}}" for report, wide in zip(reports, columns, strict=True))
    lines = [f"{'':<{width}}  {head}".rstrip()]
    for index, result in enumerate(checks):
        marks = (MARKS[report.results[index].result] if report.results else "" for report in reports)
        row = "  ".join(f"{mark:<{wide}}" for mark, wide in zip(marks, columns, strict=True))
        lines.append(f"{result.check.id:<{width}}  {row}".rstrip())
    lines += [f"{report.runtime} {report.version}: {recap(report)}" for report in reports]
    return "\n".join(lines) + "\n"


def as_json(reports: Sequence[Report]) -> str:
    """`{runtime, version, kernel, cgroup, checks: […]}`, or a list of these for several runtimes."""
    import json

    objects = [_object(report) for report in reports]
    return json.dumps(objects if len(objects) > 1 else objects[0], indent=1) + "\n"


def _object(report: Report) -> dict[str, object]:
    checks = [
        {
            "id": result.check.id,
            "title": result.check.title,
            "area": result.check.area,
            "severity": result.check.severity,
            "result": result.result,
            "reason": result.reason,
            "milliseconds": result.milliseconds,
        }
        for result in report.results
    ]
    machine = {"kernel": os.uname().release, "cgroup": cgroup_version()}
    lacking = {"lacking": report.lacking} if report.lacking else {}
    return {"runtime": report.runtime, "version": report.version, **machine, **lacking, "checks": checks}


def cgroup_version() -> str:
    """What the machine has mounted: `v1`, `v2`, `hybrid` or `none`."""
    from coso.cgroups import hierarchies

    versions = {hierarchy.version for hierarchy in hierarchies()}
    return "hybrid" if len(versions) > 1 else f"v{versions.pop()}" if versions else "none"


def junit(reports: Sequence[Report]) -> str:
    """A testsuite per runtime, a testcase per check, as CI systems read it."""
    from xml.etree import ElementTree

    suites = ElementTree.Element("testsuites")
    for report in reports:
        counts = report.counts()
        numbers = {"failures": counts["fail"], "errors": counts["error"], "skipped": counts["skip"]}
        attributes = {"name": f"{report.runtime} verify", "tests": str(len(report.results))}
        attributes |= {key: str(number) for key, number in numbers.items()}
        suite = ElementTree.SubElement(suites, "testsuite", attributes)
        for result in report.results:
            attributes = {"classname": result.check.area, "name": result.check.id}
            case = ElementTree.SubElement(suite, "testcase", attributes, time=f"{result.milliseconds / 1000:.6f}")
            kind = {"fail": "failure", "error": "error", "skip": "skipped"}.get(result.result)
            if kind:
                ElementTree.SubElement(case, kind, message=result.reason)
    root = suites[0] if len(reports) == 1 else suites
    return ElementTree.tostring(root, encoding="unicode", xml_declaration=True) + "\n"


def tap(reports: Sequence[Report]) -> str:
    """The Test Anything Protocol, version 13."""
    named = [(report, result) for report in reports for result in report.results]
    lines = ["TAP version 13", f"1..{len(named)}"]
    for number, (report, result) in enumerate(named, 1):
        word = "ok" if result.result in ("pass", "skip") else "not ok"
        remark = f" # SKIP {_one_line(result.reason)}" if result.result == "skip" else ""
        runtime = f"{report.runtime} " if len(reports) > 1 else ""
        lines.append(f"{word} {number} - {runtime}{result.check.id}: {result.check.title}{remark}")
        if word == "not ok":
            lines.append(f"# {_one_line(result.reason)}")
    return "\n".join(lines) + "\n"


def _one_line(text: str) -> str:
    return " ".join(text.split())


def html(reports: Sequence[Report]) -> str:
    """One page with the matrix as a picture."""
    from coso.verify.page import page

    return page(reports)


FORMATS: dict[str, Callable[[Sequence[Report]], str]] = {
    "terminal": terminal,
    "json": as_json,
    "junit": junit,
    "tap": tap,
    "html": html,
}
