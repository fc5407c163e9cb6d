"""Paths inside a root that somebody else controls (openat2(2)).

A path given by an image or a user is never joined to a root as a string:
a symbolic link inside would lead out.  The kernel resolves it in the root.
"""

from __future__ import annotations

import errno
import os
from _struct import pack

from coso.errors import KernelError
from coso.kernel.call import buffer, call, raw

RESOLVE_IN_ROOT = 0x10
RESOLVE_NO_MAGICLINKS = 0x02


def open_in_root(root: int, path: str, flags: int = os.O_PATH, mode: int = 0) -> int:
    """Open `path` as if `root` were /; symbolic links stay inside. Raises KernelError."""
    how = pack("3Q", flags | os.O_CLOEXEC, mode, RESOLVE_IN_ROOT | RESOLVE_NO_MAGICLINKS)
    for _ in range(16):
        result = raw("openat2", root, path.encode() or b".", how, len(how))
        # EAGAIN: a rename elsewhere in the tree raced with "..", the kernel asks for another try.
        if result != -errno.EAGAIN:
            break
    if result < 0:
        raise KernelError("openat2", -result, path)
    return result


def make_in_root(root: int, path: str, *, directory: bool, links: int = 8) -> int:
    """Open `path` in `root`, making it and its parents where they are missing; an O_PATH descriptor.

    A link that points nowhere (`/etc/resolv.conf` in many images) is followed
    inside the root, and what it points to is made; at most `links` of them.
    """
    try:
        return open_in_root(root, path)
    except KernelError as error:
        if error.errno != errno.ENOENT or not links:
            raise
    done = ""
    names = [name for name in path.split("/") if name not in ("", ".")]
    for index, name in enumerate(names):
        is_directory = directory or index < len(names) - 1
        link = _make_one(root, done, name, directory=is_directory)
        if link:
            place = link if link.startswith("/") else f"{done}/{link}"
            os.close(make_in_root(root, place, directory=is_directory, links=links - 1))
        done = f"{done}/{name}"
    return open_in_root(root, path)


def _make_one(root: int, done: str, name: str, *, directory: bool) -> str:
    """Make one component, or return where the link in its place points."""
    parent = open_in_root(root, done or "/", os.O_PATH | os.O_DIRECTORY)
    try:
        if directory:
            os.mkdir(name, 0o755, dir_fd=parent)
        else:
            flags = os.O_CREAT | os.O_EXCL | os.O_WRONLY | os.O_NOFOLLOW | os.O_CLOEXEC
            os.close(os.open(name, flags, 0o644, dir_fd=parent))
    except FileExistsError:
        try:
            return os.readlink(name, dir_fd=parent)
        except OSError:
            return ""
    except OSError as error:
        raise KernelError("mkdirat", error.errno or 0, f"{done}/{name}") from None
    finally:
        os.close(parent)
    return ""


# include/uapi/linux/magic.h
DEVPTS_SUPER_MAGIC, PROC_SUPER_MAGIC, SYSFS_MAGIC = 0x1CD1, 0x9FA0, 0x62656572


def filesystem_type(fd: int) -> int:
    """The magic number of the filesystem that an open file is on (fstatfs(2))."""
    found = bytearray(120)
    call("fstatfs", fd, buffer(found))
    return int.from_bytes(found[:8], "little")


def write_proc(path: str, text: str, proc: int = -1) -> None:
    """Write a file of /proc, after making sure that it is one and no look-alike; raise KernelError.

    With `proc`, a descriptor of the host's /proc, the path is below that.

    An image, or a mount that somebody asked for, may have put something else
    there, and what was meant to protect would go nowhere (CVE-2019-16884, CVE-2025-52881).
    """
    try:
        fd = os.open(path, os.O_WRONLY | os.O_CLOEXEC | os.O_NOFOLLOW, dir_fd=proc if proc >= 0 else None)
    except OSError as error:
        raise KernelError("open", error.errno or 0, path) from None
    try:
        if filesystem_type(fd) != PROC_SUPER_MAGIC:
            raise KernelError("fstatfs", errno.EINVAL, path, cause="what is mounted there is not procfs")
        os.write(fd, text.encode())
    except OSError as error:
        raise KernelError("write", error.errno or 0, path) from None
    finally:
        os.close(fd)
