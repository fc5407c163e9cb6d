"""What a container is to be: the OCI runtime specification 1.2 as frozen values.

Names follow https://github.com/opencontainers/runtime-spec (config.md,
config-linux.md) in snake_case; None is what the specification calls unset.
coso's own are `User.name`, `Process.interactive` and `init`, `Root.overlay`,
`Spec.names`, `Spec.network` and `Spec.systemd` (which then makes the groups).  Nothing here touches the machine.
"""

from __future__ import annotations

from coso.value import value

VERSION = "1.2.0"


@value
class User:
    """Who the command runs as (process.user).

    With `name`, a name or number that is looked up in the image, `""` for
    root, the numbers come from there, and from `group_names` more groups;
    otherwise they are taken as they are.
    """

    name: str | None = None
    uid: int = 0
    gid: int = 0
    additional_gids: tuple[int, ...] = ()
    umask: int = 0o022
    group_names: tuple[str, ...] = ()


@value
class Rlimit:
    """One resource limit, soft and hard (process.rlimits, getrlimit(2))."""

    type: str
    soft: int
    hard: int


@value
class Capabilities:
    """The five sets of the command's capabilities, by name (process.capabilities)."""

    bounding: tuple[str, ...] = ()
    effective: tuple[str, ...] = ()
    permitted: tuple[str, ...] = ()
    inheritable: tuple[str, ...] = ()
    ambient: tuple[str, ...] = ()


@value
class Scheduler:
    """How the command is scheduled (process.scheduler, sched_setattr(2)); times in nanoseconds."""

    policy: str
    nice: int = 0
    priority: int = 0
    flags: tuple[str, ...] = ()
    runtime: int = 0
    deadline: int = 0
    period: int = 0


@value
class IoPriority:
    """The class and level of its input and output (process.ioPriority, ioprio_set(2))."""

    class_: str
    priority: int = 0


@value
class CpuAffinity:
    """The CPUs of an exec before and after it enters the control group (process.execCPUAffinity)."""

    initial: tuple[int, ...] = ()
    final: tuple[int, ...] = ()


@value
class Process:
    """The command and the state it starts in (process); `console_size` is rows and columns."""

    args: tuple[str, ...]
    env: tuple[str, ...] = ()
    capabilities: Capabilities = Capabilities()
    cwd: str = ""
    user: User = User()
    terminal: bool = False
    console_size: tuple[int, int] | None = None
    no_new_privileges: bool = False
    rlimits: tuple[Rlimit, ...] = ()
    apparmor_profile: str = ""
    selinux_label: str = ""
    oom_score_adj: int | None = None
    scheduler: Scheduler | None = None
    io_priority: IoPriority | None = None
    exec_cpu_affinity: CpuAffinity | None = None
    # Whether the command reads the caller's standard input, and whether a small reaper comes before it.
    interactive: bool = True
    init: bool = False


@value
class Root:
    """The root filesystem (root); with `overlay`, `path` is a lower layer that is never written to.

    `layers` are directories below `path` instead, the uppermost first.  `kept`
    is a directory that holds the writable layer already, and goes on to.
    """

    path: str
    readonly: bool = False
    overlay: bool = False
    layers: tuple[str, ...] = ()
    kept: str = ""


@value
class IdMapping:
    """A range of ids inside and outside (linux.uidMappings, user_namespaces(7))."""

    container_id: int
    host_id: int
    size: int


@value
class Mount:
    """A filesystem inside the root (mounts); `idmap` in the options without mappings takes the container's."""

    destination: str
    type: str = ""
    source: str = ""
    options: tuple[str, ...] = ()
    uid_mappings: tuple[IdMapping, ...] = ()
    gid_mappings: tuple[IdMapping, ...] = ()


@value
class Hook:
    """A program that runs at a point of the container's life (hooks); `timeout` in seconds."""

    path: str
    args: tuple[str, ...] = ()
    env: tuple[str, ...] = ()
    timeout: int | None = None


@value
class Hooks:
    """The hooks by their point (hooks)."""

    prestart: tuple[Hook, ...] = ()
    create_runtime: tuple[Hook, ...] = ()
    create_container: tuple[Hook, ...] = ()
    start_container: tuple[Hook, ...] = ()
    poststart: tuple[Hook, ...] = ()
    poststop: tuple[Hook, ...] = ()


@value
class Joined:
    """A namespace that exists already (linux.namespaces with a path)."""

    type: str
    path: str


@value
class TimeOffset:
    """What is added to a clock of a time namespace (linux.timeOffsets, time_namespaces(7))."""

    secs: int = 0
    nanosecs: int = 0


@value
class Device:
    """A device node inside the root (linux.devices); `type` is one of c, u, b, p."""

    path: str
    type: str
    major: int = 0
    minor: int = 0
    file_mode: int = 0o666
    uid: int = 0
    gid: int = 0


@value
class DeviceRule:
    """What the control group allows (linux.resources.devices); None for any number, `a` for any type."""

    allow: bool
    type: str = "a"
    major: int | None = None
    minor: int | None = None
    access: str = "rwm"


@value
class Memory:
    """Memory limits in bytes, -1 for none (linux.resources.memory)."""

    limit: int | None = None
    reservation: int | None = None
    swap: int | None = None
    kernel: int | None = None
    kernel_tcp: int | None = None
    swappiness: int | None = None
    disable_oom_killer: bool | None = None
    use_hierarchy: bool | None = None
    check_before_update: bool | None = None


