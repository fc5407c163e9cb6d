"""The root: an overlay whose lower layer is never written to, or a directory as it is; and no way back to the host's.

The parent prepares what needs the host's rights as detached mounts: the
rootfs, seen through the container's ids (idmapped) where coso stacks an
overlay on it, and the container's own directory.  The child puts them in
place below a directory that it alone sees, and pivots into it.
"""

from __future__ import annotations

import errno
import os
import stat

from coso.errors import KernelError
from coso.kernel import mount
from coso.kernel.path import make_in_root
from coso.runtime.container import Container
from coso.runtime.options import PROPAGATIONS
from coso.runtime.undo import remove_tree
from coso.runtime.user import RANGE
from coso.state import make_directories
from coso.steps import Step

# Any directory that exists everywhere serves; the child covers it in its own mount namespace only.
BASE = "/tmp"
ETC_FILES = ("hostname", "hosts", "resolv.conf")


def base(container: Container) -> str:
    """Where the child stacks the root: inside its own directory when it may walk there, else at BASE."""
    return BASE if container.has("user") or container.joins("mount") else container.directory


def make_layers(container: Container) -> None:
    """Make the container's directory: the writable layer, mount points, and the files of /etc."""
    path = container.directory
    make_directories(os.path.dirname(path))
    container.journal.record("remove-tree", path)
    os.mkdir(path, 0o711)
    tell(container)
    fill_layers(path, container.root_uid, container.root_gid)
    _make_etc(container)


def tell(container: Container) -> None:
    """Keep beside the layer what other commands shall know; from then on that claims what the container uses."""
    if not container.about:
        return
    fd = os.open(f"{container.directory}/config.json", os.O_CREAT | os.O_WRONLY | os.O_CLOEXEC, 0o600)
    os.write(fd, container.about.encode())
    os.close(fd)
    for claim in container.claims:
        os.close(claim)


def fill_layers(path: str, owner: int, group: int) -> None:
    """Make the directories of an overlay, for the container's root."""
    for name in ("lower", "upper", "work"):
        os.mkdir(f"{path}/{name}", 0o755)
        os.chown(f"{path}/{name}", owner, group)


def renew_layers(container: Container) -> None:
    """Make a layer that was in use before ready for another start: all of the last one but what it wrote."""
    path = container.directory
    # An overlay without fsync (`volatile`) marks its working directory, and would refuse it (overlayfs.rst).
    remove_tree(f"{path}/work")
    os.mkdir(f"{path}/work", 0o755)
    os.chown(f"{path}/work", container.root_uid, container.root_gid)
    for name in ETC_FILES:
        try:
            os.unlink(f"{path}/{name}")
        except FileNotFoundError:
            continue
    if not os.path.lexists(f"{path}/upper/etc"):
        _make_etc(container)


def _make_etc(container: Container) -> None:
    """Make the mount points that /etc lacks in the writable layer.

    Made later, through the overlay, they would have /etc copied up first,
    which takes longer than all else that is done there.  An /etc that is not
    a plain directory is left to that way.
    """
    root, layer = container.spec.root, f"{container.directory}/upper/etc"
    owner, group = container.root_uid, container.root_gid
    images = [f"{root.path}/{name}/etc" for name in root.layers or (".",)]
    images = [image for image in images if os.path.lexists(image)]
    try:
        # The uppermost has the attributes; a name in any of them may be hidden, and is left to the other way.
        found = os.lstat(images[0])
        missing = [name for name in ETC_FILES if not any(os.path.lexists(f"{image}/{name}") for image in images)]
        plain = stat.S_ISDIR(found.st_mode) and max(found.st_uid, found.st_gid) < RANGE and not os.listxattr(images[0])
    except (OSError, IndexError):
        return
    if not missing or not plain:
        return
    os.mkdir(layer)
    if not container.spec.limited:
        # Else the image's owner may be nobody that is mapped; then it is root inside.
        os.chown(layer, owner + found.st_uid, group + found.st_gid)
    os.chmod(layer, stat.S_IMODE(found.st_mode))
    for name in missing:
        os.mknod(f"{layer}/{name}", stat.S_IFREG | 0o644)
        os.chown(f"{layer}/{name}", owner, group)


def open_root(container: Container) -> None:
    """Detach copies of the rootfs and the container's directory, as the container shall see them."""
    root = container.spec.root
    if not container.has("mount"):
        container.journal.record("unmount", f"{base(container)}/lower" if root.overlay else base(container))
    if not root.overlay:
        container.lower = mount.open_tree(root.path, recursive=True)
        _propagate(container.lower, container.spec.rootfs_propagation)
        return
    userns = -1
    if container.has("user"):
        userns = container.open_user_namespace()
        container.layers = mount.open_tree(container.directory)
        mount.mount_setattr(container.layers, propagation=mount.MS_PRIVATE)
    container.lower = mount.open_tree(root.path)
    # A copy of a shared mount is its peer: what is mounted on it inside would appear on the host.
    mount.mount_setattr(container.lower, propagation=mount.MS_PRIVATE)
    if userns >= 0:
        map_owners(container.lower, userns, root.path)
        os.close(userns)


def _propagate(fd: int, word: str) -> None:
    """Let what the host mounts below the root appear inside only where that was asked for (linux.rootfsPropagation).

    Sharing back begins after pivot_root, which refuses a shared root.
    """
    kind = mount.MS_SLAVE if word in ("slave", "rslave", "shared", "rshared") else mount.MS_PRIVATE
    mount.mount_setattr(fd, propagation=kind, recursive=True)


