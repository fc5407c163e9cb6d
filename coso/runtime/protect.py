"""Where root inside may be root outside, keep the interpreter's own binary out of the container's hands.

A container whose root is the host's root could open /proc/self/exe while that
is still the runtime, and overwrite it (CVE-2019-5736).  So the runtime starts
itself again from a read-only mount of the same file that no path leads to.
"""

from __future__ import annotations

import os
import sys

from coso.errors import KernelError
from coso.kernel import mount

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Collection, Iterable

ST_RDONLY = 1


def is_exposed(namespaces: Collection[str], host_uids: Iterable[tuple[int, int]]) -> bool:
    """Whether somebody who sees the container's processes may write to the binary; of `host_uids`, begin and size.

    That is root outside, the binary's owner, and whoever its mode lets; and
    where processes are shared, neighbours too.
    """
    binary = os.stat("/proc/self/exe")
    if not {"user", "pid"} <= set(namespaces) or binary.st_mode & 0o022:
        return True
    owners = {0, binary.st_uid}
    return any(first <= owner < first + size for first, size in host_uids for owner in owners)


def protect_interpreter() -> None:
    """Execute the same command line again from a read-only mount, unless this is that already."""
    if os.statvfs("/proc/self/exe").f_flag & ST_RDONLY:
        return
    try:
        fd = mount.open_tree(os.path.realpath("/proc/self/exe"))
        mount.mount_setattr(fd, mount.MOUNT_ATTR_RDONLY)
    except KernelError:
        # Without rights over mounts: root inside has no more rights over files than we have now.
        if os.access("/proc/self/exe", os.W_OK) or os.stat("/proc/self/exe").st_uid == os.geteuid():
            raise
        return
    with open("/proc/self/cmdline", "rb") as file:
        words = file.read().split(b"\0")[:-1]
    sys.stdout.flush()
    os.execve(f"/proc/self/fd/{fd}", words, os.environ)
