"""Groups that systemd makes: a scope around the container's first process (`--systemd-cgroup`).

systemd owns the groups of its units and rewrites their files when it likes, so
it has to know the limits; what it cannot know is written to the files below
the unit's path afterwards, by `coso.cgroups.create(…, existing=True)`.  See
systemd.scope(5), systemd.resource-control(5), org.freedesktop.systemd1(5) and
https://systemd.io/CONTROL_GROUP_INTERFACE.
"""

from __future__ import annotations

from coso.cgroups.files import named
from coso.errors import LimitError
from coso.value import value

TYPE_CHECKING = False
if TYPE_CHECKING:
    from coso.spec import Cpu, Memory, Resources

    # A name, and a signature with what it describes, as D-Bus has variants.
    Property = tuple[str, tuple[str, object]]

INFINITY = (1 << 64) - 1
PERIOD = 100_000
SECOND = 1_000_000
PERCENT = SECOND // 100
# Files of v2 that are properties as well; the rest is written to the files alone.
UNIFIED = {
    "cpu.weight": "CPUWeight",
    "memory.high": "MemoryHigh",
    "memory.low": "MemoryLow",
    "memory.max": "MemoryMax",
    "memory.min": "MemoryMin",
    "memory.swap.max": "MemorySwapMax",
    "pids.max": "TasksMax",
}


@value
class Unit:
    """A unit by its name, and the slice it is in."""

    slice: str
    name: str


def unit_of(cgroups_path: str, container: str, *, user: bool = False) -> Unit:
    """The unit that `linux.cgroupsPath` means, as runc reads it: `slice:prefix:name`; "" is coso's own choice."""
    parts = (cgroups_path or f":coso:{container}").split(":")
    if len(parts) != 3 or "/" in cgroups_path or not parts[2]:
        raise LimitError(
            f"linux.cgroupsPath: {cgroups_path!r} is not slice:prefix:name",
            cause="that is the form it has with --systemd-cgroup",
            hint="write machine.slice:coso:name, or leave --systemd-cgroup out",
        )
    slice_, prefix, name = parts
    slice_ = slice_ or ("user.slice" if user else "system.slice")
    expand_slice(slice_)
    if name.endswith(".slice"):
        expand_slice(name)
        return Unit(slice_, name)
    return Unit(slice_, f"{prefix}-{name}.scope" if prefix else f"{name}.scope")


def expand_slice(name: str) -> str:
    """The path of a slice: a dash says what it is in, `a-b.slice` is `a.slice/a-b.slice` (systemd.slice(5))."""
    stem = name.removesuffix(".slice")
    if stem == "-" and name != stem:
        return ""  # The root slice.
    words = stem.split("-")
    if name == stem or "/" in name or not all(words):
        raise LimitError(f"linux.cgroupsPath: {name!r} is no name of a slice", hint="write it as machine.slice")
    return "/".join(f"{'-'.join(words[: depth + 1])}.slice" for depth in range(len(words)))


def path_of(cgroups_path: str, container: str, *, user: bool = False) -> str:
    """The path of the unit's group below systemd's own, which is the root for the system's."""
    unit = unit_of(cgroups_path, container, user=user)
    if unit.name.endswith(".slice"):
        return expand_slice(unit.name)
    return "/".join(filter(None, (expand_slice(unit.slice), unit.name)))


def properties(unit: Unit, pid: int, resources: Resources) -> list[Property]:
    """What StartTransientUnit is told of a new unit.

    A slice has no processes of its own in systemd's eyes, and is where its name
    says.  Default dependencies would stop a scope at shutdown before what it
    is for.
    """
    found: list[Property] = [("Description", ("s", f"coso container {unit.name}"))]
    if unit.name.endswith(".slice"):
        found.append(("Wants", ("as", [unit.slice])))
    else:
        found += [("Slice", ("s", unit.slice)), ("Delegate", ("b", True)), ("PIDs", ("au", [pid]))]
    # Without accounting systemd would leave these controllers out of the unit's group.
    accounting = ("MemoryAccounting", "CPUAccounting", "IOAccounting", "TasksAccounting")
    found += [(name, ("b", True)) for name in accounting]
    return [*found, ("DefaultDependencies", ("b", False)), *limits(resources)]


def limits(resources: Resources) -> list[Property]:
    """The limits that systemd has properties for; those of Debian 12 (252) and later are used."""
    found = [*_memory(resources.memory), *_cpu(resources.cpu)]
    if resources.pids is not None:
        found.append(_count("TasksMax", resources.pids if resources.pids > 0 else -1))
    if resources.block_io.weight:
        from coso.cgroups.more import io_weight

        found.append(_count("IOWeight", io_weight(resources.block_io.weight)))
    for file, text in resources.unified:
        text = "-1" if text.strip() == "max" else text.strip()
        if file in UNIFIED and text.removeprefix("-").isdecimal():
            found.append(_count(UNIFIED[file], int(text)))
    return found + _devices(resources)


