"""Blobs of images: files named by the digest of what is in them, as in an OCI image layout, and the store's locks.

Source: image-spec, image-layout.md.
"""

from __future__ import annotations

import os

from coso import quickjson
from coso.errors import CosoError, MissingError
from coso.images.reference import HEX
from coso.state import IMAGES, TREES, lock, make_directories

TYPE_CHECKING = False
if TYPE_CHECKING:
    from typing import Any

    Json = dict[str, Any]

BLOBS = f"{IMAGES}/blobs/sha256"


def blob_path(digest: str) -> str:
    """Where a blob is kept."""
    kind, _, number = digest.partition(":")
    if kind != "sha256" or len(number) != 64 or set(number) - HEX:
        raise CosoError(f"{digest!r} is no sha256 digest", cause="a damaged or foreign manifest")
    return f"{BLOBS}/{number}"


def has_blob(digest: str) -> bool:
    """Whether a blob is here, whole."""
    return os.path.exists(blob_path(digest))


def read_blob(digest: str) -> bytes:
    """A small blob's bytes; raises MissingError."""
    try:
        with open(blob_path(digest), "rb", buffering=0) as file:
            return file.read()
    except FileNotFoundError:
        raise MissingError(
            f"the blob {digest} is not in the store", cause="it was removed by hand", hint="run `coso system check`"
        ) from None


def read_json(digest: str) -> Json:
    """A blob that is a JSON object; raises CosoError."""
    return json_object(read_blob(digest), digest)


def json_object(data: bytes, what: str) -> Json:
    """The JSON object in some bytes; raises CosoError with `what` they are."""
    try:
        found = quickjson.loads(data.decode())
    except (ValueError, RecursionError) as error:
        raise CosoError(f"{what} is no JSON: {error}") from None
    if not isinstance(found, dict):
        raise CosoError(f"{what} is no JSON object")
    return found


def add_blob(data: bytes) -> str:
    """Keep bytes and return their digest."""
    from hashlib import sha256

    digest = f"sha256:{sha256(data).hexdigest()}"
    if not has_blob(digest):
        make_store()
        write_whole(blob_path(digest), data)
    return digest


def descriptor(media_type: str, digest: str) -> Json:
    """What a manifest says of a blob that is here (descriptor.md)."""
    return {"mediaType": media_type, "digest": digest, "size": os.path.getsize(blob_path(digest))}


def write_whole(path: str, data: bytes) -> None:
    """Write a file by way of another beside it, and to the disk."""
    beside = f"{path}.{os.getpid()}.new"
    with open(beside, "wb") as file:
        file.write(data)
        file.flush()
        os.fsync(file.fileno())
    os.rename(beside, path)


def make_store() -> None:
    """Make the directories of the store, and the file that says it is an OCI layout."""
    make_directories(BLOBS, TREES)
    if not os.path.exists(f"{IMAGES}/oci-layout"):
        write_whole(f"{IMAGES}/oci-layout", b'{"imageLayoutVersion": "1.0.0"}')


def locked(name: str, *, shared: bool = False, wait: bool = True) -> int:
    """Take one of the store's locks; its descriptor, which closing gives back. -1 when it is taken and not waited for.

    `index` is held while index.json changes; `use` is shared by those who add
    what no image claims yet, and taken alone by who removes what none claims.
    """
    make_store()
    return lock(f"{IMAGES}/{name}.lock", shared=shared, wait=wait)
