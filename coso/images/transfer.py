"""`pull` and `push`: between a registry and the store."""

from __future__ import annotations

import fcntl
import os
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from hashlib import sha256

from coso.errors import CosoError, DownloadError, MissingError, VerificationError
from coso.images import blobs, layers, registries, store
from coso.images.reference import Reference
from coso.images.registry import ATTEMPTS, Registry, attempts

PARALLEL = 4
FOREIGN = ("application/vnd.docker.image.rootfs.foreign.diff.tar.gzip",)

# What is told of a blob on its way: its digest, how many bytes of how many are there, and what is done with it.
Tell = Callable[[str, int, int, str], None]


def quietly(_digest: str, _there: int, _size: int, _act: str) -> None:
    """Tell nobody."""


def pull(
    wanted: Reference, *, platform: str = "", every: bool = False, insecure: bool = False, tell: Tell = quietly
) -> store.Image:
    """Bring an image into the store and give it its name; with `every`, for all platforms. Raises CosoError."""
    lock = blobs.locked("use", shared=True)
    try:
        return _from_first(wanted, platform or store.PLATFORM, every, insecure, tell)
    finally:
        os.close(lock)


def _from_first(wanted: Reference, platform: str, every: bool, insecure: bool, tell: Tell) -> store.Image:
    """Pull from the first place that has the image: mirrors come before the registry itself."""
    failures: list[CosoError] = []
    for endpoint in registries.endpoints(wanted, insecure=insecure):
        registry = Registry(endpoint)
        try:
            return _pull(registry, wanted, platform, every, tell)
        except (DownloadError, MissingError) as error:
            failures.append(error)
        finally:
            registry.close()
    raise failures[-1]


def _pull(registry: Registry, wanted: Reference, platform: str, every: bool, tell: Tell) -> store.Image:
    data, kind, digest = registry.manifest(wanted.wanted)
    origin = f"{wanted.name}@{digest}"
    if kind in store.INDEXES and not every:
        chosen = store.choose(blobs.json_object(data, digest), platform)
        data, kind, digest = registry.manifest(str(chosen["digest"]))
    _fetch(registry, data, kind, tell, wanted_here=platform)
    store.tag(kind, digest, "" if wanted.digest else wanted.whole, origin)
    return store.load(digest, kind, () if wanted.digest else (wanted.whole,), (origin,), platform)


def _fetch(registry: Registry, data: bytes, kind: str, tell: Tell, *, wanted_here: str) -> None:
    """Bring in all that a manifest or index names; itself last, so that what is in the store is whole."""
    found = blobs.json_object(data, "the manifest")
    if kind in store.INDEXES:
        for item in found.get("manifests") or []:
            inner, its_kind, _ = registry.manifest(str(item["digest"]))
            fits = store.choose(found, wanted_here)["digest"] == item["digest"]
            _fetch(registry, inner, its_kind, tell, wanted_here=wanted_here if fits else "")
        blobs.add_blob(data)
        return
    if kind not in (store.OCI_MANIFEST, store.DOCKER_MANIFEST):
        raise CosoError(f"the registry gives a manifest of kind {kind!r}, which is no container image")
    store.check_manifest(found, "what the registry gives")
    described = [found["config"], *found["layers"]]
    fetch_blob(registry, found["config"], tell)
    diff_ids = store.check_layers(found, blobs.read_json(found["config"]["digest"]), "the image")

    def bring(at: int) -> None:
        layer = described[at + 1]
        if layer["mediaType"] in FOREIGN:
            raise CosoError("the image has layers that its registry may not give away")
        fetch_blob(registry, layer, tell)
        if wanted_here:
            tell(layer["digest"], layer["size"], layer["size"], "unpacking")
            layers.install(layer["digest"], diff_ids[at])
        tell(layer["digest"], layer["size"], layer["size"], "done")

    with ThreadPoolExecutor(PARALLEL) as pool:
        # A list, so that the first error is raised and those that wait are not begun.
        futures = [pool.submit(bring, at) for at in range(len(diff_ids))]
        try:
            for future in futures:
                future.result()
        except BaseException:
            pool.shutdown(wait=True, cancel_futures=True)
            raise
    blobs.add_blob(data)


