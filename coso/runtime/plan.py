"""The plan: which steps a Spec asks for, in order, in the runtime (parent) and in the first process (child)."""

from __future__ import annotations

from coso.kernel.process import clone3
from coso.runtime import (
    cgroup,
    console,
    devices,
    filesystems,
    handover,
    hooks,
    ipc,
    mount,
    net,
    pid,
    process,
    root,
    security,
    time,
    user,
    uts,
)
from coso.runtime.container import Container
from coso.runtime.last import DIRECTORY, at_last, in_any_process
from coso.spec import Hooks, Spec
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
        *name(spec),
        *([user.LEASE] if "user" in own and not spec.uid_mappings else []),
        *([] if spec.systemd else [cgroup.CREATE]),
        *([time.OFFSETS] if "time" in own and not by_helper(spec) else []),
    ]


def name(spec: Spec) -> list[Step]:
    """The step that keeps others from a container's name."""
    if not spec.name or spec.root.kept:
        return []
    from coso.runtime import running

    return [running.NAME]


def by_helper(spec: Spec) -> bool:
    """Whether a helper makes the first process: to enter other namespaces, or not to change the runtime's own clocks.

    What the runtime starts later, a hook, would have the container's time too.
    """
    return bool(spec.joined) or ("time" in spec.namespaces and spec.hooks != Hooks())


def clone(spec: Spec, first_process: Callable[[Container], None]) -> Step:
    """The step that makes the process, which goes on in `first_process` and never returns from it."""

    def execute(container: Container) -> None:
        if by_helper(spec):
            from coso.runtime import namespaces

            namespaces.clone_inside(container, clone_flags(spec), first_process)
            return
        unified = container.membership.unified if container.membership else -1
        container.pid, container.pidfd = clone3(clone_flags(spec), unified, sibling=container.outlives)
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
def groups(spec: Spec) -> list[Step]:
    """The steps that make control groups around a process that is there."""
    return [cgroup.UNIT] if spec.systemd else []


def ids(spec: Spec) -> list[Step]:
    """The steps that settle who is who."""
    return [
        *([user.MAP] if "user" in spec.namespaces else [user.READ] if _has(spec, "user") else []),
        *([process.OOM] if spec.process.oom_score_adj is not None else []),
        *_interfaces(spec),
    ]


def _interfaces(spec: Spec) -> list[Step]:
    if not spec.net_devices:
        return []
    from coso.runtime import netdevices

    return [netdevices.MOVE]


def awaits_ids(spec: Spec) -> bool:
    """Whether the child can do nothing before the runtime has done those steps; parameters may name interfaces."""
    return _has(spec, "user") or bool(spec.net_devices)


def roots(spec: Spec) -> list[Step]:
    """The steps that prepare the root and what is shown in it."""
    binds = any(mount.shows_host(item) for item in spec.mounts)
    layer = [] if not spec.root.overlay else [root.RENEW] if spec.root.kept else [root.LAYER]
    return [*layer, root.OPEN, *([mount.BINDS] if binds else [])]


def files(spec: Spec) -> list[Step]:
    """The steps that make files of the container's own."""
    return [*([net.ETC] if spec.names else []), *([devices.DEV] if devices.own_dev(spec) else [])]


def _has(spec: Spec, namespace: str) -> bool:
    return namespace in spec.namespaces or any(joined.type == namespace for joined in spec.joined)


def network(spec: Spec) -> list[Step]:
    """The parent's last steps: the command waits for them, the mounts do not."""
    attach = "network" in spec.namespaces and spec.network not in ("", "none")
    return [*([net.ATTACH] if attach else []), *([net.ADDRESS] if spec.names else [])]


def in_child(spec: Spec) -> list[Step]:
    """The child's steps, up to the moment when the command may go."""
    return [*to_root(spec), *in_root(spec)]


def to_root(spec: Spec) -> list[Step]:
    """The child's steps until it is in its root."""
    own = spec.namespaces
    return [
        *([handover.GROUPS] if spec.systemd else []),
        cgroup.ENTER,
        *([handover.IDS] if awaits_ids(spec) else []),
        *([user.ROOT] if _has(spec, "user") else []),
        *([uts.NAMES] if "uts" in own or spec.hostname or spec.domainname else []),
        *([net.PREPARE] if "network" in own else []),
        *([process.SYSCTL] if spec.sysctl else []),
        *([mount.PRIVATE] if "mount" in own else []),
        handover.ROOT,
        root.OVERLAY if spec.root.overlay else root.BIND,
        handover.FILES,
        *(filesystems.step(item) for item in spec.mounts),
        *_nodes(spec),
        *([mount.ETC] if spec.names else []),
        *([handover.HOOKS] if spec.hooks.prestart or spec.hooks.create_runtime else []),
        *([hooks.CREATE_CONTAINER] if spec.hooks.create_container else []),
        *([process.LABEL] if spec.process.apparmor_profile or spec.process.selinux_label or spec.mount_label else []),
        mount.MASK,
        mount.PROTECT,
        *([root.READONLY] if spec.root.readonly else []),
        root.PIVOT,
    ]


def in_root(spec: Spec) -> list[Step]:
    """The first process's steps in its root: from here on only the command matters."""
    return [
        console.TERMINAL if spec.process.terminal else console.INPUT,
        *in_any_process(spec),
    ]


# What the first process does before it matters what for (coso.runtime.blank).
IN_BLANK = (cgroup.ENTER, handover.IDS, user.ROOT, net.PREPARE, mount.PRIVATE)


def _nodes(spec: Spec) -> list[Step]:
    """The steps for device nodes that the parent has not made."""
    elsewhere = any(not device.path.startswith("/dev/") for device in spec.devices)
    others = elsewhere or (devices.own_dev(spec) is None and devices.has_dev(spec))
    new = devices.new_dev(spec)
    return [*([devices.OTHERS] if others else []), *([devices.SEAL] if new and "ro" in new.options else [])]


def before_command(spec: Spec) -> list[Step]:
    """The child's steps that are the same for every command: into the root, and often its user and filter too."""
    early = [ipc.KEYRING, DIRECTORY, security.USER]
    if any(step not in early and step is not console.INPUT for step in in_root(spec)):
        return to_root(spec)
    # The default filter lets by what a first process does until its end; of another that is not known.
    last = [security.FILTER] if security.has_default_filter(spec) else []
    return [*to_root(spec), *early, *(last if at_last(spec) == last else [])]


def child_steps(spec: Spec) -> dict[str, Step]:
    """The child's steps by name, for reports that cross the channel."""
    return {step.name: step for step in (*in_child(spec), *at_last(spec))}
