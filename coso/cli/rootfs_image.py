"""The rootfs that fs-setup made, as an image of the store: what builds begin from."""

from __future__ import annotations

import os

from coso import quickjson
from coso.errors import CosoError
from coso.images import archive, blobs, layers, pack, rootfs, store
from coso.images.reference import parse
from coso.spec import defaults
from coso.times import written


def of_setup(name: str) -> store.Image | None:
    """Take the rootfs into the store where it is the image that is meant; None where it is not."""
    if name.partition(":")[0] not in rootfs.NAMES or not os.path.isdir(defaults.ROOTFS):
        return None
    try:
        path = rootfs.resolve(name)
    except CosoError:
        return None
    rootfs.check(path)
    lock = blobs.locked("use", shared=True)
    try:
        described, diff_id = layers.make(lambda stream: pack.pack(path, stream, whiteouts=False))
        layers.install(described["digest"], diff_id)
        created = written(int(os.stat(f"{path}/etc").st_mtime) * 1_000_000_000)
        config = {
            "created": created,
            "architecture": "amd64",
            "os": "linux",
            "config": {"Env": [f"PATH={defaults.PATH}"], "Cmd": [defaults.SHELL]},
            "rootfs": {"type": "layers", "diff_ids": [diff_id]},
            "history": [{"created": created, "created_by": "coso: the rootfs of fs-setup"}],
        }
        digest = archive.add_manifest(blobs.add_blob(quickjson.dumps(config).encode()), [described])
        store.tag(store.OCI_MANIFEST, digest, parse(name).whole)
        return store.load(digest)
    finally:
        os.close(lock)