@value
class Cpu:
    """CPU time in microseconds per period, shares, and sets in list format (linux.resources.cpu)."""

    shares: int | None = None
    quota: int | None = None
    burst: int | None = None
    period: int | None = None
    realtime_runtime: int | None = None
    realtime_period: int | None = None
    cpus: str = ""
    mems: str = ""
    idle: int | None = None


@value
class DeviceRate:
    """A rate in bytes or operations per second, or a weight, of one block device."""

    major: int
    minor: int
    rate: int


@value
class BlockIo:
    """Limits of block devices (linux.resources.blockIO)."""

    weight: int | None = None
    leaf_weight: int | None = None
    weight_device: tuple[DeviceRate, ...] = ()
    leaf_weight_device: tuple[DeviceRate, ...] = ()
    throttle_read_bps_device: tuple[DeviceRate, ...] = ()
    throttle_write_bps_device: tuple[DeviceRate, ...] = ()
    throttle_read_iops_device: tuple[DeviceRate, ...] = ()
    throttle_write_iops_device: tuple[DeviceRate, ...] = ()


@value
class HugepageLimit:
    """Bytes of huge pages of one size such as `2MB` (linux.resources.hugepageLimits)."""

    page_size: str
    limit: int


@value
class Network:
    """The class of packets, and priorities by interface (linux.resources.network)."""

    class_id: int | None = None
    priorities: tuple[tuple[str, int], ...] = ()


@value
class Rdma:
    """Handles and objects of one RDMA device (linux.resources.rdma)."""

    device: str
    hca_handles: int | None = None
    hca_objects: int | None = None


@value
class Resources:
    """The limits of the control group (linux.resources)."""

    devices: tuple[DeviceRule, ...] = ()
    memory: Memory = Memory()
    cpu: Cpu = Cpu()
    pids: int | None = None
    block_io: BlockIo = BlockIo()
    hugepage_limits: tuple[HugepageLimit, ...] = ()
    network: Network = Network()
    rdma: tuple[Rdma, ...] = ()
    unified: tuple[tuple[str, str], ...] = ()


@value
class SeccompArg:
    """A condition on one argument of a call (linux.seccomp.syscalls.args)."""

    index: int
    value: int
    op: str
    value_two: int = 0


@value
class SeccompRule:
    """What is answered to some calls, when all conditions hold (linux.seccomp.syscalls)."""

    names: tuple[str, ...]
    action: str
    errno_ret: int | None = None
    args: tuple[SeccompArg, ...] = ()


@value
class Seccomp:
    """The filter of system calls (linux.seccomp)."""

    default_action: str
    default_errno_ret: int | None = None
    architectures: tuple[str, ...] = ()
    flags: tuple[str, ...] = ()
    listener_path: str = ""
    listener_metadata: str = ""
    syscalls: tuple[SeccompRule, ...] = ()


@value
class Personality:
    """The execution domain (linux.personality, personality(2))."""

    domain: str
    flags: tuple[str, ...] = ()


# In place of an address in Resolver.hosts: the host, as the container reaches it.
HOST_GATEWAY = "host-gateway"


@value
class Resolver:
    """What is told to the C library inside: resolvers, search domains and options (resolv.conf(5)), more hosts."""

    servers: tuple[str, ...] = ()
    search: tuple[str, ...] = ()
    options: tuple[str, ...] = ()
    hosts: tuple[tuple[str, str], ...] = ()


NAMESPACES = ("user", "pid", "mount", "uts", "ipc", "network", "cgroup", "time")


@value
class Spec:
    """A container, whole.

    `namespaces` are new ones, `joined` exist already; of all others the
    runtime's own are used.  With `names`, coso sees to the host's name, to
    /etc/hosts and its like, and to HOSTNAME.  `network` is the helper, called
    with `network_words` besides the process; `networks_more` are
    the words for networks besides that one.  `seccomp` may be the word
    "default", coso's own profile.  `limited` says that the runtime's own
    rights end at a user namespace (coso.runtime.rootless).
    """

    process: Process
    root: Root
    hostname: str = ""
    domainname: str = ""
    mounts: tuple[Mount, ...] = ()
    hooks: Hooks = Hooks()
    annotations: tuple[tuple[str, str], ...] = ()
    namespaces: tuple[str, ...] = NAMESPACES[:-1]
    joined: tuple[Joined, ...] = ()
    uid_mappings: tuple[IdMapping, ...] = ()
    gid_mappings: tuple[IdMapping, ...] = ()
    time_offsets: tuple[tuple[str, TimeOffset], ...] = ()
    devices: tuple[Device, ...] = ()
    net_devices: tuple[tuple[str, str], ...] = ()
    cgroups_path: str = ""
    resources: Resources = Resources()
    rootfs_propagation: str = ""
    seccomp: Seccomp | str | None = None
    sysctl: tuple[tuple[str, str], ...] = ()
    masked_paths: tuple[str, ...] = ()
    readonly_paths: tuple[str, ...] = ()
    mount_label: str = ""
    personality: Personality | None = None
    names: bool = False
    name: str = ""
    resolver: Resolver = Resolver()
    network: str = ""
    network_words: tuple[str, ...] = ()
    networks_more: tuple[tuple[str, ...], ...] = ()
    systemd: bool = False
    limited: bool = False
