"""A container that is kept, as the Spec that it starts by."""

from __future__ import annotations

from coso.engine.joined import NAMESPACES, joined_to
from coso.engine.record import Record, find
from coso.errors import CosoError
from coso.runtime import user
from coso.spec import IdMapping, Joined, Root, Spec, mounts
from coso.spec.build import spec_from
from coso.value import replace


def spec_of(one: Record, *, joined: tuple[Joined, ...] | None = None) -> Spec:
    """The Spec that a container starts by; with whom it shares namespaces is found unless it is given.

    Raises CosoError.
    """
    from coso.flags import Words

    config = one.config
    spec = spec_from(
        Words(one.options, ()),
        config["path"],
        tuple(config["command"]),
        on_terminal=True,
        joined=joined_of(one) if joined is None else joined,
        settings=config["settings"] or None,
        layers=tuple(config["layers"]),
        wanted=[mounts.Wish(**{**item, "options": tuple(item["options"])}) for item in config["mounts"]],
    )
    root = spec.root
    first = config.get("firstId")
    mapping = (IdMapping(0, int(first), user.RANGE),) if first and "user" in spec.namespaces else ()
    return replace(
        spec,
        root=Root(root.path, root.readonly, True, root.layers, one.directory),
        uid_mappings=mapping,
        gid_mappings=mapping,
    )


def joined_of(one: Record) -> tuple[Joined, ...]:
    """The namespaces of other containers that it shares, as they are now; raises CosoError."""
    pids: dict[str, int] = {}
    for option in NAMESPACES:
        kind, colon, name = one.option(option).partition(":")
        if kind == "container" and colon:
            other = find(name)
            if not other.is_alive:
                raise CosoError(f"the container {name}, whose {option} namespace is to be shared, does not run")
            pids[option] = other.pid
    return joined_to(pids)
