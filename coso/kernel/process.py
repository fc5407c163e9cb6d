"""Processes: clone3, pidfds, namespaces, prctl, descriptors (clone(2), pidfd_open(2), setns(2), prctl(2))."""

from __future__ import annotations

import os
from _struct import pack

from coso.errors import KernelError
from coso.kernel.call import address_of, buffer, call, interpreter_hook, raw

# include/uapi/linux/sched.h
CLONE_INTO_CGROUP = 0x200000000
CLONE_NEWCGROUP = 0x02000000
CLONE_NEWIPC = 0x08000000
CLONE_NEWNET = 0x40000000
CLONE_NEWNS = 0x00020000
CLONE_NEWPID = 0x20000000
CLONE_NEWTIME = 0x00000080
CLONE_NEWUSER = 0x10000000
CLONE_NEWUTS = 0x04000000
# By kind, in the order in which they are entered: the host's rights are needed until the last.
NAMESPACES = {
    "pid": CLONE_NEWPID,
    "uts": CLONE_NEWUTS,
    "ipc": CLONE_NEWIPC,
    "network": CLONE_NEWNET,
    "cgroup": CLONE_NEWCGROUP,
    "time": CLONE_NEWTIME,
    "mount": CLONE_NEWNS,
    "user": CLONE_NEWUSER,
}
CLONE_PARENT = 0x00008000
CLONE_PIDFD = 0x00001000

# include/uapi/linux/close_range.h
CLOSE_RANGE_CLOEXEC = 4

# include/uapi/linux/pidfd.h: _IOWR(0xFF, 11, struct pidfd_info), whose first version has 64 bytes
PIDFD_GET_INFO = 0xC040FF0B
PIDFD_INFO_EXIT = 1 << 3

# include/uapi/linux/keyctl.h
KEYCTL_JOIN_SESSION_KEYRING = 1

# include/uapi/linux/prctl.h
PR_CAP_AMBIENT = 47
PR_CAP_AMBIENT_CLEAR_ALL = 4
PR_CAP_AMBIENT_RAISE = 2
PR_CAPBSET_DROP = 24
PR_SET_DUMPABLE = 4
PR_SET_KEEPCAPS = 8
PR_SET_NO_NEW_PRIVS = 38
PR_SET_PDEATHSIG = 1

SIGCHLD = 17
SFD_NONBLOCK_CLOEXEC = 0o2004000


def clone3(flags: int, cgroup: int = -1, *, sibling: bool = False) -> tuple[int, int]:
    """Fork with new namespaces; return (pid, pidfd) in the parent and (0, -1) in the child.

    With `cgroup`, a descriptor of a cgroup v2 directory, the child starts there.
    With `sibling`, it is a child of the caller's own parent.
    The caller must have one thread: like fork(2), only the calling one is copied.
    Raises KernelError. See clone(2).
    """
    pidfd = bytearray(8)
    view = buffer(pidfd)
    if cgroup >= 0:
        flags |= CLONE_INTO_CGROUP
    # A sibling's end is signalled as the caller's own: it must name no signal.
    end = 0 if sibling else SIGCHLD
    flags |= CLONE_PARENT if sibling else 0
    args = pack("11Q", flags | CLONE_PIDFD, address_of(view), 0, 0, end, 0, 0, 0, 0, 0, max(cgroup, 0))
    interpreter_hook("PyOS_BeforeFork")
    pid = raw("clone3", args, len(args))
    if pid == 0:
        interpreter_hook("PyOS_AfterFork_Child")
        return 0, -1
    interpreter_hook("PyOS_AfterFork_Parent")
    if pid < 0:
        from coso.errors import KernelError

        raise KernelError("clone3", -pid, **_why_clone_failed(-pid, flags))
    return pid, int.from_bytes(pidfd[:4], "little")


def clone_sibling(flags: int, cgroup: int = -1) -> int:
    """Fork a child of the caller's own parent (CLONE_PARENT); return its pid, 0 in it. Raises KernelError."""
    if cgroup >= 0:
        flags |= CLONE_INTO_CGROUP
    # A sibling's end is signalled as the caller's own: it must name no signal.
    args = pack("11Q", flags | CLONE_PARENT, 0, 0, 0, 0, 0, 0, 0, 0, 0, max(cgroup, 0))
    interpreter_hook("PyOS_BeforeFork")
    pid = raw("clone3", args, len(args))
    interpreter_hook("PyOS_AfterFork_Child" if pid == 0 else "PyOS_AfterFork_Parent")
    if pid < 0:
        from coso.errors import KernelError

        raise KernelError("clone3", -pid, **_why_clone_failed(-pid, flags))
    return pid


