"""The mount namespace: an overlay root, and no way back to the host's (mount_namespaces(7)).

The parent prepares what needs the host's rights as detached mounts: the
rootfs, seen through the container's ids (idmapped), and the container's own
directory.  The child puts them in place below a directory that it alone sees,
stacks the overlay, and pivots into it.
"""

from __future__ import annotations

import errno
import os
import stat

from coso.errors import KernelError
from coso.kernel import mount
from coso.kernel.path import make_in_root, open_in_root
from coso.kernel.process import CLONE_NEWNS
from coso.runtime.container import Container
from coso.runtime.user import RANGE
from coso.spec import Volume
from coso.state import LAYERS, make_directories
from coso.steps import Step

FLAG = CLONE_NEWNS

# Any directory that exists everywhere serves; the child covers it in its own mount namespace only.
BASE = "/tmp"
ETC_FILES = ("hostname", "hosts", "resolv.conf")


def base(container: Container) -> str:
    """Where the child stacks the root: inside its own directory when it may walk there, else at BASE."""
    return BASE if container.has("user") else container.directory


def make_layers(container: Container) -> None:
    """Make the container's directory: the writable layer, mount points, and the files of /etc."""
    path, owner = container.directory, container.first_id
    make_directories(LAYERS)
    container.journal.record("remove-tree", path)
    os.mkdir(path, 0o711)
    for name in ("lower", "upper", "work"):
        os.mkdir(f"{path}/{name}", 0o755)
        os.chown(f"{path}/{name}", owner, owner)
    _make_etc(container)
    if not container.has("mount"):
        container.journal.record("unmount", f"{path}/lower")


def _make_etc(container: Container) -> None:
    """Make the mount points that /etc lacks in the writable layer.

    Made later, through the overlay, they would have /etc copied up first,
    which takes longer than all else that is done there.  An /etc that is not
    a plain directory is left to that way.
    """
    image, layer, owner = f"{container.spec.root.path}/etc", f"{container.directory}/upper/etc", container.first_id
    try:
        found = os.lstat(image)
        missing = [name for name in ETC_FILES if not os.path.lexists(f"{image}/{name}")]
        plain = stat.S_ISDIR(found.st_mode) and max(found.st_uid, found.st_gid) < RANGE and not os.listxattr(image)
    except OSError:
        return
    if not missing or not plain:
        return
    os.mkdir(layer)
    os.chown(layer, owner + found.st_uid, owner + found.st_gid)
    os.chmod(layer, stat.S_IMODE(found.st_mode))
    for name in missing:
        os.mknod(f"{layer}/{name}", stat.S_IFREG | 0o644)
        os.chown(f"{layer}/{name}", owner, owner)


def open_layers(container: Container) -> None:
    """Detach copies of the rootfs, the container's directory and the volumes, as the container shall see them."""
    userns = -1
    if container.has("user"):
        userns = os.open(f"/proc/{container.pid}/ns/user", os.O_RDONLY | os.O_CLOEXEC)
        container.layers = mount.open_tree(container.directory)
        mount.mount_setattr(container.layers, propagation=mount.MS_PRIVATE)
    container.lower = _mapped(container.spec.root.path, userns)
    for volume in container.spec.volumes:
        fd = _mapped(volume.source, userns)
        if volume.readonly:
            mount.mount_setattr(fd, mount.MOUNT_ATTR_RDONLY, recursive=True)
        container.volumes.append(fd)
    if userns >= 0:
        os.close(userns)


def _mapped(path: str, userns: int) -> int:
    fd = mount.open_tree(path)
    # A copy of a shared mount is its peer: what is mounted on it inside would appear on the host.
    mount.mount_setattr(fd, propagation=mount.MS_PRIVATE)
    if userns < 0:
        return fd
    try:
        mount.mount_setattr(fd, userns=userns)
    except KernelError as error:
        cause = "the filesystem it is on does not support idmapped mounts" if error.errno == errno.EINVAL else ""
        raise KernelError(
            "mount_setattr(MOUNT_ATTR_IDMAP)",
            error.errno,
            path,
            cause=cause,
            hint="put it on ext4, xfs, btrfs or tmpfs (kernel 6.3), or give --userns=host",
        ) from None
    return fd


