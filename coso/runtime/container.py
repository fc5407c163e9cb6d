"""A container on its way to running: what was decided and what is open.

The one object with state in this room.  clone3 copies it, so the child's
steps find what the parent's steps left in it.
"""

from __future__ import annotations

import os

from coso.state import LAYERS

TYPE_CHECKING = False
if TYPE_CHECKING:
    from coso.cgroups import Hierarchy, Membership
    from coso.runtime.channel import Channel
    from coso.runtime.journal import Journal
    from coso.spec import Spec
    from coso.steps import Observer


class Container:
    """See the module; descriptors are -1 until they are open."""

    def __init__(self, spec: Spec, journal: Journal, ours: Channel, theirs: Channel) -> None:
        self.spec = spec
        self.id = journal.container
        self.journal = journal
        self.ours = ours
        self.theirs = theirs
        self.observe: Observer | None = None
        # Host user and group that are root inside; 0 without a user namespace.
        self.first_id = 0
        self.directory = f"{LAYERS}/{self.id}"
        self.hierarchies: list[Hierarchy] = []
        self.membership: Membership | None = None
        self.pid = 0
        self.pidfd = -1
        self.address = ""
        # Detached mounts, made by the parent, put in place by the child.
        self.layers = -1
        self.lower = -1
        self.dev = -1
        self.volumes: list[int] = []
        # The container's root in the child, and the parent's side of its terminal.
        self.root = -1
        self.terminal = -1
        self.ready = False
        self.filter = b""
        self.home = "/"

    @property
    def hostname(self) -> str:
        """The host name inside: the one asked for, else the id as with Docker, or the host's where that is shared."""
        return self.spec.hostname or (self.id if self.has("uts") else os.uname().nodename)

    def has(self, namespace: str) -> bool:
        """Whether the container has a namespace of its own."""
        return namespace in self.spec.namespaces
