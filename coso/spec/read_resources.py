"""`linux.resources` of config.json: the limits of the control group (config-linux.md, Control groups)."""

from __future__ import annotations

from coso.spec import (
    BlockIo,
    Cpu,
    DeviceRate,
    DeviceRule,
    HugepageLimit,
    Memory,
    Network,
    Rdma,
    Resources,
)
from coso.spec.fields import INT64, UINT32, UINT64, Fields, shown
from coso.spec.read_process import number_list

# makedev(3) of a 32-bit dev_t: what is larger would be another device.
HIGHEST_MAJOR = 0xFFF
HIGHEST_MINOR = 0xFFFFF


def resources(fields: Fields) -> Resources:
    """The limits of the control group."""
    return Resources(
        devices=tuple(_device_rule(item) for item in fields.parts("devices")),
        memory=_memory(fields.part_or("memory")),
        cpu=_cpu(fields.part_or("cpu")),
        pids=fields.maybe("pids", lambda pids: pids.number("limit", -1, INT64)),
        block_io=_block_io(fields.part_or("blockIO")),
        hugepage_limits=tuple(_hugepage_limit(item) for item in fields.parts("hugepageLimits")),
        network=_network(fields.part_or("network")),
        rdma=tuple(_rdma(name, item) for name, item in fields.named("rdma")),
        unified=_unified(fields),
    )


def _device_rule(fields: Fields) -> DeviceRule:
    access = fields.text_or("access") or "rwm"
    if not set(access) <= set("rwm"):
        raise fields.wrong("access", f"some of r, w and m are wanted, not {shown(access)}")
    return DeviceRule(
        allow=fields.flag("allow"),
        type=fields.word_or("type", ("a", "b", "c"), "a"),
        major=_any(fields.number_or("major", -1, HIGHEST_MAJOR, None)),
        minor=_any(fields.number_or("minor", -1, HIGHEST_MINOR, None)),
        access=access,
    )


def _any(number: int | None) -> int | None:
    # Docker writes -1 for any number.
    return None if number == -1 else number


def _swappiness(fields: Fields) -> int | None:
    """Docker writes its -1 for "unset" as the largest number."""
    number = fields.number_or("swappiness", 0, UINT64, None)
    if number is not None and 100 < number < UINT64:
        raise fields.wrong("swappiness", "a whole number from 0 to 100 is wanted")
    return None if number == UINT64 else number


def _memory(fields: Fields) -> Memory:
    memory = Memory(
        limit=fields.number_or("limit", -1, INT64, None),
        reservation=fields.number_or("reservation", -1, INT64, None),
        swap=fields.number_or("swap", -1, INT64, None),
        kernel=fields.number_or("kernel", -1, INT64, None),
        kernel_tcp=fields.number_or("kernelTCP", -1, INT64, None),
        swappiness=_swappiness(fields),
        disable_oom_killer=fields.flag_or("disableOOMKiller", None),
        use_hierarchy=fields.flag_or("useHierarchy", None),
        check_before_update=fields.flag_or("checkBeforeUpdate", None),
    )
    if (memory.limit or 0) > 0 and 0 < (memory.swap or 0) < (memory.limit or 0):
        raise fields.wrong("swap", f"{memory.swap} is memory and swap together, and below the limit, {memory.limit}")
    return memory


def _cpu(fields: Fields) -> Cpu:
    # Read for the sake of the check: the kernel is given the lists as they are.
    for name in ("cpus", "mems"):
        number_list(fields, name)
    cpu = Cpu(
        shares=fields.number_or("shares", 0, UINT64, None),
        quota=fields.number_or("quota", -1, INT64, None),
        burst=fields.number_or("burst", 0, UINT64, None),
        period=fields.number_or("period", 0, UINT64, None),
        realtime_runtime=fields.number_or("realtimeRuntime", -1, INT64, None),
        realtime_period=fields.number_or("realtimePeriod", 0, UINT64, None),
        cpus=fields.text_or("cpus").strip(),
        mems=fields.text_or("mems").strip(),
        idle=fields.number_or("idle", 0, 1, None),
    )
    if 0 < (cpu.quota or 0) < (cpu.burst or 0):
        raise fields.wrong("burst", f"{cpu.burst} is above the quota, {cpu.quota}")
    return cpu


