"""A tree seen whole, an image's or a container's: in a process of its own, which others never see.

For a container that runs the process enters its user and mount namespaces;
for one that does not, and for images, it mounts the layers where nobody else
looks.  Either way the tree is its root directory then, and users are as the
container has them: no path of the tree is ever resolved outside of it.
"""

from __future__ import annotations

import _signal
import os

from coso.errors import CosoError, KernelError
from coso.images.source import Source
from coso.kernel import mount
from coso.kernel.path import open_in_root
from coso.kernel.process import (
    CLONE_NEWNS,
    CLONE_NEWUSER,
    PR_SET_DUMPABLE,
    is_limited,
    pidfd_of,
    prctl,
    setns,
    unshare,
)
from coso.runtime import user
from coso.runtime.root import map_owners
from coso.runtime.rootless import become_root
from coso.spec import IdMapping
from coso.worker import Worker

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Callable

    from coso.engine.record import Record

PLACE = "/tmp"


def worker(act: Callable[[], None]) -> Worker:
    """A process that does something in a tree; it ends when nobody reads what it writes."""
    return Worker(act, {_signal.SIGPIPE: _signal.SIG_DFL})


def inside(act: Callable[[], None]) -> None:
    """Do something in a process of its own; raises as a CosoError what was raised there."""
    worker(act).finish()


def enter_image(source: Source) -> int:
    """Mount an image's layers, and return a descriptor of their root."""
    unshare(CLONE_NEWNS)
    mount.set_propagation("/", mount.MS_PRIVATE)
    if len(source.layers) <= 1:
        path = f"{source.path}/{source.layers[0]}" if source.layers else source.path
        return os.open(path, os.O_RDONLY | os.O_DIRECTORY | os.O_CLOEXEC)
    os.chdir(source.path)
    return _opened(mount.old_mount("overlay", {"lowerdir": ":".join(source.layers), "userxattr": None}, PLACE))


def _opened(fd: int) -> int:
    """A descriptor that reads, of a directory that one without rights names."""
    found = open_in_root(fd, "/", os.O_RDONLY | os.O_DIRECTORY)
    os.close(fd)
    return found


def enter(one: Record) -> int:
    """Make a container's tree the root directory of this process, and return a descriptor of it."""
    if one.is_alive:
        _join(one)
    else:
        _mount(one)
    return os.open("/", os.O_RDONLY | os.O_DIRECTORY | os.O_CLOEXEC)


def _join(one: Record) -> None:
    prctl(PR_SET_DUMPABLE, 0)
    pidfd = pidfd_of(*one.process)
    if pidfd < 0:
        raise CosoError(f"the container {one.name or one.id} has ended meanwhile")
    own = os.stat("/proc/self/ns/user").st_ino == os.stat(f"/proc/{one.pid}/ns/user").st_ino
    setns(pidfd, CLONE_NEWNS | (0 if own else CLONE_NEWUSER))
    if not own:
        _become_root_there()


def _become_root_there() -> None:
    """Take user and group 0 of a user namespace that was entered."""
    try:
        os.setgroups([])
    except PermissionError:
        pass  # Where one user alone is mapped there are no others to give up (user_namespaces(7)).
    os.setresgid(0, 0, 0)
    os.setresuid(0, 0, 0)


def _mount(one: Record) -> None:
    from coso.runtime.namespaces import user_namespace_of
    from coso.runtime.undo import remove_tree

    if is_limited():
        become_root()
    config, place = one.config, one.directory
    layers = tuple(config["layers"]) or (".",)
    mapping = (IdMapping(0, int(config["firstId"]), user.RANGE),) if config.get("firstId") else ()
    unshare(CLONE_NEWNS)
    mount.set_propagation("/", mount.MS_PRIVATE)
    lower = mount.open_tree(config["path"])
    mount.mount_setattr(lower, propagation=mount.MS_PRIVATE)
    users = user_namespace_of(mapping, mapping) if mapping else -1
    if users >= 0:
        map_owners(lower, users, str(config["path"]))
    mount.move_mount(lower, f"{place}/lower")
    remove_tree(f"{place}/work")
    os.mkdir(f"{place}/work", 0o755)
    os.chdir(f"{place}/lower")
    options: dict[str, str | None] = {"lowerdir": ":".join(layers), "upperdir": f"{place}/upper"}
    options |= {"workdir": f"{place}/work", "userxattr": None}
    if users < 0 and not is_limited():
        del options["userxattr"]
    os.close(mount.old_mount("overlay", options, PLACE))
    os.chroot(PLACE)
    os.chdir("/")
    if users >= 0:
        setns(users, CLONE_NEWUSER)
        _become_root_there()


def copy_out(source: Source, place: str, target: str) -> None:
    """Copy what an image has at a place into an empty directory, owners and all."""
    from coso.images.copy import copy_tree

    def act() -> None:
        destination = os.open(target, os.O_RDONLY | os.O_DIRECTORY | os.O_CLOEXEC)
        root = enter_image(source)
        try:
            found = open_in_root(root, place, os.O_RDONLY | os.O_DIRECTORY)
        except KernelError:
            return  # The image has nothing there.
        copy_tree(found, destination)

    inside(act)
