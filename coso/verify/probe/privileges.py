"""Probes of privileges: capabilities, no_new_privs, the seccomp filter, keyrings."""

from __future__ import annotations

import ctypes
import errno
import os

from .common import Lacking, libc, status, syscall

TYPE_CHECKING = False
if TYPE_CHECKING:
    from .common import Bait

CAPABILITIES_OF_THE_HOST = {
    "SYS_MODULE": 16,
    "SYS_RAWIO": 17,
    "SYS_PTRACE": 19,
    "SYS_ADMIN": 21,
    "SYS_BOOT": 22,
    "SYS_TIME": 25,
    "SYSLOG": 34,
    "BPF": 39,
}
KEYCTL, KEYCTL_SEARCH, SESSION_KEYRING = 250, 10, -3
# Calls that are harmless with these arguments even where they are allowed: number on x86_64, arguments.
CALLS: dict[str, tuple[int, ...]] = {
    "acct": (163, 1),
    "add_key": (248, 0, 0, 0, 0, 0),
    "bpf": (321, 0, 0, 0),
    "clock_settime": (227, 0, 0),
    "delete_module": (176, 0, 0),
    "fanotify_init": (300, 0xFFFFFFFF, 0),
    "finit_module": (313, -1, 0, 0),
    "fsopen": (430, 0, 0),
    "init_module": (175, 0, 0, 0),
    "io_uring_setup": (425, 0, 0),
    "iopl": (172, 4),
    "kexec_load": (246, 0, 17, 0, 0),
    "keyctl": (250, 0, -3, 0),
    "mount": (165, 0, 0, 0, 0, 0),
    "mount_setattr": (442, -1, 0, 0, 0, 0),
    "move_mount": (429, -1, 0, -1, 0, 0),
    "open_by_handle_at": (304, -100, 0, 0),
    "open_tree": (428, -1, 0, 0xFFFFFFFF),
    "perf_event_open": (298, 0, 0, -1, -1, 0),
    "pivot_root": (155, 0, 0),
    "quotactl": (179, -1, 0, 0, 0),
    "reboot": (169, 0, 0, 0, 0),
    "request_key": (249, 0, 0, 0, 0),
    "setns": (308, -1, 0),
    "swapon": (167, 0, 0),
    "syslog": (103, 10, 0, 0),
    "umount2": (166, 0, 0),
    "unshare": (272, 0x10000000),
    "userfaultfd": (323, 0),
}


def bounding_set(_: Bait) -> str:
    """Does the bounding set lack what governs the machine?"""
    bits = int(status("CapBnd"), 16)
    held = [name for name, number in CAPABILITIES_OF_THE_HOST.items() if bits >> number & 1]
    return f"CAP_{', CAP_'.join(held)} can be had" if held else ""


def passed_on(_: Bait, which: str) -> str:
    """Is the inheritable (or ambient) set empty, whatever the caller's was?"""
    bits = int(status(which), 16)
    return f"the set is {bits:#x}: programs of the container start with it" if bits else ""


def no_new_privileges(_: Bait) -> str:
    """Can no setuid program raise privileges?"""
    return "" if status("NoNewPrivs") == "1" else "no_new_privs is not set"


def filtered(_: Bait) -> str:
    """Is a seccomp filter installed?"""
    return "" if status("Seccomp") == "2" else f"seccomp mode is {status('Seccomp')}"


def call_number(name: str) -> int:
    """Make a call of CALLS in a process of its own and return its errno, 0 for success."""
    child = os.fork()
    if not child:
        result = libc.syscall(*(ctypes.c_long(word) for word in CALLS[name]))
        os._exit(ctypes.get_errno() if result == -1 else 0)
    return os.waitstatus_to_exitcode(os.waitpid(child, 0)[1])


def call(bait: Bait, name: str) -> str:
    """Is a system call refused before the kernel looks at its arguments?"""
    if bait["calls"][name] == errno.ENOSYS:
        raise Lacking(f"this kernel has no {name}")
    number = call_number(name)
    if number in (errno.EPERM, errno.ENOSYS):
        return ""
    if number < 0:
        return ""  # The filter kills whoever tries.
    return f"{name} is let through: {os.strerror(number) if number else 'it succeeds'}"


def keyring(bait: Bait) -> str:
    """Is the key in the caller's session keyring out of reach?"""
    if not bait["key_serial"]:
        raise Lacking("this kernel has no keyrings")
    found = syscall(KEYCTL, KEYCTL_SEARCH, SESSION_KEYRING, b"user", bait["abstract"].encode(), 0)
    return f"the caller's key {found} is found in the session keyring" if found > 0 else ""


PROBES = (bounding_set, passed_on, no_new_privileges, filtered, call, keyring)
