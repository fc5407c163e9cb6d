"""The list of checks: what each proves, how serious a breach is, where it is written, and its control.

The control is what a person would give `coso run` to take this very
protection away; the same probe must then report a breach.  A protection that
no option takes away names the step of the plan that gives it instead: the
tests leave that step out.
"""

from __future__ import annotations

from coso.spec.defaults import MASKED_PATHS, READONLY_PATHS
from coso.value import value
from coso.verify.probe import CALLS

PRIVILEGED = ("--userns=host", "--cap-add=ALL", "--security-opt=seccomp=unconfined")
# What a container needs beyond the defaults to be checked in all eight namespaces, and within limits.
OPTIONS = ("--monotonic=1000", "--memory=256m", "--pids-limit=64")


@value
class Check:
    """One check.

    `probe` is a name of coso.verify.probe with its argument; `control` are
    the options, or `without` is the step left out, with which it must breach.
    """

    id: str
    area: str
    title: str
    severity: str
    source: str
    probe: str
    control: tuple[str, ...] = ()
    without: str = ""


_NAMESPACES = {
    "cgroup": ("cgroup_namespaces(7)", ("--cgroupns=host",)),
    "ipc": ("ipc_namespaces(7)", ("--ipc=host",)),
    "mnt": ("mount_namespaces(7)", ("--userns=host", "--mountns=host")),
    "net": ("network_namespaces(7)", ("--network=host",)),
    "pid": ("pid_namespaces(7)", ("--pid=host",)),
    "time": ("time_namespaces(7)", ()),
    "user": ("user_namespaces(7)", ("--userns=host",)),
    "uts": ("uts_namespaces(7)", ("--uts=host",)),
}
_SYSTEM_V = {"shm": "LTP shmnstest", "msg": "LTP mesgq_nstest", "sem": "LTP sem_nstest"}

CHECKS: tuple[Check, ...] = (
    *(
        Check(
            f"{name}-namespace",
            name,
            f"the {name} namespace is not the host's",
            "high",
            source,
            f"namespace:{name}",
            control,
        )
        for name, (source, control) in _NAMESPACES.items()
    ),
    Check("pid-first", "pid", "the command is process 1", "low", "LTP pidns01", "first_process", ("--pid=host",)),
    Check(
        "pid-others", "pid", "no other process is seen", "high", "pid_namespaces(7)", "other_processes", ("--pid=host",)
    ),
    Check(
        "pid-signal", "pid", "a process of the host cannot be signalled", "high", "kill(2)", "signal", ("--pid=host",)
    ),
    Check("uts-name", "uts", "the host's name is not seen", "low", "uts_namespaces(7)", "host_name", ("--uts=host",)),
    *(
        Check(
            f"ipc-{kind}",
            "ipc",
            f"the host's System V {kind} objects are unknown inside",
            "high",
            source,
            f"system_v:{kind}get",
            ("--ipc=host",),
        )
        for kind, source in _SYSTEM_V.items()
    ),
    Check(
        "net-abstract",
        "net",
        "the host's abstract sockets cannot be reached",
        "high",
        "unix(7), CVE-2020-15257",
        "abstract_socket",
        ("--network=host",),
    ),
    Check(
        "net-loopback",
        "net",
        "services on the host's loopback cannot be reached",
        "high",
        "network_namespaces(7)",
        "loopback",
        ("--network=host",),
    ),
    Check(
        "net-sockets",
        "net",
        "no socket of the host is listed",
        "medium",
        "proc_pid_net(5)",
        "sockets",
        ("--network=host",),
    ),
    Check(
        "user-root",
        "user",
        "root inside is nobody outside",
        "high",
        "user_namespaces(7)",
        "root_is_nobody",
        ("--userns=host",),
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
    Check(
        "caps-bounding",
        "capabilities",
        "no capability that governs the machine can be had",
        "high",
        "capabilities(7)",
        "bounding_set",
        ("--cap-add=ALL",),
    ),
    Check(
        "setuid",
        "privileges",
        "no setuid program raises privileges",
        "high",
        "PR_SET_NO_NEW_PRIVS(2const)",
        "no_new_privileges",
        ("--security-opt=no-new-privileges=false",),
    ),
    Check(
        "seccomp",
        "seccomp",
        "system calls are filtered",
        "high",
        "seccomp(2)",
        "filtered",
        ("--security-opt=seccomp=unconfined",),
    ),
    *(
        Check(f"call-{name}", "seccomp", f"{name} is refused", "high", f"{name}(2)", f"call:{name}", PRIVILEGED)
        for name in CALLS
    ),
    *(
        Check(
            f"masked-{path.rpartition('/')[2]}",
            "paths",
            f"{path} is covered",
            "medium",
            "OCI config-linux.md (maskedPaths)",
            f"masked:{path}",
            without="mask paths",
        )
        for path in MASKED_PATHS
    ),
    *(
        Check(
            f"readonly-{path.rpartition('/')[2]}",
            "paths",
            f"{path} is read-only",
            "high",
            "OCI config-linux.md (readonlyPaths)",
            f"read_only:{path}",
            without="protect paths",
        )
        for path in READONLY_PATHS
    ),
    Check("limit-memory", "limits", "a memory limit bites", "medium", "cgroups(7)", "memory_limit", ("--memory=2g",)),
    Check(
        "limit-pids",
        "limits",
        "a limit of processes bites",
        "medium",
        "cgroups(7)",
        "process_limit",
        ("--pids-limit=1000",),
    ),
    Check(
        "input",
        "descriptors",
        "the caller's input cannot be read",
        "medium",
        "null(4)",
        "callers_input",
        ("--interactive",),
    ),
    Check("dev-mknod", "devices", "no device node can be made", "high", "mknod(2)", "device_node", ("--userns=host",)),
)
