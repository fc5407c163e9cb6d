"""What a start imports: the budget that keeps it fast, as a list and not as a time."""

from __future__ import annotations

import subprocess
import sys
from pathlib import Path

ROOT = Path(__file__).resolve().parents[2]

# C modules and frozen ones that the interpreter has anyway are not listed.
ALLOWED = {"_ctypes", "_json", "_socket", "_struct", "fcntl", "select", "struct", "grp", "resource"}

# What `coso run` has imported when the container's first process is about to be made.
SCRIPT = """
import sys
import os  # Frozen into the interpreter.
before = set(sys.modules)
sys.path.insert(0, sys.argv.pop(1))
from coso.cli import main, run
from coso.flags import parse
given = parse(run.OPTIONS, ["-rootfs", "/", "-network", "none", "--", "true"], "run")
from coso.spec.build import spec_from
spec_from(given, "/", given.rest, on_terminal=False)
import cosonet.attach, cosonet.release
print("\\n".join(sorted(set(sys.modules) - before)))
"""


def test_a_start_imports_our_own_rooms_and_little_else() -> None:
    words = [sys.executable, "-I", "-S", "-c", SCRIPT, str(ROOT)]
    done = subprocess.run(words, capture_output=True, text=True, check=True)
    ours = ("coso", "cosonet", "__future__")
    others = {name for name in done.stdout.split() if name.partition(".")[0] not in ours}
    assert others - ALLOWED <= set(sys.builtin_module_names), sorted(others - ALLOWED)
