"""The tree keeps its own rules: the linters are tests, as they are in CI."""

from __future__ import annotations

import re
import subprocess
import sys
from pathlib import Path

import pytest

ROOT = Path(__file__).resolve().parents[2]
PROGRAMS = {
    "format": ["ruff", "format", "--check", "."],
    "lint": ["ruff", "check", "."],
    "types": ["mypy"],
}


@pytest.mark.parametrize("name", PROGRAMS)
def test_the_tree_passes(name: str) -> None:
    done = subprocess.run(
        [sys.executable, "-m", *PROGRAMS[name]], cwd=ROOT, capture_output=True, text=True, check=False
    )
    assert done.returncode == 0, done.stdout + done.stderr


def test_nothing_lower_imports_anything_higher() -> None:
    """The direction of ARCHITECTURE.md: each room imports only rooms above it in this table."""
    order = [
        "errors",
        "bundle",
        "quickjson",
        "value",
        "state",
        "times",
        "flags",
        "worker",
        "kernel",
        "spec",
        "steps",
        "spawn",
        "launcher",
        "cgroups",
        "runtime",
        "images",
        "oci",
        "engine",
        "build",
        "services",
        "options",
        "api",
    ]
    allowed = {room: set(order[: order.index(room) + 1]) for room in order}
    allowed["runtime"].add("cosonet")
    allowed["services"].add("cosonet")
    # A command line that is carried out for somebody is the command line's.
    allowed["api"] |= {"cosonet", "cli"}
    allowed["cosonet"] = {"errors", "bundle", "quickjson", "value", "state", "kernel", "spawn", "steps", "flags"}
    for room, may in allowed.items():
        base = ROOT / room if room == "cosonet" else ROOT / "coso" / room
        files = base.rglob("*.py") if base.is_dir() else [base.with_suffix(".py")]
        for file in files:
            text = file.read_text().replace("from coso import", "from coso.")
            used = set(re.findall(r"from coso\. ?(\w+)", text)) | set(re.findall(r"import coso\.(\w+)", text))
            used -= {"__version__"}
            assert used <= may | {room}, (str(file), used - may)


def test_no_module_outgrows_its_reader() -> None:
    long = {
        str(file.relative_to(ROOT)): count
        for room in ("coso", "cosonet", "provisioning")
        for file in (ROOT / room).rglob("*.py")
        if (count := len(file.read_text().splitlines())) > 400
    }
    assert long == {}
