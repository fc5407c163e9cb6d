"""What the runtime gives the first process once it exists, in three parts, so that both work at the same time.

The child waits for each part where it needs it.  The end of the
conversation instead of a part means that the runtime has died: the child
then ends too, and nothing holds what `coso gc` takes back.
"""

from __future__ import annotations

import os

from coso.runtime.container import Container
from coso.steps import Step


def give_ids(container: Container) -> None:
    """Tell the child that its user namespace is mapped."""
    container.ours.send("ids")


def give_root(container: Container) -> None:
    """Send the detached mounts that the root is stacked of."""
    layers = (container.layers,) if container.has("user") else ()
    container.ours.send("root", fds=(*layers, container.lower, *container.volumes))


def give_files(container: Container) -> None:
    """Send /dev, and with it word that the files of /etc are written."""
    container.ours.send("files", fds=(container.dev,))


def _receive(container: Container) -> list[int]:
    message = container.theirs.receive()
    if message is None:
        os._exit(125)
    return message[2]


def await_ids(container: Container) -> None:
    """Wait for the maps of the user namespace."""
    _receive(container)


def await_root(container: Container) -> None:
    """Take over the detached mounts of the root and the volumes."""
    fds = _receive(container)
    if container.has("user"):
        container.layers = fds.pop(0)
    container.lower, *container.volumes = fds


def await_files(container: Container) -> None:
    """Take over /dev."""
    (container.dev,) = _receive(container)


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
