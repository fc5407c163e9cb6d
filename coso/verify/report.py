"""Results in the forms that people and CI systems read: terminal, JSON, JUnit, TAP."""

from __future__ import annotations

import os
from collections import Counter
from collections.abc import Callable, Sequence

from coso.verify.run import Result


def terminal(results: Sequence[Result]) -> str:
    """A line per check, grouped as listed, and a recap."""
    width = max(len(result.check.id) for result in results)
    lines = []
    for result in results:
        reason = f": {result.reason}" if result.reason else ""
        lines.append(f"{result.result:<5} {result.check.id:<{width}}  {result.check.title}{reason}")
    counts = Counter(result.result for result in results)
    lines.append(", ".join(f"{counts[kind]} {kind}" for kind in ("pass", "fail", "error", "skip") if counts[kind]))
    return "\n".join(lines) + "\n"


def as_json(results: Sequence[Result]) -> str:
    """`{runtime, kernel, cgroup, checks: [{id, title, area, severity, result, reason, milliseconds}]}`."""
    import json

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
        for result in results
    ]
    return json.dumps({"runtime": "coso", "kernel": os.uname().release, "cgroup": _cgroup(), "checks": checks}) + "\n"


def _cgroup() -> str:
    from coso.cgroups import hierarchies

    versions = {hierarchy.version for hierarchy in hierarchies()}
    return "hybrid" if len(versions) > 1 else f"v{versions.pop()}" if versions else "none"


def junit(results: Sequence[Result]) -> str:
    """One testsuite, a testcase per check, as CI systems read it."""
    from xml.etree import ElementTree

    counts = Counter(result.result for result in results)
    numbers = {"tests": len(results), "failures": counts["fail"], "errors": counts["error"], "skipped": counts["skip"]}
    attributes = {"name": "coso verify"} | {key: str(number) for key, number in numbers.items()}
    suite = ElementTree.Element("testsuite", attributes)
    for result in results:
        seconds = f"{result.milliseconds / 1000:.6f}"
        case = ElementTree.SubElement(
            suite, "testcase", classname=result.check.area, name=result.check.id, time=seconds
        )
        kind = {"fail": "failure", "error": "error", "skip": "skipped"}.get(result.result)
        if kind:
            ElementTree.SubElement(case, kind, message=result.reason)
    return ElementTree.tostring(suite, encoding="unicode", xml_declaration=True) + "\n"


def tap(results: Sequence[Result]) -> str:
    """The Test Anything Protocol, version 13."""
    lines = ["TAP version 13", f"1..{len(results)}"]
    for number, result in enumerate(results, 1):
        word = "ok" if result.result in ("pass", "skip") else "not ok"
        remark = f" # SKIP {result.reason}" if result.result == "skip" else ""
        lines.append(f"{word} {number} - {result.check.id}: {result.check.title}{remark}")
        if word == "not ok":
            lines.append(f"# {result.reason}")
    return "\n".join(lines) + "\n"


FORMATS: dict[str, Callable[[Sequence[Result]], str]] = {
    "terminal": terminal,
    "json": as_json,
    "junit": junit,
    "tap": tap,
}
