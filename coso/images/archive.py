"""Images as files: `load`, `save` and `import`.

Read are what `docker save`, `podman save` and `skopeo copy` write: an OCI
layout (image-layout.md) or Docker's list (`manifest.json`), as an archive,
compressed or not, or as a directory.  Written is an OCI layout that carries
Docker's list too, so that every one of them reads it back.
"""

from __future__ import annotations

import os
import tarfile
from collections.abc import Callable, Iterator
from typing import IO

from coso import quickjson
from coso.errors import ArchiveError, CosoError, UsageError, VerificationError
from coso.images import blobs, layers, store
from coso.images.reference import familiar, parse
from coso.state import IMAGES

CONTAINERD_NAME = "io.containerd.image.name"
BLOCK = 1 << 20
MOST_LINKS = 16


class _Files:
    """The files of an archive, by name, out of it on the disk."""

    def __init__(self, paths: dict[str, str], links: dict[str, str], digests: dict[str, str] | None = None) -> None:
        self._paths, self._links = paths, links
        # Of those that are ours to move, by their path.
        self._digests = digests or {}

    def has(self, name: str) -> bool:
        """Whether there is such a file."""
        return self._path(name) is not None

    def open(self, name: str) -> IO[bytes]:
        """A file; raises ArchiveError."""
        path = self._path(name)
        if path is None:
            raise ArchiveError(f"the archive has no {name}", cause="it is damaged, or was not made whole")
        return open(path, "rb")

    def json(self, name: str) -> object:
        """A file's JSON; raises ArchiveError."""
        with self.open(name) as file:
            try:
                return quickjson.loads(file.read().decode())
            except ValueError as error:
                raise ArchiveError(f"{name} of the archive is no JSON: {error}") from None

    def into_store(self, name: str, path: str) -> str:
        """Let a file be one of the store too, on the disk but under a name of its own yet; its digest."""
        source = self._path(name)
        if source in self._digests:
            os.link(source, path)
            return self._digests[source]
        with self.open(name) as file, open(path, "wb") as target:
            copy = layers.Digesting(target)
            _copier(file)(copy)  # type: ignore[arg-type]
        return copy.digest

    def _path(self, name: str) -> str | None:
        name = os.path.normpath(name)
        for _ in range(MOST_LINKS):
            if name not in self._links:
                break
            name = self._links[name]
        return self._paths.get(name)


def load(path: str, stream: IO[bytes] | None = None) -> list[str]:
    """Bring every image of an archive or a directory into the store; their names, or ids. Raises CosoError."""
    lock = blobs.locked("use", shared=True)
    place = f"{IMAGES}/:{os.getpid()}-{os.urandom(4).hex()}"
    try:
        if not stream and os.path.isdir(path):
            return _load(_directory(path))
        os.mkdir(place)
        with stream or open(path, "rb") as file:
            return _load(_spread(file, place))
    except FileNotFoundError:
        raise UsageError(f"there is no file {path}") from None
    finally:
        layers.discard(place)
        os.close(lock)


def _directory(path: str) -> _Files:
    paths = {}
    for above, _, names in os.walk(path):
        for name in names:
            whole = os.path.join(above, name)
            paths[os.path.relpath(whole, path)] = whole
    return _Files(paths, {})


def _spread(file: IO[bytes], place: str) -> _Files:
    """Write the archive's files below `place`, under numbers: no name of the archive becomes a path."""
    paths: dict[str, str] = {}
    links: dict[str, str] = {}
    digests: dict[str, str] = {}
    try:
        source = layers.decompressed(file) if file.seekable() else file
        with tarfile.open(fileobj=source, mode="r|*" if source is file else "r|") as tar:
            for member in tar:
                name = os.path.normpath(member.name)
                if member.issym():
                    links[name] = os.path.normpath(os.path.join(os.path.dirname(name), member.linkname))
                elif member.islnk():
                    links[name] = os.path.normpath(member.linkname)
                elif member.isfile() and (inside := tar.extractfile(member)):
                    path = paths[name] = f"{place}/{len(paths)}"
                    with open(path, "wb") as target:
                        copy = layers.Digesting(target)
                        _copier(inside)(copy)  # type: ignore[arg-type]
                    digests[path] = copy.digest
    except (tarfile.TarError, EOFError, OSError) as error:
        raise ArchiveError(f"this is no archive of images: {error}") from None
    return _Files(paths, links, digests)


def _load(files: _Files) -> list[str]:
    blobs.make_store()
    docker = files.json("manifest.json") if files.has("manifest.json") else []
    listed = docker if isinstance(docker, list) else []
    if files.has("index.json"):
        return _load_layout(files, listed)
    if listed:
        return [name for entry in listed for name in _load_docker(files, entry)]
    raise ArchiveError(
        "this is no archive of images: it has neither index.json nor manifest.json",
        hint="for an archive of a root filesystem: coso import",
    )


