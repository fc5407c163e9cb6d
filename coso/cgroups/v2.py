"""Limits in cgroup version 2 (Documentation/admin-guide/cgroup-v2.rst): which file gets which text."""

from __future__ import annotations

from coso.cgroups import v1
from coso.cgroups.files import Setting, impossible, put, read
from coso.errors import LimitError

TYPE_CHECKING = False
if TYPE_CHECKING:
    from coso.spec import Cpu, Memory, Resources

PERIOD = 100_000  # The kernel's own (cgroup-v2.rst, cpu.max).
NO_FILE = "cgroup v2 has nothing of the kind"


def settings(resources: Resources) -> list[Setting]:
    """What v2 controllers are told; as with runc, 0 stands for unset in memory and CPU limits."""
    found = [*_memory(resources.memory), *_cpu(resources.cpu), *v1.cpuset(resources.cpu), *v1.pids(resources.pids)]
    if v1.needs_more(resources):
        from coso.cgroups import more

        found += more.v2(resources)
    return found


def _memory(memory: Memory) -> list[Setting]:
    found = []
    if memory.limit:
        found.append(Setting("memory.limit", "memory", "memory.max", _or_max(memory.limit)))
    found += _swap(memory)
    if memory.reservation:
        found.append(Setting("memory.reservation", "memory", "memory.low", _or_max(memory.reservation)))
    if memory.kernel:
        found.append(Setting("memory.kernel", "memory", "memory.kmem.max", "", None, v1.DEPRECATED_KERNEL))
    gone = (
        ("kernelTCP", memory.kernel_tcp),
        ("swappiness", memory.swappiness is not None and memory.swappiness not in v1.UNSET_SWAPPINESS),
        ("disableOOMKiller", memory.disable_oom_killer),
        ("useHierarchy", memory.use_hierarchy is False),  # True is what v2 always does.
    )
    return found + [impossible(f"memory.{field}", "memory", NO_FILE) for field, given in gone if given]


def _swap(memory: Memory) -> list[Setting]:
    """Swap alone, where the specification counts memory and swap together."""
    if not memory.swap:
        # Memory without a limit never had one for swap in v1, hence neither here.
        return [_swap_setting(-1)] if memory.limit == -1 else []
    if memory.swap == -1:
        return [_swap_setting(-1)]
    if not memory.limit or memory.limit < 0:
        reason = "cgroup v2 counts swap apart, which cannot be told without memory.limit"
        return [impossible("memory.swap", "memory", reason)]
    if memory.swap < memory.limit:
        reason = f"memory and swap together ({memory.swap}) are less than memory ({memory.limit})"
        return [impossible("memory.swap", "memory", reason)]
    return [_swap_setting(memory.swap - memory.limit)]


def _swap_setting(limit: int) -> Setting:
    missing = "" if limit == -1 or not v1.has_swap() else v1.NO_SWAP_ACCOUNTING
    return Setting("memory.swap", "memory", "memory.swap.max", _or_max(limit), None, missing)


def _or_max(limit: int) -> str:
    return str(limit) if limit >= 0 else "max"


def _cpu(cpu: Cpu) -> list[Setting]:
    found = v1.shares_out_of_range(cpu)
    if cpu.shares and not found:
        found.append(Setting("cpu.shares", "cpu", "cpu.weight", str(weight(cpu.shares))))
    if cpu.quota or cpu.period:
        quota = str(cpu.quota) if cpu.quota and cpu.quota > 0 else "max"
        field = "cpu.quota" if cpu.quota else "cpu.period"
        found.append(Setting(field, "cpu", "cpu.max", f"{quota} {cpu.period or PERIOD}"))
    if cpu.burst is not None:
        found.append(Setting("cpu.burst", "cpu", "cpu.max.burst", str(cpu.burst)))
    if cpu.idle is not None:
        found.append(Setting("cpu.idle", "cpu", "cpu.idle", str(cpu.idle)))
    gone = (("realtimePeriod", cpu.realtime_period), ("realtimeRuntime", cpu.realtime_runtime))
    return found + [impossible(f"cpu.{field}", "cpu", NO_FILE) for field, given in gone if given]


def weight(shares: int) -> int:
    """The weight, 1 to 10000, of shares from 2 to 262144: the line between the ends, as runc and crun draw it."""
    return 1 + (shares - v1.LEAST_SHARES) * 9999 // (v1.MOST_SHARES - v1.LEAST_SHARES)


def enable(parent: str, needed: set[str], *, every: bool) -> None:
    """Give the children of a group the controllers that are needed, or every one it has (cgroup-v2.rst,
    "Enabling and Disabling").

    A controller may be refused, a group with processes has none to give: that
    matters only for those that are needed.
    """
    enabled = read(f"{parent}/cgroup.subtree_control").split()
    absent = [
        name
        for name in read(f"{parent}/cgroup.controllers").split()
        if name not in enabled and (every or name in needed)
    ]
    if not absent or not _enable(parent, absent):
        return
    # One of them is refused, and with it all of one write: now each for itself.
    for controller in absent:
        reason = _enable(parent, [controller])
        if reason and controller in needed:
            raise LimitError(
                f"the {controller} controller cannot be enabled below {parent}: {reason}",
                cause="the group has processes of its own, as inside another container (cgroups(7), "
                '"no internal processes")',
                hint="run coso on the host itself, or in a delegated group without processes",
            )


def _enable(parent: str, controllers: list[str]) -> str:
    """Enable controllers; return why the kernel would not."""
    try:
        put(f"{parent}/cgroup.subtree_control", " ".join(f"+{name}" for name in controllers))
    except OSError as error:
        return error.strerror or str(error)
    return ""
