"""Seccomp filters: the verdicts, and a program's installation (seccomp(2)).

Programs are written by coso.kernel.bpf; the default one is at hand compiled,
so that nothing but this is imported on the way to a container.
"""

from __future__ import annotations

from _struct import pack

from coso.errors import KernelError
from coso.kernel.call import address_of, buffer, call, raw

# include/uapi/linux/audit.h
AUDIT_ARCH_X86_64, AUDIT_ARCH_I386 = 0xC000003E, 0x40000003
# include/uapi/linux/seccomp.h
SECCOMP_SET_MODE_FILTER, SECCOMP_GET_ACTION_AVAIL = 1, 2
KILL_PROCESS, KILL_THREAD, TRAP, ERRNO = 0x80000000, 0x00000000, 0x00030000, 0x00050000
NOTIFY, TRACE, LOG, ALLOW = 0x7FC00000, 0x7FF00000, 0x7FFC0000, 0x7FFF0000
NEW_LISTENER = 8
ESRCH = 3

# In the kernel's order: where several filters disagree, the first of these wins.
ACTIONS = {
    "KILL_PROCESS": KILL_PROCESS,
    "KILL_THREAD": KILL_THREAD,
    "TRAP": TRAP,
    "ERRNO": ERRNO,
    "NOTIFY": NOTIFY,
    "TRACE": TRACE,
    "LOG": LOG,
    "ALLOW": ALLOW,
}


def deny(number: int) -> int:
    """The verdict that fails a call with an errno."""
    return ERRNO | number


def install(program: bytes, flags: int = 0) -> int:
    """Put a filter on the caller, which needs no_new_privs or CAP_SYS_ADMIN; with NEW_LISTENER, return its descriptor.

    The kernel makes that descriptor close-on-exec.  Without the flag the result is 0.
    """
    view = buffer(bytearray(program))
    result = call("seccomp", SECCOMP_SET_MODE_FILTER, flags, pack("HxxxxxxQ", len(program) // 8, address_of(view)))
    if flags & NEW_LISTENER:
        return result
    if result:  # With TSYNC: the first thread that has another filter.
        raise KernelError("seccomp", ESRCH, detail=f"thread {result} cannot take the filter over")
    return 0


def available_actions() -> list[str]:
    """Return the actions that this kernel knows, strictest first."""
    return [
        name
        for name, verdict in ACTIONS.items()
        if raw("seccomp", SECCOMP_GET_ACTION_AVAIL, 0, pack("I", verdict)) == 0
    ]