def _load_layout(files: _Files, docker: list[store.Json]) -> list[str]:
    index = files.json("index.json")
    loaded = []
    for entry in index.get("manifests") or [] if isinstance(index, dict) else []:
        kind = str(entry.get("mediaType", store.OCI_MANIFEST))
        config = _keep_all(files, str(entry["digest"]), kind, install=True)
        notes = entry.get("annotations") or {}
        names = [str(notes.get(CONTAINERD_NAME) or notes.get(store.NAME) or "")]
        # Docker's list has all the names of an image; the layout an entry for each.
        more = [tag for item in docker if config and config in item["Config"] for tag in item.get("RepoTags") or []]
        loaded += _name(entry["digest"], kind, more or [name for name in names if name])
    return list(dict.fromkeys(loaded))


def _name(digest: str, kind: str, names: list[str]) -> list[str]:
    wholes = [parse(name).whole for name in names]
    for whole in wholes or [""]:
        store.tag(kind, digest, whole)
    return [familiar(whole) for whole in wholes] or [f"sha256:{store.load(digest).id}"]


def _keep_all(files: _Files, digest: str, kind: str, *, install: bool) -> str:
    """Keep a manifest or index and all that it names; the digest number of its configuration, `""` for an index."""
    _keep(files, digest)
    found = blobs.read_json(digest)
    if kind in store.INDEXES:
        for item in found["manifests"]:
            # An archive of one platform may still name the others in its index.
            if files.has(f"blobs/sha256/{item['digest'].removeprefix('sha256:')}"):
                fits = store.choose(found, store.PLATFORM)["digest"] == item["digest"]
                _keep_all(files, item["digest"], item["mediaType"], install=install and fits)
        return ""
    store.check_manifest(found, digest)
    _keep(files, found["config"]["digest"])
    diff_ids = store.check_layers(found, blobs.read_json(found["config"]["digest"]), digest)
    for layer, diff_id in zip(found["layers"], diff_ids, strict=True):
        _keep(files, layer["digest"], diff_id if install else "")
    return str(found["config"]["digest"]).removeprefix("sha256:")


def _keep(files: _Files, digest: str, diff_id: str = "") -> None:
    """Bring a blob into the store, verified; a layer with its tree where `diff_id` says what that is."""
    path = blobs.blob_path(digest)
    if os.path.exists(path):
        if diff_id:
            layers.install(digest, diff_id)
        return
    beside = f"{path}.{os.getpid()}.new"
    try:
        found = files.into_store(f"blobs/sha256/{digest.removeprefix('sha256:')}", beside)
        if found != digest:
            raise VerificationError(f"the blob {digest} of the archive is {found}", cause="the archive is damaged")
        if diff_id:
            layers.install(digest, diff_id, beside)
        with open(beside, "rb") as file:
            # After the tree: the disk has had time until then, and takes most of it with what was written there.
            os.fsync(file.fileno())
        os.rename(beside, path)
    finally:
        if os.path.exists(beside):
            os.unlink(beside)


def _load_docker(files: _Files, entry: store.Json) -> list[str]:
    with files.open(entry["Config"]) as file:
        text = file.read()
    diff_ids = store.check_layers({"layers": entry["Layers"]}, blobs.json_object(text, entry["Config"]), "the archive")
    described = [_keep_layer(files, name, diff_id) for name, diff_id in zip(entry["Layers"], diff_ids, strict=True)]
    digest = add_manifest(blobs.add_blob(text), described)
    return _name(digest, store.OCI_MANIFEST, list(entry.get("RepoTags") or []))


def _keep_layer(files: _Files, name: str, diff_id: str) -> store.Json:
    with files.open(name) as file:
        source = layers.decompressed(file)
        described, found = layers.make(_copier(source))
    if found != diff_id:
        raise VerificationError(f"{name} of the archive is {found} and should be {diff_id}")
    layers.install(described["digest"], diff_id)
    return described


def _copier(source: IO[bytes]) -> Callable[[IO[bytes]], None]:
    def copy(target: IO[bytes]) -> None:
        while data := source.read(BLOCK):
            target.write(data)

    return copy


def add_manifest(config: str, described: list[store.Json]) -> str:
    """Add the manifest of a configuration and its layers to the store; its digest."""
    manifest = {
        "schemaVersion": 2,
        "mediaType": store.OCI_MANIFEST,
        "config": blobs.descriptor(store.OCI_CONFIG, config),
        "layers": described,
    }
    return blobs.add_blob(quickjson.dumps(manifest).encode())


def save(images: list[tuple[store.Image, list[str]]], target: IO[bytes] | str, kind: str = "oci-archive") -> None:
    """Write images, each with names, to a stream, or as a layout into a directory. Raises CosoError."""
    if isinstance(target, str):
        _save_directory(images, target)
        return
    with tarfile.open(fileobj=target, mode="w|", format=tarfile.PAX_FORMAT) as tar:
        entries = _save_layout(images, tar) if kind == "oci-archive" else []
        _save_docker(images, tar, plain=kind == "docker-archive")
        if entries:
            _add_text(tar, "oci-layout", '{"imageLayoutVersion": "1.0.0"}')
            _add_text(tar, "index.json", _index_of(entries))


