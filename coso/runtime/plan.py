"""The plan: which steps a Spec asks for, in order, in the runtime (parent) and in the first process (child)."""

from __future__ import annotations

from coso.kernel.process import clone3
from coso.runtime import (
    cgroup,
    command,
    console,
    filesystems,
    handover,
    ipc,
    mount,
    net,
    pid,
    security,
    time,
    user,
    uts,
)
from coso.runtime.container import Container
from coso.spec import Spec
from coso.steps import Step

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Callable

FLAGS = {
    "ipc": ipc.FLAG,
    "mount": mount.FLAG,
    "network": net.FLAG,
    "pid": pid.FLAG,
    "user": user.FLAG,
    "uts": uts.FLAG,
}


def clone_flags(spec: Spec) -> int:
    """The namespaces that the clone makes; cgroup and time are made around it."""
    flags = 0
    for namespace, flag in FLAGS.items():
        if namespace in spec.namespaces:
            flags |= flag
    return flags


def before_clone(spec: Spec) -> list[Step]:
    """The parent's steps before there is a process."""
    own = spec.namespaces
    return [
        *([user.LEASE] if "user" in own else []),
        cgroup.CREATE,
        *([time.OFFSETS] if "time" in own else []),
    ]


def clone(spec: Spec, first_process: Callable[[Container], None]) -> Step:
    """The step that makes the process, which goes on in `first_process` and never returns from it."""

    def execute(container: Container) -> None:
        unified = container.membership.unified if container.membership else -1
        container.pid, container.pidfd = clone3(clone_flags(spec), unified)
        if container.pid == 0:
            first_process(container)

    names = "|".join(f"CLONE_NEW{_FLAG_NAMES[name]}" for name in FLAGS if name in spec.namespaces)
    return Step(
        "clone",
        "make the first process in its new namespaces",
        f"clone3({names or '0'})",
        "one call makes all namespaces that need no preparation inside",
        "clone(2), namespaces(7)",
        execute,
    )


_FLAG_NAMES = {"ipc": "IPC", "mount": "NS", "network": "NET", "pid": "PID", "user": "USER", "uts": "UTS"}


# The parent's steps beside the child, in the order in which it waits for them (coso.runtime.handover).
IDS = (user.MAP,)
ROOT = (mount.LAYER, mount.OPEN)
FILES = (net.ETC, filesystems.DEV)


def network(spec: Spec) -> list[Step]:
    """The parent's last steps: the command waits for them, the mounts do not."""
    if "network" not in spec.namespaces or spec.network == "none":
        return [net.ADDRESS]
    return [net.ATTACH, net.ADDRESS]


def in_child(spec: Spec) -> list[Step]:
    """The child's steps, up to the command."""
    own = spec.namespaces
    return [
        cgroup.ENTER,
        *([handover.IDS, user.ROOT] if "user" in own else []),
        *([uts.NAMES] if "uts" in own else []),
        *([net.PREPARE] if "network" in own else []),
        *([mount.PRIVATE] if "mount" in own else []),
        handover.ROOT,
        mount.OVERLAY,
        handover.FILES,
        *(filesystems.step(item) for item in spec.mounts),
        *(_volume(index, spec) for index in range(len(spec.volumes))),
        mount.ETC,
        mount.MASK,
        mount.PROTECT,
        *([mount.READONLY] if spec.root.readonly else []),
        mount.PIVOT,
        console.TERMINAL if spec.process.terminal else console.INPUT,
        *([security.RLIMITS] if spec.process.rlimits else []),
        ipc.KEYRING,
        DIRECTORY,
        security.FILTER,
        security.USER,
    ]


def _volume(index: int, spec: Spec) -> Step:
    volume = spec.volumes[index]
    return Step(
        f"mount {volume.destination}",
        f"show {volume.source} of the host at {volume.destination}",
        "open_tree(), mount_setattr(MOUNT_ATTR_IDMAP), move_mount()",
        "asked for by --volume",
        "open_tree(2), mount_setattr(2)",
        lambda container: mount.attach_volume(container, index, volume),
    )


DIRECTORY = Step(
    "enter the directory",
    "close every descriptor of the host and go to the working directory",
    "close_range(), chdir(), getcwd()",
    "a descriptor left open is a way out of the root",
    "open(2), CVE-2024-21626",
    command.enter_directory,
)


def child_steps(spec: Spec) -> dict[str, Step]:
    """The child's steps by name, for reports that cross the channel."""
    return {step.name: step for step in in_child(spec)}
