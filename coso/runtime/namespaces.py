"""Namespaces that exist already: enter them, and make the first process from there (setns(2), ioctl_ns(2)).

A process cannot change its own PID namespace, and once in another user
namespace it has no rights over those of the host.  So a helper enters them,
the user namespace last, and makes the first process as its own sibling, a
child of the runtime (CLONE_PARENT).
"""

from __future__ import annotations

import os
from fcntl import ioctl

from coso.cgroups import enter
from coso.errors import CosoError, KernelError
from coso.kernel import mount, process
from coso.kernel.process import NAMESPACES
from coso.runtime import user
from coso.runtime.container import Container
from coso.runtime.time import set_offsets
from coso.spec import IdMapping, Joined, sysctl

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Callable

NS_GET_NSTYPE = 0xB703


def open_namespace(joined: Joined) -> int:
    """A descriptor of a namespace; raises CosoError when the path is no namespace of its kind."""
    field = f"linux.namespaces ({joined.type}): {joined.path}"
    try:
        fd = os.open(joined.path, os.O_RDONLY | os.O_CLOEXEC)
    except OSError as error:
        raise CosoError(f"{field}: {error.strerror}", cause="the process it was of may have ended") from None
    try:
        kind = ioctl(fd, NS_GET_NSTYPE)
    except OSError:
        kind = 0
    if kind != NAMESPACES[joined.type]:
        os.close(fd)
        known = {number: name for name, number in NAMESPACES.items()}
        found = f"a namespace of kind {known[kind]}" if kind in known else "no namespace"
        raise CosoError(f"{field} is {found}")
    return fd


def _spare_the_host(container: Container, joined: list[tuple[str, int]]) -> None:
    """Refuse names and kernel parameters for namespaces that are named by path, and turn out to be the host's."""
    spec = container.spec
    names, parameters = bool(spec.hostname or spec.domainname), {sysctl.namespace(name) for name, _ in spec.sysctl}
    for kind, fd in joined:
        file = {"network": "net"}.get(kind, kind)
        if kind not in ("uts", "ipc", "network") or os.fstat(fd).st_ino != os.stat(f"/proc/self/ns/{file}").st_ino:
            continue
        if kind in parameters or (kind == "uts" and names):
            raise CosoError(
                f"linux.namespaces ({kind}) is the host's own, whose names and parameters are not a container's to set"
            )


def clone_inside(container: Container, flags: int, first_process: Callable[[Container], None]) -> None:
    """Make the first process in the joined namespaces and in new ones, by way of a helper."""
    order = list(NAMESPACES)
    joined = sorted(container.spec.joined, key=lambda item: order.index(item.type))
    entries = [(open_namespace(item), NAMESPACES[item.type]) for item in joined]
    _spare_the_host(container, [(item.type, fd) for item, (fd, _) in zip(joined, entries, strict=True)])
    # The sibling of a helper is to be the child of this process, or of its parent where it outlives it.
    helper = process.clone_sibling(0) if container.outlives else os.fork()
    if helper == 0:
        _help(container, entries, flags, first_process)
    for fd, _ in entries:
        os.close(fd)
    # Ours alone stays open, so that the helper's end is heard of, whatever ends it.
    container.theirs.close()
    message = container.ours.receive()
    if not container.outlives:
        os.waitpid(helper, 0)
    if message is None:
        raise CosoError("the process that enters the namespaces died")
    kind, words, _ = message
    if kind != "cloned":
        raise KernelError(words[0], int(words[1]), words[2])
    container.pid = int(words[0])
    container.pidfd = process.pidfd_open(container.pid)


def _help(
    container: Container, entries: list[tuple[int, int]], flags: int, first_process: Callable[[Container], None]
) -> None:
    """Enter, clone, tell the runtime the number, and end."""
    try:
        if "time" in container.spec.namespaces:
            set_offsets(container)
        if container.membership and container.joins("cgroup"):
            enter(container.membership)
        for fd, kind in entries:
            process.setns(fd, kind)
        if container.joins("network") and "user" in container.spec.namespaces:
            # Its owner is another user namespace than the one to come, which could not make one of its own.
            container.sys = mount.new_mount("sysfs", {})
        unified = container.membership.unified if container.membership and not container.joins("cgroup") else -1
        pid = process.clone_sibling(flags, unified)
        if pid == 0:
            first_process(container)
        container.theirs.send("cloned", pid)
    except KernelError as error:
        container.theirs.send("error", error.call, error.errno, error.path)
    except OSError as error:
        container.theirs.send("error", "setns", error.errno or 0, error.filename or "")
    os._exit(0)


def user_namespace_of(uids: tuple[IdMapping, ...], gids: tuple[IdMapping, ...]) -> int:
    """A descriptor of a new user namespace with these maps, for a mount that is to show them."""
    pid, pidfd = process.clone3(process.CLONE_NEWUSER)
    if pid == 0:
        import _signal

        while True:
            _signal.pause()
    try:
        user.write_map(pid, "uid_map", uids)
        user.write_map(pid, "gid_map", gids)
        return os.open(f"/proc/{pid}/ns/user", os.O_RDONLY | os.O_CLOEXEC)
    finally:
        process.pidfd_send_signal(pidfd, 9)
        os.close(pidfd)
        os.waitpid(pid, 0)
