"""Layers: from a blob to a tree in the store, and from a tree to a blob (image-spec layer.md).

Both directions are reproducible: the same tree gives the same bytes, whatever
machine, directory order or time of day.
"""

from __future__ import annotations

import os
from hashlib import sha256
from typing import IO, TYPE_CHECKING, Any

from coso import quickjson
from coso.errors import ArchiveError, VerificationError
from coso.images import blobs, pack, store
from coso.images.read_ahead import ReadAhead
from coso.images.unpack import unpack
from coso.kernel.call import call
from coso.state import TREES

if TYPE_CHECKING:
    from collections.abc import Callable, Set

GZIP_MAGIC, ZSTD_MAGIC = b"\x1f\x8b", b"\x28\xb5\x2f\xfd"
CHUNK = 1 << 18


class Digesting:
    """A stream that is hashed and counted while it is read or written."""

    def __init__(self, stream: IO[bytes]) -> None:
        self._stream = stream
        self._hash = sha256()
        self.size = 0

    def read(self, size: int = -1) -> bytes:
        """Read on."""
        data = self._stream.read(size)
        self._hash.update(data)
        self.size += len(data)
        return data

    def write(self, data: bytes) -> int:
        """Write on."""
        self._hash.update(data)
        self.size += len(data)
        return self._stream.write(data)

    def flush(self) -> None:
        """Pass on what is held back."""
        self._stream.flush()

    @property
    def digest(self) -> str:
        """The digest of what has gone through."""
        return f"sha256:{self._hash.hexdigest()}"


def decompressed(file: IO[bytes]) -> IO[bytes]:
    """A stream of what a file holds, however it is compressed: its first bytes say it, not its name."""
    magic = file.read(4)
    file.seek(0)
    if magic.startswith(GZIP_MAGIC):
        import gzip

        return gzip.GzipFile(fileobj=file, mode="rb")  # type: ignore[return-value]
    if magic == ZSTD_MAGIC:
        from backports import zstd

        return zstd.ZstdFile(file, mode="rb")  # type: ignore[return-value]
    return file


def install(blob: str, diff_id: str, path: str = "") -> None:
    """Unpack a blob into its tree, unless that is there; `path` is where it is before it is in the store.

    Raises ArchiveError, VerificationError.
    """
    if os.path.isdir(store.tree_of(diff_id)):
        return
    with open(path or blobs.blob_path(blob), "rb") as file:
        place, found, size = unpack_beside(file, blob)
    if found != diff_id:
        discard(place)
        raise VerificationError(
            f"the layer {blob} holds {found} and should hold {diff_id}",
            cause="the image's configuration and its layers do not belong together",
        )
    put_in_place(place, diff_id, size)


def unpack_beside(file: IO[bytes], what: str) -> tuple[str, str, int]:
    """Unpack an archive under a temporary name: the path, the digest of what was unpacked, and its bytes."""
    import zlib

    place = f"{TREES}/:{os.getpid()}-{os.urandom(4).hex()}"
    os.mkdir(place, 0o755)
    try:
        stream = Digesting(decompressed(file))
        with ReadAhead(stream) as ahead:
            size = unpack(ahead, place)  # type: ignore[arg-type]
            # An archive may have padding after its last entry.
            ahead.drain()
    except (EOFError, zlib.error, OSError) as error:
        discard(place)
        raise ArchiveError(f"the layer {what} cannot be read: {error}", cause="it is damaged") from None
    except BaseException as error:
        discard(place)
        if type(error).__name__ == "ZstdError":
            raise ArchiveError(f"the layer {what} cannot be read: {error}", cause="it is damaged") from None
        raise
    return place, stream.digest, size


def discard(place: str) -> None:
    """Remove a tree that is not wanted."""
    from coso.runtime.undo import remove_tree

    remove_tree(place)


def put_in_place(place: str, diff_id: str, size: int) -> None:
    """Let a whole tree take its name; what is on the disk before that can be trusted after a crash."""
    fd = os.open(place, os.O_RDONLY | os.O_DIRECTORY | os.O_CLOEXEC)
    call("syncfs", fd)
    os.close(fd)
    tree = store.tree_of(diff_id)
    blobs.write_whole(f"{tree}.json", quickjson.dumps({"diff_id": diff_id, "size": size}).encode())
    try:
        os.rename(place, tree)
    except OSError:
        discard(place)  # Somebody else was faster.
        if not os.path.isdir(tree):
            raise


def make(write: Callable[[IO[bytes]], None], *, compression: str = "gzip", level: int = 6) -> tuple[store.Json, str]:
    """Add a layer that `write` writes as an archive to the store: its descriptor, and the digest of the archive."""
    blobs.make_store()
    beside = f"{blobs.BLOBS}/{os.urandom(8).hex()}.{os.getpid()}.new"
    try:
        with open(beside, "wb") as file:
            outer = Digesting(file)
            with _compressor(outer, compression, level) as squeezed:
                inner = Digesting(squeezed)
                write(inner)  # type: ignore[arg-type]
            file.flush()
            os.fsync(file.fileno())
        os.rename(beside, blobs.blob_path(outer.digest))
    finally:
        if os.path.exists(beside):
            os.unlink(beside)
    suffix = f"+{compression}" if compression else ""
    return blobs.descriptor(f"{store.OCI_LAYER}{suffix}", outer.digest), inner.digest


class _Plain:
    """A stream as it is, where a compressor could be."""

    def __init__(self, stream: Digesting) -> None:
        self.write = stream.write

    def __enter__(self) -> _Plain:
        return self

    def __exit__(self, *_: object) -> None:
        pass

    def flush(self) -> None:
        """Nothing is held back."""


def _compressor(stream: Digesting, compression: str, level: int) -> Any:
    if compression == "gzip":
        import gzip

        # No time and no name in its head: the same content gives the same blob.
        return gzip.GzipFile("", "wb", level, stream, mtime=0)
    if compression == "zstd":
        from backports import zstd

        return zstd.ZstdFile(stream, mode="wb")  # type: ignore[call-overload]
    return _Plain(stream)


def make_from(
    directory: str, *, first_id: int = 0, clamp: int | None = None, exclude: Set[str] = frozenset()
) -> tuple[store.Json, str]:
    """A layer of the store from the writable directory of an overlay: its descriptor and diff id, unpacked too.

    `first_id` is the host's number of user 0; `clamp` the latest time a file
    may have, in seconds; `exclude` are absolute paths that are left out.
    """

    def write(stream: IO[bytes]) -> None:
        pack.pack(directory, stream, first_id=first_id, clamp=clamp, exclude=exclude)

    described, diff_id = make(write)
    install(described["digest"], diff_id)
    return described, diff_id
