"""Paths inside a root that somebody else controls (openat2(2)).

A path given by an image or a user is never joined to a root as a string:
a symbolic link inside would lead out.  The kernel resolves it in the root.
"""

from __future__ import annotations

import errno
import os
from _struct import pack

from coso.errors import KernelError
from coso.kernel.call import raw

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


def make_in_root(root: int, path: str, *, directory: bool) -> int:
    """Open `path` in `root`, making it and its parents where they are missing; an O_PATH descriptor."""
    try:
        return open_in_root(root, path)
    except KernelError as error:
        if error.errno != errno.ENOENT:
            raise
    done = ""
    names = [name for name in path.split("/") if name not in ("", ".")]
    for index, name in enumerate(names):
        last = index == len(names) - 1
        parent = open_in_root(root, done or "/", os.O_PATH | os.O_DIRECTORY)
        try:
            if last and not directory:
                os.close(os.open(name, os.O_CREAT | os.O_WRONLY | os.O_CLOEXEC, 0o644, dir_fd=parent))
            else:
                os.mkdir(name, 0o755, dir_fd=parent)
        except FileExistsError:
            pass
        except OSError as error:
            raise KernelError("mkdirat", error.errno or 0, f"{done}/{name}") from None
        finally:
            os.close(parent)
        done = f"{done}/{name}"
    return open_in_root(root, path)
