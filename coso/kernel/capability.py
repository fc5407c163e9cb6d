"""Capabilities: the five sets of a thread (capabilities(7))."""

from __future__ import annotations

import errno
from _struct import pack, unpack

from coso.kernel.call import buffer, call, raw
from coso.kernel.process import (
    PR_CAP_AMBIENT,
    PR_CAP_AMBIENT_CLEAR_ALL,
    PR_CAP_AMBIENT_RAISE,
    PR_CAPBSET_DROP,
    prctl,
)

_VERSION_3 = 0x20080522

# include/uapi/linux/capability.h, in the order of their numbers
NAMES = (
    "CHOWN DAC_OVERRIDE DAC_READ_SEARCH FOWNER FSETID KILL SETGID SETUID SETPCAP LINUX_IMMUTABLE "
    "NET_BIND_SERVICE NET_BROADCAST NET_ADMIN NET_RAW IPC_LOCK IPC_OWNER SYS_MODULE SYS_RAWIO SYS_CHROOT "
    "SYS_PTRACE SYS_PACCT SYS_ADMIN SYS_BOOT SYS_NICE SYS_RESOURCE SYS_TIME SYS_TTY_CONFIG MKNOD LEASE "
    "AUDIT_WRITE AUDIT_CONTROL SETFCAP MAC_OVERRIDE MAC_ADMIN SYSLOG WAKE_ALARM BLOCK_SUSPEND AUDIT_READ "
    "PERFMON BPF CHECKPOINT_RESTORE"
).split()
NUMBERS = {f"CAP_{name}": number for number, name in enumerate(NAMES)}


def mask(names: tuple[str, ...]) -> int:
    """The bit set of capability names such as `CAP_CHOWN`."""
    bits = 0
    for name in names:
        bits |= 1 << NUMBERS[name]
    return bits


def permitted() -> tuple[str, ...]:
    """The names of the caller's own permitted capabilities: the most it can give away."""
    return names(permitted_mask())


def permitted_mask() -> int:
    """The caller's own permitted set (capget(2))."""
    data = bytearray(24)
    call("capget", pack("Ii", _VERSION_3, 0), buffer(data))
    words = unpack("6I", data)
    return int(words[1] | words[4] << 32)


def names(bits: int) -> tuple[str, ...]:
    """The names of a bit set."""
    return tuple(name for name, number in NUMBERS.items() if bits >> number & 1)


def limit_bounding(keep: int) -> None:
    """Drop from the bounding set whatever is not in `keep`; numbers the kernel does not know end the list."""
    for number in range(64):
        if keep >> number & 1:
            continue
        if raw("prctl", PR_CAPBSET_DROP, number) == -errno.EINVAL:
            return


def capset(effective: int, permitted: int, inheritable: int) -> None:
    """Set the caller's effective, permitted and inheritable sets (capset(2))."""
    header = pack("Ii", _VERSION_3, 0)
    low, high = 0xFFFFFFFF, 32
    data = pack(
        "6I",
        *(effective & low, permitted & low, inheritable & low),
        *(effective >> high, permitted >> high, inheritable >> high),
    )
    call("capset", header, data)


def set_ambient(bits: int) -> None:
    """Make `bits`, and nothing else, the ambient set."""
    prctl(PR_CAP_AMBIENT, PR_CAP_AMBIENT_CLEAR_ALL)
    for number in range(len(NAMES)):
        if bits >> number & 1:
            prctl(PR_CAP_AMBIENT, PR_CAP_AMBIENT_RAISE, number)
