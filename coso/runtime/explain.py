"""`--explain`: each step as it happens, with the kernel call, the reason, the man page and its microseconds."""

from __future__ import annotations

import sys

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Callable

    from coso.steps import Step


def explainer() -> Callable[[Step, int], None]:
    """A function that prints a finished step to standard error, numbered."""
    number = 0

    def explain(step: Step, microseconds: int) -> None:
        nonlocal number
        number += 1
        sys.stderr.write(
            f"{number:3} {step.name:<22} {step.call}  {microseconds} µs\n      {step.what}: {step.why}  [{step.man}]\n"
        )
        sys.stderr.flush()

    return explain
