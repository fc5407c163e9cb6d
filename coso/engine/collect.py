"""What killed commands left of containers, volumes and images: `coso gc`.

Containers that are kept are adopted, not removed.  What stands without its
container, volume or image goes.
"""

from __future__ import annotations

import os

from coso.engine import record, sockets, volumes
from coso.engine.adopt import adopt
from coso.images import tidy
from coso.runtime import journal
from coso.runtime.undo import remove_link, remove_tree
from coso.state import ENGINE, JOURNALS, LAYERS, NAMES


def collect() -> int:
    """Adopt what runs without a monitor, and remove what nobody claims; how many things that were."""
    adopt()
    count = volumes.collect() + tidy.sweep()
    for name in _names(NAMES):
        try:
            holder = os.readlink(f"{NAMES}/{name}")
        except OSError:
            continue
        if not _is_there(holder):
            remove_link(f"{NAMES}/{name}", holder)
            count += 1
    for name in _names(ENGINE):
        if len(name) == len(journal.new_id()) and not os.path.exists(f"{JOURNALS}/{name}"):
            remove_tree(f"{ENGINE}/{name}")
            count += 1
        elif name.startswith("zygote-") and not _answers(f"{ENGINE}/{name}"):
            os.unlink(f"{ENGINE}/{name}")
            count += 1
    return count + _half_written()


def _names(directory: str) -> list[str]:
    return os.listdir(directory) if os.path.isdir(directory) else []


def _is_there(container: str) -> bool:
    return journal.is_known(container) or os.path.isdir(f"{LAYERS}/{container}")


def _answers(path: str) -> bool:
    """Whether somebody listens at a socket."""
    end = sockets.connect(path)
    if end:
        end.close()
    return end is not None


def _half_written() -> int:
    """Remove files that were being written beside the ones they were to replace."""
    count = 0
    for container in _names(LAYERS):
        if record.holder_of(container):
            continue
        for name in _names(f"{LAYERS}/{container}"):
            if name.startswith(("state.json.", "config.json.")):
                os.unlink(f"{LAYERS}/{container}/{name}")
                count += 1
    return count
