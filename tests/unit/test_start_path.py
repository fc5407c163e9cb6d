"""What a start imports: the budget that keeps it fast, as a list and not as a time."""

from __future__ import annotations

import subprocess
import sys
from pathlib import Path

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
from coso.runtime import start
start.load(spec_from(given, "/", given.rest, on_terminal=False))
print(" ".join(sys.modules))
"""
# Whoever adds a module here has seen what it costs: each start pays for it, about 60 µs (docs/performance.md).
OURS = """
bundle cgroups cgroups.files cli.main cli.run cli.sources engine.front engine.joined errors flags
images.blobs images.reference images.rootfs images.source images.store
kernel.call kernel.capability kernel.mount kernel.path kernel.process kernel.seccomp launcher options quickjson
runtime.cgroup runtime.channel runtime.child runtime.command runtime.console runtime.container runtime.devices
runtime.filesystems runtime.handover runtime.hooks runtime.ipc runtime.journal runtime.last runtime.mount runtime.net
runtime.options runtime.pid runtime.plan runtime.process runtime.ready runtime.report runtime.root
runtime.security runtime.start
runtime.supervise runtime.time runtime.undo runtime.user runtime.users runtime.uts
spawn spec spec.build spec.defaults spec.mounts spec.network spec.resources spec.seccomp_compiled spec.sysctl
spec.units state steps value
"""


def test_a_start_imports_these_modules_and_no_others() -> None:
    words = [sys.executable, "-I", "-S", "-c", SCRIPT, str(ROOT)]
    done = subprocess.run(words, capture_output=True, text=True, check=True)
    ours, others = imported(set(done.stdout.split()))
    assert others <= BUDGET, sorted(others - BUDGET)
    packages = {"cli", "engine", "images", "kernel", "runtime"}
    wanted = {f"coso.{name}" for name in (*OURS.split(), *packages)} | {"coso", "__future__", "__main__"}
    assert ours == wanted, (sorted(ours - wanted), sorted(wanted - ours))
