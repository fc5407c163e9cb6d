"""`update`: other limits for a container, and another restart policy."""

from __future__ import annotations

from coso import cgroups
from coso.engine import make, record
from coso.engine.record import Record
from coso.errors import CosoError
from coso.spec.resources import resources

TYPE_CHECKING = False
if TYPE_CHECKING:
    from coso.flags import Words

# Which of the options that were said before one that is said now takes the place of.
EXCLUDES = {"cpus": ("cpu-quota", "cpu-period"), "cpu-quota": ("cpus",), "cpu-period": ("cpus",)}


def update(one: Record, given: Words) -> None:
    """Change a container's limits, at once where it runs, and for every start to come. Raises CosoError."""
    from coso.flags import Words as Changed

    if not one.is_kept:
        raise CosoError("the container runs in the foreground, and is not kept")
    options = {**one.options}
    for name in given.options:
        for other in EXCLUDES.get(name, ()):
            options.pop(other, None)
    options |= given.options
    changed = Changed(options, ())
    make.check(changed)
    resources(changed, filter_devices=False)
    # Of the others none is written again: the kernel may hold them against what is used by now.
    said: dict[str, list[str]] = {}
    if "memory-swap" in given.options:
        said = {str(name): options[name] for name in ("memory", "memory-swap") if name in options}
    only = resources(Changed({**said, **given.options}, ()), filter_devices=False)
    if one.is_alive and one.state.get("cgroup"):
        cgroups.update(str(one.state["cgroup"]), cgroups.hierarchies(), only)
    record.write(one.id, "config.json", {**one.config, "options": options})
