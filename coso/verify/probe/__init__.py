"""The program that tries, inside a container: probes by name, a line of JSON for each check.

It stands alone: any Python 3.11 runs it in any root, under any runtime, from
a copy of this package that is shown inside.  A probe is a function of the
bait (what the host laid out) and perhaps an argument; it returns "" when the
isolation holds, else what it saw, and raises Lacking when the kernel lacks
what would be tried.
"""

from __future__ import annotations

import json
import sys
import time

from . import filesystems, leaks, limits, namespaces, network, privileges
from .common import Lacking

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Callable

PROBES: dict[str, Callable[..., str]] = {
    function.__name__: function
    for room in (namespaces, network, filesystems, privileges, limits, leaks)
    for function in room.PROBES
}


def main() -> None:
    """Try what the words say: the bait as JSON, then `CHECK=PROBE[:ARGUMENT]` for each check."""
    bait = json.loads(sys.argv[1])
    for word in sys.argv[2:]:
        check, _, probe = word.partition("=")
        begun = time.perf_counter()
        try:
            reason = attempt(probe, bait)
            result = "fail" if reason else "pass"
        except Lacking as lack:
            result, reason = "skip", str(lack)
        except Exception as error:
            result, reason = "error", f"{type(error).__name__}: {error}"
        spent = round((time.perf_counter() - begun) * 1000, 3)
        print(json.dumps({"id": check, "result": result, "reason": reason, "milliseconds": spent}), flush=True)


def attempt(probe: str, bait: dict[str, object]) -> str:
    """Carry out `PROBE[:ARGUMENT]`."""
    name, _, argument = probe.partition(":")
    return PROBES[name](bait, argument) if argument else PROBES[name](bait)
