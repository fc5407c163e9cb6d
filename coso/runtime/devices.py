"""Device nodes: those every container has, and those asked for (config-linux.md, "Default Devices", "Devices").

mknod of a device is denied in a user namespace, and nodes on a filesystem
made there would not open; so the parent makes /dev where it is a filesystem
of its own.  A node anywhere else is made by the child, or, in a user
namespace, the host's is shown there.
"""

from __future__ import annotations

import os
import stat

from coso.errors import CosoError, KernelError
from coso.kernel import mount
from coso.kernel.path import make_in_root
from coso.runtime.container import Container
from coso.runtime.mount import attach
from coso.runtime.options import sort
from coso.spec import Device, Mount, Spec
from coso.steps import Step

KINDS = {"c": stat.S_IFCHR, "u": stat.S_IFCHR, "b": stat.S_IFBLK, "p": stat.S_IFIFO}
DEFAULTS = tuple(
    Device(f"/dev/{name}", "c", major, minor)
    for name, major, minor in (
        ("null", 1, 3),
        ("zero", 1, 5),
        ("full", 1, 7),
        ("random", 1, 8),
        ("urandom", 1, 9),
        ("tty", 5, 0),
    )
)
LINKS = (
    ("fd", "/proc/self/fd"),
    ("stdin", "/proc/self/fd/0"),
    ("stdout", "/proc/self/fd/1"),
    ("stderr", "/proc/self/fd/2"),
    ("ptmx", "pts/ptmx"),
)


def new_dev(spec: Spec) -> Mount | None:
    """The mount that is /dev, when that is a filesystem of the container's own."""
    for item in spec.mounts:
        if item.destination.rstrip("/") == "/dev":
            return item if item.type == "tmpfs" else None
    return None


def own_dev(spec: Spec) -> Mount | None:
    """The mount that is /dev, when the parent can make it: empty at first, and with rights to make nodes there."""
    item = new_dev(spec)
    return item if item and not spec.limited and "tmpcopyup" not in item.options else None


def has_dev(spec: Spec) -> bool:
    """Whether the runtime fills /dev; where it is the host's own, shown as it is, it does not."""
    return not any(item.destination.rstrip("/") == "/dev" and item.type != "tmpfs" for item in spec.mounts)


def all_devices(spec: Spec) -> list[Device]:
    """Every node to be made; one that is asked for takes the place of a default one."""
    by_path = {device.path: device for device in DEFAULTS}
    by_path |= {os.path.normpath(device.path): device for device in spec.devices}
    return list(by_path.values())


def make_dev(container: Container) -> None:
    """Make /dev as a detached filesystem with its nodes and links."""
    item = own_dev(container.spec)
    assert item is not None
    options = sort(item.options)
    owner, group = container.root_uid, container.root_gid
    parameters: dict[str, str | None] = {"source": item.source or "tmpfs", "uid": str(owner), "gid": str(group)}
    if container.spec.mount_label:
        parameters["context"] = container.spec.mount_label
    # Read-only, if at all, only once it is filled: seal_dev.
    attributes = options.set & ~mount.MOUNT_ATTR_RDONLY
    container.dev = mount.new_mount("tmpfs", {"mode": "755", **parameters, **options.parameters}, attributes)
    earlier = os.umask(0)
    try:
        for device in all_devices(container.spec):
            if device.path.startswith("/dev/"):
                _make_node(container, device)
        _make_links(container.dev, owner, group)
        for name in ("pts", "shm", "mqueue"):
            try:
                os.mkdir(name, 0o755, dir_fd=container.dev)
                os.chown(name, owner, group, dir_fd=container.dev)
            except FileExistsError:
                continue  # A device was asked for below it, and made the directory.
        if container.spec.process.terminal and all(item.path != "/dev/console" for item in container.spec.devices):
            os.mknod("console", stat.S_IFREG | 0o600, dir_fd=container.dev)
            os.chown("console", owner, group, dir_fd=container.dev)
    except OSError as error:
        raise KernelError("mknod", error.errno or 0, "/dev", hint="run as root, with CAP_MKNOD") from None
    finally:
        os.umask(earlier)


