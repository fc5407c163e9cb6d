"""What probes share: the C library, the bait, what a kernel may lack."""

from __future__ import annotations

import ctypes
import os

TYPE_CHECKING = False
if TYPE_CHECKING:
    from typing import Any

    Bait = dict[str, Any]

libc = ctypes.CDLL(None, use_errno=True)


class Lacking(Exception):  # noqa: N818  # no fault: the result of the check is "skip"
    """The kernel lacks what the probe would try."""


def syscall(number: int, *words: int | bytes | None) -> int:
    """Make a system call by number; return its result, or minus its errno."""
    given = [ctypes.c_long(word) if isinstance(word, int) else word for word in words]
    result = int(libc.syscall(ctypes.c_long(number), *given))
    return -ctypes.get_errno() if result == -1 else result


def mount(source: str, target: str, kind: str, flags: int = 0, data: str = "") -> int:
    """Mount a filesystem; 0 or minus the errno (mount(2))."""
    words = (source.encode(), target.encode(), kind.encode(), flags, data.encode())
    return syscall(165, *words)


def status(key: str) -> str:
    """A field of /proc/self/status."""
    with open("/proc/self/status") as file:
        return next(line.split()[1] for line in file if line.startswith(f"{key}:"))


def mounts() -> list[tuple[str, str, str, str]]:
    """What is mounted: device as major:minor, path of its root within that, mount point, type."""
    with open("/proc/self/mountinfo") as file:
        lines = [line.split() for line in file]
    return [(words[2], words[3], words[4], words[words.index("-") + 1]) for words in lines]


def exists(bait: Bait, path: str) -> bool:
    """Whether the container has a path; that the kernel lacks it is for the host to say, not for what is inside."""
    if path not in bait["paths"]:
        raise Lacking(f"this kernel has no {path}")
    return os.path.exists(path)