def _count(name: str, number: int) -> Property:
    return name, ("t", number if number >= 0 else INFINITY)


def _memory(memory: Memory) -> list[Property]:
    found = []
    if memory.limit:
        found.append(_count("MemoryMax", memory.limit))
    if memory.reservation:
        found.append(_count("MemoryLow", memory.reservation))
    if memory.swap == -1 or (memory.limit == -1 and not memory.swap):
        found.append(_count("MemorySwapMax", -1))
    elif memory.swap and memory.limit and 0 < memory.limit <= memory.swap:
        found.append(_count("MemorySwapMax", memory.swap - memory.limit))
    return found


def _cpu(cpu: Cpu) -> list[Property]:
    found: list[Property] = []
    if cpu.shares:
        from coso.cgroups import v1, v2

        found.append(_count("CPUWeight", v2.weight(min(max(cpu.shares, v1.LEAST_SHARES), v1.MOST_SHARES))))
    if cpu.quota or cpu.period:
        period = cpu.period or PERIOD
        found += [_count("CPUQuotaPerSecUSec", per_second(cpu.quota or -1, period))]
        found += [_count("CPUQuotaPeriodUSec", period)]
    for name, text in (("AllowedCPUs", cpu.cpus), ("AllowedMemoryNodes", cpu.mems)):
        if text:
            found.append((name, ("ay", bits(text))))
    return found


def per_second(quota: int, period: int) -> int:
    """The quota for a second: -1 is none, and part of a percent a whole one, since systemd counts in percents.

    A little too much does no harm: what is written to the file is exact.
    """
    return -1 if quota < 0 else -(-quota * SECOND // period // PERCENT) * PERCENT


def bits(text: str) -> bytes:
    """The numbers of a list such as `0-2,7` as bits, lowest byte first."""
    from coso.cgroups.statistics import numbers_of

    try:
        mask = sum(1 << number for number in set(numbers_of(text)))
    except ValueError:
        raise LimitError(f"{named('cpu.cpus')} or mems: {text!r} is not a list such as 0-2,7") from None
    return mask.to_bytes(max(1, (mask.bit_length() + 7) // 8), "little")


def _devices(resources: Resources) -> list[Property]:
    """The policy in systemd's words, which can only allow: where it cannot follow the rules, our own filter does.

    Without a policy of its own it would allow every device of v1 again when it
    is reloaded.
    """
    if not resources.devices:
        return []
    from coso.cgroups.devices import ACCESS, complete, flatten

    default, listed = flatten(complete(resources.devices))
    if default:
        return [("DevicePolicy", ("s", "auto")), ("DeviceAllow", ("a(ss)", []))]
    words = {"b": "block", "c": "char"}
    allowed = []
    for allow, (kind, major, minor), access in listed:
        if not allow or (major is None and minor is not None):
            continue
        place = (
            f"/dev/{words[kind]}/{major}:{minor}"
            if minor is not None
            else f"{words[kind]}-{'*' if major is None else major}"
        )
        allowed.append((place, "".join(letter for letter in "rwm" if ACCESS[letter] & access)))
    # An empty list first takes back what an earlier call has given.
    return [("DevicePolicy", ("s", "strict")), ("DeviceAllow", ("a(ss)", [])), ("DeviceAllow", ("a(ss)", allowed))]


def start_unit(unit: Unit, pid: int, resources: Resources, *, user: bool = False) -> str:
    """Make a unit around a process and wait until it is there; return the path of its group.

    `user` asks the user's own systemd.  Raises LimitError.
    """
    from coso.cgroups import systemd_bus

    with systemd_bus.Manager(user=user) as manager:
        manager.start(unit.name, properties(unit, pid, resources))
        return manager.group(unit.name)


def check_free(unit: str, *, user: bool = False) -> None:
    """Raise LimitError for the name of a unit that runs: it is somebody else's, and not to be stopped on a failure."""
    from coso.cgroups import systemd_bus

    with systemd_bus.Manager(user=user) as manager:
        if manager.is_running(unit):
            raise LimitError(
                f"systemd runs a unit {unit} already", hint="give the container another id, or another cgroupsPath"
            )


def update_unit(unit: str, resources: Resources, *, user: bool = False) -> None:
    """Tell systemd of new limits, until the next boot as the unit itself. Raises LimitError."""
    from coso.cgroups import systemd_bus

    if changed := limits(resources):
        with systemd_bus.Manager(user=user) as manager:
            manager.set_properties(unit, changed)


def stop_unit(unit: str, *, user: bool = False) -> None:
    """Have systemd kill and forget a unit; nothing to do when it knows of none. Raises LimitError."""
    from coso.cgroups import systemd_bus

    with systemd_bus.Manager(user=user) as manager:
        manager.stop(unit)