def _block_io(fields: Fields) -> BlockIo:
    def rates(name: str) -> tuple[DeviceRate, ...]:
        return tuple(_rate(item, item.number("rate", 0, UINT64)) for item in fields.parts(name))

    weights, leaf_weights = _weights(fields)
    return BlockIo(
        weight=_weight(fields, "weight"),
        leaf_weight=_weight(fields, "leafWeight"),
        weight_device=weights,
        leaf_weight_device=leaf_weights,
        throttle_read_bps_device=rates("throttleReadBpsDevice"),
        throttle_write_bps_device=rates("throttleWriteBpsDevice"),
        throttle_read_iops_device=rates("throttleReadIOPSDevice"),
        throttle_write_iops_device=rates("throttleWriteIOPSDevice"),
    )


def _weights(fields: Fields) -> tuple[tuple[DeviceRate, ...], tuple[DeviceRate, ...]]:
    weights, leaf_weights = [], []
    for item in fields.parts("weightDevice"):
        weight, leaf_weight = _weight(item, "weight"), _weight(item, "leafWeight")
        if weight is None and leaf_weight is None:
            raise item.wrong("weight", "missing, and so is leafWeight; one of them is wanted")
        if weight is not None:
            weights.append(_rate(item, weight))
        if leaf_weight is not None:
            leaf_weights.append(_rate(item, leaf_weight))
    return tuple(weights), tuple(leaf_weights)


def _weight(fields: Fields, name: str) -> int | None:
    # Docker writes 0 for none.
    weight = fields.number_or(name, 0, 1000, None) or None
    if weight is not None and weight < 10:
        raise fields.wrong(name, f"a whole number from 10 to 1000 is wanted, not {weight}")
    return weight


def _rate(fields: Fields, rate: int) -> DeviceRate:
    return DeviceRate(fields.number("major", 0, HIGHEST_MAJOR), fields.number("minor", 0, HIGHEST_MINOR), rate)


def _hugepage_limit(fields: Fields) -> HugepageLimit:
    size = fields.text("pageSize")
    digits = size[:-2]
    if not (size[-2:] in ("KB", "MB", "GB") and digits.isascii() and digits.isdecimal() and digits[0] != "0"):
        raise fields.wrong("pageSize", f"a size such as 64KB, 2MB or 1GB is wanted, not {shown(size)}")
    return HugepageLimit(size, fields.number("limit", 0, UINT64))


def _network(fields: Fields) -> Network:
    return Network(
        class_id=fields.number_or("classID", 0, UINT32, None),
        priorities=tuple(
            (interface(item.text("name"), item, "name"), item.number("priority", 0, UINT32))
            for item in fields.parts("priorities")
        ),
    )


def interface(name: str, fields: Fields, field: str) -> str:
    """The name of a network interface, as the kernel allows it (net/core/dev.c, dev_valid_name)."""
    bad = name in ("", ".", "..") or len(name.encode()) > 15 or any(c in "/:" or c.isspace() for c in name)
    if bad:
        raise fields.wrong(field, f"{shown(name)} cannot be the name of a network interface")
    return name


def _rdma(device: str, fields: Fields) -> Rdma:
    rdma = Rdma(
        device, fields.number_or("hcaHandles", 0, UINT32, None), fields.number_or("hcaObjects", 0, UINT32, None)
    )
    if rdma.hca_handles is None and rdma.hca_objects is None:
        raise fields.wrong("hcaHandles", "missing, and so is hcaObjects; one of them is wanted")
    # The kernel's rdma.max has a device a line, and blanks between words.
    if not device or any(c.isspace() for c in device):
        raise fields.wrong("hcaHandles", f"{shown(device)} cannot be the name of an RDMA device")
    return rdma


def _unified(fields: Fields) -> tuple[tuple[str, str], ...]:
    files = fields.pairs("unified")
    for name, _ in files:
        if "/" in name or name in ("", ".", ".."):
            raise fields.wrong(f"unified[{shown(name)}]", "the name of a file of the control group is wanted")
    return files
