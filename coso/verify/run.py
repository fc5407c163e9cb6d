"""Carrying checks out: scene by scene, side by side where that is safe, and the results in the order of the list."""

from __future__ import annotations

import time
from collections.abc import Callable, Sequence
from concurrent.futures import ThreadPoolExecutor

from coso.errors import CosoError, MissingError
from coso.value import value
from coso.verify.checks import Check
from coso.verify.drivers import DRIVERS, Driver
from coso.verify.ground import Ground, group, prepared
from coso.verify.leftovers import left
from coso.verify.scenes import SCENES

# What measures time, and what compares the host before and after, must have it to itself.
APART = ("limit-cpu", "left-")
SIDE_BY_SIDE = 4


@value
class Result:
    """What a check found: `pass`, `fail`, `skip` or `error`, why, and how long it took."""

    check: Check
    result: str
    reason: str
    milliseconds: float


Observer = Callable[[Result], None]


def verify(
    checks: Sequence[Check],
    rootfs: str,
    *,
    driver: Driver = DRIVERS["coso"],
    control: bool = False,
    observe: Observer | None = None,
) -> list[Result]:
    """Run checks in containers of a runtime, or their controls; `observe` is told each result as it comes.

    Raises MissingError when the runtime cannot run here.
    """
    if why := driver.lacking():
        raise MissingError(
            f"{driver.name} cannot be checked: {why}", hint="`invoke peers-setup` installs other runtimes"
        )
    results: dict[str, Result] = {}

    def carry_out(ground: Ground, together: Sequence[Check]) -> None:
        for result in _results(ground, together, control):
            results[result.check.id] = result
            if observe:
                observe(result)

    with prepared(driver, rootfs) as ground:
        apart = [check for check in checks if check.id.startswith(APART)]
        beside = [check for check in checks if check not in apart]
        with ThreadPoolExecutor(SIDE_BY_SIDE) as pool:
            list(pool.map(lambda together: carry_out(ground, together), group(beside, _company)))
        for together in group(apart, _company):
            carry_out(ground, together)
    return [results[check.id] for check in checks]


def _company(check: Check) -> object:
    return check.scene, check.given


def _results(ground: Ground, checks: Sequence[Check], control: bool) -> list[Result]:
    name = checks[0].scene
    scene = SCENES.get(name) or (left if name.startswith("left-") else SCENES[name.partition("-")[0]])
    begun = time.perf_counter()
    try:
        found = list(scene(ground, checks, control))
    except (CosoError, OSError) as error:
        found = [(check, "error", str(error), 0.0) for check in checks]
    spent = (time.perf_counter() - begun) * 1000 / len(checks)
    return [Result(check, result, reason, round(taken or spent, 3)) for check, result, reason, taken in found]
