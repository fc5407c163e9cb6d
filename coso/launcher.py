"""The installed programs: a few lines on a real interpreter, without site and its searches.

`coso` and `cosonet` are started often and briefly.  A launcher names the
interpreter itself (not a version manager's shim, which costs 120 ms), starts
it with -I -S, and puts this source tree first on the path.
"""

from __future__ import annotations

import os
import sys

ROOT = os.path.dirname(os.path.dirname(os.path.abspath(__file__)))
ENTRIES = {"coso": "coso.cli.main", "coso-oci": "coso.cli.oci", "cosonet": "cosonet.cli"}


def text(program: str) -> str:
    """The launcher of a program, for the interpreter and the packages in use now."""
    import sysconfig

    packages = sysconfig.get_path("purelib")
    more = "" if packages == ROOT else f"sys.path.append({packages!r})\n"
    return (
        f"#!{os.path.realpath(sys.executable)} -IS\n"
        f"# {program}: installed by coso's set-up, which also removes it.\n"
        "import sys\n\n"
        f"{_first_on_path()}{more}"
        "from coso import bundle\n\nbundle.use()\n"
        f"{_import(program)}"
        "entry()\n"
    )


def _first_on_path() -> str:
    return f"sys.path.insert(0, {ROOT!r})\n"


def _import(program: str) -> str:
    return f"from {ENTRIES[program]} import entry\n"


def is_ours(path: str, program: str) -> bool:
    """Whether `path` is a launcher for this very source tree, of this version or an earlier one."""
    try:
        with open(path, errors="replace") as file:
            found = file.read(4096)
    except OSError:
        return False
    return _first_on_path() in found and _import(program) in found
