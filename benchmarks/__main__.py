"""`./dev invoke bench`: coso beside crun and runc, interleaved, medians and ratios.

Every case is one whole process, from its start to its exit, or the three of a
container's life under an engine: create, start, delete. Each round runs every
case once, in a random order: a machine whose speed drifts is fair to
all, and so is what the kernel still has to clean up of the case before.
"""

from __future__ import annotations

import argparse
import os
import platform
import random
import statistics
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable
from pathlib import Path

from benchmarks import bundle
from coso import launcher
from coso.kernel import mount
from coso.kernel.process import CLONE_NEWNS, unshare
from coso.spawn import find
from coso.spec.defaults import ROOTFS
from provisioning.peers import PEERS
from provisioning.resource import Change

CONTROLLERS = "/sys/fs/cgroup/unified/cgroup.controllers"
Commands = list[list[str]]
Cases = dict[str, Commands]


def main() -> int:
    """Run the comparison and print it."""
    parser = argparse.ArgumentParser(prog="python -m benchmarks", description=__doc__)
    parser.add_argument("--runs", type=int, default=20)
    parser.add_argument("--rootfs", default=ROOTFS)
    given = parser.parse_args()
    if os.geteuid() != 0:
        print("benchmarks need root", file=sys.stderr)
        return 1
    if not Path(given.rootfs).is_dir():
        print(f"there is no rootfs at {given.rootfs}: run `invoke fs-setup`", file=sys.stderr)
        return 1
    _install_peers()
    _hide_hybrid_controllers()
    with tempfile.TemporaryDirectory(prefix="coso-bench-") as directory:
        cases = _cases(Path(directory), Path(given.rootfs))
        print(
            f"{platform.release()}, {os.cpu_count()} CPUs, Python {platform.python_version()}, {given.runs} runs each"
        )
        for title, pause in (("back to back", 0.0), ("spaced by 100 ms", 0.1)):
            _print(title, _measure(cases, given.runs, pause))
        _print("create, start, delete", _measure(_lives(Path(directory)), given.runs, 0.0))
    return 0


def _install_peers() -> None:
    for package in (peer for peer in PEERS if peer.name in ("crun", "runc")):
        plan = package.plan(package.inspect())
        if isinstance(plan, Change):
            package.apply(plan)


def _hide_hybrid_controllers() -> None:
    """Show crun no v2 controller, privately: it refuses a hybrid machine that has any."""
    if not os.path.exists(CONTROLLERS):
        return
    unshare(CLONE_NEWNS)
    mount.set_propagation("/", mount.MS_PRIVATE)
    with tempfile.NamedTemporaryFile(prefix="coso-empty-") as empty:
        mount.move_mount(mount.open_tree(empty.name), CONTROLLERS)


def _cases(directory: Path, rootfs: Path) -> Cases:
    directory.chmod(0o755)  # The peers' root inside is nobody outside, as coso's is.
    bundle.write(directory, rootfs)
    for name in launcher.ENTRIES:
        (directory / name).write_text(launcher.text(name))
        (directory / name).chmod(0o755)
    coso = [str(directory / "coso"), "run", "-rootfs", str(rootfs), "-network"]
    interpreter = (directory / "coso").read_text().split()[0].removeprefix("#!")
    cases: Cases = {
        "coso, no network": [[*coso, "none", "--", "/bin/true"]],
        "crun": [[find("crun"), "run", "--bundle", str(directory), "coso-bench-crun"]],
        "runc": [[find("runc"), "run", "--bundle", str(directory), "coso-bench-runc"]],
        "Python alone (-I -S)": [[interpreter, "-I", "-S", "-c", "pass"]],
    }
    if Path("/proc/sys/net/ipv4/ip_forward").read_text().strip() == "1":
        cases["coso, network"] = [[*coso, str(directory / "cosonet"), "--", "/bin/true"]]
    else:
        print("without the network case: the host does not forward packets (`invoke net-setup`)")
    return cases


def _lives(directory: Path) -> Cases:
    """Create, start and delete, as an engine does it."""
    programs = {"coso-oci": str(directory / "coso-oci"), "crun": find("crun"), "runc": find("runc")}
    return {
        name: [
            [program, "create", "--bundle", str(directory), f"coso-bench-{name}"],
            [program, "start", f"coso-bench-{name}"],
            [program, "delete", "--force", f"coso-bench-{name}"],
        ]
        for name, program in programs.items()
    }


def _measure(cases: Cases, runs: int, pause: float) -> dict[str, list[float]]:
    times: dict[str, list[float]] = {name: [] for name in cases}
    for number in range(runs + 2):
        for name in random.sample(list(cases), len(cases)):
            time.sleep(pause)
            milliseconds = _time(cases[name])
            if number >= 2:  # The first two warm caches up.
                times[name].append(milliseconds)
    return times


def _time(commands: Commands) -> float:
    """Milliseconds of the commands together; what they say goes to a file, which a container may keep open."""
    spent = 0.0
    for words in commands:
        with tempfile.TemporaryFile("w+") as said:
            begun = time.perf_counter()
            done = subprocess.run(words, stdin=subprocess.DEVNULL, stdout=said, stderr=said, check=False)
            spent += (time.perf_counter() - begun) * 1000
            if done.returncode:
                said.seek(0)
                raise SystemExit(f"{' '.join(words)} failed: {said.read()}")
    return spent


def _print(title: str, times: dict[str, list[float]]) -> None:
    median: Callable[[str], float] = lambda name: statistics.median(times[name])  # noqa: E731
    print(f"\n| {title} | median ms | min | max | ÷ crun | ÷ runc |\n|---|---|---|---|---|---|")
    for name, values in times.items():
        row = [f"{median(name):.1f}", f"{min(values):.1f}", f"{max(values):.1f}"]
        row += [f"{median(name) / median(peer):.2f}" for peer in ("crun", "runc")]
        print(f"| {name} | {' | '.join(row)} |")


if __name__ == "__main__":
    sys.exit(main())
