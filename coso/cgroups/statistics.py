"""What a container's groups have used, in the form of `runc events --stats` (its types/events.go).

Times are nanoseconds, sizes bytes; a limit that is none is 2^64 - 1 for memory
and 0 for tasks.  v2 is put into the terms of v1, as runc does.
"""

from __future__ import annotations

import os

from coso.cgroups import Hierarchy, relative
from coso.cgroups.files import number, read, table

TYPE_CHECKING = False
if TYPE_CHECKING:
    from typing import Any

    Numbers = dict[str, Any]

NONE = (1 << 64) - 1
# The lists of `blkio`, and what v1 calls them; BFQ's and the throttle's files are tried in this order.
BLOCK_FILES = {
    "ioServiceBytesRecursive": "io_service_bytes_recursive",
    "ioServicedRecursive": "io_serviced_recursive",
    "ioQueueRecursive": "io_queued_recursive",
    "ioServiceTimeRecursive": "io_service_time_recursive",
    "ioWaitTimeRecursive": "io_wait_time_recursive",
    "ioMergedRecursive": "io_merged_recursive",
    "ioTimeRecursive": "time_recursive",
    "sectorsRecursive": "sectors_recursive",
}
BLOCK_KEYS = {
    "rbytes": ("ioServiceBytesRecursive", "Read"),
    "wbytes": ("ioServiceBytesRecursive", "Write"),
    "rios": ("ioServicedRecursive", "Read"),
    "wios": ("ioServicedRecursive", "Write"),
}
CPUSET_NUMBERS = (
    "cpu_exclusive mem_hardwall mem_exclusive memory_migrate memory_spread_page memory_spread_slab "
    "memory_pressure sched_load_balance sched_relax_domain_level"
).split()


def statistics(path: str, here: list[Hierarchy]) -> Numbers:
    """The use of every controller that a container's groups have."""
    groups = _groups(relative(path), here)
    found: Numbers = {
        "cpu": _cpu_v1(groups) if "cpuacct" in groups else _cpu_v2(groups),
        "cpuset": _cpuset(*groups["cpuset"]) if "cpuset" in groups else {},
        "memory": {},
        "pids": _pids(groups["pids"][1]) if "pids" in groups else {},
        "blkio": {},
        "hugetlb": _huge_pages(*groups["hugetlb"]) if "hugetlb" in groups else {},
        "rdma": _rdma(groups["rdma"][1]) if "rdma" in groups else {},
    }
    if "memory" in groups:
        version, group = groups["memory"]
        found["memory"] = _memory_v1(group) if version == 1 else _memory_v2(group)
    if "blkio" in groups:
        found["blkio"] = _block_v1(groups["blkio"][1])
    elif "io" in groups:
        found["blkio"] = _block_v2(groups["io"][1])
    return found


def _groups(path: str, here: list[Hierarchy]) -> dict[str, tuple[int, str]]:
    """The version and the group for each controller, and for "" that of v2, whose core counts CPU time."""
    found = {}
    for hierarchy in here:
        group = f"{hierarchy.path}/{path}"
        if not os.path.isdir(group):
            continue
        for controller in (*hierarchy.controllers, *([""] if hierarchy.version == 2 else [])):
            found[controller] = (hierarchy.version, group)
    return found


def _cpu_v1(groups: dict[str, tuple[int, str]]) -> Numbers:
    usage = groups["cpuacct"][1]
    rows = [line.split() for line in read(f"{usage}/cpuacct.usage_all").splitlines()[1:]]  # cpu user system
    throttled = table(f"{groups['cpu'][1]}/cpu.stat") if "cpu" in groups else {}
    return {
        "usage": {
            "total": number(f"{usage}/cpuacct.usage") or 0,
            "percpu": [int(word) for word in read(f"{usage}/cpuacct.usage_percpu").split()],
            "percpu_kernel": [int(row[2]) for row in rows],
            "percpu_user": [int(row[1]) for row in rows],
            "kernel": number(f"{usage}/cpuacct.usage_sys") or 0,
            "user": number(f"{usage}/cpuacct.usage_user") or 0,
        },
        "throttling": {
            "periods": throttled.get("nr_periods", 0),
            "throttledPeriods": throttled.get("nr_throttled", 0),
            "throttledTime": throttled.get("throttled_time", 0),
        },
    }


def _cpu_v2(groups: dict[str, tuple[int, str]]) -> Numbers:
    """v2 counts microseconds, controller or none (cgroup-v2.rst, cpu.stat)."""
    group = groups.get("cpu", groups.get("", (2, "")))[1]
    found = table(f"{group}/cpu.stat")
    return {
        "usage": {
            "total": found.get("usage_usec", 0) * 1000,
            "kernel": found.get("system_usec", 0) * 1000,
            "user": found.get("user_usec", 0) * 1000,
        },
        "throttling": {
            "periods": found.get("nr_periods", 0),
            "throttledPeriods": found.get("nr_throttled", 0),
            "throttledTime": found.get("throttled_usec", 0) * 1000,
        },
        **_pressure(f"{group}/cpu.pressure"),
    }


def _pressure(file: str) -> Numbers:
    """The time that was lost waiting (Documentation/accounting/psi.rst), where the kernel counts it."""
    found: Numbers = {}
    for line in read(file).splitlines():
        kind, *words = line.split()
        pairs = dict(word.split("=") for word in words)
        found[kind] = {key: int(text) if key == "total" else float(text) for key, text in pairs.items()}
    return {"psi": found} if found else {}


