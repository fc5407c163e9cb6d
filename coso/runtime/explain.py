"""`--explain`: each step as it happens, with the kernel call, the reason, the man page and its microseconds."""

from __future__ import annotations

import sys

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Callable

    from coso.steps import Step

# What a start may import besides our own modules and those that the interpreter has anyway; each costs every start.
BUDGET = frozenset("_ctypes _json _socket _struct fcntl grp resource select struct".split())
OURS = ("coso", "cosonet", "__future__", "__main__")


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


def say_imports() -> None:
    """Print what the start has imported, and what of that is beyond the budget."""
    ours, others = imported(set(sys.modules))
    sys.stderr.write(f"    imported: {len(ours)} modules of coso; besides {' '.join(sorted(others)) or 'none'}\n")
    if others - BUDGET:
        sys.stderr.write(f"    beyond the budget of a start: {' '.join(sorted(others - BUDGET))}\n")


def imported(loaded: set[str]) -> tuple[set[str], set[str]]:
    """Our modules, and those of others that are neither built nor frozen into the interpreter."""
    import _imp

    ours = {name for name in loaded if name.partition(".")[0] in OURS}
    have = set(sys.builtin_module_names) | {"site", "encodings"}
    others = {name for name in loaded - ours if name not in have and not _imp.is_frozen(name)}
    return ours, {name for name in others if not name.startswith("encodings.") and name != "os.path"}
