"""`coso gc`: what killed runtimes left behind."""

from __future__ import annotations

import sys

from coso.kernel.process import is_limited
from coso.oci import store
from coso.runtime.gc import collect


def main(words: list[str]) -> int:
    """Collect and report; 1 when something could not be undone."""
    if words:
        sys.stdout.write("coso gc: undo what containers left whose runtime was killed; takes no options\n")
        return 0 if words[0].lstrip("-") in ("h", "help") else 125
    if is_limited():
        from coso.runtime import rootless

        # What a container's users have made belongs to ids that are ours only there.
        rootless.become_root()
    from coso.engine import collect as engine

    adopted_or_gone = engine.collect()
    collected = collect()
    half_made, failures = store.collect()
    for container in (*collected.containers, *half_made):
        sys.stdout.write(f"removed {container}\n")
    strays = collected.strays + adopted_or_gone
    if strays:
        sys.stdout.write(f"removed what nobody claims: {strays} of range, layer, lease, network, volume or blob\n")
    failures += collected.failures
    for failure in failures:
        sys.stderr.write(f"coso: not undone: {failure}\n")
    return 1 if failures else 0