def fetch_blob(registry: Registry, described: store.Json, tell: Tell = quietly) -> None:
    """Bring a blob into the store, going on where an earlier attempt was cut short; verified. Raises CosoError."""
    digest, size = str(described["digest"]), int(described["size"])
    path = blobs.blob_path(digest)
    part = f"{path}.part"
    while not os.path.exists(path):
        fd = os.open(part, os.O_CREAT | os.O_RDWR | os.O_CLOEXEC, 0o600)
        with open(fd, "r+b") as file:
            # Another pull may be at the same blob: then it is waited for, and has moved or removed the file.
            fcntl.flock(fd, fcntl.LOCK_EX)
            if os.path.exists(path) or os.fstat(fd).st_nlink == 0:
                continue
            for attempt in attempts():
                try:
                    _download(registry, file, digest, size, tell)
                    break
                except VerificationError:
                    os.unlink(part)
                    raise
                except DownloadError:
                    if attempt == ATTEMPTS:
                        raise
            os.fsync(fd)
            os.rename(part, path)


def _download(registry: Registry, file: object, digest: str, size: int, tell: Tell) -> None:
    """Append what is missing, and verify the whole."""
    from io import BufferedRandom

    assert isinstance(file, BufferedRandom)
    file.seek(0)
    known = sha256()
    while data := file.read(1 << 20):
        known.update(data)
    start = file.tell()
    if start < size:
        goes_on, chunks = registry.blob(digest, start)
        if start and not goes_on:
            file.seek(0)
            file.truncate()
            known, start = sha256(), 0
        for chunk in chunks:
            file.write(chunk)
            known.update(chunk)
            start += len(chunk)
            if start > size:
                break
            tell(digest, start, size, "downloading")
        file.flush()
    if start != size:
        if start < size:
            raise DownloadError(f"the blob {digest} ends after {start} of {size} bytes", hint="try again: it goes on")
        raise VerificationError(f"the blob {digest} is longer than the {size} bytes that its manifest names")
    if f"sha256:{known.hexdigest()}" != digest:
        raise VerificationError(
            f"the blob {digest} is not what its digest says", cause="a damaged or forged answer of the registry"
        )


def push(image: store.Image, wanted: Reference, *, insecure: bool = False, tell: Tell = quietly) -> str:
    """Upload an image, byte for byte as it is in the store; its digest. Raises CosoError."""
    registry = Registry(registries.endpoints(wanted, insecure=insecure)[-1], "pull,push")
    try:
        _upload(registry, image.listed, wanted.wanted, tell)
    finally:
        registry.close()
    store.tag(image.listed_type, image.listed, wanted.whole, f"{wanted.name}@{image.listed}")
    return image.listed


def _upload(registry: Registry, digest: str, name: str, tell: Tell) -> None:
    """Upload all that a manifest or index names, then itself."""
    data = blobs.read_blob(digest)
    found = blobs.json_object(data, digest)
    kind = str(found.get("mediaType") or store.OCI_MANIFEST)
    if kind in store.INDEXES:
        for item in found["manifests"]:
            _upload(registry, item["digest"], item["digest"], tell)
    else:
        for item in {entry["digest"]: entry for entry in (found["config"], *found["layers"])}.values():
            _upload_blob(registry, item, tell)
    registry.put_manifest(name, kind, data)


def _upload_blob(registry: Registry, described: store.Json, tell: Tell) -> None:
    digest, size = described["digest"], described["size"]
    if registry.has_blob(digest):
        tell(digest, size, size, "there already")
        return
    registry.put_blob(digest, blobs.blob_path(digest), lambda there: tell(digest, there, size, "uploading"))
    tell(digest, size, size, "done")
