"""What people see: a line per resource, diffs, a recap; or JSON."""

from __future__ import annotations

import difflib
import json
import sys
from collections import Counter
from collections.abc import Callable
from dataclasses import asdict
from typing import Any

from provisioning.resource import Change, Result

STATUSES = ("ok", "changed", "skipped", "failed")
COLOURS = {"ok": "32", "changed": "33", "skipped": "36", "failed": "31"}
DRIFT = 2


def printer(*, diff: bool, quiet: bool) -> Callable[[Result], None]:
    """A function that prints a result as it comes."""

    def tell(result: Result) -> None:
        if quiet:
            return
        status = f"{result.status}:"
        if sys.stdout.isatty():
            status = f"\033[{COLOURS[result.status]}m{status}\033[0m"
        message = f": {result.message}" if result.message else ""
        print(f"{status:<9} {result.kind} {result.label}{message}")
        if result.hint:
            print(f"          what to do: {result.hint}")
        if diff and result.change:
            print(as_diff(result.change), end="")

    return tell


def as_diff(change: Change) -> str:
    """A unified diff of the two states, a line per key; long texts line by line."""
    before, after = _lines(change.before), _lines(change.after)
    return "\n".join([*difflib.unified_diff(before, after, "before", "after", lineterm=""), ""])


def _lines(state: dict[str, Any]) -> list[str]:
    lines = []
    for key, content in sorted(state.items()):
        if isinstance(content, str) and "\n" in content:
            lines += [f"{key}:", *(f"  {line}" for line in content.splitlines())]
        else:
            lines.append(f"{key}: {content}")
    return lines


def finish(setup: str, results: list[Result], *, check: bool, as_json: bool) -> int:
    """Print the recap or the JSON, and return the exit status: 1 failed, 2 drift in check mode, else 0."""
    counts = Counter(result.status for result in results)
    recap = {status: counts[status] for status in STATUSES}
    if as_json:
        print(
            json.dumps({"setup": setup, "check": check, "results": [asdict(item) for item in results], "recap": recap})
        )
    else:
        print(f"{setup}: " + " ".join(f"{status}={count}" for status, count in recap.items()))
    if recap["failed"]:
        return 1
    return DRIFT if check and recap["changed"] else 0