def _index_of(entries: list[store.Json]) -> str:
    return quickjson.dumps({"schemaVersion": 2, "mediaType": store.OCI_INDEX, "manifests": entries})


def _entries(images: list[tuple[store.Image, list[str]]]) -> Iterator[store.Json]:
    for image, names in images:
        described = blobs.descriptor(image.listed_type, image.listed)
        for name in names:
            yield {**described, "annotations": {store.NAME: name, CONTAINERD_NAME: name}}
        if not names:
            yield described


def _blobs_of(images: list[tuple[store.Image, list[str]]]) -> list[str]:
    found = (digest for image, _ in images for digest in store.reachable(image.listed))
    return [digest for digest in dict.fromkeys(found) if blobs.has_blob(digest)]


def _save_layout(images: list[tuple[store.Image, list[str]]], tar: tarfile.TarFile) -> list[store.Json]:
    for digest in _blobs_of(images):
        _add_file(tar, f"blobs/sha256/{digest.removeprefix('sha256:')}", blobs.blob_path(digest))
    return list(_entries(images))


def _save_docker(images: list[tuple[store.Image, list[str]]], tar: tarfile.TarFile, *, plain: bool) -> None:
    """Docker's list; with `plain`, and files as its older versions write them: layers not compressed."""
    listed = []
    done: set[str] = set()
    for image, names in images:
        config = f"blobs/sha256/{image.id}"
        digests = [layer["digest"].removeprefix("sha256:") for layer in image.manifest["layers"]]
        places = [f"blobs/sha256/{blob}" for blob in digests]
        if plain:
            config = f"{image.id}.json"
            places = [f"{store.key_of(diff_id)}/layer.tar" for diff_id in image.diff_ids]
            if config not in done:
                _add_text(tar, config, blobs.read_blob(f"sha256:{image.id}").decode())
            for place, blob in zip(places, digests, strict=True):
                if place not in done:
                    _add_plain_layer(tar, place, blob)
                    done.add(place)
            done.add(config)
        listed.append({"Config": config, "RepoTags": [familiar(name) for name in names], "Layers": places})
    _add_text(tar, "manifest.json", quickjson.dumps(listed))


def _add_plain_layer(tar: tarfile.TarFile, name: str, blob: str) -> None:
    """A layer out of its compression, by way of a file: an archive tells the length before the content."""
    import tempfile

    with open(blobs.blob_path(f"sha256:{blob}"), "rb") as file, tempfile.TemporaryFile(dir=IMAGES) as whole:
        _copier(layers.decompressed(file))(whole)
        size = whole.tell()
        whole.seek(0)
        info = tarfile.TarInfo(name)
        info.size = size
        tar.addfile(info, whole)


def _add_file(tar: tarfile.TarFile, name: str, path: str) -> None:
    with open(path, "rb") as file:
        info = tarfile.TarInfo(name)
        info.size = os.path.getsize(path)
        tar.addfile(info, file)


def _add_text(tar: tarfile.TarFile, name: str, text: str) -> None:
    from io import BytesIO

    info = tarfile.TarInfo(name)
    data = text.encode()
    info.size = len(data)
    tar.addfile(info, BytesIO(data))


def _save_directory(images: list[tuple[store.Image, list[str]]], path: str) -> None:
    if os.path.exists(path) and os.listdir(path):
        raise UsageError(f"{path} exists and is not empty")
    os.makedirs(f"{path}/blobs/sha256", exist_ok=True)
    for digest in _blobs_of(images):
        place = f"{path}/blobs/sha256/{digest.removeprefix('sha256:')}"
        with open(blobs.blob_path(digest), "rb") as source, open(place, "wb") as target:
            _copier(source)(target)
    for name, text in (
        ("oci-layout", '{"imageLayoutVersion": "1.0.0"}'),
        ("index.json", _index_of(list(_entries(images)))),
    ):
        with open(f"{path}/{name}", "w") as file:
            file.write(text)


def import_tree(file: IO[bytes], name: str, settings: store.Json, message: str, created: str) -> str:
    """Make an image of one layer from an archive of a root filesystem; its id. Raises CosoError."""
    lock = blobs.locked("use", shared=True)
    try:
        source = layers.decompressed(file) if file.seekable() else file
        described, diff_id = layers.make(_copier(source))
        layers.install(described["digest"], diff_id)
        config = {
            "created": created,
            "architecture": "amd64",
            "os": "linux",
            "config": settings,
            "rootfs": {"type": "layers", "diff_ids": [diff_id]},
            "history": [{"created": created, "comment": message or "imported from an archive"}],
        }
        digest = blobs.add_blob(quickjson.dumps(config).encode())
        store.tag(store.OCI_MANIFEST, add_manifest(digest, [described]), parse(name).whole if name else "")
        return digest
    except tarfile.TarError as error:
        raise CosoError(f"this is no archive: {error}") from None
    finally:
        os.close(lock)
