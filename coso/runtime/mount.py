"""The mount namespace: what is shown of the host, covered, or made read-only (mount_namespaces(7)).

What comes from the host is opened by the parent, as detached copies with the
attributes and owners that were asked for, and put in place by the child: no
path of the host is resolved with the container's rights, and none inside with
the host's.
"""

from __future__ import annotations

import errno
import os
import stat

from coso.errors import CosoError, KernelError
from coso.kernel import mount
from coso.kernel.path import PROC_SUPER_MAGIC, filesystem_type, make_in_root, open_in_root
from coso.kernel.process import CLONE_NEWNS
from coso.runtime.container import Container
from coso.runtime.options import Options, is_bind, sort
from coso.runtime.root import ETC_FILES, base, map_owners
from coso.spec import Mount
from coso.steps import Step

FLAG = CLONE_NEWNS
COVERABLE = frozenset(
    f"/proc/{name}"
    for name in (
        "cpuinfo diskstats loadavg meminfo net/dev slabinfo stat swaps sys/crypto/fips_enabled sys/kernel/ns_last_pid "
        "uptime"
    ).split()
)


def make_private(container: Container) -> None:
    """Cut propagation, so that nothing mounted from here on is seen outside, nor the reverse."""
    mount.set_propagation("/", mount.MS_PRIVATE)


def shows_host(item: Mount) -> bool:
    """Whether a mount shows a file or directory of the host."""
    return is_bind(item.type, item.options) and "remount" not in item.options


def open_binds(container: Container) -> None:
    """Detach copies of what the container shall see of the host."""
    for item in container.spec.mounts:
        if shows_host(item):
            container.binds.append(_open_bind(container, item))


def _open_bind(container: Container, item: Mount) -> int:
    """A detached copy; or the symbolic link itself, where that is what was asked for."""
    options = sort(item.options)
    if "copy-symlink" in options.ours and os.path.islink(item.source):
        return os.open(item.source, os.O_PATH | os.O_NOFOLLOW | os.O_CLOEXEC)
    recursive = "rbind" in options.ours or bool(options.ours & {"ridmap"})
    try:
        fd = mount.open_tree(item.source, recursive=recursive)
    except KernelError as error:
        raise KernelError(
            "open_tree", error.errno, item.source, hint=f"the source of the mount at {item.destination}"
        ) from None
    # A copy of a shared mount is its peer: what is mounted on it inside would appear on the host.
    asked = {kind for kind, _ in options.propagation}
    if not asked & {mount.MS_SHARED}:
        first = mount.MS_SLAVE if mount.MS_SLAVE in asked else mount.MS_PRIVATE
        mount.mount_setattr(fd, propagation=first, recursive=True)
    if options.ours & {"idmap", "ridmap"} or item.uid_mappings:
        _map_bind(container, fd, item, recursive="ridmap" in options.ours)
    change(fd, options)
    return fd


def _map_bind(container: Container, fd: int, item: Mount, *, recursive: bool) -> None:
    if item.uid_mappings:
        from coso.runtime.namespaces import user_namespace_of

        userns = user_namespace_of(item.uid_mappings, item.gid_mappings)
    elif container.has("user"):
        userns = container.open_user_namespace()
    else:
        return  # The container's ids are the host's.
    try:
        map_owners(fd, userns, item.source, recursive=recursive)
    finally:
        os.close(userns)


def change(fd: int, options: Options) -> None:
    """Give a mount its attributes and its propagation."""
    if options.set or options.clear:
        mount.mount_setattr(fd, options.set, options.clear)
    if options.recursive_set or options.recursive_clear:
        mount.mount_setattr(fd, options.recursive_set, options.recursive_clear, recursive=True)
    for kind, recursive in options.propagation:
        mount.mount_setattr(fd, propagation=kind, recursive=recursive)


def attach(container: Container, fd: int, target: str, *, directory: bool = True) -> None:
    """Put a detached mount in place inside the root, making its mount point."""
    point = make_in_root(container.root, target, directory=directory)
    try:
        _spare_proc(fd, point, os.path.normpath(f"/{target.lstrip('/')}"))
        mount.move_mount(fd, "", point)
    finally:
        os.close(point)


def _spare_proc(fd: int, point: int, target: str) -> None:
    """Refuse what would cover /proc: the runtime itself and every program inside take what it says for true.

    Single files that say how large the machine is may be covered (lxcfs does).
    """
    covers = target == "/proc" or filesystem_type(point) == PROC_SUPER_MAGIC
    if not covers or (filesystem_type(fd) == PROC_SUPER_MAGIC and target.startswith("/proc")):
        return
    if not target.startswith("/proc"):
        raise KernelError(
            "move_mount", errno.EPERM, target, cause="a symbolic link of the image leads into /proc from there"
        )
    if target not in COVERABLE:
        raise KernelError("move_mount", errno.EPERM, target, cause="nothing but procfs may be mounted over /proc")