def map_owners(fd: int, userns: int, path: str, *, recursive: bool = False) -> None:
    """Show the files of a detached mount with the owners that a user namespace gives them (idmapped mounts)."""
    try:
        mount.mount_setattr(fd, userns=userns, recursive=recursive)
    except KernelError as error:
        cause = "the filesystem it is on does not support idmapped mounts" if error.errno == errno.EINVAL else ""
        raise KernelError(
            "mount_setattr(MOUNT_ATTR_IDMAP)",
            error.errno,
            path,
            cause=cause,
            hint="put it on ext4, xfs, btrfs or tmpfs (kernel 6.3), or give --userns=host",
        ) from None


def stack(container: Container) -> None:
    """Mount the overlay, the rootfs below and the container's own layer above; or the directory as it is."""
    where = base(container)
    if not container.spec.root.overlay:
        _attach(container)
        return
    if container.layers >= 0:
        mount.move_mount(container.layers, where)
    mount.move_mount(container.lower, f"{where}/lower")
    options: dict[str, str | None] = {
        "lowerdir": f"{where}/lower",
        "upperdir": f"{where}/upper",
        "workdir": f"{where}/work",
    }
    layers = container.spec.root.layers
    if layers:
        # Below the working directory, so that many names fit.
        os.chdir(f"{where}/lower")
        options["lowerdir"] = ":".join(layers)
    if not container.spec.root.kept:
        # No fsync when a file is copied up: the layer is thrown away, never read after a crash.
        options["volatile"] = None
    if container.has("user") or container.spec.limited:
        # Only the host's root may set trusted.* attributes, in which an overlay otherwise keeps its marks.
        options["userxattr"] = None
    if len(options["lowerdir"] or "") > mount.LONGEST_STRING:
        container.root = mount.old_mount("overlay", options, f"{where}/upper")
        return
    container.root = mount.new_mount("overlay", {"source": "overlay", **options})
    # The overlay has its own copy of the lower mount, and covers it.
    mount.move_mount(container.root, f"{where}/lower")


def _attach(container: Container) -> None:
    """Mount the directory over itself, where hooks that join the container's mounts look for it.

    Somewhere else when that cannot be: in mounts that are not the container's
    alone, for the host's own root, or below directories closed to its user.
    """
    place = base(container)
    if "mount" in container.spec.namespaces:
        own = os.path.realpath(container.spec.root.path)
        place = own if own != "/" and os.access(own, os.F_OK) else place
    mount.move_mount(container.lower, place)
    container.root = container.lower


def make_readonly(container: Container) -> None:
    """Make the root itself read-only; mounts inside keep their own attributes.

    A working directory that is missing is made before.
    """
    os.close(make_in_root(container.root, container.spec.process.cwd or "/", directory=True))
    mount.mount_setattr(container.root, mount.MOUNT_ATTR_RDONLY)


def pivot(container: Container) -> None:
    """Exchange the root and let go of the host's: from here on no path leads out."""
    os.fchdir(container.root)
    if container.has("mount") and not container.no_pivot:
        # pivot_root(".", ".") stacks the old root on the new one, and the unmount takes it off:
        # no directory for it is needed inside the image (pivot_root(2), notes).
        mount.pivot_root(".", ".")
        mount.unmount(".")
    elif container.has("mount"):
        # On an initial ramfs there is no pivot_root: the new root is moved over the old one (switch_root(8)).
        mount.move_mount(container.root, "/")
        os.fchdir(container.root)
        os.chroot(".")
    else:
        os.chroot(".")
    os.chdir("/")
    word = container.spec.rootfs_propagation
    if word in ("shared", "rshared", "unbindable", "runbindable"):
        kind = PROPAGATIONS[word if word in PROPAGATIONS else word[1:]]
        if word in PROPAGATIONS:
            mount.mount_setattr(container.root, propagation=kind)
        else:
            mount.set_propagation("/", kind)


LAYER = Step(
    "make the writable layer",
    "make a directory for what the container writes",
    "mkdir(upper), mkdir(work)",
    "the rootfs is shared by containers and never written to",
    "Documentation/filesystems/overlayfs.rst",
    make_layers,
)
RENEW = Step(
    "renew the writable layer",
    "make the kept layer ready for another start",
    "rmdir(work), mkdir(work)",
    "what the container wrote stays; the overlay's own working directory may not be used twice",
    "Documentation/filesystems/overlayfs.rst",
    renew_layers,
)
OPEN = Step(
    "map the root's owners",
    "detach a copy of the rootfs mount that shows its files as the container's own",
    "open_tree(OPEN_TREE_CLONE), mount_setattr(MOUNT_ATTR_IDMAP)",
    "files of the host's root would be nobody's inside; changing their owner on disk would copy the image",
    "mount_setattr(2), open_tree(2)",
    open_root,
)
OVERLAY = Step(
    "stack the root",
    "mount the overlay of the rootfs and the writable layer",
    "fsopen(overlay), fsconfig(), fsmount(), move_mount()",
    "writes go to the upper layer; the rootfs below stays as it is",
    "Documentation/filesystems/overlayfs.rst",
    stack,
)
BIND = Step(
    "put the root in place",
    "attach the rootfs where pivot_root finds it a mount",
    "move_mount()",
    "pivot_root takes a mount point, which a directory is not",
    "pivot_root(2)",
    stack,
)
READONLY = Step(
    "make the root read-only",
    "forbid writes to the root",
    "mount_setattr(MOUNT_ATTR_RDONLY)",
    "asked for by --read-only",
    "mount_setattr(2)",
    make_readonly,
)
PIVOT = Step(
    "enter the root",
    "make the overlay the root and detach the host's",
    "pivot_root(., .), umount2(., MNT_DETACH)",
    "chroot alone can be left again; after this the host's tree is not in the namespace at all",
    "pivot_root(2)",
    pivot,
)
