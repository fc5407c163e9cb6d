"""`coso run`: from words to a running container."""

from __future__ import annotations

import os
import sys

from coso.cli.options import OPTIONS
from coso.cli.sources import source_and_command
from coso.errors import UsageError
from coso.flags import HELP as HELP_OPTION
from coso.flags import Words, parse, usage
from coso.images import blobs
from coso.runtime.start import run
from coso.spec import Joined
from coso.spec.build import spec_from
from coso.spec.mounts import Wish

TYPE_CHECKING = False
if TYPE_CHECKING:
    from coso.images.source import Source

HELP = """coso run [OPTIONS] [IMAGE] [COMMAND …]

  coso run --rm alpine cat /etc/os-release   one command, and nothing is left
  coso run -it alpine                        a shell
  coso run -d --name web -p 8080:80 nginx    in the background
  coso run --rm -v .:/src -w /src python:3 pytest

Without --rm or -d the container is kept after its end: `coso ps -a`, `coso logs`, `coso start`.
With --rootfs there is no IMAGE, and every word after the options is the command.
`alpine` and `busybox` are the rootfs that `invoke fs-setup` made, unless the store has an image of
that name; `host` is this machine's own tree, read-only; `scratch` is empty. With no word at all, a
shell in the default rootfs. One dash or two, both work.

"""
# What only a container that has a monitor can be asked for.
MONITORED = ("detach", "restart", "health-cmd", "log-driver", "log-opt", "attach")
NAMESPACES = {"network": "net", "pid": "pid", "ipc": "ipc"}


def main(words: list[str]) -> int:
    """Run a container and return its exit status."""
    given = parse((*OPTIONS, HELP_OPTION), words, "coso run")
    if given.on("help"):
        sys.stdout.write(HELP + usage(OPTIONS) + "\n")
        return 0
    # Nothing of its image is removed before it is written down that there is a container of it.
    claim = blobs.locked("use", shared=True) if given.rest and not given.last("rootfs") else -1
    source, command = source_and_command(given)
    if not stays_in_front(given, source):
        from coso.cli.create import run_kept

        return run_kept(given, source, command, claim if claim >= 0 else blobs.locked("use", shared=True))
    return in_front(given, source, command, claim)


def stays_in_front(given: Words, source: Source) -> bool:
    """Whether the container lives and dies with this very process, which then needs no monitor.

    So it was with the first version's words, a rootfs, and so it is with --rm.
    """
    if given.on("detach"):
        return False
    return given.on("rm", given.last("rootfs") != "" or not given.rest)


def in_front(given: Words, source: Source, command: tuple[str, ...], claim: int) -> int:
    """Run a container whose life is this process's."""
    for option in ("restart", "health-cmd", "detach-keys", "attach"):
        if option in given.options and given.last(option) not in ("no", ""):
            raise UsageError(
                f"--{option} takes a container that is kept or runs in the background",
                hint="leave --rm out, or give --detach",
            )
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
        on_terminal=os.isatty(0),
        joined=joined,
        settings=source.settings,
        layers=source.layers,
        wanted=wanted,
    )
    if spec.namespaces.count("user") == 0 and all(item.type != "user" for item in joined):
        from coso.runtime.protect import protect_interpreter

        protect_interpreter()
    explain = None
    if given.on("explain"):
        from coso.runtime.explain import explainer

        explain = explainer()
    about = _about(given, source, spec.process.args, wanted or [], anonymous)
    try:
        return run(spec, explain=explain, about=about, claims=tuple(fd for fd in (claim, using) if fd >= 0))
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


def _about(given: Words, source: Source, args: tuple[str, ...], wanted: list[Wish], anonymous: list[str]) -> str:
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
            "args": args,
            "settings": source.settings or {},
            "mounts": [{name: getattr(wish, name) for name in Wish.__slots__} for wish in wanted],  # type: ignore[attr-defined]
            "anonymous": anonymous,
        }
    )


def joined_namespaces(given: Words) -> tuple[Joined, ...]:
    """The namespaces of other containers that --network, --pid and --ipc ask for; raises CosoError."""
    found: dict[str, str] = {}
    for option, file in NAMESPACES.items():
        kind, colon, name = given.last(option).partition(":")
        if kind == "container" and colon:
            from coso.runtime.running import find

            pid = find(name).pid
            found[option] = f"/proc/{pid}/ns/{file}"
            if option != "network":
                # Its processes and its IPC belong to its user namespace; in another there is no right over them.
                found["user"] = f"/proc/{pid}/ns/user"
    return tuple(Joined(kind, path) for kind, path in found.items())
