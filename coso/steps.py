"""The one idea: everything done to a machine is a step.

A step can be described (`--explain`), executed, and undone: while it executes
it records, before each change, how that change is taken back (coso.runtime.journal).
`execute` runs a list of steps in order and tells an observer before and after
each; what the observer does with that (print, time, stop) is its own affair.
"""

from __future__ import annotations

from coso.value import value

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Callable, Iterable
    from typing import Any

    Observer = Callable[[str, "Step"], None]


@value
class Step:
    """One change: a short name, what it does, the kernel call, the reason, the man page, and the deed."""

    name: str
    what: str
    call: str
    why: str
    man: str
    execute: Callable[[Any], None]


class FailedStep(Exception):  # noqa: N818  # on its way to becoming a StartError, never shown
    """Which step failed; the reason is its `__cause__`."""

    def __init__(self, step: Step) -> None:
        super().__init__(step.name)
        self.step = step


def execute(steps: Iterable[Step], context: object, observe: Observer | None = None) -> None:
    """Execute steps in order; raise FailedStep from the first error."""
    for step in steps:
        if observe:
            observe("before", step)
        try:
            step.execute(context)
        except Exception as error:
            raise FailedStep(step) from error
        if observe:
            observe("after", step)
