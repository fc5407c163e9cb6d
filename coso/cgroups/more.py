"""Limits that few containers have: block devices, huge pages, packets, RDMA, and v2 files by name.

Imported only for a container that has one.
"""

from __future__ import annotations

from coso.cgroups.files import Setting, impossible

TYPE_CHECKING = False
if TYPE_CHECKING:
    from coso.spec import BlockIo, Network, Rdma, Resources

LEAST_WEIGHT, MOST_WEIGHT = 10, 1000
THROTTLES = (
    # The field, its name in the specification, the file of v1, the key of io.max in v2.
    ("throttle_read_bps_device", "throttleReadBpsDevice", "read_bps_device", "rbps"),
    ("throttle_write_bps_device", "throttleWriteBpsDevice", "write_bps_device", "wbps"),
    ("throttle_read_iops_device", "throttleReadIOPSDevice", "read_iops_device", "riops"),
    ("throttle_write_iops_device", "throttleWriteIOPSDevice", "write_iops_device", "wiops"),
)


def v1(resources: Resources) -> list[Setting]:
    """The settings of v1 controllers; `unified` has none."""
    return [
        *_weights(resources.block_io, "blkio"),
        *_block_io_v1(resources.block_io),
        *_huge_pages(resources, "limit_in_bytes"),
        *_network(resources.network),
        *_rdma(resources.rdma),
    ]


def v2(resources: Resources) -> list[Setting]:
    """The settings of v2 controllers; `network` has none."""
    return [
        *_weights(resources.block_io, "io"),
        *_block_io_v2(resources.block_io),
        *_huge_pages(resources, "max"),
        *_rdma(resources.rdma),
        *_unified(resources.unified),
    ]


def io_weight(weight: int) -> int:
    """The weight, 1 to 10000, of the specification's 10 to 1000: the line between the ends, as runc draws it."""
    return 1 + (weight - LEAST_WEIGHT) * 9999 // (MOST_WEIGHT - LEAST_WEIGHT)


def _weights(limits: BlockIo, controller: str) -> list[Setting]:
    """Weights outside of the specification's range, which a conversion would turn into another limit."""
    given = [("weight", limits.weight), ("leafWeight", limits.leaf_weight)]
    given += [("weightDevice", device.rate) for device in limits.weight_device]
    given += [("leafWeightDevice", device.rate) for device in limits.leaf_weight_device]
    return [
        impossible(f"blockIO.{field}", controller, f"{weight} is not between {LEAST_WEIGHT} and {MOST_WEIGHT}")
        for field, weight in given
        if weight and not LEAST_WEIGHT <= weight <= MOST_WEIGHT
    ]


def _block_io_v1(limits: BlockIo) -> list[Setting]:
    """Weights of the scheduler BFQ have names of their own; leaf weights went with CFQ in Linux 5.0."""
    found = []
    if limits.weight:
        text = str(limits.weight)
        found.append(Setting("blockIO.weight", "blkio", "blkio.weight", text, ("blkio.bfq.weight", text)))
    if limits.leaf_weight:
        found.append(Setting("blockIO.leafWeight", "blkio", "blkio.leaf_weight", str(limits.leaf_weight)))
    for device in limits.weight_device:
        text = f"{device.major}:{device.minor} {device.rate}"
        instead = ("blkio.bfq.weight_device", text)
        found.append(Setting("blockIO.weightDevice", "blkio", "blkio.weight_device", text, instead))
    for device in limits.leaf_weight_device:
        text = f"{device.major}:{device.minor} {device.rate}"
        found.append(Setting("blockIO.leafWeightDevice", "blkio", "blkio.leaf_weight_device", text))
    for name, field, file, _ in THROTTLES:
        for device in getattr(limits, name):
            text = f"{device.major}:{device.minor} {device.rate}"
            found.append(Setting(f"blockIO.{field}", "blkio", f"blkio.throttle.{file}", text))
    return found


def _block_io_v2(limits: BlockIo) -> list[Setting]:
    """BFQ's file takes the specification's weights; io.weight, the iocost controller's, has a scale of its own."""
    found = []
    if limits.weight:
        instead = ("io.weight", str(io_weight(limits.weight)))
        found.append(Setting("blockIO.weight", "io", "io.bfq.weight", str(limits.weight), instead))
    for device in limits.weight_device:
        place = f"{device.major}:{device.minor}"
        instead = ("io.weight", f"{place} {io_weight(device.rate)}")
        found.append(Setting("blockIO.weightDevice", "io", "io.bfq.weight", f"{place} {device.rate}", instead))
    for name, field, _, key in THROTTLES:
        for device in getattr(limits, name):
            # 0 takes a limit away in v1; v2 has a word for it.
            text = f"{device.major}:{device.minor} {key}={device.rate or 'max'}"
            found.append(Setting(f"blockIO.{field}", "io", "io.max", text))
    gone = (("leafWeight", limits.leaf_weight), ("leafWeightDevice", limits.leaf_weight_device))
    return found + [impossible(f"blockIO.{field}", "io", "cgroup v2 has no leaf weights") for field, has in gone if has]


def _huge_pages(resources: Resources, file: str) -> list[Setting]:
    """Pages in use, and reserved ones where the kernel (5.7) tells them apart: else mmap(2) reserves past the limit."""
    found = []
    for limit in resources.hugepage_limits:
        size, text = limit.page_size, str(limit.limit)
        if not size.isalnum():
            reason = f"{size!r} is not a size of pages such as 2MB"
            found.append(impossible("hugepageLimits", "hugetlb", reason))
            continue
        found.append(Setting("hugepageLimits", "hugetlb", f"hugetlb.{size}.{file}", text))
        found.append(Setting("hugepageLimits", "hugetlb", f"hugetlb.{size}.rsvd.{file}", text, None, ""))
    return found


def _network(network: Network) -> list[Setting]:
    """The class of packets, and a line for each interface (net_cls.rst, net_prio.rst)."""
    found = []
    if network.class_id:
        found.append(Setting("network.classID", "net_cls", "net_cls.classid", str(network.class_id)))
    for interface, priority in network.priorities:
        found.append(Setting("network.priorities", "net_prio", "net_prio.ifpriomap", f"{interface} {priority}"))
    return found


def _rdma(limits: tuple[Rdma, ...]) -> list[Setting]:
    """One line for each device (rdma.rst); what is not named keeps its limit."""
    found = []
    for limit in limits:
        words = [limit.device]
        words += [f"hca_handle={limit.hca_handles}"] if limit.hca_handles is not None else []
        words += [f"hca_object={limit.hca_objects}"] if limit.hca_objects is not None else []
        found.append(Setting("rdma", "rdma", "rdma.max", " ".join(words)))
    return found


def _unified(files: tuple[tuple[str, str], ...]) -> list[Setting]:
    """Files of v2 by name; several lines are several writes, as the kernel takes one line in each."""
    found = []
    for file, text in files:
        field, (controller, dot, rest) = f"unified.{file}", file.partition(".")
        lines = [line.strip() for line in text.splitlines() if line.strip()]
        if "/" in file or not (controller and dot and rest):
            found.append(impossible(field, "cgroup", f"{file!r} is not the name of a file such as memory.high"))
        elif not lines:
            found.append(impossible(field, controller, "it has no value"))
        else:
            found += [Setting(field, controller, file, line) for line in lines]
    return found
