"""The filesystems inside the root: /proc, /sys, /dev and what is below (OCI config-linux.md, default filesystems)."""

from __future__ import annotations

import errno
import os

from coso.errors import KernelError
from coso.kernel import mount
from coso.runtime.container import Container
from coso.runtime.mount import attach
from coso.spec import Mount
from coso.steps import Step

ATTRIBUTES = {
    "noatime": mount.MOUNT_ATTR_NOATIME,
    "nodev": mount.MOUNT_ATTR_NODEV,
    "nodiratime": mount.MOUNT_ATTR_NODIRATIME,
    "noexec": mount.MOUNT_ATTR_NOEXEC,
    "nosuid": mount.MOUNT_ATTR_NOSUID,
    "ro": mount.MOUNT_ATTR_RDONLY,
    "strictatime": mount.MOUNT_ATTR_STRICTATIME,
}
# The namespace that a filesystem shows: where it is the host's, only the host may mount that filesystem anew.
SHOWS = {"proc": "pid", "sysfs": "network", "mqueue": "ipc", "cgroup": "cgroup"}

S_IFCHR = 0o020000
DEVICES = (("null", 1, 3), ("zero", 1, 5), ("full", 1, 7), ("random", 1, 8), ("urandom", 1, 9), ("tty", 5, 0))
LINKS = (
    ("fd", "/proc/self/fd"),
    ("stdin", "/proc/self/fd/0"),
    ("stdout", "/proc/self/fd/1"),
    ("stderr", "/proc/self/fd/2"),
    ("ptmx", "pts/ptmx"),
)


def make_dev(container: Container) -> None:
    """Make /dev as a detached tmpfs with its device nodes.

    The parent does it: mknod of a device is denied in a user namespace, and
    nodes on a filesystem made there would not open.
    """
    owner = container.first_id
    options: dict[str, str | None] = {"mode": "755", "size": "65536k", "uid": str(owner), "gid": str(owner)}
    attributes = mount.MOUNT_ATTR_NOSUID | mount.MOUNT_ATTR_NOEXEC
    container.dev = mount.new_mount("tmpfs", {"source": "dev", **options}, attributes)
    earlier = os.umask(0)
    try:
        for name, major, minor in DEVICES:
            os.mknod(name, S_IFCHR | 0o666, os.makedev(major, minor), dir_fd=container.dev)
            os.chown(name, owner, owner, dir_fd=container.dev)
        for name, target in LINKS:
            os.symlink(target, name, dir_fd=container.dev)
            os.chown(name, owner, owner, dir_fd=container.dev, follow_symlinks=False)
        for name in ("pts", "shm", "mqueue"):
            os.mkdir(name, 0o755, dir_fd=container.dev)
            os.chown(name, owner, owner, dir_fd=container.dev)
        if container.spec.process.terminal:
            os.close(os.open("console", os.O_CREAT | os.O_WRONLY | os.O_CLOEXEC, 0o600, dir_fd=container.dev))
            os.chown("console", owner, owner, dir_fd=container.dev)
    except OSError as error:
        raise KernelError("mknod", error.errno or 0, "/dev", hint="run as root, with CAP_MKNOD") from None
    finally:
        os.umask(earlier)


def mount_one(container: Container, item: Mount) -> None:
    """Mount one filesystem of the specification inside the root."""
    if item.type in ("proc", "sysfs"):
        _refuse_symlink(container, item.destination)
    shared = item.type in SHOWS and not container.has(SHOWS[item.type])
    if item.destination == "/dev/shm" and not container.has("ipc"):
        _bind_hosts(container, item)
        return
    if item.type == "dev":
        attach(container, container.dev, item.destination)
    elif shared and (container.has("user") or item.type == "cgroup"):
        # In the host's cgroup namespace a new cgroup2 mount would reset the host's own options (nsdelegate, …).
        _bind_hosts(container, item)
    elif item.type == "cgroup":
        _mount_cgroups(container, item)
    else:
        options, attributes = split_options(item.options)
        attach(container, mount.new_mount(item.type, {"source": item.source, **options}, attributes), item.destination)


