"""The layers of earlier builds: `<LIB>/build/cache/<key>` says which layer an instruction has made.

A key is a hash of all that the layer depends on: what is below it, the
instruction, its variables, and what it copies.
"""

from __future__ import annotations

import os
from hashlib import sha256

from coso import quickjson
from coso.images import blobs, store
from coso.runtime.undo import remove_tree
from coso.state import BUILD, make_directories
from coso.value import value

DIRECTORY = f"{BUILD}/cache"
MOUNTS = f"{BUILD}/mounts"


@value
class Layer:
    """A layer that an instruction has made: its descriptor and the digest of what it unpacks to; None for no change."""

    described: store.Json | None
    diff_id: str = ""


def key_of(*parts: str) -> str:
    """The key of what depends on all these."""
    return sha256("\0".join(parts).encode(errors="surrogateescape")).hexdigest()


def look_up(key: str) -> Layer | None:
    """The layer of a key, as long as it is in the store."""
    try:
        with open(f"{DIRECTORY}/{key}", encoding="utf-8") as file:
            found = quickjson.loads(file.read())
    except (OSError, ValueError):
        return None
    layer = Layer(found["described"], found["diff_id"])
    if layer.described is None:
        return layer
    whole = blobs.has_blob(layer.described["digest"]) and os.path.isdir(store.tree_of(layer.diff_id))
    return layer if whole else None


def keep(key: str, layer: Layer) -> None:
    """Remember which layer a key has made."""
    make_directories(DIRECTORY)
    text = quickjson.dumps({"described": layer.described, "diff_id": layer.diff_id})
    blobs.write_whole(f"{DIRECTORY}/{key}", text.encode())


def prune() -> int:
    """Forget all earlier builds and what their cache mounts hold; how many layers those were."""
    names = os.listdir(DIRECTORY) if os.path.isdir(DIRECTORY) else []
    for name in names:
        os.unlink(f"{DIRECTORY}/{name}")
    remove_tree(MOUNTS)
    return len(names)