def make_private(container: Container) -> None:
    """Cut propagation, so that nothing mounted from here on is seen outside, nor the reverse."""
    mount.set_propagation("/", mount.MS_PRIVATE)


def stack(container: Container) -> None:
    """Mount the overlay: the rootfs below, the container's own layer above."""
    where = base(container)
    if container.layers >= 0:
        mount.move_mount(container.layers, where)
    mount.move_mount(container.lower, f"{where}/lower")
    options: dict[str, str | None] = {
        "source": "overlay",
        "lowerdir": f"{where}/lower",
        "upperdir": f"{where}/upper",
        "workdir": f"{where}/work",
        # No fsync when a file is copied up: the layer is thrown away, never read after a crash.
        "volatile": None,
    }
    if container.has("user"):
        # Only the host's root may set trusted.* attributes, in which an overlay otherwise keeps its marks.
        options["userxattr"] = None
    container.root = mount.new_mount("overlay", options)
    # The overlay has its own copy of the lower mount, and covers it.
    mount.move_mount(container.root, f"{where}/lower")


def attach(container: Container, fd: int, target: str, *, directory: bool = True) -> None:
    """Put a detached mount in place inside the root, making its mount point."""
    point = make_in_root(container.root, target, directory=directory)
    try:
        mount.move_mount(fd, "", point)
    finally:
        os.close(point)


def attach_volume(container: Container, index: int, volume: Volume) -> None:
    """Put a volume in place."""
    fd = container.volumes[index]
    attach(container, fd, volume.destination, directory=stat.S_ISDIR(os.fstat(fd).st_mode))


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
    """A detached copy of our own /dev/null: the image's may be a link to anything (CVE-2025-31133)."""
    return mount.open_tree("null", container.dev)


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


def make_root_readonly(container: Container) -> None:
    """Make the root itself read-only; mounts inside keep their own attributes."""
    mount.mount_setattr(container.root, mount.MOUNT_ATTR_RDONLY)


def pivot(container: Container) -> None:
    """Exchange the root and let go of the host's: from here on no path leads out."""
    os.fchdir(container.root)
    if container.has("mount"):
        # pivot_root(".", ".") stacks the old root on the new one, and the unmount takes it off:
        # no directory for it is needed inside the image (pivot_root(2), notes).
        mount.pivot_root(".", ".")
        mount.unmount(".")
    else:
        os.chroot(".")
    os.chdir("/")


LAYER = Step(
    "make the writable layer",
    "make a directory for what the container writes",
    "mkdir(upper), mkdir(work)",
    "the rootfs is shared by containers and never written to",
    "Documentation/filesystems/overlayfs.rst",
    make_layers,
)
OPEN = Step(
    "map the root's owners",
    "detach a copy of the rootfs mount that shows its files as the container's own",
    "open_tree(OPEN_TREE_CLONE), mount_setattr(MOUNT_ATTR_IDMAP)",
    "files of the host's root would be nobody's inside; changing their owner on disk would copy the image",
    "mount_setattr(2), open_tree(2)",
    open_layers,
)
PRIVATE = Step(
    "cut propagation",
    "make every mount private",
    "mount_setattr(AT_RECURSIVE, MS_PRIVATE)",
    "systemd makes mounts shared: mounts made here would appear on the host",
    "mount_namespaces(7)",
    make_private,
)
OVERLAY = Step(
    "stack the root",
    "mount the overlay of the rootfs and the writable layer",
    "fsopen(overlay), fsconfig(), fsmount(), move_mount()",
    "writes go to the upper layer; the rootfs below stays as it is",
    "Documentation/filesystems/overlayfs.rst",
    stack,
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
READONLY = Step(
    "make the root read-only",
    "forbid writes to the root",
    "mount_setattr(MOUNT_ATTR_RDONLY)",
    "asked for by --read-only",
    "mount_setattr(2)",
    make_root_readonly,
)
PIVOT = Step(
    "enter the root",
    "make the overlay the root and detach the host's",
    "pivot_root(., .), umount2(., MNT_DETACH)",
    "chroot alone can be left again; after this the host's tree is not in the namespace at all",
    "pivot_root(2)",
    pivot,
)
