"""Many containers in the background: how long each takes, whether that grows, what stays beside each."""

from __future__ import annotations

import os
import re
import subprocess
from collections.abc import Iterator
from pathlib import Path

from benchmarks.ground import Ground
from benchmarks.measure import Result, run

BESIDE = {
    "coso": re.compile("coso-zygote"),
    "podman (conmon)": re.compile("conmon"),
    "docker (containerd-shim)": re.compile("containerd-shim"),
}
HUNDRED, THOUSAND = 100, 1000
# It asks first, and waits ten seconds for an answer.
AT_ONCE = {"podman": ["--time=0"]}
# Neighbours are taken together: one value alone says little.
AROUND = 10


def results(ground: Ground, runs: int) -> Iterator[Result]:
    """A hundred of each engine, then a thousand of coso's."""
    start: dict[str, list[float]] = {}
    removal: dict[str, list[float]] = {}
    memory: dict[str, list[float]] = {}
    for name, words in ground.engines.items():
        line = ground.run(name, "-d", "--network", "none", command=("sleep", "1000"))
        start[name] = [run(line) for _ in range(HUNDRED)]
        beside = next(key for key in BESIDE if key.split()[0] == name)
        memory[beside] = [_memory(BESIDE[beside]) / HUNDRED]
        ids = subprocess.run([*words, "ps", "-aq"], capture_output=True, text=True, check=True).stdout.split()
        removal[name] = [run([*words, "rm", "-f", *AT_ONCE.get(name, []), *ids])]
    start["crun"], taken = _crun(ground, HUNDRED)
    removal["crun"] = [taken]
    yield Result("hundred-start", f"Each of {HUNDRED} in the background", "ms", start, note="crun looks after none.")
    yield Result("hundred-removal", f"Stop and remove these {HUNDRED}", "ms", removal)
    yield Result("memory", "Memory beside each container", "KiB", memory, targets={"podman (conmon)": 1.1})
    yield from _thousand(ground, runs)


def _crun(ground: Ground, count: int) -> tuple[list[float], float]:
    """How long each start takes, and how long it takes to remove them all."""
    directory, words = str(ground.bundle("/bin/sleep", "1000")), ground.low("crun")
    names = [f"coso-bench-{number}" for number in range(count)]
    times = [run([*words, "run", "--detach", "--bundle", directory, name]) for name in names]
    return times, sum(run([*words, "delete", "--force", name]) for name in names)


def _memory(wanted: re.Pattern[str]) -> float:
    """KiB of all processes whose command line fits: each page counted once, shared ones by their share (PSS)."""
    whole = 0
    for pid in filter(str.isdecimal, os.listdir("/proc")):
        try:
            words = Path(f"/proc/{pid}/cmdline").read_bytes().replace(b"\0", b" ").decode(errors="replace")
            if wanted.search(words if "coso" in words else words.split(" ")[0]):
                found = re.search(r"^Pss:\s+(\d+)", Path(f"/proc/{pid}/smaps_rollup").read_text(), re.MULTILINE)
                whole += int(found[1]) if found else 0
        except OSError:
            continue
    return float(whole)


def _thousand(ground: Ground, runs: int) -> Iterator[Result]:
    """Whether anything takes longer beside a thousand: a start, one with a network, `ps`."""
    words = ground.engines["coso"]
    ends = {"near the 10th": AROUND, f"near the {THOUSAND}th": THOUSAND - AROUND}
    for title, name, options in (
        ("A start beside others", "thousand-start", ["--network", "none"]),
        ("A start on the default network beside others", "thousand-network", []),
    ):
        line = ground.run("coso", "-d", *options, command=("sleep", "1000"))
        times, listings = [], {}
        for number in range(THOUSAND):
            times.append(run(line))
            if number in (AROUND, THOUSAND - 1):
                listings[number] = [run([*words, "ps", "-q"]) for _ in range(runs)]
        around = {key: times[max(0, at - AROUND) : at + AROUND] for key, at in ends.items()}
        last, first = f"near the {THOUSAND}th", "near the 10th"
        if name == "thousand-start":
            beside, _ = _crun(ground, THOUSAND)
            for key, at in ends.items():
                around[f"crun {key}"] = beside[max(0, at - AROUND) : at + AROUND]
        yield Result(name, title, "ms", around, base=last, targets={first: 1.2})
        if name == "thousand-start":
            few, many = listings[AROUND], listings[THOUSAND - 1]
            yield Result(
                "thousand-ps", "`coso ps -q`", "ms", {f"with {THOUSAND}": many, "with 10": few}, base=f"with {THOUSAND}"
            )
        ids = subprocess.run([*words, "ps", "-aq"], capture_output=True, text=True, check=True).stdout.split()
        run([*words, "rm", "-f", *ids])
