"""What a start imports: the budget that keeps it fast, as a list and not as a time."""

from __future__ import annotations

import subprocess
import sys
from pathlib import Path

from coso import bundle
from coso.runtime.explain import BUDGET, imported

ROOT = Path(__file__).resolve().parents[2]

# What `coso run` has imported when the container's first process is about to be made.
SCRIPT = """
import sys
sys.path.insert(0, sys.argv.pop(1))
from coso.cli import main, run
from coso.flags import parse
given = parse(run.OPTIONS, ["-rootfs", "/", "-network", "none", "--", "true"], "run")
from coso.spec.build import spec_from
from coso.engine import front
spec_from(given, "/", given.rest, on_terminal=False)
from coso import cgroups
from coso.images.source import of_rootfs
from coso.runtime import start
spec = spec_from(given, "/", given.rest, on_terminal=False)
start.load(spec)
front._about(given, of_rootfs("/"), given.rest, given.rest, [], [])
cgroups._plan([], spec.resources)
print(" ".join(sys.modules))
"""


def test_a_start_imports_these_modules_and_no_others() -> None:
    words = [sys.executable, "-I", "-S", "-c", SCRIPT, str(ROOT)]
    done = subprocess.run(words, capture_output=True, text=True, check=True)
    ours, others = imported(set(done.stdout.split()))
    assert others <= BUDGET, sorted(others - BUDGET)
    # Whoever adds a module there has seen what it costs: each start pays for it, about 60 µs (docs/performance.md).
    wanted = {f"coso.{name}" for name in bundle.RUN.split()} | {"coso", "coso.bundle", "__future__", "__main__"}
    assert ours == wanted, (sorted(ours - wanted), sorted(wanted - ours))
