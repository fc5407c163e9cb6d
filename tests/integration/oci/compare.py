"""Lay reports of several runtimes side by side, in Markdown: `python -m tests.integration.oci.compare FILE…`.

A report is what `--oci-report FILE` writes.  First the counts of each file,
then every test whose outcome is not the same everywhere.
"""

from __future__ import annotations

import json
import sys
from collections import Counter
from pathlib import Path

Outcomes = dict[str, str]


def main(places: list[str]) -> int:
    """Print the comparison of the reports in these files."""
    if not places:
        print(__doc__, file=sys.stderr)
        return 2
    reports = [json.loads(Path(place).read_text()) for place in places]
    names = [report["runtime"] for report in reports]
    outcomes: list[Outcomes] = [report["outcomes"] for report in reports]
    print("\n".join([*counts(names, outcomes), "", *unequal(names, outcomes)]))
    return 0


def counts(names: list[str], outcomes: list[Outcomes]) -> list[str]:
    """A row for each file: how many tests ended how."""
    files = sorted({test.partition("::")[0] for each in outcomes for test in each})
    rows = [[file, *(_summed(each, file) for each in outcomes)] for file in files]
    return _table(["file", *names], [*rows, ["**all**", *(_summed(each, "") for each in outcomes)]])


def unequal(names: list[str], outcomes: list[Outcomes]) -> list[str]:
    """A row for each test that did not end alike everywhere."""
    tests = sorted({test for each in outcomes for test in each})
    ends = {test: [each.get(test, "not run") for each in outcomes] for test in tests}
    rows = [[f"`{test}`", *found] for test, found in ends.items() if len(set(found)) > 1]
    return _table(["test", *names], rows) if rows else ["No test ended otherwise under one than under another."]


def _summed(outcomes: Outcomes, file: str) -> str:
    found = Counter(outcome for test, outcome in outcomes.items() if test.startswith(file))
    return ", ".join(f"{number} {outcome}" for outcome, number in found.most_common())


def _table(heading: list[str], rows: list[list[str]]) -> list[str]:
    lines = [heading, ["---"] * len(heading), *([cell.replace("|", "\\|") for cell in row] for row in rows)]
    return [f"| {' | '.join(line)} |" for line in lines]


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
