"""docs/conformance.md: the page that `compare --page` writes, but for the counts."""

from __future__ import annotations

from typing import Any

from tests.integration.oci import differences

Report = dict[str, Any]

TEXT = """\
# Conformance, side by side

The same tests, held against {runtimes}: the OCI runtime specification 1.2, and where it leaves things open, the
command line that engines rely on. This page is written by one command, which runs everything anew and takes a few
minutes:

```sh
./dev python -m tests.integration.oci.compare --page docs/conformance.md {names}
```

## How it was run

{machine}

{versions}

Every runtime got the same bundles: small ones, with the root filesystem of `tests/integration` and what `spec` would
write. The containers ran as root in a network and a mount namespace of the tests' own, with state in a directory apart.
{hidden}

## How to read it

- *passed*: the runtime does what the test asks for, and leaves nothing on the machine.
- *differs*: it does something else, and the reason is known; each is listed below. A difference is not always a fault:
  where the specification is silent the tests ask for what coso and most others do, and some things are younger than the
  version that was tried.
- *passed although a difference is noted*: which it is, is a matter of chance, and this time it was well.
- *skipped*: this machine lacks what the test needs, or the runtime lacks a command that it need not have.

coso has no differences by rule: a test that it does not pass is a fault of one or the other, and is put right.

## The counts

{counts}

{reasons}
"""
HIDDEN = (
    "crun refuses a machine where control groups of version 2 have controllers beside those of version 1, so it saw a\n"
    "version 2 without any."
)


def text(reports: list[Report], counts: list[str]) -> str:
    """The whole page."""
    names = [report["runtime"] for report in reports]
    return TEXT.format(
        runtimes=_listed(names),
        names=" ".join(names),
        machine=f"On {reports[0]['machine']}, with:",
        versions="\n".join(f"- {report['version']}" for report in reports),
        hidden=HIDDEN if "crun" in names else "",
        counts="\n".join(counts),
        reasons="\n\n".join("\n".join(_reasons(report)) for report in reports).rstrip(),
    )


def _listed(names: list[str]) -> str:
    return " and ".join([", ".join(names[:-1]), names[-1]]) if len(names) > 1 else names[0]


def _reasons(report: Report) -> list[str]:
    """What one runtime does otherwise, a row for each test, with its parameters together that have one reason."""
    name, outcomes = report["runtime"], report["outcomes"]
    heading = [f"## What {name} does otherwise", ""]
    rows: dict[tuple[str, str], list[str]] = {}
    for test, outcome in sorted(outcomes.items()):
        if outcome in ("passed", "skipped"):
            continue
        reason = differences.reason(name, test) or outcome
        reason += " (not this time)" if outcome.startswith("passed") else ""
        base, bracket, parameter = test.partition("[")
        rows.setdefault((base, reason), []).extend([parameter[:-1]] if bracket else [])
    if not rows:
        return [*heading, "Nothing."]
    return [*heading, *table(["test", "reason"], [[_said(*key, found), key[1]] for key, found in rows.items()])]


def _said(base: str, _: str, parameters: list[str]) -> str:
    file, _, test = base.partition("::")
    sentence = test.removeprefix("test_").replace("_", " ")
    shown = ", ".join(f"`{parameter}`" if parameter else "empty" for parameter in parameters)
    return f"{file.removeprefix('test_').removesuffix('.py')}: {sentence}{f' ({shown})' if shown else ''}"


def table(heading: list[str], rows: list[list[str]]) -> list[str]:
    """Lines of a table in Markdown."""
    lines = [heading, ["---"] * len(heading), *([cell.replace("|", "\\|") for cell in row] for row in rows)]
    return [f"| {' | '.join(line)} |" for line in lines]
