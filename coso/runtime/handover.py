"""What the runtime gives the first process once it exists, in three parts, so that both work at the same time.

The child waits for each part where it needs it.  The end of the
conversation instead of a part means that the runtime has died: the child
then ends too, and nothing holds what `coso gc` takes back.
"""

from __future__ import annotations

import os

from coso.cgroups import Membership, hierarchies
from coso.runtime.container import Container
from coso.steps import Step

MOST = 250


def give_ids(container: Container) -> None:
    """Tell the child that its user namespace is mapped."""
    container.ours.send("ids")


def give_root(container: Container) -> None:
    """Send the detached mounts that the root is stacked of."""
    fds = [fd for fd in (container.layers, container.lower) if fd >= 0] + container.binds
    # One message carries at most 253 descriptors (SCM_MAX_FD).
    for at in range(0, len(fds), MOST):
        container.ours.send("root", len(fds) - at, fds=tuple(fds[at : at + MOST]))


def give_files(container: Container) -> None:
    """Send /dev, and with it word that the files of /etc are written."""
    container.ours.send("files", fds=(container.dev,) if container.dev >= 0 else ())


def _receive(container: Container) -> tuple[list[str], list[int]]:
    message = container.theirs.receive()
    if message is None:
        os._exit(125)
    return message[1], message[2]


def await_ids(container: Container) -> None:
    """Wait for the maps of the user namespace."""
    _receive(container)


def await_root(container: Container) -> None:
    """Take over the detached mounts of the root and of what is shown of the host."""
    words, fds = _receive(container)
    whole = int(words[0])
    while len(fds) < whole:
        fds += _receive(container)[1]
    if container.spec.root.overlay and container.has("user"):
        container.layers = fds.pop(0)
    container.lower, *container.binds = fds


def await_files(container: Container) -> None:
    """Take over /dev."""
    _, fds = _receive(container)
    container.dev = fds[0] if fds else -1


IDS = Step(
    "await ids",
    "wait until the runtime has mapped users and groups",
    "recvmsg()",
    "without a map, no user inside is anybody",
    "user_namespaces(7)",
    await_ids,
)
ROOT = Step(
    "await the root",
    "take over the mounts that the root is stacked of",
    "recvmsg(SCM_RIGHTS)",
    "only the host may map the owners of its filesystems, and the map belongs to this process",
    "unix(7), mount_setattr(2)",
    await_root,
)
FILES = Step(
    "await /dev",
    "take over /dev, and know that the files of /etc are written",
    "recvmsg(SCM_RIGHTS)",
    "the runtime makes them while the root is stacked here",
    "unix(7)",
    await_files,
)


def give_groups(container: Container) -> None:
    """Send what opens the control groups, where they could be made only around the process that is there."""
    membership = container.membership
    container.ours.send("groups", fds=membership.tasks if membership else ())


def await_groups(container: Container) -> None:
    """Take over what opens the control groups."""
    container.membership = Membership(tuple(_receive(container)[1]), -1)
    container.hierarchies = hierarchies()


def run_hooks(container: Container) -> None:
    """Let the runtime run its hooks now, while the root is not entered yet."""
    container.theirs.send("hooks")
    _receive(container)


GROUPS = Step(
    "await groups",
    "wait until systemd has made the unit, and take over what opens its groups",
    "recvmsg(SCM_RIGHTS)",
    "systemd makes a scope around a process that exists",
    "systemd.scope(5)",
    await_groups,
)
HOOKS = Step(
    "await hooks",
    "let the runtime run the hooks of this moment",
    "sendmsg(), recvmsg()",
    "they run in the runtime's namespaces, before pivot_root",
    "OCI config.md (prestart, createRuntime)",
    run_hooks,
)
