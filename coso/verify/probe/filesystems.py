"""Probes of mounts and paths: what is masked, read-only, a device, or a way out of the root."""

from __future__ import annotations

import errno
import os
import stat

from .common import exists, mount, mounts, syscall

TYPE_CHECKING = False
if TYPE_CHECKING:
    from .common import Bait

MS_RDONLY, MS_REMOUNT, MS_BIND, MNT_DETACH = 1, 32, 4096, 2
UMOUNT2 = 166
SCRATCH = "/coso-verify-scratch"
TERMINALS = ("/dev/console", "/dev/pts")
DEVICES = frozenset("console core fd full mqueue null ptmx pts random shm stderr stdin stdout tty urandom zero".split())
# Files of the kernel through which whoever writes to them runs programs on the host, or stops it.
LEVERS = (
    "/proc/sys/kernel/core_pattern",
    "/proc/sys/kernel/modprobe",
    "/proc/sys/kernel/panic_on_oops",
    "/proc/sys/vm/panic_on_oom",
    "/sys/kernel/uevent_helper",
)


def masked(bait: Bait, path: str) -> str:
    """Is a file covered by /dev/null, or a directory by an empty one?"""
    if not exists(bait, path):
        return ""
    found = os.stat(path)
    if stat.S_ISDIR(found.st_mode):
        return "" if os.path.ismount(path) and not os.listdir(path) else f"{path} is the kernel's own"
    return "" if found.st_rdev == os.makedev(1, 3) else f"{path} is the kernel's own"


def read_only(bait: Bait, path: str) -> str:
    """Is what is at a path mounted read-only?"""
    return "" if not exists(bait, path) or os.statvfs(path).f_flag & os.ST_RDONLY else f"{path} can be written to"


def lever(bait: Bait, path: str) -> str:
    """Can a file of the kernel not be opened for writing, nor its mount be made writable?"""
    if not exists(bait, path):
        return ""
    above = max((place for _, _, place, _ in mounts() if path.startswith(f"{place}/")), key=len, default="/")
    return f"{path} can be opened for writing" if _writable(path, above) else ""


def _writable(path: str, above: str) -> bool:
    for attempt in range(2):
        try:
            os.close(os.open(path, os.O_WRONLY))
            return True
        except OSError as error:
            if attempt or error.errno != errno.EROFS or mount("", above, "", MS_REMOUNT | MS_BIND):
                return False
    return False


def lifted_limit(_: Bait) -> str:
    """Can a limit of the container not be lifted from inside?"""
    for path in ("/sys/fs/cgroup/memory.max", "/sys/fs/cgroup/memory/memory.limit_in_bytes"):
        if os.path.exists(path) and _writable(path, os.path.dirname(path)):
            return f"{path} can be opened for writing"
    return ""


def release_agent(_: Bait) -> str:
    """Can no cgroup hierarchy be mounted, whose release_agent the host would execute?"""
    return _mounted("cgroup", "none,name=coso-verify", "the release_agent of a cgroup hierarchy is in reach")


def fresh_proc(_: Bait) -> str:
    """Can no second /proc, without masks, be mounted?"""
    return _mounted("proc", "", "a /proc without masks can be mounted")


def _mounted(kind: str, data: str, breach: str) -> str:
    os.makedirs(SCRATCH, exist_ok=True)
    try:
        if mount("none", SCRATCH, kind, 0, data):
            return ""
        syscall(UMOUNT2, SCRATCH.encode(), MNT_DETACH)
        return breach
    finally:
        os.rmdir(SCRATCH)


def remount(bait: Bait) -> str:
    """Can a read-only mount not be made writable?"""
    return f"{bait['volume']} can be made writable" if not mount("", bait["volume"], "", MS_REMOUNT | MS_BIND) else ""


def unmask(bait: Bait) -> str:
    """Can the mounts that mask paths not be taken off?"""
    places = {place for _, _, place, _ in mounts()}
    covered = [path for path in bait["paths"] if path in places and os.stat(path).st_rdev == os.makedev(1, 3)]
    if not covered:
        return "no path is masked"
    return "" if syscall(UMOUNT2, covered[0].encode(), MNT_DETACH) else f"the mask of {covered[0]} can be taken off"


