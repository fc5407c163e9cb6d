"""What the benchmarks found, for people: JSON, one page of tables, and a picture of each case."""

from __future__ import annotations

import json
import os
import platform
import re
import subprocess
from dataclasses import asdict
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

from benchmarks.measure import Result
from coso.spawn import find

VERSIONS = {
    "crun": ["crun", "--version"],
    "runc": ["runc", "--version"],
    "bubblewrap": ["bwrap", "--version"],
    "systemd-nspawn": ["systemd-nspawn", "--version"],
    "lxc": ["lxc-execute", "--version"],
    "podman": ["podman", "--version"],
    "Docker": ["dockerd", "--version"],
}
HEAD = """# Benchmarks

Made by `./dev invoke bench`; the numbers behind it are in [results.json](results.json).
{machine}

Each case runs all programs in turn and in a random order, after two rounds that
are not counted. A ratio is coso's median divided by the other's, with the
interval in which it lies in nine of ten such runs: **below 1 coso is faster**
(or smaller), above 1 the other one is. Milliseconds are this machine's own; ratios
hold better.
"""


def machine() -> dict[str, Any]:
    """Where it was measured, and with which versions."""
    model = re.search(r"model name\s*: (.*)", Path("/proc/cpuinfo").read_text())
    memory = re.search(r"MemTotal:\s*(\d+)", Path("/proc/meminfo").read_text())
    return {
        "date": datetime.now(UTC).date().isoformat(),
        "kernel": platform.release(),
        "processor": model[1] if model else platform.machine(),
        "processors": os.cpu_count(),
        "memory MiB": int(memory[1]) >> 10 if memory else 0,
        "cgroups": 2 if os.path.exists("/sys/fs/cgroup/cgroup.controllers") else 1,
        "Python": platform.python_version(),
        "versions": {name: _version(words) for name, words in VERSIONS.items() if find(words[0])},
    }


def _version(words: list[str]) -> str:
    said = subprocess.run([find(words[0]), *words[1:]], capture_output=True, text=True, check=False).stdout
    found = re.search(r"\d+(\.\d+)*", said)
    return found[0] if found else "?"


def write(results: list[Result], where: dict[str, Any], directory: Path) -> None:
    """Write results.json, README.md and the pictures into a directory."""
    from benchmarks import pictures

    directory.mkdir(parents=True, exist_ok=True)
    found = {"machine": where, "results": [asdict(result) for result in results]}
    (directory / "results.json").write_text(json.dumps(found, indent=1) + "\n")
    drawn = {result.name for result in results if pictures.draw(result, directory / f"{result.name}.svg")}
    versions = ", ".join(f"{name} {version}" for name, version in where["versions"].items())
    said = ", ".join(f"{key} {text}" for key, text in where.items() if key != "versions")
    parts = [HEAD.format(machine=f"\nMeasured with {said}; {versions}."), targets(results)]
    for result in results:
        parts.append(table(result))
        if result.name in drawn:
            parts.append(f"![{result.title}]({result.name}.svg)\n")
    (directory / "README.md").write_text("\n".join(parts))


def table(result: Result) -> str:
    """One case as a table, and a sentence on who was better."""
    lines = [f"## {result.title}\n", f"| | median {result.unit} | middle half | coso ÷ this | in nine of ten |"]
    lines.append("|---|---|---|---|---|")
    for way in result.values:
        low, high = result.quartiles(way)
        row = f"| {way} | {_number(result.median(way))} | {_number(low)}–{_number(high)} |"
        if way != result.base:
            first, last = result.interval(way)
            row += f" {_ratio(result.ratio(way))} | {_ratio(first)}–{_ratio(last)} |"
        else:
            row += " | |"
        lines.append(row)
    ahead = [way for way in result.values if way != result.base and (result.ratio(way) > 1) != result.more_is_better]
    if ahead:
        lines.append(f"\nBetter than {result.base} here: {', '.join(ahead)}.")
    if result.note:
        lines.append(f"\n{result.note}")
    return "\n".join(lines) + "\n"


def targets(results: list[Result]) -> str:
    """What is aimed at, and whether it is reached."""
    lines = ["## Targets\n", "| case | beside | target | found | |", "|---|---|---|---|---|"]
    for result in results:
        for way, target in result.targets.items():
            if way in result.values:
                sign = "≥" if result.more_is_better else "≤"
                verdict = "reached" if result.holds(way) else "**missed**"
                lines.append(
                    f"| {result.title} | {way} | {sign} {target:g} | {_ratio(result.ratio(way))} | {verdict} |"
                )
    return "\n".join(lines) + "\n"


def _ratio(value: float) -> str:
    return f"{value:.2f}" if value >= 0.1 else f"{value:.3f}"


def _number(value: float) -> str:
    return f"{value:.0f}" if value >= 100 else f"{value:.1f}" if value >= 10 else f"{value:.2f}"