def _why_clone_failed(number: int, flags: int) -> dict[str, str]:
    """The likely cause of a failed clone3, read from the sysctls that forbid it (namespaces(7))."""
    import errno

    if flags & CLONE_NEWUSER and number in (errno.EPERM, errno.ENOSPC, errno.EUSERS):
        for name in ("kernel/unprivileged_userns_clone", "user/max_user_namespaces"):
            if _sysctl(name) == "0":
                dotted = name.replace("/", ".")
                return {
                    "cause": f"user namespaces are switched off: sysctl {dotted} is 0",
                    "hint": f"run `sysctl -w {dotted}={15000 if 'max' in name else 1}`,"
                    " or give --userns=host to run without one",
                }
        if _sysctl("kernel/apparmor_restrict_unprivileged_userns") == "1" and os.geteuid() != 0:
            return {
                "cause": "AppArmor restricts user namespaces (kernel.apparmor_restrict_unprivileged_userns is 1)",
                "hint": "run as root, or `sysctl -w kernel.apparmor_restrict_unprivileged_userns=0`",
            }
    if number == errno.EPERM:
        return {"cause": "the caller lacks CAP_SYS_ADMIN", "hint": "run as root"}
    if number == errno.ENOSPC:
        return {
            "cause": "a limit on namespaces is reached (/proc/sys/user/max_*_namespaces)",
            "hint": "end other containers, or raise the limit with sysctl",
        }
    if number == errno.EAGAIN:
        return {"cause": "a limit on processes is reached", "hint": "see `ulimit -u` and pids.max of the cgroup"}
    return {}


def _sysctl(name: str) -> str:
    try:
        with open(f"/proc/sys/{name}") as file:
            return file.read().strip()
    except OSError:
        return ""


def unshare(flags: int) -> None:
    """Move the caller into new namespaces (unshare(2))."""
    call("unshare", flags)


def setns(fd: int, kind: int) -> None:
    """Move the caller into the namespace that `fd` names (setns(2))."""
    call("setns", fd, kind)


def pidfd_open(pid: int) -> int:
    """A descriptor for a process (pidfd_open(2)); CLOEXEC."""
    return call("pidfd_open", pid, 0, path=f"process {pid}")


def pidfd_send_signal(pidfd: int, number: int) -> bool:
    """Send a signal; False when the process is gone (pidfd_send_signal(2))."""
    return raw("pidfd_send_signal", pidfd, number, None, 0) == 0


def pidfd_of(pid: int, started: int) -> int:
    """A descriptor for the process that started then (`start_time`); -1 when it is gone."""
    try:
        pidfd = pidfd_open(pid)
    except KernelError:
        return -1
    # Only now: before, the number could still be given to another.
    if start_time(pid) == started:
        return pidfd
    os.close(pidfd)
    return -1


def signal_process(pid: int, started: int, number: int) -> bool:
    """Send a signal to the process that started then; False when it is gone."""
    pidfd = pidfd_of(pid, started)
    if pidfd < 0:
        return False
    try:
        return pidfd_send_signal(pidfd, number)
    finally:
        os.close(pidfd)


def exit_status_of(pid: int, pidfd: int) -> int | None:
    """The wait status of a process that has ended and is not ours to wait for; None where the kernel does not tell.

    It stands in /proc until its parent has reaped it (proc(5), stat field 52);
    after that a pidfd knows it (PIDFD_GET_INFO, Linux 6.15).
    """
    from fcntl import ioctl

    try:
        with open(f"/proc/{pid}/stat", "rb", buffering=0) as file:
            fields = file.read().rpartition(b")")[2].split()
        if fields[0] == b"Z":
            return int(fields[49])
    except (OSError, IndexError):
        pass
    info = bytearray(pack("Q", PIDFD_INFO_EXIT) + bytes(56))
    try:
        ioctl(pidfd, PIDFD_GET_INFO, info)
    except OSError:
        return None
    known = int.from_bytes(info[:8], "little") & PIDFD_INFO_EXIT
    return int.from_bytes(info[60:64], "little") if known else None


def prctl(option: int, *args: int) -> int:
    """Change a property of the calling thread (prctl(2))."""
    padded = list(args) + [0] * (4 - len(args))
    return call("prctl", option, *padded)


def close_on_exec_from(first: int) -> None:
    """Mark every descriptor from `first` on CLOEXEC, whoever opened it (close_range(2))."""
    call("close_range", first, 0xFFFFFFFF, CLOSE_RANGE_CLOEXEC)


def join_new_session_keyring() -> None:
    """Leave the caller's session keyring for an empty one (keyctl(2), keyrings(7))."""
    call("keyctl", KEYCTL_JOIN_SESSION_KEYRING, None)


def signalfd(signals: set[int]) -> int:
    """A descriptor that reads blocked signals, 128 bytes each (signalfd(2))."""
    mask = 0
    for number in signals:
        mask |= 1 << (number - 1)
    return call("signalfd4", -1, pack("Q", mask), 8, SFD_NONBLOCK_CLOEXEC)


def start_time(pid: int) -> int:
    """When a process started, in clock ticks since boot; 0 when it is gone (proc(5), stat field 22).

    A pid and its start time name a process for good; a pid alone is reused.
    """
    try:
        with open(f"/proc/{pid}/stat", "rb", buffering=0) as file:
            return int(file.read().rpartition(b")")[2].split()[19])
    except (OSError, IndexError):
        return 0


def is_limited() -> bool:
    """Whether this process is not root, or is root of a user namespace only (user_namespaces(7))."""
    if os.geteuid() != 0:
        return True
    with open("/proc/self/uid_map", "rb", buffering=0) as file:
        return file.read().split() != [b"0", b"0", b"4294967295"]
