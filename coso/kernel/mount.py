"""The mount API by file descriptor (fsopen(2), open_tree(2), move_mount(2), mount_setattr(2)), and its elders.

Descriptors instead of paths: a mount is prepared where nobody sees it, then
put in place by one move_mount, and no path is resolved twice.
"""

from __future__ import annotations

import os
from _struct import pack

from coso.errors import KernelError
from coso.kernel.call import call, raw

AT_EMPTY_PATH = 0x1000
AT_FDCWD = -100
AT_RECURSIVE = 0x8000
FSCONFIG_CMD_CREATE = 6
FSCONFIG_CMD_RECONFIGURE = 7
FSCONFIG_SET_FLAG = 0
FSCONFIG_SET_STRING = 1
FSMOUNT_CLOEXEC = 1
FSOPEN_CLOEXEC = 1
FSPICK_CLOEXEC = 1
FSPICK_EMPTY_PATH = 8
MNT_DETACH = 2
MOUNT_ATTR_ATIME = 0x00000070
MOUNT_ATTR_IDMAP = 0x00100000
MOUNT_ATTR_NOATIME = 0x00000010
MOUNT_ATTR_NODEV = 0x00000004
MOUNT_ATTR_NODIRATIME = 0x00000080
MOUNT_ATTR_NOEXEC = 0x00000008
MOUNT_ATTR_NOSUID = 0x00000002
MOUNT_ATTR_NOSYMFOLLOW = 0x00200000
MOUNT_ATTR_RDONLY = 0x00000001
MOUNT_ATTR_STRICTATIME = 0x00000020
MOVE_MOUNT_F_EMPTY_PATH = 0x04
MOVE_MOUNT_T_EMPTY_PATH = 0x40
MS_PRIVATE = 1 << 18
MS_SHARED = 1 << 20
MS_SLAVE = 1 << 19
MS_UNBINDABLE = 1 << 17
# What fsconfig(2) takes as one string (fs/fsopen.c); more needs mount(2).
LONGEST_STRING = 255
OPEN_TREE_CLOEXEC = os.O_CLOEXEC
OPEN_TREE_CLONE = 1


def fsopen(kind: str) -> int:
    """Begin a new filesystem of a kind (`overlay`, `proc`, …)."""
    return call("fsopen", kind.encode(), FSOPEN_CLOEXEC, path=kind)


def fsconfig(fd: int, key: str, text: str | None = None) -> None:
    """Set a parameter of a filesystem being made; the kernel's own words are in the error."""
    if text is None:
        result = raw("fsconfig", fd, FSCONFIG_SET_FLAG, key.encode(), None, 0)
    else:
        result = raw("fsconfig", fd, FSCONFIG_SET_STRING, key.encode(), text.encode(), 0)
    if result < 0:
        shown = key if text is None else f"{key}={text}"
        raise KernelError("fsconfig", -result, shown, detail=_kernel_log(fd))


def fsmount(fd: int, attributes: int = 0) -> int:
    """Create the filesystem and return a detached mount of it; closes `fd`."""
    try:
        result = raw("fsconfig", fd, FSCONFIG_CMD_CREATE, None, None, 0)
        if result < 0:
            raise KernelError("fsconfig", -result, "FSCONFIG_CMD_CREATE", detail=_kernel_log(fd))
        result = raw("fsmount", fd, FSMOUNT_CLOEXEC, attributes)
        if result < 0:
            raise KernelError("fsmount", -result, detail=_kernel_log(fd))
        return result
    finally:
        os.close(fd)


def new_mount(kind: str, options: dict[str, str | None] | None = None, attributes: int = 0) -> int:
    """A detached mount of a new filesystem; its descriptor."""
    fd = fsopen(kind)
    try:
        for key, text in (options or {}).items():
            fsconfig(fd, key, text)
    except KernelError:
        os.close(fd)
        raise
    return fsmount(fd, attributes)


def old_mount(kind: str, options: dict[str, str | None], target: str) -> int:
    """Mount by mount(2), whose options may be a page long, at a path; a descriptor of it."""
    text = ",".join(key if value is None else f"{key}={value}" for key, value in options.items())
    call("mount", kind.encode(), target.encode(), kind.encode(), 0, text.encode(), path=target)
    return open_tree(target, clone=False)


def reconfigure(place: int, options: dict[str, str | None]) -> None:
    """Change the parameters of the filesystem that is mounted at a place (fspick(2))."""
    fd = call("fspick", place, b"", FSPICK_CLOEXEC | FSPICK_EMPTY_PATH)
    try:
        for key, text in options.items():
            fsconfig(fd, key, text)
        result = raw("fsconfig", fd, FSCONFIG_CMD_RECONFIGURE, None, None, 0)
        if result < 0:
            raise KernelError("fsconfig", -result, "FSCONFIG_CMD_RECONFIGURE", detail=_kernel_log(fd))
    finally:
        os.close(fd)


def _kernel_log(fd: int) -> str:
    """What the kernel wrote about a failed fsconfig or fsmount (fsopen(2), 'e …' lines)."""
    lines = []
    try:
        while line := os.read(fd, 4096):
            lines.append(line.decode(errors="replace").partition(" ")[2].strip())
    except OSError:
        pass
    return "; ".join(lines)


def open_tree(path: str, dir_fd: int = AT_FDCWD, *, clone: bool = True, recursive: bool = False) -> int:
    """A descriptor of a mount subtree; with `clone`, a detached copy of it, as of a bind mount."""
    flags = OPEN_TREE_CLOEXEC | (OPEN_TREE_CLONE if clone else 0) | (AT_RECURSIVE if recursive else 0)
    if not path:
        flags |= AT_EMPTY_PATH
    return call("open_tree", dir_fd, path.encode(), flags, path=path or f"fd {dir_fd}")


def move_mount(fd: int, target: str, dir_fd: int = AT_FDCWD) -> None:
    """Put a mount in place; with an empty `target`, on the object that `dir_fd` is."""
    flags = MOVE_MOUNT_F_EMPTY_PATH | (0 if target else MOVE_MOUNT_T_EMPTY_PATH)
    call("move_mount", fd, b"", dir_fd, target.encode(), flags, path=target)


def mount_setattr(
    fd: int, set_: int = 0, clear: int = 0, *, userns: int = -1, propagation: int = 0, recursive: bool = False
) -> None:
    """Change the attributes of the mount that `fd` is (mount_setattr(2))."""
    if userns >= 0:
        set_ |= MOUNT_ATTR_IDMAP
    attributes = pack("4Q", set_, clear, propagation, max(userns, 0))
    flags = AT_EMPTY_PATH | (AT_RECURSIVE if recursive else 0)
    call("mount_setattr", fd, b"", flags, attributes, len(attributes))


def set_propagation(path: str, propagation: int) -> None:
    """Change the propagation of every mount below `path` (mount_namespaces(7))."""
    attributes = pack("4Q", 0, 0, propagation, 0)
    call("mount_setattr", AT_FDCWD, path.encode(), AT_RECURSIVE, attributes, len(attributes), path=path)


def pivot_root(new: str, old: str) -> None:
    """Exchange the root mount (pivot_root(2))."""
    call("pivot_root", new.encode(), old.encode(), path=new)


def unmount(path: str) -> None:
    """Detach the mounts at `path`, now from view and later for good (umount2(2), MNT_DETACH)."""
    call("umount2", path.encode(), MNT_DETACH, path=path)
