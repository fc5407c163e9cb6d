"""Lay runtimes side by side, in Markdown: `python -m tests.integration.oci.compare [--page FILE] WHAT…`.

WHAT is a report that `--oci-report FILE` has written, or the name or path of
a runtime, under which the suite is run first.  Several reports of one runtime
are taken as one.  Printed are the counts of each file, then every test whose
outcome is not the same everywhere; with `--page` a whole page is written,
which has the reasons as well.
"""

from __future__ import annotations

import argparse
import json
import os
import subprocess
import sys
import tempfile
from collections import Counter
from pathlib import Path
from typing import Any

from tests.integration.oci import page

HERE = Path(__file__).parent
Report = dict[str, Any]
Outcomes = dict[str, str]


def main(words: list[str]) -> int:
    """Print the comparison, or write the page."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--page", type=Path, metavar="FILE")
    parser.add_argument("what", nargs="+", metavar="WHAT")
    given = parser.parse_args(words)
    reports = merged([report_of(what) for what in given.what])
    if given.page:
        given.page.write_text(page.text(reports, counts(reports)))
    else:
        print("\n".join([*counts(reports), "", *unequal(reports)]))
    return 0


def report_of(what: str) -> Report:
    """A report that is there, or a new one of a runtime."""
    if Path(what).suffix == ".json":
        return json.loads(Path(what).read_text())  # type: ignore[no-any-return]
    with tempfile.TemporaryDirectory(prefix="oci-compare-") as scratch:
        place = Path(scratch) / "report.json"
        line = [sys.executable, "-m", "pytest", "-q", str(HERE), "--oci-report", str(place)]
        # Not standard output, which is the table's.
        subprocess.run(line, env={**os.environ, "RUNTIME": what}, stdout=sys.stderr, check=False)
        return json.loads(place.read_text())  # type: ignore[no-any-return]


def merged(reports: list[Report]) -> list[Report]:
    """The reports with one for each runtime, in the order of their first."""
    found: dict[str, Report] = {}
    for report in reports:
        known = found.setdefault(report["runtime"], {**report, "outcomes": {}})
        known["outcomes"].update(report["outcomes"])
    return list(found.values())


def counts(reports: list[Report]) -> list[str]:
    """A row for each file: how many tests ended how."""
    files = sorted({test.partition("::")[0] for report in reports for test in report["outcomes"]})
    rows = [[file, *(_summed(report["outcomes"], file) for report in reports)] for file in files]
    total = ["**all**", *(_summed(report["outcomes"], "") for report in reports)]
    return page.table(["file", *(report["runtime"] for report in reports)], [*rows, total])


def unequal(reports: list[Report]) -> list[str]:
    """A row for each test that did not end alike everywhere."""
    tests = sorted({test for report in reports for test in report["outcomes"]})
    ends = {test: [report["outcomes"].get(test, "not run") for report in reports] for test in tests}
    rows = [[f"`{test}`", *found] for test, found in ends.items() if len(set(found)) > 1]
    if not rows:
        return ["No test ended otherwise under one than under another."]
    return page.table(["test", *(report["runtime"] for report in reports)], rows)


def _summed(outcomes: Outcomes, file: str) -> str:
    found = Counter(outcome for test, outcome in outcomes.items() if test.startswith(file))
    return ", ".join(f"{found[outcome]} {outcome}" for outcome in sorted(found, key=_rank)) or "-"


def _rank(outcome: str) -> tuple[int, str]:
    known = ("passed", "passed although a difference is noted", "differs", "skipped")
    return (known.index(outcome) if outcome in known else len(known), outcome)


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
