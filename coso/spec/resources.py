"""Limits in words: --memory, --cpus and their like become linux.resources and process fields."""

from __future__ import annotations

import os

from coso.errors import UsageError
from coso.spec import BlockIo, Cpu, Device, DeviceRate, DeviceRule, Memory, Resources, Rlimit, defaults, units

TYPE_CHECKING = False
if TYPE_CHECKING:
    from coso.flags import Words

LEAST_SHARES, MOST_WEIGHT, LEAST_WEIGHT = 2, 1000, 10


def resources(words: Words, *, filter_devices: bool) -> Resources:
    """The limits of a container. Raises UsageError."""
    rules = defaults.DEVICE_RULES if filter_devices else ()
    if rules:
        rules += tuple(
            DeviceRule(True, device.type, device.major, device.minor, access) for device, access in devices(words)
        )
        rules += tuple(_rule(text) for text in words.all("device-cgroup-rule"))
    return Resources(
        devices=rules,
        memory=_memory(words),
        cpu=_cpu(words),
        pids=_pids(words.last("pids-limit")) if "pids-limit" in words.options else None,
        block_io=BlockIo(
            weight=_number(words, "blkio-weight", LEAST_WEIGHT, MOST_WEIGHT),
            weight_device=_rates(words, "blkio-weight-device"),
            throttle_read_bps_device=_rates(words, "device-read-bps"),
            throttle_write_bps_device=_rates(words, "device-write-bps"),
            throttle_read_iops_device=_rates(words, "device-read-iops"),
            throttle_write_iops_device=_rates(words, "device-write-iops"),
        ),
    )


def _rates(words: Words, option: str) -> tuple[DeviceRate, ...]:
    """The devices and numbers of `--device-read-bps /dev/sda:1m` and its like."""
    found = []
    for text in words.all(option):
        path, _, number = text.rpartition(":")
        try:
            about = os.stat(path)
            rate = int(number) if number.isdecimal() else units.size(number)
        except (OSError, ValueError) as error:
            raise UsageError(f"--{option} {text!r}: {getattr(error, 'strerror', error)}") from None
        found.append(DeviceRate(os.major(about.st_rdev), os.minor(about.st_rdev), rate))
    return tuple(found)


def _pids(text: str) -> int | None:
    return None if text in ("0", "-1") else units.count(text, "number of processes")


def _memory(words: Words) -> Memory:
    given = words.options
    limit = units.memory(words.last("memory")) if "memory" in given else None
    # Swap is the sum of both: without it a container on a machine with swap would go on past its limit.
    swap = limit
    if "memory-swap" in given:
        text = words.last("memory-swap")
        swap = -1 if text == "-1" else units.memory(text)
        if limit is None:
            raise UsageError("--memory-swap needs --memory: it is the sum of memory and swap")
        if 0 <= swap < limit:
            raise UsageError(f"--memory-swap {text} is less than --memory", hint="it is the sum of memory and swap")
    reservation = units.memory(words.last("memory-reservation")) if "memory-reservation" in given else None
    if limit is not None and reservation is not None and reservation > limit:
        raise UsageError("--memory-reservation is more than --memory")
    return Memory(
        limit=limit,
        swap=swap,
        reservation=reservation,
        swappiness=_number(words, "memory-swappiness", 0, 100),
        disable_oom_killer=True if words.on("oom-kill-disable") else None,
    )


def _cpu(words: Words) -> Cpu:
    given = words.options
    most = os.cpu_count() or 1
    if "cpus" in given and {"cpu-quota", "cpu-period"} & given.keys():
        raise UsageError("--cpus and --cpu-quota or --cpu-period say the same thing", hint="leave one of them out")
    if "cpus" in given and units.cpus(words.last("cpus")) > most:
        raise UsageError(f"--cpus {words.last('cpus')}: this machine has {most}", hint="ask for as many or fewer")
    period = _number(words, "cpu-period", 1000, 1_000_000)
    quota = _number(words, "cpu-quota", 1000, 1 << 40)
    if "cpus" in given:
        quota, period = int(units.cpus(words.last("cpus")) * defaults.CPU_PERIOD), defaults.CPU_PERIOD
    return Cpu(
        shares=_number(words, "cpu-shares", LEAST_SHARES, 262144),
        quota=quota,
        period=period,
        realtime_runtime=_number(words, "cpu-rt-runtime", 0, 1_000_000),
        realtime_period=_number(words, "cpu-rt-period", 1, 1_000_000),
        cpus=words.last("cpuset-cpus"),
        mems=words.last("cpuset-mems"),
    )