def _cpuset(version: int, group: str) -> Numbers:
    if version == 2:
        numbers = {}
        cpus, mems = read(f"{group}/cpuset.cpus.effective"), read(f"{group}/cpuset.mems.effective")
    else:
        numbers = {name: number(f"{group}/cpuset.{name}") or 0 for name in CPUSET_NUMBERS}
        cpus, mems = read(f"{group}/cpuset.cpus"), read(f"{group}/cpuset.mems")
    return {"cpus": numbers_of(cpus), "mems": numbers_of(mems), **numbers}


def numbers_of(text: str) -> list[int]:
    """The numbers of a list such as `0-2,7` (cpuset(7), List format)."""
    found: list[int] = []
    for part in filter(None, (part.strip() for part in text.split(","))):
        first, _, last = part.partition("-")
        found += range(int(first), int(last or first) + 1)
    return found


def _memory_v1(group: str) -> Numbers:
    def entry(name: str) -> Numbers:
        return {
            "limit": number(f"{group}/{name}.limit_in_bytes") or 0,
            "usage": number(f"{group}/{name}.usage_in_bytes") or 0,
            "max": number(f"{group}/{name}.max_usage_in_bytes") or 0,
            "failcnt": number(f"{group}/{name}.failcnt") or 0,
        }

    raw = table(f"{group}/memory.stat")
    return {
        "cache": raw.get("cache", 0),
        "usage": entry("memory"),
        "swap": entry("memory.memsw"),
        "kernel": entry("memory.kmem"),
        "kernelTCP": entry("memory.kmem.tcp"),
        "raw": raw,
    }


def _memory_v2(group: str) -> Numbers:
    """Swap counts together with memory, as in v1; how often a limit was met is in the events."""
    raw, events = table(f"{group}/memory.stat"), table(f"{group}/memory.events")
    usage = {
        "limit": _limit(f"{group}/memory.max"),
        "usage": number(f"{group}/memory.current") or 0,
        "max": number(f"{group}/memory.peak") or 0,
        "failcnt": events.get("max", 0),
    }
    limit = _limit(f"{group}/memory.swap.max")
    swap = {
        "limit": min(limit + usage["limit"], NONE),
        "usage": (number(f"{group}/memory.swap.current") or 0) + usage["usage"],
        "failcnt": table(f"{group}/memory.swap.events").get("max", 0),
    }
    counts = {"cache": raw.get("file", 0), "usage": usage, "swap": swap, "raw": raw}
    return counts | _pressure(f"{group}/memory.pressure")


def _limit(file: str) -> int:
    found = number(file)
    return NONE if found is None else found


def _pids(group: str) -> Numbers:
    limit = number(f"{group}/pids.max") or 0
    return {"current": number(f"{group}/pids.current") or 0, "limit": 0 if limit == NONE else limit}


def _block_v1(group: str) -> Numbers:
    found: Numbers = {}
    for name, file in BLOCK_FILES.items():
        # The scheduler's own counts where BFQ is in use; its files are there and empty where it is not.
        for prefix in ("blkio.bfq", "blkio", "blkio.throttle"):
            entries = block_entries(read(f"{group}/{prefix}.{file}"))
            if entries:
                found[name] = entries
                break
    return found


def block_entries(text: str) -> list[Numbers]:
    """The entries of a v1 file with lines such as `8:0 Read 1282048` or `8:0 6792`, without the total."""
    found = []
    for line in text.splitlines():
        device, *words = line.split()
        major, colon, minor = device.partition(":")
        if colon and words:
            operation = words[0] if len(words) > 1 else ""
            found.append({"major": int(major), "minor": int(minor), "op": operation, "value": int(words[-1])})
    return found


def _block_v2(group: str) -> Numbers:
    found: Numbers = {}
    for line in read(f"{group}/io.stat").splitlines():
        device, *words = line.split()
        major, colon, minor = device.partition(":")
        for key, _, text in (word.partition("=") for word in words):
            if colon and key in BLOCK_KEYS:
                name, operation = BLOCK_KEYS[key]
                entry = {"major": int(major), "minor": int(minor), "op": operation, "value": int(text)}
                found.setdefault(name, []).append(entry)
    return found | _pressure(f"{group}/io.pressure")


def _huge_pages(version: int, group: str) -> Numbers:
    """By size, reserved pages left out, as in runc before they were told apart."""
    found = {}
    suffix = ".usage_in_bytes" if version == 1 else ".current"
    for file in sorted(os.listdir(group)):
        size = file.removeprefix("hugetlb.").removesuffix(suffix)
        if file != f"hugetlb.{size}{suffix}" or size.endswith(".rsvd"):
            continue
        place = f"{group}/hugetlb.{size}"
        found[size] = {
            "usage": number(f"{group}/{file}") or 0,
            "max": number(f"{place}.max_usage_in_bytes") or 0,
            "failcnt": number(f"{place}.failcnt") or table(f"{place}.events").get("max", 0),
        }
    return found


def _rdma(group: str) -> Numbers:
    """What is in use and what may be, by device (rdma.rst); `max` is 2^32 - 1 as in runc."""
    return {
        name: rdma_entries(read(f"{group}/rdma.{file}")) for name, file in (("current", "current"), ("limit", "max"))
    }


def rdma_entries(text: str) -> list[Numbers]:
    """The entries of a file with lines such as `mlx4_0 hca_handle=2 hca_object=max`."""
    found = []
    for line in text.splitlines():
        device, *words = line.split()
        pairs = dict(word.split("=") for word in words)
        counts = {key: (1 << 32) - 1 if text == "max" else int(text) for key, text in pairs.items()}
        found.append(
            {"device": device, "hcaHandles": counts.get("hca_handle", 0), "hcaObjects": counts.get("hca_object", 0)}
        )
    return found