def attach_bind(container: Container, item: Mount) -> None:
    """Put in place what is shown of the host."""
    # By identity: two mounts may well be equal.
    places = [other is item for other in container.spec.mounts if shows_host(other)]
    fd = container.binds[places.index(True)]
    mode = os.fstat(fd).st_mode
    if stat.S_ISLNK(mode):
        _copy_link(container, fd, item.destination)
        return
    attach(container, fd, item.destination, directory=stat.S_ISDIR(mode))


def _copy_link(container: Container, link: int, destination: str) -> None:
    parent, name = os.path.split(destination.rstrip("/"))
    place = make_in_root(container.root, parent or "/", directory=True)
    target = os.readlink("", dir_fd=link)
    try:
        os.symlink(target, name, dir_fd=place)
    except FileExistsError:
        # The same link is as good; anything else in its place would be silently kept.
        if os.path.islink(f"/proc/self/fd/{place}/{name}") and os.readlink(name, dir_fd=place) == target:
            return
        raise CosoError(f"{destination} is there already, and is not the symbolic link to {target}") from None
    finally:
        os.close(place)


def remount(container: Container, item: Mount) -> None:
    """Change the attributes of a mount that is there, and the parameters of its filesystem."""
    options = sort(item.options)
    point = open_in_root(container.root, item.destination)
    try:
        change(point, options)
        if options.parameters and not options.ours & {"bind", "rbind"}:
            mount.reconfigure(point, options.parameters)
    finally:
        os.close(point)


def attach_etc(container: Container) -> None:
    """Put the container's own hostname, hosts and resolv.conf over those of the image."""
    where = base(container)
    for name in ETC_FILES:
        attach(container, mount.open_tree(f"{where}/{name}"), f"/etc/{name}", directory=False)


def mask_paths(container: Container) -> None:
    """Cover what tells or changes too much: files by /dev/null, directories by an empty one."""
    for path in container.spec.masked_paths:
        target = _open_if_there(container, path)
        if target < 0:
            continue
        if stat.S_ISDIR(os.fstat(target).st_mode):
            cover = mount.new_mount("tmpfs", {"size": "0", "nr_inodes": "1"}, mount.MOUNT_ATTR_RDONLY)
        else:
            cover = null(container)
        mount.move_mount(cover, "", target)
        os.close(target)


def null(container: Container) -> int:
    """A detached copy of our own /dev/null, or the host's: the image's may be a link to anything (CVE-2025-31133)."""
    if container.dev >= 0:
        return mount.open_tree("null", container.dev)
    fd = mount.open_tree("/dev/null")
    found = os.fstat(fd)
    if not stat.S_ISCHR(found.st_mode) or found.st_rdev != os.makedev(1, 3):
        raise CosoError("the host's /dev/null is not the null device", hint="mknod -m 666 /dev/null c 1 3")
    return fd


def protect_paths(container: Container) -> None:
    """Make parts of /proc read-only."""
    for path in container.spec.readonly_paths:
        target = _open_if_there(container, path)
        if target < 0:
            continue
        copy = mount.open_tree("", target, recursive=True)
        mount.mount_setattr(copy, mount.MOUNT_ATTR_RDONLY, recursive=True)
        mount.move_mount(copy, "", target)
        os.close(target)


def _open_if_there(container: Container, path: str) -> int:
    try:
        return open_in_root(container.root, path)
    except KernelError as error:
        if error.errno in (errno.ENOENT, errno.ENOTDIR):
            return -1
        raise


BINDS = Step(
    "open what is shown",
    "detach copies of the host's files and directories that the container shall see",
    "open_tree(OPEN_TREE_CLONE), mount_setattr(MOUNT_ATTR_IDMAP)",
    "the host's paths are resolved with the host's rights, and their owners mapped to the container's",
    "open_tree(2), mount_setattr(2)",
    open_binds,
)
PRIVATE = Step(
    "cut propagation",
    "make every mount private",
    "mount_setattr(AT_RECURSIVE, MS_PRIVATE)",
    "systemd makes mounts shared: mounts made here would appear on the host",
    "mount_namespaces(7)",
    make_private,
)
ETC = Step(
    "attach /etc files",
    "put hostname, hosts and resolv.conf in place",
    "open_tree(), move_mount()",
    "names must resolve inside, from any C library, without a change to the image",
    "hosts(5), resolv.conf(5)",
    attach_etc,
)
MASK = Step(
    "mask paths",
    "cover files of /proc and /sys that tell too much",
    "move_mount(/dev/null), fsmount(tmpfs)",
    "they are not separated by any namespace",
    "proc(5), OCI config-linux.md (maskedPaths)",
    mask_paths,
)
PROTECT = Step(
    "protect paths",
    "make parts of /proc read-only",
    "open_tree(), mount_setattr(MOUNT_ATTR_RDONLY), move_mount()",
    "a write there configures the machine, not the container",
    "proc(5), OCI config-linux.md (readonlyPaths)",
    protect_paths,
)