def split_options(options: tuple[str, ...]) -> tuple[dict[str, str | None], int]:
    """Mount options as parameters of the filesystem and attributes of the mount."""
    parameters: dict[str, str | None] = {}
    attributes = 0
    for option in options:
        key, equals, text = option.partition("=")
        if option in ATTRIBUTES:
            attributes |= ATTRIBUTES[option]
        else:
            parameters[key] = text if equals else None
    return parameters, attributes


def _refuse_symlink(container: Container, destination: str) -> None:
    """An image whose /proc is a link would have another place mounted over, and the masks with it (CVE-2019-19921)."""
    try:
        os.readlink(destination.lstrip("/"), dir_fd=container.root)
    except OSError:
        return
    raise KernelError(
        "move_mount", errno.ELOOP, destination, cause="the image has a symbolic link there", hint="use another image"
    )


def _bind_hosts(container: Container, item: Mount) -> None:
    """Show the host's own mount where its namespace is shared: a new one may not be made in a user namespace."""
    place = item.destination
    if not os.path.isdir(place):
        return  # The host has none to share, as with /dev/mqueue here.
    fd = mount.open_tree(place, recursive=True)
    _, attributes = split_options(item.options)
    mount.mount_setattr(fd, attributes, recursive=True)
    attach(container, fd, place)


def _mount_cgroups(container: Container, item: Mount) -> None:
    """Mount each hierarchy below /sys/fs/cgroup, or version 2 alone as /sys/fs/cgroup itself."""
    _, attributes = split_options(item.options)
    here = container.hierarchies
    if [hierarchy.version for hierarchy in here] == [2]:
        attach(container, mount.new_mount("cgroup2", {}, attributes), item.destination)
        return
    writable = attributes & ~mount.MOUNT_ATTR_RDONLY
    top = mount.new_mount("tmpfs", {"source": "cgroup", "mode": "755"}, writable)
    attach(container, top, item.destination)
    for hierarchy in here:
        name = os.path.basename(hierarchy.path)
        os.mkdir(name, 0o755, dir_fd=top)
        if hierarchy.version == 2:
            fd = mount.new_mount("cgroup2", {}, attributes)
        else:
            pairs = (controller.partition("=") for controller in hierarchy.controllers)
            fd = mount.new_mount("cgroup", {key: text if eq else None for key, eq, text in pairs}, attributes)
        mount.move_mount(fd, name, top)
        os.close(fd)
    mount.mount_setattr(top, attributes)
    os.close(top)


WHY = {
    "proc": "the host's /proc would show the host's processes",
    "sysfs": "it shows the devices of the network namespace it is mounted in",
    "dev": "only harmless devices: no disk, no memory",
    "devpts": "terminals of its own, invisible to other containers",
    "mqueue": "it shows the POSIX queues of the IPC namespace",
    "cgroup": "programs read their own limits there",
    "tmpfs": "shared memory of its own, bounded in size",
}
MAN = {
    "proc": "proc(5)",
    "sysfs": "sysfs(5)",
    "dev": "null(4), tmpfs(5)",
    "devpts": "pts(4)",
    "mqueue": "mq_overview(7)",
    "cgroup": "cgroups(7)",
}


def step(item: Mount) -> Step:
    """The step that mounts one filesystem."""
    return Step(
        f"mount {item.destination}",
        f"mount {item.type} at {item.destination}",
        "move_mount()" if item.type == "dev" else f"fsopen({item.type}), fsmount(), move_mount()",
        WHY.get(item.type, "asked for by the specification"),
        MAN.get(item.type, "tmpfs(5)"),
        lambda container: mount_one(container, item),
    )


DEV = Step(
    "make /dev",
    "make a small /dev with null, zero, full, random, urandom and tty",
    "fsopen(tmpfs), fsmount(), mknod()",
    "device nodes cannot be made inside a user namespace",
    "mknod(2), user_namespaces(7)",
    make_dev,
)
