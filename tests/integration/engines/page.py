"""Write docs/engines.md: `python -m tests.integration.engines.page REPORT… > docs/engines.md`.

A report is what `--engines-report FILE` writes: one runtime on one machine.
"""

from __future__ import annotations

import json
import sys
from pathlib import Path
from typing import Any

Report = dict[str, Any]

TEXT = """\
# Engines on coso-oci

Real engines ran the same containers on coso-oci, runc and crun. Each row is a test of `tests/integration/engines`,
named by what it shows; all of Debian 12: podman 4.3.1, Docker 20.10.24, containerd 1.6.20, runc 1.1.5, crun 1.8.1.

```sh
./dev pytest tests/integration/engines --engines-report coso.json   # RUNTIME=runc or crun for the others
./dev invoke vm-up vm-test --engines                                # the virtual machine
./dev python -m tests.integration.engines.page coso.json runc.json … > docs/engines.md
```

{machines}

"+" is passed, "-" failed, "." skipped or not run. Under runc and crun podman got smaller defaults for open files and
processes, since root may not raise these limits here; coso-oci takes the nearest that there is, and says so.

{tables}

## What failed, and why

{reasons}
"""
# What is known of a failure, by runtime and test.
REASONS = {
    (
        "crun",
        "test_a_command_that_is_not_there_is_status_127",
    ): "Docker does not know crun's words for it, and says 125",
    ("crun", "test_a_command_that_cannot_be_executed_is_status_126"): "Docker does not know crun's words, and says 125",
    (
        "crun",
        "test_limits_are_changed_while_it_runs",
    ): "refuses the limit of kernel memory that Docker always sends on v2",
    ("crun", "test_every_privilege"): "asks the kernel for a capability that this machine's root lacks, and gives up",
    ("runc", "test_every_privilege"): "asks the kernel for a capability that this machine's root lacks, and gives up",
    ("crun", "test_limits_of_a_process_and_parameters_of_the_kernel"): "may not raise podman's default for processes",
    ("runc", "test_limits_of_a_process_and_parameters_of_the_kernel"): "may not raise podman's default for processes",
}
MARKS = {"passed": "+", "failed": "-"}


def main(places: list[str]) -> int:
    """Print the page."""
    reports = merged([json.loads(Path(place).read_text()) for place in places])
    if not reports:
        print(__doc__, file=sys.stderr)
        return 2
    engines = [
        engine for engine in ("podman", "docker", "containerd") if any(_tests([each], engine) for each in reports)
    ]
    machines = dict.fromkeys(f"- **{each['where']}**: {each['machine']}" for each in reports)
    tables = "\n\n".join("\n".join(_table(reports, engine)) for engine in engines)
    print(TEXT.format(machines="\n".join(machines), tables=tables, reasons="\n".join(_reasons(reports))), end="")
    return 0


def merged(reports: list[Report]) -> list[Report]:
    """One report for each runtime on each machine; a later one has the last word on its tests."""
    found: dict[tuple[str, str], Report] = {}
    for report in reports:
        known = found.setdefault((report["runtime"], report["where"]), {**report, "outcomes": {}})
        for engine, outcomes in report["outcomes"].items():
            known["outcomes"].setdefault(engine, {}).update(outcomes)
    return list(found.values())


def _tests(reports: list[Report], engine: str) -> list[str]:
    return sorted({test for report in reports for test in report["outcomes"].get(engine, {})})


def _table(reports: list[Report], engine: str) -> list[str]:
    heading = [engine, *(f"{report['runtime']}, {report['where']}" for report in reports)]
    outcomes = [report["outcomes"].get(engine, {}) for report in reports]
    rows = [
        [said(test), *(MARKS.get(each.get(test, ""), ".") for each in outcomes)] for test in _tests(reports, engine)
    ]
    sums = ["**passed**", *(str(list(each.values()).count("passed")) for each in outcomes)]
    return [f"| {' | '.join(row)} |" for row in (heading, ["---"] * len(heading), *rows, sums)]


def _reasons(reports: list[Report]) -> list[str]:
    found = []
    for report in reports:
        for engine, outcomes in report["outcomes"].items():
            for test in sorted(test for test, outcome in outcomes.items() if outcome == "failed"):
                why = REASONS.get((report["runtime"], test), "not looked into")
                found.append(f"- {report['runtime']}, {report['where']}, {engine}: {said(test)}: {why}.")
    return found or ["Nothing."]


def said(test: str) -> str:
    """A test's name as a sentence."""
    return test.removeprefix("test_").replace("_", " ")


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
