"""Control groups of containers, read alike from version 1 and 2."""

from __future__ import annotations

import os
from pathlib import Path

ROOT = Path("/sys/fs/cgroup")


def directories() -> list[Path]:
    """Every control group of the machine."""
    return [Path(directory) for directory, _, _ in os.walk(ROOT)]


def named(text: str) -> list[Path]:
    """The control groups whose name has a text, the innermost first."""
    found = [path for path in directories() if text in path.name]
    return sorted(found, key=lambda path: len(path.parts), reverse=True)


def members(group: Path) -> list[int]:
    """The processes of a group."""
    try:
        return [int(pid) for pid in (group / "cgroup.procs").read_text().split()]
    except OSError:
        return []


def mounted() -> dict[str, Path]:
    """Where each version 1 controller is mounted, and version 2 under `""`."""
    found: dict[str, Path] = {}
    for line in Path("/proc/self/mounts").read_text().splitlines():
        _, point, kind, options = line.split()[:4]
        if kind == "cgroup2":
            found.setdefault("", Path(point))
        elif kind == "cgroup":
            for word in options.split(","):
                found.setdefault(word, Path(point))
    return found


def machine() -> str:
    """The kernel, and how control groups are mounted, in words."""
    found = mounted()
    named = sorted(name for name in found if name and "=" not in name and (ROOT / name).is_dir())
    here = os.uname()
    kinds = {(True, True): "version 1 beside version 2", (True, False): "version 1", (False, True): "version 2"}
    v1 = f" ({', '.join(named)})" if named else ""
    return f"Linux {here.release} ({here.machine}) with control groups of {kinds[bool(named), '' in found]}{v1}"


def is_v1(controller: str) -> bool:
    """Whether a controller is one of version 1 here."""
    return controller in mounted()


def of(pid: int, controller: str) -> Path:
    """The group of a process for a controller, of whichever version has it."""
    places = mounted()
    wanted = controller if controller in places else ""
    for line in Path(f"/proc/{pid}/cgroup").read_text().splitlines():
        _, names, path = line.split(":", 2)
        if wanted in names.split(","):
            return Path(f"{places[wanted]}{path}")
    raise LookupError(f"process {pid} has no group for {controller}")


def paths(pid: int) -> dict[str, str]:
    """The path of each hierarchy's group of a process, as the kernel says it."""
    lines = Path(f"/proc/{pid}/cgroup").read_text().splitlines()
    return {line.split(":", 2)[1]: line.split(":", 2)[2] for line in lines}


def read(pid: int, controller: str, v1: str, v2: str) -> str:
    """The value of a file which has one name in version 1 and another in version 2."""
    group = of(pid, controller)
    return (group / (v1 if is_v1(controller) else v2)).read_text().strip()


def memory(pid: int) -> int:
    """The memory limit in bytes."""
    return int(read(pid, "memory", "memory.limit_in_bytes", "memory.max"))


def swap(pid: int) -> int:
    """The limit of memory and swap together, in bytes."""
    both = int(read(pid, "memory", "memory.memsw.limit_in_bytes", "memory.swap.max"))
    return both if is_v1("memory") else both + memory(pid)


def reservation(pid: int) -> int:
    """The soft memory limit in bytes."""
    return int(read(pid, "memory", "memory.soft_limit_in_bytes", "memory.low"))


def quota(pid: int) -> tuple[int, int]:
    """The CPU time and the period in which it may be used, in microseconds."""
    group = of(pid, "cpu")
    if is_v1("cpu"):
        names = ("cpu.cfs_quota_us", "cpu.cfs_period_us")
        return int((group / names[0]).read_text()), int((group / names[1]).read_text())
    used, period = (group / "cpu.max").read_text().split()
    return int(used), int(period)


def shares(pid: int) -> int:
    """The CPU shares, or the weight of version 2."""
    return int(read(pid, "cpu", "cpu.shares", "cpu.weight"))


def weight_of(wanted: int) -> range:
    """The values which `shares` may read for these shares: runtimes convert them to weights in two ways."""
    if is_v1("cpu"):
        return range(wanted, wanted + 1)
    linear = 1 + (wanted - 2) * 9999 // 262142
    return range(linear, 100 * wanted // 1024 + 2 if wanted < 1024 else 10_001)


def pids(pid: int) -> str:
    """The limit of processes, `max` for none."""
    return read(pid, "pids", "pids.max", "pids.max")


def cpus(pid: int) -> str:
    """The CPUs it may use, in list format."""
    return read(pid, "cpuset", "cpuset.cpus", "cpuset.cpus")
