"""The options of a mount, sorted by what the kernel does with them (config.md "Mount options", mount(8)).

Some are attributes of the mount, some of them of all mounts below it too,
some say how mounts propagate, some are coso's business; what is left belongs
to the filesystem.
"""

from __future__ import annotations

from coso.kernel import mount
from coso.value import value

# Option: attributes to set, attributes to clear.
ATTRIBUTES = {
    "async": (0, 0),
    "atime": (0, mount.MOUNT_ATTR_ATIME),
    "defaults": (0, 0),
    "dev": (0, mount.MOUNT_ATTR_NODEV),
    "diratime": (0, mount.MOUNT_ATTR_NODIRATIME),
    "exec": (0, mount.MOUNT_ATTR_NOEXEC),
    "noatime": (mount.MOUNT_ATTR_NOATIME, mount.MOUNT_ATTR_ATIME),
    "nodev": (mount.MOUNT_ATTR_NODEV, 0),
    "nodiratime": (mount.MOUNT_ATTR_NODIRATIME, 0),
    "noexec": (mount.MOUNT_ATTR_NOEXEC, 0),
    "norelatime": (0, mount.MOUNT_ATTR_ATIME),
    "nostrictatime": (0, mount.MOUNT_ATTR_ATIME),
    "nosuid": (mount.MOUNT_ATTR_NOSUID, 0),
    "nosymfollow": (mount.MOUNT_ATTR_NOSYMFOLLOW, 0),
    "relatime": (0, mount.MOUNT_ATTR_ATIME),
    "ro": (mount.MOUNT_ATTR_RDONLY, 0),
    "rw": (0, mount.MOUNT_ATTR_RDONLY),
    "strictatime": (mount.MOUNT_ATTR_STRICTATIME, mount.MOUNT_ATTR_ATIME),
    "suid": (0, mount.MOUNT_ATTR_NOSUID),
    "symfollow": (0, mount.MOUNT_ATTR_NOSYMFOLLOW),
}
PROPAGATIONS = {
    "private": mount.MS_PRIVATE,
    "shared": mount.MS_SHARED,
    "slave": mount.MS_SLAVE,
    "unbindable": mount.MS_UNBINDABLE,
}
# Flags of a superblock that fsconfig takes by another word, or that say nothing to it (fs/fs_context.c).
QUIET = frozenset(("defaults", "silent", "loud", "iversion", "noiversion", "norelatime", "nostrictatime"))
OURS = frozenset(("bind", "rbind", "remount", "idmap", "ridmap", "tmpcopyup", "copy-symlink"))


@value
class Options:
    """A mount's options: attributes of itself and (`recursive_*`) of what is below, propagation, and the rest."""

    set: int
    clear: int
    recursive_set: int
    recursive_clear: int
    propagation: tuple[tuple[int, bool], ...]
    ours: frozenset[str]
    parameters: dict[str, str | None]


def sort(options: tuple[str, ...]) -> Options:
    """The options sorted; later ones win over earlier ones."""
    on = off = deep_on = deep_off = 0
    propagation: list[tuple[int, bool]] = []
    ours: set[str] = set()
    parameters: dict[str, str | None] = {}
    for option in options:
        deep = option[1:] if option.startswith("r") and option[1:] in ATTRIBUTES else ""
        if option in OURS:
            ours.add(option)
        elif option in PROPAGATIONS:
            propagation.append((PROPAGATIONS[option], False))
        elif option.startswith("r") and option[1:] in PROPAGATIONS:
            propagation.append((PROPAGATIONS[option[1:]], True))
        elif option in ATTRIBUTES and option != "async":
            on, off = _apply(on, off, *ATTRIBUTES[option])
        elif deep:
            deep_on, deep_off = _apply(deep_on, deep_off, *ATTRIBUTES[deep])
        elif option and option not in QUIET:
            key, equals, text = option.partition("=")
            parameters[key] = text if equals else None
    return Options(on, off, deep_on, deep_off, tuple(propagation), frozenset(ours), parameters)


def _apply(on: int, off: int, set_: int, clear: int) -> tuple[int, int]:
    """Add an option to what earlier ones set and clear; access times are one field and not bits."""
    return (on & ~clear) | set_, (off & ~(set_ & ~mount.MOUNT_ATTR_ATIME)) | clear


def is_bind(type_: str, options: tuple[str, ...]) -> bool:
    """Whether a mount shows what is there already."""
    return type_ == "bind" or "bind" in options or "rbind" in options