def chroot(bait: Bait) -> str:
    """Does a second chroot with an open directory not lead out of the root (chroot(2), notes)?"""
    os.makedirs(SCRATCH, exist_ok=True)
    child = os.fork()
    if not child:
        os._exit(_leave_root(bait["outside"]))
    out = os.waitstatus_to_exitcode(os.waitpid(child, 0)[1])
    os.rmdir(SCRATCH)
    return f"{bait['outside']} of the host is there, once out of the root" if out == 1 else ""


def _leave_root(file: str) -> int:
    above = os.open("/", os.O_RDONLY)
    try:
        os.chroot(SCRATCH)
    except PermissionError:
        return 0
    os.fchdir(above)
    for _ in range(64):
        os.chdir("..")
    os.chroot(".")
    return int(os.path.exists(file))


def hosts_root(bait: Bait) -> str:
    """Is the host's root mounted nowhere?"""
    places = [place for device, root, place, _ in mounts() if [device, root] == bait["root"]]
    return f"the host's root is mounted at {places[0]}" if places else ""


def device_list(_: Bait) -> str:
    """Does /dev hold only what every container needs?"""
    others = sorted(set(os.listdir("/dev")) - DEVICES) if os.path.isdir("/dev") else []
    return f"/dev has {', '.join(others[:6])}{' …' if len(others) > 6 else ''}" if others else ""


def device_node(_: Bait) -> str:
    """Can no device node be made?"""
    try:
        os.mknod(SCRATCH, stat.S_IFCHR | 0o600, os.makedev(1, 1))
    except PermissionError:
        return ""
    os.unlink(SCRATCH)
    return "a node of the machine's memory (1:1) can be made"


def device_open(_: Bait) -> str:
    """Can a device of the machine not be opened, even through a node made inside? The kernel's log, 1:11."""
    try:
        os.mknod(SCRATCH, stat.S_IFCHR | 0o600, os.makedev(1, 11))
    except PermissionError:
        return ""
    try:
        os.close(os.open(SCRATCH, os.O_WRONLY))
    except PermissionError:
        return ""
    finally:
        os.unlink(SCRATCH)
    return "the kernel's log can be opened for writing"


def trap(bait: Bait, name: str) -> str:
    """Did a link in the image not lead the runtime's mounts elsewhere?"""
    if name == "proc":
        there = any(point == "/proc" and kind == "proc" for _, _, point, kind in mounts())
        return "" if there and not os.path.islink("/proc") else "/proc is what the image makes of it"
    if name == "sys":
        led = [point for _, _, point, kind in mounts() if kind == "sysfs" and point != "/sys"]
        return f"/sys was mounted at {led[0]}" if led else ""
    if name == "dev":
        real = os.path.exists("/dev/null") and os.stat("/dev/null").st_rdev == os.makedev(1, 3)
        return "" if real else "/dev was led out of the root: there is no /dev/null"
    if name == "console":
        led = [point for _, _, point, kind in mounts() if kind == "devpts" and point not in TERMINALS]
        return f"the terminal was mounted at {led[0]}" if led else ""
    if name == "null":
        # What this runtime covers at all, it must cover with the real one.
        covered = {point for _, _, point, _ in mounts()} & set(bait["masked"]) & set(bait["paths"])
        seen = sorted(path for path in covered if masked(bait, path))
        return f"{seen[0]} is covered by what the image put in the place of /dev/null" if seen else ""
    return f"/etc leads to {os.readlink('/etc')} of the host" if os.path.exists(bait["outside"]) else ""


PROBES = (
    masked,
    read_only,
    lever,
    lifted_limit,
    release_agent,
    fresh_proc,
    remount,
    unmask,
    chroot,
    hosts_root,
    device_list,
    device_node,
    device_open,
    trap,
)