def _number(words: Words, option: str, least: int, most: int) -> int | None:
    if option not in words.options:
        return None
    text = words.last(option)
    if not text.isdecimal() or not least <= int(text) <= most:
        raise UsageError(f"--{option} {text!r} is not a whole number from {least} to {most}")
    return int(text)


def oom_score(words: Words) -> int | None:
    """What --oom-score-adj asks for. Raises UsageError."""
    if "oom-score-adj" not in words.options:
        return None
    text = words.last("oom-score-adj")
    if not text.removeprefix("-").isdecimal() or not -1000 <= int(text) <= 1000:
        raise UsageError(f"--oom-score-adj {text!r} is not a number from -1000 to 1000")
    return int(text)


def rlimits(words: Words) -> tuple[Rlimit, ...]:
    """What --ulimit asks for. Raises UsageError."""
    return tuple(_rlimit(text) for text in words.all("ulimit"))


def _rlimit(text: str) -> Rlimit:
    import resource

    name, _, limits = text.partition("=")
    soft, _, hard = limits.partition(":")
    numbers = []
    for item in (soft, hard or soft):
        if item not in ("unlimited", "-1") and not item.isdecimal():
            raise UsageError(f"--ulimit {text!r} is not NAME=SOFT[:HARD]", hint="write it as nofile=1024:4096")
        numbers.append(resource.RLIM_INFINITY if item in ("unlimited", "-1") else int(item))
    if not hasattr(resource, f"RLIMIT_{name.upper()}"):
        raise UsageError(f"--ulimit {name!r} is no resource limit", hint="see getrlimit(2): nofile, nproc, core, …")
    return Rlimit(f"RLIMIT_{name.upper()}", numbers[0], numbers[1])


def devices(words: Words) -> list[tuple[Device, str]]:
    """Devices of the host that --device asks for, with what may be done to each. Raises UsageError."""
    found = []
    for text in words.all("device"):
        parts = text.split(":")
        source, inside, access = (*parts, "", "")[:3]
        if inside and not inside.startswith("/"):
            inside, access = source, inside
        access = access or "rwm"
        if len(parts) > 3 or not source.startswith("/") or set(access) - set("rwm"):
            raise UsageError(f"--device {text!r} is not HOST[:CONTAINER][:rwm]", hint="write it as /dev/fuse")
        found.append((_device(text, source, inside or source), access))
    return found


def _device(text: str, source: str, inside: str) -> Device:
    import stat

    try:
        about = os.stat(source)
    except OSError as error:
        raise UsageError(f"--device {text!r}: {source}: {error.strerror}") from None
    kinds = {stat.S_IFCHR: "c", stat.S_IFBLK: "b"}
    kind = kinds.get(stat.S_IFMT(about.st_mode))
    if kind is None:
        raise UsageError(f"--device {text!r}: {source} is no device", hint="for a file or directory: --volume")
    numbers = os.major(about.st_rdev), os.minor(about.st_rdev)
    # Owned by root inside: the host's owners are nobody there.
    return Device(inside, kind, *numbers, file_mode=stat.S_IMODE(about.st_mode))


def _rule(text: str) -> DeviceRule:
    kind, _, rest = text.partition(" ")
    numbers, _, access = rest.partition(" ")
    major, _, minor = numbers.partition(":")
    good = kind in ("a", "b", "c") and access and not set(access) - set("rwm")
    if not good or not all(part == "*" or part.isdecimal() for part in (major, minor)):
        raise UsageError(f"--device-cgroup-rule {text!r} is not KIND MAJOR:MINOR ACCESS", hint="as in 'c 10:229 rw'")
    return DeviceRule(True, kind, None if major == "*" else int(major), None if minor == "*" else int(minor), access)
