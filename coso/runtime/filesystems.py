"""The filesystems inside the root: /proc, /sys, /dev and what is below (OCI config-linux.md, default filesystems)."""

from __future__ import annotations

import errno
import os

from coso.cgroups import Hierarchy
from coso.errors import KernelError
from coso.kernel import mount
from coso.runtime.container import Container
from coso.runtime.devices import new_dev, own_dev
from coso.runtime.mount import attach, attach_bind, remount, shows_host
from coso.runtime.options import sort
from coso.spec import Mount
from coso.steps import Step

# The namespace that a filesystem shows: where it is the host's, only the host may mount that filesystem anew.
SHOWS = {"proc": "pid", "sysfs": "network", "mqueue": "ipc", "cgroup": "cgroup", "cgroup2": "cgroup"}


# Filesystems whose files take the label of their mount; procfs and its like have labels of their own.
LABELLED = ("tmpfs", "ramfs", "devpts")


def mount_one(container: Container, item: Mount) -> None:
    """Mount one filesystem of the specification inside the root."""
    if item.type in ("proc", "sysfs"):
        _refuse_symlink(container, item.destination)
    if "remount" in item.options:
        remount(container, item)
    elif shows_host(item):
        attach_bind(container, item)
    elif item.type == "sysfs" and container.sys >= 0:
        mount.mount_setattr(container.sys, sort(item.options).set)
        attach(container, container.sys, item.destination)
    elif item is own_dev(container.spec):
        attach(container, container.dev, item.destination)
    elif item.destination == "/dev/shm" and container.spec.names and not container.has("ipc"):
        _show_hosts(container, item)
    elif _belongs_to_host(container, item):
        # In the host's cgroup namespace a new cgroup2 mount would reset the host's own options (nsdelegate, …).
        _show_hosts(container, item)
    elif item.type in ("cgroup", "cgroup2"):
        _mount_cgroups(container, item)
    else:
        _mount_new(container, item)


def _belongs_to_host(container: Container, item: Mount) -> bool:
    if item.type.startswith("cgroup") and not container.spec.names:
        # The rights of root over a hierarchy come from a cgroup namespace, which this user's has not made.
        return container.spec.limited and not container.has("cgroup")
    shared = item.type in SHOWS and not container.has(SHOWS[item.type])
    return shared and (container.has("user") or item.type in ("cgroup", "cgroup2"))


def _mount_new(container: Container, item: Mount) -> None:
    options = sort(item.options)
    parameters = {"source": item.source or item.type, **options.parameters}
    if container.spec.mount_label and item.type in LABELLED:
        parameters["context"] = container.spec.mount_label
    is_dev = item is new_dev(container.spec)
    # /dev is read-only, if at all, only once it is filled.
    fd = mount.new_mount(item.type, parameters, options.set & ~(mount.MOUNT_ATTR_RDONLY if is_dev else 0))
    if options.recursive_set or options.recursive_clear:
        mount.mount_setattr(fd, options.recursive_set, options.recursive_clear)
    if is_dev:
        container.dev = fd
    if "tmpcopyup" in options.ours:
        from coso.runtime.copyup import copy_up

        copy_up(container, item.destination, fd)
    attach(container, fd, item.destination)
    for kind, recursive in options.propagation:
        mount.mount_setattr(fd, propagation=kind, recursive=recursive)


def _refuse_symlink(container: Container, destination: str) -> None:
    """An image whose /proc is a link would have another place mounted over, and the masks with it (CVE-2019-19921)."""
    try:
        os.readlink(destination.lstrip("/"), dir_fd=container.root)
    except OSError:
        return
    raise KernelError(
        "move_mount", errno.ELOOP, destination, cause="the image has a symbolic link there", hint="use another image"
    )


def _show_hosts(container: Container, item: Mount) -> None:
    """Show the host's own mount where its namespace is shared: a new one may not be made in a user namespace."""
    place = item.destination
    if not os.path.isdir(place):
        return  # The host has none to share, as with /dev/mqueue here.
    fd = mount.open_tree(place, recursive=True)
    mount.mount_setattr(fd, sort(item.options).set, recursive=True)
    attach(container, fd, place)


def _mount_cgroups(container: Container, item: Mount) -> None:
    """Mount each hierarchy below /sys/fs/cgroup, or version 2 alone as /sys/fs/cgroup itself."""
    attributes = sort(item.options).set
    here = container.hierarchies
    if item.type == "cgroup2" or [hierarchy.version for hierarchy in here] == [2]:
        attach(container, _own_hierarchy(container, _unified(container), attributes), item.destination)
        return
    writable = attributes & ~mount.MOUNT_ATTR_RDONLY
    top = mount.new_mount("tmpfs", {"source": "cgroup", "mode": "755"}, writable)
    attach(container, top, item.destination)
    for hierarchy in here:
        name = os.path.basename(hierarchy.path)
        os.mkdir(name, 0o755, dir_fd=top)
        fd = _own_hierarchy(container, hierarchy, attributes)
        mount.move_mount(fd, name, top)
        os.close(fd)
    mount.mount_setattr(top, attributes)
    os.close(top)


def _unified(container: Container) -> Hierarchy:
    return next((item for item in container.hierarchies if item.version == 2), Hierarchy(2, "/sys/fs/cgroup", ()))


def _own_hierarchy(container: Container, hierarchy: Hierarchy, attributes: int) -> int:
    """A hierarchy as the container shall see it: by its namespace, or without one its own group alone.

    On v2 engines expect the whole of it then; in a user namespace only its
    namespace's owner may mount it anew.
    """
    own_group = not container.has("cgroup") and container.cgroup
    if hierarchy.version == 2 and container.has("cgroup"):
        return mount.new_mount("cgroup2", {}, attributes)
    if own_group or hierarchy.version == 2:
        # A new cgroup2 mount in the host's namespace would take the host's own options away (nsdelegate, …).
        shown = own_group and (hierarchy.version == 1 or container.has("user"))
        fd = mount.open_tree(f"{hierarchy.path}/{container.cgroup}" if shown else hierarchy.path)
        mount.mount_setattr(fd, attributes, propagation=mount.MS_PRIVATE)
        return fd
    pairs = (controller.partition("=") for controller in hierarchy.controllers)
    return mount.new_mount("cgroup", {key: text if eq else None for key, eq, text in pairs}, attributes)


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
    if shows_host(item):
        return Step(
            f"mount {item.destination}",
            f"show {item.source} of the host at {item.destination}",
            "open_tree(), mount_setattr(MOUNT_ATTR_IDMAP), move_mount()",
            "asked for by --volume, or by the specification",
            "open_tree(2), mount_setattr(2)",
            lambda container: mount_one(container, item),
        )
    return Step(
        f"mount {item.destination}",
        f"mount {item.type} at {item.destination}",
        "move_mount()" if item.destination == "/dev" else f"fsopen({item.type}), fsmount(), move_mount()",
        WHY.get(item.source if item.source == "dev" else item.type, "asked for by the specification"),
        MAN.get(item.source if item.source == "dev" else item.type, "tmpfs(5)"),
        lambda container: mount_one(container, item),
    )
