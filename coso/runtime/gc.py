"""`coso gc`: take back what dead runtimes left behind.

Journals of living containers are locked by their runtime and are passed over.
"""

from __future__ import annotations

import os

from coso.kernel.process import is_limited
from coso.runtime import journal, user
from coso.runtime.undo import remove_tree
from coso.state import LAYERS
from coso.value import value


@value
class Collected:
    """What gc found: containers undone, stray things removed, and what it could not undo."""

    containers: list[str]
    strays: int
    failures: list[str]


def collect() -> Collected:
    """Undo every abandoned container, then remove what no journal speaks of."""
    containers, failures = [], []
    for abandoned in journal.abandoned():
        if journal.is_kept(abandoned.container):
            abandoned.close()
            continue
        problems = abandoned.undo()
        failures += problems
        if not problems:
            containers.append(abandoned.container)
    strays = user.forget_abandoned_ranges() + _remove_stray_layers(failures) + _collect_network()
    return Collected(containers, strays, failures)


def _remove_stray_layers(failures: list[str]) -> int:
    count = 0
    for container in os.listdir(LAYERS) if os.path.isdir(LAYERS) else []:
        if journal.is_known(container):
            continue
        try:
            remove_tree(f"{LAYERS}/{container}")
            count += 1
        except OSError as error:
            failures.append(f"remove-tree {LAYERS}/{container}: {error}")
    return count


def _collect_network() -> int:
    if is_limited():
        return 0
    from cosonet import release

    return len(release.collect())
