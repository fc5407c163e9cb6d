"""A container in front: it lives and dies with the process that asks for it, and is not kept."""

from __future__ import annotations

from coso.engine.joined import joined_namespaces
from coso.flags import Words
from coso.runtime.start import run
from coso.runtime.supervise import supervise
from coso.spec import Spec
from coso.spec.build import labels, spec_from
from coso.spec.mounts import Wish
from coso.value import fields_of

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Callable

    from coso.images.source import Source
    from coso.runtime.container import Container
    from coso.runtime.ready import Explainer


def in_front(
    given: Words,
    source: Source,
    command: tuple[str, ...],
    claim: int,
    *,
    on_terminal: bool,
    explain: Explainer | None = None,
    stay: Callable[[Container], int] = supervise,
    take: Callable[[Spec], Container | None] | None = None,
) -> int:
    """Run a container whose life is this process's, and `stay` with it; its exit status. Raises CosoError.

    `claim` is the lock under which its image was found, -1 for none; `take`
    has perhaps a container that has begun already and can become this one.
    """
    given = Words({**given.options, **_ports(given, source)}, given.rest)
    joined = joined_namespaces(given)
    wanted, using = None, -1
    if {"volume", "mount", "volumes-from"} & given.options.keys() or (source.settings or {}).get("Volumes"):
        from coso.engine import volumes
        from coso.engine.make import mounts_of

        using = volumes.locked(shared=True)
        wanted, anonymous = mounts_of(given, source)
    else:
        anonymous = []
    spec = spec_from(
        given,
        source.path,
        command,
        on_terminal=on_terminal,
        joined=joined,
        settings=source.settings,
        layers=source.layers,
        wanted=wanted,
    )
    if spec.namespaces.count("user") == 0 and all(item.type != "user" for item in joined):
        from coso.runtime.protect import protect_interpreter

        protect_interpreter()
    about = _about(given, source, command, spec.process.args, wanted or [], anonymous)
    try:
        claims = tuple(fd for fd in (claim, using) if fd >= 0)
        blank = take(spec) if take else None
        return run(spec, explain=explain, about=about, claims=claims, stay=stay, blank=blank)
    finally:
        if anonymous:
            from coso.engine import volumes

            for name in anonymous:
                volumes.remove(name, force=True)


def _ports(given: Words, source: Source) -> dict[str, list[str]]:
    if not given.on("publish-all"):
        return {}
    from coso.engine.make import published

    return {"publish": published(given, source.settings or {})}


def _about(
    given: Words,
    source: Source,
    command: tuple[str, ...],
    args: tuple[str, ...],
    wanted: list[Wish],
    anonymous: list[str],
) -> str:
    """What `ps` and `inspect` read of a container in the foreground."""
    from coso import quickjson
    from coso.times import now

    return quickjson.dumps(
        {
            "created": now(),
            "name": given.last("name"),
            "image": source.name,
            "imageId": source.id,
            "manifest": source.manifest,
            "options": given.options,
            "labels": labels(given),
            "command": command,
            "args": args,
            "settings": source.settings or {},
            "mounts": [fields_of(wish) for wish in wanted],
            "anonymous": anonymous,
        }
    )
