"""How each kind of change is taken back.

Every action may be called when the change was recorded and never made, or
when somebody else has undone it already: then it does nothing.
"""

from __future__ import annotations

import errno
import os

from coso.errors import KernelError

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Callable

SIGKILL = 9
# Directories within each other that are removed by recursion, a descriptor each.
DEEPEST = 32


def remove_link(path: str, target: str) -> None:
    """Remove a symbolic link that points to `target`; another's link at that place stays."""
    try:
        if os.readlink(path) == target:
            os.unlink(path)
    except FileNotFoundError:
        pass


def remove_tree(path: str) -> None:
    """Remove a directory and all below it, by descriptor, never through a symbolic link."""
    parent, name = os.path.split(path)
    try:
        fd = os.open(parent, os.O_RDONLY | os.O_DIRECTORY | os.O_CLOEXEC)
    except FileNotFoundError:
        return
    try:
        remove_at(fd, name)
    except FileNotFoundError:
        pass
    finally:
        os.close(fd)


def remove_at(parent: int, name: str) -> None:
    """Remove whatever `name` is: what it holds first, then itself.

    rmdir and rename refuse a mount point (EBUSY), so nothing mounted is emptied.
    """
    if not _is_full_directory(parent, name):
        return
    top = _open_directory(parent, name)
    try:
        # What lies too deep is lifted up to the top while a pass goes on, hence another.
        while names := os.listdir(top):
            for item in names:
                if _is_full_directory(top, item):
                    _remove_full_directory(top, item, top, 0)
    finally:
        os.close(top)
    os.rmdir(name, dir_fd=parent)


def _remove_full_directory(parent: int, name: str, top: int, depth: int) -> None:
    """Empty and remove a directory; a container may nest them deeper than we have stack or descriptors."""
    inside = _open_directory(parent, name)
    try:
        for item in os.listdir(inside):
            if not _is_full_directory(inside, item):
                continue
            if depth < DEEPEST:
                _remove_full_directory(inside, item, top, depth + 1)
            else:
                os.rename(item, os.urandom(8).hex(), src_dir_fd=inside, dst_dir_fd=top)
    finally:
        os.close(inside)
    os.rmdir(name, dir_fd=parent)


def _is_full_directory(parent: int, name: str) -> bool:
    """Remove a file, link or empty directory; True when it is a directory with something in it."""
    try:
        os.unlink(name, dir_fd=parent)
        return False
    except IsADirectoryError:
        pass
    try:
        os.rmdir(name, dir_fd=parent)
    except OSError as error:
        if error.errno != errno.ENOTEMPTY:
            raise
        return True
    return False


def _open_directory(parent: int, name: str) -> int:
    return os.open(name, os.O_RDONLY | os.O_DIRECTORY | os.O_NOFOLLOW | os.O_CLOEXEC, dir_fd=parent)


def unmount(path: str) -> None:
    """Detach what is mounted at `path`, however often."""
    from coso.kernel import mount

    for _ in range(16):
        try:
            mount.unmount(path)
        except KernelError as error:
            if error.errno in (errno.EINVAL, errno.ENOENT):
                return
            raise


def kill(pid: str, started: str) -> None:
    """Kill a process and wait until it is gone, if it still is the one that was recorded."""
    from coso.kernel import process

    pidfd = process.pidfd_of(int(pid), int(started))
    if pidfd < 0:
        return
    try:
        process.pidfd_send_signal(pidfd, SIGKILL)
        _wait_until_gone(pidfd, int(pid))
    finally:
        os.close(pidfd)


def _wait_until_gone(pidfd: int, pid: int) -> None:
    import select

    poll = select.poll()
    poll.register(pidfd, select.POLLIN)
    if not poll.poll(10_000):
        raise OSError(errno.EBUSY, f"process {pid} does not end")
    try:
        os.waitpid(pid, os.WNOHANG)
    except ChildProcessError:
        pass  # Another process's child: its parent, or init, reaps it.


def remove_cgroup(path: str) -> None:
    """Kill whatever runs in a cgroup and remove it."""
    from coso import cgroups

    cgroups.remove(path)


def remove_cgroup_if_empty(path: str) -> None:
    """Remove a cgroup that was made for the sake of one below it, unless somebody else uses it."""
    from coso import cgroups

    cgroups.remove_if_empty(path)


def release_network(helper: str, pid: str, started: str, container: str = "", *words: str) -> None:
    """Give back what the network helper made for a process."""
    from coso.runtime import net

    net.release(helper, int(pid), int(started), container, words)


def stop_unit(name: str) -> None:
    """Have systemd kill and forget a unit."""
    from coso.cgroups import systemd

    systemd.stop_unit(name)


def return_interface(held: str, namespace: str, inside: str, outside: str) -> None:
    """Bring a network interface back from a container that did not come to be."""
    from coso.runtime import netdevices

    netdevices.give_back(held, namespace, inside, outside)


ACTIONS: dict[str, Callable[..., None]] = {
    "kill": kill,
    "release-network": release_network,
    "remove-cgroup": remove_cgroup,
    "remove-cgroup-if-empty": remove_cgroup_if_empty,
    "remove-link": remove_link,
    "remove-tree": remove_tree,
    "return-interface": return_interface,
    "stop-unit": stop_unit,
    "unmount": unmount,
}
