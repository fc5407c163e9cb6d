"""`coso run`: from words to a running container."""

from __future__ import annotations

import os
import sys

from coso.cli.sources import source_and_command
from coso.engine.front import in_front
from coso.errors import UsageError
from coso.flags import HELP as HELP_OPTION
from coso.flags import Words, parse, usage
from coso.images import blobs
from coso.options import OPTIONS

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
# What only a container that is kept can be asked for.
KEPT = ("restart", "health-cmd", "detach-keys", "attach")


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
    for option in KEPT:
        if option in given.options and given.last(option) not in ("no", ""):
            raise UsageError(
                f"--{option} takes a container that is kept or runs in the background",
                hint="leave --rm out, or give --detach",
            )
    if not given.on("explain"):
        return in_front(given, source, command, claim, on_terminal=os.isatty(0))
    from coso.runtime.explain import explainer, say_imports

    status = in_front(given, source, command, claim, on_terminal=os.isatty(0), explain=explainer())
    say_imports()
    return status


def stays_in_front(given: Words, source: Source) -> bool:
    """Whether the container lives and dies with this very process, which then needs no monitor.

    So it was with the first version's words, a rootfs, and so it is with --rm.
    """
    if given.on("detach"):
        return False
    return given.on("rm", given.last("rootfs") != "" or not given.rest)