def _make_node(container: Container, device: Device) -> None:
    """Make a node on our own /dev, owned as the container sees owners."""
    names = os.path.normpath(device.path).removeprefix("/dev/").split("/")
    for depth in range(1, len(names)):
        place = "/".join(names[:depth])
        try:
            os.mkdir(place, 0o755, dir_fd=container.dev)
            os.chown(place, container.root_uid, container.root_gid, dir_fd=container.dev)
        except FileExistsError:
            pass
    _mknod(device, "/".join(names), container.dev, container.host_uid(device.uid), container.host_gid(device.gid))


def _mknod(device: Device, name: str, directory: int, uid: int, gid: int) -> None:
    number = os.makedev(device.major, device.minor) if device.type != "p" else 0
    os.mknod(name, KINDS[device.type] | stat.S_IMODE(device.file_mode), number, dir_fd=directory)
    os.chown(name, uid, gid, dir_fd=directory)


def _make_links(directory: int, owner: int, group: int) -> None:
    for name, target in LINKS:
        try:
            os.symlink(target, name, dir_fd=directory)
            os.chown(name, owner, group, dir_fd=directory, follow_symlinks=False)
        except FileExistsError:
            continue


def seal_dev(container: Container) -> None:
    """Make /dev read-only where it was asked to be."""
    item = new_dev(container.spec)
    if item and sort(item.options).set & mount.MOUNT_ATTR_RDONLY:
        mount.mount_setattr(container.dev, mount.MOUNT_ATTR_RDONLY)


def make_others(container: Container) -> None:
    """Make the nodes that are not on a /dev of our own; runs in the child."""
    ours = own_dev(container.spec) is not None
    earlier = os.umask(0)
    try:
        for device in all_devices(container.spec):
            if not (ours and device.path.startswith("/dev/")):
                _make_elsewhere(container, device)
        if not ours:
            directory = make_in_root(container.root, "/dev", directory=True)
            _make_links(directory, 0, 0)
            os.close(directory)
            if container.spec.process.terminal and container.has_console:
                os.close(make_in_root(container.root, "/dev/console", directory=False))
    finally:
        os.umask(earlier)


def _make_elsewhere(container: Container, device: Device) -> None:
    if (container.has("user") or container.spec.limited) and device.type != "p":
        found = os.stat(device.path)
        if found.st_rdev != os.makedev(device.major, device.minor):
            raise CosoError(
                f"the device {device.path} cannot be shown: on the host it is {os.major(found.st_rdev)}:"
                f"{os.minor(found.st_rdev)}, not {device.major}:{device.minor}",
                cause="in a user namespace no device node can be made, only the host's shown",
            )
        attach(container, mount.open_tree(device.path), device.path, directory=False)
        return
    parent, name = os.path.split(os.path.normpath(device.path))
    directory = make_in_root(container.root, parent, directory=True)
    try:
        _mknod(device, name, directory, device.uid, device.gid)
    except FileExistsError:
        found = os.stat(name, dir_fd=directory, follow_symlinks=False)
        same = stat.S_IFMT(found.st_mode) == KINDS[device.type]
        if not same or (device.type != "p" and found.st_rdev != os.makedev(device.major, device.minor)):
            raise CosoError(f"{device.path} is there already, and is another file") from None
    finally:
        os.close(directory)


DEV = Step(
    "make /dev",
    "make a small /dev with null, zero, full, random, urandom and tty",
    "fsopen(tmpfs), fsmount(), mknod()",
    "device nodes cannot be made inside a user namespace",
    "mknod(2), user_namespaces(7)",
    make_dev,
)
OTHERS = Step(
    "make devices",
    "make the device nodes that are not on a /dev of the container's own",
    "mknod()",
    "asked for by the specification",
    "mknod(2), OCI config-linux.md (devices)",
    make_others,
)
SEAL = Step(
    "seal /dev",
    "make /dev read-only",
    "mount_setattr(MOUNT_ATTR_RDONLY)",
    "asked for by the mount's options",
    "mount_setattr(2)",
    seal_dev,
)
