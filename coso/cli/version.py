"""`coso version`."""

from __future__ import annotations

import os
import sys

from coso import __version__
from coso.cli import table
from coso.flags import Option, read_words


def main(words: list[str]) -> int:
    """Print the version; with --format, by fields as Docker names them."""
    given = read_words((Option("format", "f", "TEMPLATE", "json, or a Go template"),), words, "coso version", most=0)
    if given is None:
        return 0
    if not given.last("format"):
        sys.stdout.write(f"coso {__version__}\n")
        return 0
    system = os.uname()
    own = {"Version": __version__, "Os": "linux", "Arch": "amd64", "KernelVersion": system.release}
    table.details([{"Client": own, "Server": own}], given.last("format"))
    return 0
