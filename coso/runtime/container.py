"""A container on its way to running: what was decided and what is open.

The one object with state in this room.  clone3 copies it, so the child's
steps find what the parent's steps left in it.
"""

from __future__ import annotations

import os

from coso.state import LAYERS

TYPE_CHECKING = False
if TYPE_CHECKING:
    from _socket import socket
    from collections.abc import Callable

    from coso.cgroups import Hierarchy, Membership
    from coso.runtime.channel import Channel
    from coso.runtime.journal import Journal
    from coso.runtime.outside import Outside
    from coso.runtime.users import Account
    from coso.spec import IdMapping, Spec
    from coso.steps import Observer

# What the kernel shows for an id that is not mapped (/proc/sys/kernel/overflowuid).
OVERFLOW = 65534


def _has_console(spec: Spec) -> bool:
    """Whether /dev is one that the runtime fills, with a place for the terminal."""
    return any(item.destination == "/dev" and item.type == "tmpfs" for item in spec.mounts)


class Container:
    """See the module; descriptors are -1 until they are open."""

    def __init__(self, spec: Spec, journal: Journal, ours: Channel, theirs: Channel) -> None:
        self.spec = spec
        self.id = journal.container
        self.journal = journal
        self.ours = ours
        self.theirs = theirs
        self.observe: Observer | None = None
        # How ids inside are ids outside; none without a user namespace.
        self.uid_mappings = spec.uid_mappings
        self.gid_mappings = spec.gid_mappings
        self.directory = spec.root.kept or f"{LAYERS}/{self.id}"
        # What other commands shall know of it, as text, beside its layer.
        self.about = ""
        self.claims: tuple[int, ...] = ()
        self.hierarchies: list[Hierarchy] = []
        self.membership: Membership | None = None
        self.pid = 0
        self.pidfd = -1
        self.address = ""
        # Sockets that are open for their port alone, and who is told of the steps within a step.
        self.held: list[socket] = []
        self.nested: Observer | None = None
        # Who starts programs as the ordinary user that the runtime was.
        self.outside: Outside | None = None
        # Detached mounts, made by the parent, put in place by the child.
        self.layers = -1
        self.lower = -1
        self.dev = -1
        # A sysfs that shows a network namespace which the container joins.
        self.sys = -1
        self.binds: list[int] = []
        # The container's root in the child, and the parent's side of its terminal.
        self.root = -1
        self.terminal = -1
        # Its network namespace, held open by the parent while interfaces could still come back.
        self.network_namespace = -1
        self.ready = False
        # The word that the command may go has been said.
        self.released = False
        # Made ahead of its time: its first process is in its root, made of what these stamps say (coso.runtime.blank).
        self.rooted = False
        self.stamps: tuple[tuple[int, int, int], ...] = ()
        self.filter = b""
        self.filter_flags = 0
        self.home = "/"
        # Where the command was found.
        self.program = ""
        self.account: Account | None = None
        # A container that outlives its runtime waits here for the word to start its command.
        self.gate: Channel | None = None
        self.bundle = ""
        # The host's /proc, for a process that enters a container.
        self.proc = -1
        # The first process of the container, where this is another one in it.
        self.init = 0
        self.cgroup = f"coso-{self.id}"
        self.unit = ""
        self.no_pivot = False
        # Its first process becomes the child of the runtime's own parent, and outlives the runtime (CLONE_PARENT).
        self.outlives = False
        self.no_new_keyring = False
        self.preserved = 0
        self.listening = 0
        # An engine asks for its defaults on any machine: a limit out of reach becomes the nearest, and is said.
        self.clamps = False
        self.warn: Callable[[str], None] = _say
        self.has_console = _has_console(spec)

    def become(self, spec: Spec) -> None:
        """Go on with another Spec, whose namespaces are the same."""
        self.spec = spec
        self.has_console = _has_console(spec)

    @property
    def hostname(self) -> str:
        """The host name inside: the one asked for, else the id as with Docker, or the host's where that is shared."""
        return self.spec.hostname or (self.id if self.has("uts") else os.uname().nodename)

    @property
    def root_uid(self) -> int:
        """The host's number of the user who is root inside."""
        return self.host_uid(0)

    @property
    def root_gid(self) -> int:
        """The host's number of the group that is root's inside."""
        return self.host_gid(0)

    def host_uid(self, uid: int) -> int:
        """The host's number of a user inside; the host's overflow user for one that is not mapped."""
        return _outside(uid, self.uid_mappings) if self.has("user") else uid

    def host_gid(self, gid: int) -> int:
        """The host's number of a group inside; the host's overflow group for one that is not mapped."""
        return _outside(gid, self.gid_mappings) if self.has("user") else gid

    def has(self, namespace: str) -> bool:
        """Whether the container's namespace of a kind is another than the runtime's."""
        return namespace in self.spec.namespaces or self.joins(namespace)

    def joins(self, namespace: str) -> bool:
        """Whether the container enters a namespace of a kind that exists already."""
        return any(joined.type == namespace for joined in self.spec.joined)

    def open_user_namespace(self) -> int:
        """A descriptor of the container's user namespace."""
        return os.open(f"/proc/{self.pid}/ns/user", os.O_RDONLY | os.O_CLOEXEC)


def _say(text: str) -> None:
    import sys

    sys.stderr.write(f"coso: {text}\n")


def _outside(number: int, mappings: tuple[IdMapping, ...]) -> int:
    for mapping in mappings:
        if mapping.container_id <= number < mapping.container_id + mapping.size:
            return mapping.host_id + number - mapping.container_id
    return OVERFLOW
