"""The one way into the kernel for calls that `os` lacks.

Uses `_ctypes` and not `ctypes`: the C half is all that is needed, and the
Python half costs 5 ms to import.  The GIL is kept during a call
(FUNCFLAG_PYTHONAPI), because a child of clone3 returns inside one.
"""

from __future__ import annotations

from _ctypes import (
    FUNCFLAG_CDECL,
    FUNCFLAG_PYTHONAPI,
    FUNCFLAG_USE_ERRNO,
    CFuncPtr,
    _SimpleCData,
    addressof,
    dlopen,
    dlsym,
    get_errno,
)

from coso.errors import KernelError

# System call numbers on x86_64 (arch/x86/entry/syscalls/syscall_64.tbl);
# those from 424 on are the same on every architecture.
NUMBERS = {
    "bpf": 321,
    "capget": 125,
    "capset": 126,
    "clone3": 435,
    "close_range": 436,
    "fsconfig": 431,
    "fsmount": 432,
    "fsopen": 430,
    "fspick": 433,
    "fstatfs": 138,
    "ioprio_set": 251,
    "keyctl": 250,
    "mount": 165,
    "mount_setattr": 442,
    "move_mount": 429,
    "open_tree": 428,
    "openat2": 437,
    "pidfd_open": 434,
    "personality": 135,
    "pidfd_send_signal": 424,
    "pivot_root": 155,
    "prctl": 157,
    "renameat2": 316,
    "sched_setattr": 314,
    "seccomp": 317,
    "setdomainname": 171,
    "sethostname": 170,
    "setns": 308,
    "signalfd4": 289,
    "syncfs": 306,
    "umount2": 166,
    "unshare": 272,
}


class _Long(_SimpleCData):  # type: ignore[type-arg]
    _type_ = "l"


class _Char(_SimpleCData):  # type: ignore[type-arg]
    _type_ = "c"


class _Function(CFuncPtr):
    _flags_ = FUNCFLAG_CDECL | FUNCFLAG_USE_ERRNO | FUNCFLAG_PYTHONAPI
    _restype_ = _Long


class _Procedure(CFuncPtr):
    _flags_ = FUNCFLAG_CDECL | FUNCFLAG_PYTHONAPI
    _restype_ = None


_libc = dlopen(None, 0)  # type: ignore[arg-type]
_syscall = _Function(dlsym(_libc, "syscall"))


def buffer(data: bytearray) -> object:
    """A view of `data` that the kernel can read and write."""
    return (_Char * len(data)).from_buffer(data)


def address_of(view: object) -> int:
    """The address of a view, for a field of a structure."""
    return addressof(view)  # type: ignore[arg-type]


def raw(name: str, *args: object) -> int:
    """Make a call and return its result, or the negated errno.

    Integers are passed as long: a bare int would be cut to 32 bits, and flags
    of the mount API and of clone3 are wider.
    """
    words = [_Long(arg) if type(arg) is int else arg for arg in args]
    result: int = _syscall(_Long(NUMBERS[name]), *words)
    return result if result != -1 else -get_errno()


def call(name: str, *args: object, path: str = "") -> int:
    """Make a call and return its result; raise KernelError with `path` in it."""
    result = raw(name, *args)
    if result < 0:
        raise KernelError(name, -result, path)
    return result


def trim_memory() -> None:
    """Give free memory back to the kernel, where the C library can: glibc's malloc_trim(3)."""
    try:
        trim = _Function(dlsym(_libc, "malloc_trim"))
    except OSError:
        return
    trim(_Long(0))


def interpreter_hook(name: str) -> None:
    """Call one of CPython's PyOS_*Fork* functions, which fork(2) wrappers owe the interpreter."""
    _Procedure(dlsym(_libc, name))()
