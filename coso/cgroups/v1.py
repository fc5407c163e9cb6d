"""Limits in cgroup version 1 (Documentation/admin-guide/cgroup-v1): which file gets which text."""

from __future__ import annotations

import os

from coso.cgroups.files import Setting, impossible, read, write
from coso.spec import BlockIo, Network

TYPE_CHECKING = False
if TYPE_CHECKING:
    from coso.spec import Cpu, Memory, Resources

LEAST_SHARES, MOST_SHARES = 2, 262144
UNSET_SWAPPINESS = ((1 << 64) - 1, -1)
NO_SWAP_ACCOUNTING = "the kernel does not count swap (CONFIG_MEMCG_V1, swapaccount=1): memory is limited, swap is not"
DEPRECATED_KERNEL = "this kernel has no limit of its own for kernel memory any more, which counts as memory"


def settings(resources: Resources) -> list[Setting]:
    """What v1 controllers are told; as with runc, 0 stands for unset in memory and CPU limits."""
    found = [*_memory(resources.memory), *_cpu(resources.cpu), *cpuset(resources.cpu), *pids(resources.pids)]
    if needs_more(resources):
        from coso.cgroups import more

        found += more.v1(resources)
    return found


def needs_more(resources: Resources) -> bool:
    """Whether there is a limit of the kinds that live in coso.cgroups.more."""
    listed = resources.hugepage_limits or resources.rdma or resources.unified
    return bool(listed) or resources.block_io != BlockIo() or resources.network != Network()


def _memory(memory: Memory) -> list[Setting]:
    found = []

    def add(field: str, file: str, text: object, missing: str | None = None) -> None:
        found.append(Setting(f"memory.{field}", "memory", f"memory.{file}", str(text), None, missing))

    if memory.limit:
        add("limit", "limit_in_bytes", memory.limit)
    # Memory without a limit needs memory and swap without one: the second may not be the smaller.
    swap = -1 if memory.limit == -1 and not memory.swap else memory.swap
    if swap:
        add("swap", "memsw.limit_in_bytes", swap, "" if swap == -1 or not has_swap() else NO_SWAP_ACCOUNTING)
    if memory.reservation:
        add("reservation", "soft_limit_in_bytes", memory.reservation)
    if memory.kernel:
        add("kernel", "kmem.limit_in_bytes", memory.kernel, DEPRECATED_KERNEL)
    if memory.kernel_tcp:
        add("kernelTCP", "kmem.tcp.limit_in_bytes", memory.kernel_tcp)
    if memory.swappiness is not None and memory.swappiness not in UNSET_SWAPPINESS:
        add("swappiness", "swappiness", memory.swappiness)
    if memory.disable_oom_killer is not None:
        add("disableOOMKiller", "oom_control", int(memory.disable_oom_killer))
    if memory.use_hierarchy is not None:
        add("useHierarchy", "use_hierarchy", int(memory.use_hierarchy))
    return found


def has_swap() -> bool:
    """Whether the machine swaps at all (proc_swaps(5)): a headline, then a line for each place."""
    return read("/proc/swaps").count("\n") > 0


def _cpu(cpu: Cpu) -> list[Setting]:
    found = shares_out_of_range(cpu)
    given = (
        ("shares", "shares", cpu.shares or None),
        ("quota", "cfs_quota_us", cpu.quota or None),
        ("period", "cfs_period_us", cpu.period or None),
        ("burst", "cfs_burst_us", cpu.burst),
        # A group without a share of real time refuses processes that have a real-time policy already.
        ("realtimePeriod", "rt_period_us", cpu.realtime_period or None),
        ("realtimeRuntime", "rt_runtime_us", cpu.realtime_runtime or None),
        ("idle", "idle", cpu.idle),
    )
    for field, file, number in given:
        if number is not None:
            found.append(Setting(f"cpu.{field}", "cpu", f"cpu.{file}", str(number)))
    return found


def shares_out_of_range(cpu: Cpu) -> list[Setting]:
    """Shares that the kernel would change without a word (sched_group_set_shares); runc refuses them as well."""
    if not cpu.shares or LEAST_SHARES <= cpu.shares <= MOST_SHARES:
        return []
    return [impossible("cpu.shares", "cpu", f"{cpu.shares} is not between {LEAST_SHARES} and {MOST_SHARES}")]


def cpuset(cpu: Cpu) -> list[Setting]:
    """CPUs and memory nodes, whose files have the same names in both versions."""
    found = []
    if cpu.cpus:
        found.append(Setting("cpu.cpus", "cpuset", "cpuset.cpus", cpu.cpus))
    if cpu.mems:
        found.append(Setting("cpu.mems", "cpuset", "cpuset.mems", cpu.mems))
    return found


def pids(limit: int | None) -> list[Setting]:
    """The number of tasks, in both versions.

    0 and less are `max`: the specification has only -1 say so, and kernels
    refuse -1.  runc and crun leave the file alone for 0, which is the same for
    a new group; in an update we take the limit away.
    """
    if limit is None:
        return []
    return [Setting("pids.limit", "pids", "pids.max", str(limit) if limit > 0 else "max")]


def fill_cpuset(group: str) -> None:
    """Give a new v1 cpuset its parent's CPUs and nodes: it has none, and refuses processes until it has both."""
    parent = os.path.dirname(group)
    for file in ("cpuset.cpus", "cpuset.mems"):
        if not read(f"{group}/{file}"):
            write(f"{group}/{file}", read(f"{parent}/{file}"))


def filter_devices(group: str, rules: tuple[tuple[str, str], ...]) -> None:
    """Write the device rules, files and texts in their order (devices.rst)."""
    for file, text in rules:
        write(f"{group}/{file}", text, "devices")
