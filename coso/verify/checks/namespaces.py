"""Checks of the eight namespaces, the network among them, and of neighbours."""

from __future__ import annotations

from coso.verify.checks.check import NETWORK, UNFILTERED, Check

_NAMESPACES = {
    "cgroup": ("--cgroupns=host",),
    "ipc": ("--ipc=host",),
    "mnt": ("--userns=host", "--mountns=host"),
    "net": ("--network=host",),
    "pid": ("--pid=host",),
    "time": (),
    "user": ("--userns=host",),
    "uts": ("--uts=host",),
}
_MAN = {"mnt": "mount_namespaces(7)", "net": "network_namespaces(7)"}
_SYSTEM_V = {"shm": "LTP shmnstest", "msg": "LTP mesgq_nstest", "sem": "LTP sem_nstest"}
CLOCK = ("--monotonic=1000",)
_PID, _IPC, _NET, _USER = ("--pid=host",), ("--ipc=host",), ("--network=host",), ("--userns=host",)


def _inode(name: str, control: tuple[str, ...]) -> Check:
    title = f"the {name} namespace is not the host's"
    source = _MAN.get(name, f"{name}_namespaces(7)")
    given = CLOCK if name == "time" else ()
    return Check(f"{name}-namespace", name, title, "high", source, f"namespace:{name}", control, given=given)


def _system_v(kind: str, source: str) -> Check:
    title = f"the host's System V {kind} objects are unknown inside"
    return Check(f"ipc-{kind}", "ipc", title, "high", source, f"system_v:{kind}get", _IPC)


def _pid(name: str, severity: str, title: str, source: str, probe: str) -> Check:
    return Check(f"pid-{name}", "pid", title, severity, source, probe, _PID)


def _net(name: str, severity: str, title: str, source: str, probe: str, control: tuple[str, ...] = _NET) -> Check:
    return Check(f"net-{name}", "net", title, severity, source, probe, control, given=(NETWORK,))


def _neighbour(
    name: str, severity: str, title: str, source: str, probe: str, control: tuple[str, ...], given: tuple[str, ...] = ()
) -> Check:
    return Check(
        f"neighbour-{name}", "neighbour", title, severity, source, probe, control, given=given, scene="neighbour"
    )


_FORGERY = ("--cap-add=NET_RAW", UNFILTERED)
CHECKS: tuple[Check, ...] = (
    *(_inode(name, control) for name, control in _NAMESPACES.items()),
    _pid("first", "low", "the command is process 1", "LTP pidns01", "first_process"),
    _pid("parent", "low", "whoever started process 1 is out of sight", "LTP pidns01", "no_parent"),
    _pid("others", "high", "no other process is seen", "LTP pidns03, pid_namespaces(7)", "other_processes"),
    _pid("signal", "high", "a process of the host cannot be signalled", "LTP pidns06, kill(2)", "signal"),
    _pid("signal-all", "high", "kill(-1) reaches nobody else", "LTP pidns10, pidns17", "signal_all"),
    _pid("orphans", "low", "orphans are handed to process 1 of the container", "LTP pidns04, pidns05", "orphans"),
    Check("uts-name", "uts", "the host's name is not seen", "low", "LTP utsname03", "host_name", ("--uts=host",)),
    *(_system_v(kind, source) for kind, source in _SYSTEM_V.items()),
    Check("ipc-list", "ipc", "the host's segments are not listed", "low", "LTP shmem_2nstest", "system_v_list", _IPC),
    Check("ipc-mqueue", "ipc", "the host's POSIX queues are unknown", "high", "LTP mqns_01", "message_queue", _IPC),
    Check("ipc-posix-shm", "ipc", "/dev/shm is not the host's", "high", "shm_overview(7)", "shared_memory", _IPC),
    _net(
        "abstract", "high", "the host's abstract sockets are out of reach", "unix(7), CVE-2020-15257", "abstract_socket"
    ),
    _net("loopback", "high", "services on the host's loopback are out of reach", "network_namespaces(7)", "loopback"),
    _net("resolver", "medium", "a resolver on the host's loopback is out of reach", "resolv.conf(5)", "resolver"),
    _net("sockets", "medium", "no socket of the host is listed", "LTP netns_breakns, proc_pid_net(5)", "sockets"),
    _net("links", "medium", "the host's links are unknown to netlink", "LTP netns_netlink", "links:netlink"),
    _net("sysfs", "low", "the host's links are unknown to /sys", "LTP netns_sysfs", "links:sysfs"),
    _net("forged-frame", "high", "no ARP answer can be forged", "packet(7), CVE-2020-14386", "forged_frame", _FORGERY),
    _net(
        "forged-packet", "high", "no packet leaves from another's address", "raw(7), ip(7)", "forged_packet", _FORGERY
    ),
    _net(
        "address",
        "high",
        "no other address can be taken",
        "netdevice(7)",
        "another_address",
        ("--cap-add=NET_ADMIN",),
    ),
    Check(
        "net-egress",
        "net",
        "without a network there is neither link nor route",
        "high",
        "LTP netns_comm, network_namespaces(7)",
        "no_way_out",
        (NETWORK,),
    ),
    _neighbour(
        "ingress",
        "high",
        "a port that is not published cannot be reached through the host's addresses",
        "network_namespaces(7)",
        "host:loopback",
        _NET,
        (NETWORK,),
    ),
    _neighbour(
        "loopback", "high", "a neighbour's loopback is out of reach", "LTP netns_comm", "loopback", _NET, (NETWORK,)
    ),
    _neighbour(
        "abstract", "high", "a neighbour's abstract sockets are out of reach", "unix(7)", "abstract_socket", _NET
    ),
    _neighbour("ptrace", "high", "a neighbour's processes cannot be traced", "ptrace(2), LTP pidns06", "ptrace", _PID),
    _neighbour(
        "users",
        "medium",
        "no host user is shared with a neighbour",
        "user_namespaces(7), subuid(5)",
        "own_users",
        _USER,
    ),
    Check("user-root", "user", "root inside is nobody outside", "high", "LTP userns01", "root_is_nobody:uid", _USER),
    Check(
        "user-group", "user", "group 0 inside is nobody's outside", "high", "LTP userns03", "root_is_nobody:gid", _USER
    ),
    Check(
        "time-offset",
        "time",
        "the monotonic clock is the container's own",
        "low",
        "LTP timens01",
        "monotonic",
        given=CLOCK,
    ),
    Check(
        "cgroup-path",
        "cgroup",
        "no control group of the host is seen",
        "medium",
        "cgroup_namespaces(7)",
        "control_groups",
        ("--cgroupns=host",),
    ),
)
