"""A place apart for the checks: network, mounts and state of their own, gone with this process.

Bridges, rules and mounts of the runtimes under test never meet the machine's,
and what is left behind is seen at once.  Mounts are shared there, as systemd
makes them everywhere, for that is where propagation can go wrong.
"""

from __future__ import annotations

import os
import socket
from collections.abc import Iterator
from contextlib import contextmanager
from fcntl import ioctl
from struct import pack
from tempfile import mkdtemp

from coso.kernel import mount
from coso.kernel.process import CLONE_NEWNET, CLONE_NEWNS, unshare
from coso.runtime.undo import remove_tree
from coso.state import LIB
from coso.verify.drivers.host import unmount_below

SIOCSIFFLAGS, IFF_UP = 0x8914, 1


def enter() -> None:
    """Move this process into namespaces of its own, for good."""
    unshare(CLONE_NEWNET | CLONE_NEWNS)
    mount.set_propagation("/", mount.MS_PRIVATE)
    _show_own_links()
    mount.set_propagation("/", mount.MS_SHARED)
    with socket.socket(socket.AF_INET, socket.SOCK_DGRAM) as control:
        ioctl(control.fileno(), SIOCSIFFLAGS, pack("16sH14x", b"lo", IFF_UP))
    with open("/proc/sys/net/ipv4/ip_forward", "w") as file:
        file.write("1")


def _show_own_links() -> None:
    """Mount /sys anew: it shows the links of the network namespace in which it was mounted (sysfs(5))."""
    groups = mount.open_tree("/sys/fs/cgroup", recursive=True) if os.path.isdir("/sys/fs/cgroup") else -1
    mount.move_mount(mount.new_mount("sysfs"), "/sys")
    if groups >= 0:
        mount.move_mount(groups, "/sys/fs/cgroup")


@contextmanager
def state() -> Iterator[None]:
    """Give the programs started from here state directories of their own."""
    with directory() as place:
        os.environ["COSO_RUN"], os.environ["COSO_LIB"] = f"{place}/run", f"{place}/lib"
        yield


@contextmanager
def directory() -> Iterator[str]:
    """A directory for a while, which everybody may walk through.

    What a broken runtime leaves mounted below or in its state, perhaps the
    user's own files, is unmounted first, and a mount that stays is never emptied.
    """
    place = mkdtemp(prefix="coso-verify-", dir="/var/tmp")
    os.chmod(place, 0o711)
    try:
        yield place
    finally:
        for below in (os.environ.get("COSO_LIB", LIB), place):
            unmount_below(below)
        remove_tree(place)
