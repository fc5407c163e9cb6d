"""Measuring: several ways in turn, in a random order; medians, their spread, and ratios with an interval.

Whatever drifts on a machine, its speed or what the kernel still cleans up
after the last container, is then fair to all.  A program that times one
command after the other, as hyperfine does, would give each its own weather.
"""

from __future__ import annotations

import random
import statistics
import subprocess
import tempfile
import time
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field

Way = Callable[[], object]
RESAMPLES = 1000


@dataclass(frozen=True)
class Result:
    """What one case gave: for each way its values, the best of which are small ones, or large ones.

    `targets` are the ratios of coso's median to that of other ways that are
    aimed at: at most, or at least where large values are good.
    """

    name: str
    title: str
    unit: str
    values: dict[str, list[float]]
    base: str = "coso"
    more_is_better: bool = False
    targets: dict[str, float] = field(default_factory=dict)
    note: str = ""

    def median(self, way: str) -> float:
        """The median of one way."""
        return statistics.median(self.values[way])

    def quartiles(self, way: str) -> tuple[float, float]:
        """Between these lies the middle half."""
        values = self.values[way]
        if len(values) < 2:
            return values[0], values[0]
        low, _, high = statistics.quantiles(values, n=4, method="inclusive")
        return low, high

    def ratio(self, way: str) -> float:
        """Coso's median divided by that of another way."""
        return self.median(self.base) / self.median(way)

    def interval(self, way: str) -> tuple[float, float]:
        """Between these lies that ratio in nine of ten runs like this one (bootstrap)."""
        chance = random.Random(0)
        mine, others = self.values[self.base], self.values[way]
        found = sorted(
            statistics.median(chance.choices(mine, k=len(mine)))
            / statistics.median(chance.choices(others, k=len(others)))
            for _ in range(RESAMPLES)
        )
        return found[RESAMPLES // 20], found[-RESAMPLES // 20]

    def holds(self, way: str) -> bool:
        """Whether the target beside another way is reached."""
        target = self.targets[way]
        return self.ratio(way) >= target if self.more_is_better else self.ratio(way) <= target


def in_turn(ways: Mapping[str, Way], runs: int, *, pause: float = 0.0, warm_up: int = 2) -> dict[str, list[float]]:
    """Milliseconds of each way, `runs` times."""
    times: dict[str, list[float]] = {name: [] for name in ways}
    for number in range(runs + warm_up):
        for name in random.sample(list(ways), len(ways)):
            time.sleep(pause)
            spent = spent_by(ways[name])
            if number >= warm_up:
                times[name].append(spent)
    return times


def back_to_back(ways: Mapping[str, Way], runs: int, *, block: int = 5) -> dict[str, list[float]]:
    """Milliseconds of each way directly after itself: blocks in turn, of each of which the first run is not counted."""
    times: dict[str, list[float]] = {name: [] for name in ways}
    while any(len(found) < runs for found in times.values()):
        for name in random.sample(list(ways), len(ways)):
            times[name] += [spent_by(ways[name]) for _ in range(block + 1)][1:]
    return {name: found[:runs] for name, found in times.items()}


def spent_by(way: Way) -> float:
    """Milliseconds of one call; a way that returns a number has measured itself."""
    begun = time.perf_counter()
    measured = way()
    return measured if isinstance(measured, float) else (time.perf_counter() - begun) * 1000


def run(words: list[str]) -> float:
    """Milliseconds of a command that must succeed; what it says goes to a file, which a container may keep open."""
    with tempfile.TemporaryFile("w+") as said:
        begun = time.perf_counter()
        done = subprocess.run(words, stdin=subprocess.DEVNULL, stdout=said, stderr=said, check=False)
        spent = (time.perf_counter() - begun) * 1000
        if done.returncode:
            said.seek(0)
            raise SystemExit(f"{' '.join(words)} failed: {said.read()}")
    return spent


def command(*words: str) -> Way:
    """A way that is one command."""
    return lambda: run(list(words))
