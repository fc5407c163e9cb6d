"""Images on disk: an OCI image layout, and beside it the layers as directory trees.

`<LIB>/images` is what any tool reads as `oci:` (image-layout.md): blobs by
digest, and `index.json`, which names the manifests.  `<LIB>/layers/<key>` is a
layer unpacked, ready to be a lower directory of an overlay; its key comes
from the digest of what was unpacked, so images share layers.  Everything is
made under another name and renamed when it is whole: at any moment the store
is consistent, and what a killed process left is swept up later.
"""

from __future__ import annotations

import os

from coso import quickjson
from coso.errors import CosoError, MissingError, UsageError
from coso.images import blobs
from coso.images.reference import HEX, Reference, parse
from coso.state import IMAGES, TREES
from coso.value import replace, value

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Callable, Iterator
    from typing import Any

    Json = dict[str, Any]

INDEX = f"{IMAGES}/index.json"
NAME = "org.opencontainers.image.ref.name"
# Where an image came from or went to, as name@digest; several are separated by spaces.
ORIGIN = "coso.repo-digests"
OCI_INDEX = "application/vnd.oci.image.index.v1+json"
OCI_MANIFEST = "application/vnd.oci.image.manifest.v1+json"
OCI_CONFIG = "application/vnd.oci.image.config.v1+json"
OCI_LAYER = "application/vnd.oci.image.layer.v1.tar"
DOCKER_INDEX = "application/vnd.docker.distribution.manifest.list.v2+json"
DOCKER_MANIFEST = "application/vnd.docker.distribution.manifest.v2+json"
INDEXES = (OCI_INDEX, DOCKER_INDEX)
PLATFORM = "linux/amd64"
KEY_DIGITS = 32


@value
class Image:
    """A manifest in the store, its configuration, and every name that leads to it.

    `listed` is what index.json lists: the manifest itself, or an index that names it.
    """

    digest: str
    media_type: str
    manifest: Json
    config: Json
    names: tuple[str, ...] = ()
    origins: tuple[str, ...] = ()
    listed: str = ""
    listed_type: str = ""

    @property
    def id(self) -> str:
        """The digest of the configuration, by which Docker too tells images apart."""
        return str(self.manifest["config"]["digest"]).removeprefix("sha256:")

    @property
    def diff_ids(self) -> list[str]:
        """The digests of the unpacked layers, the lowest first."""
        return list(self.config.get("rootfs", {}).get("diff_ids") or [])

    @property
    def settings(self) -> Json:
        """What the image says of its containers (config.md, "config")."""
        return self.config.get("config") or {}

    @property
    def platform(self) -> str:
        """`linux/amd64` and the like."""
        variant = f"/{self.config['variant']}" if self.config.get("variant") else ""
        return f"{self.config.get('os', 'linux')}/{self.config.get('architecture', 'amd64')}{variant}"


def entries() -> list[Json]:
    """What index.json lists."""
    try:
        with open(INDEX, "rb", buffering=0) as file:
            return list(blobs.json_object(file.read(), INDEX).get("manifests") or [])
    except FileNotFoundError:
        return []


def change(alter: Callable[[list[Json]], list[Json]]) -> None:
    """Replace the list of index.json by what `alter` makes of it."""
    lock = blobs.locked("index")
    try:
        listed = alter(entries())
        text = quickjson.dumps({"schemaVersion": 2, "mediaType": OCI_INDEX, "manifests": listed})
        blobs.write_whole(INDEX, text.encode())
    finally:
        os.close(lock)


def name_of(entry: Json) -> str:
    """The name of an entry, `""` for one that has lost it."""
    return str((entry.get("annotations") or {}).get(NAME, ""))


def origins_of(entry: Json) -> tuple[str, ...]:
    """Where an entry was pulled from or pushed to, as name@digest."""
    return tuple(str((entry.get("annotations") or {}).get(ORIGIN, "")).split())


def tag(media_type: str, digest: str, name: str, origin: str = "") -> str:
    """Let a name lead to a manifest; returns the manifest it led to before, or `""`.

    What loses its last name so stays in the list without one.
    """
    lost = ""

    def alter(listed: list[Json]) -> list[Json]:
        nonlocal lost
        origins = {origin} - {""}
        kept = []
        for entry in listed:
            same, held = entry["digest"] == digest, name_of(entry)
            if same:
                origins |= set(origins_of(entry))
            if held and held == name and not same:
                lost = str(entry["digest"])
                if not any(other["digest"] == lost and name_of(other) != name for other in listed):
                    kept.append(_entry(entry["mediaType"], lost, "", origins_of(entry)))
            elif not (same and held in ("", name)):
                kept.append(entry)
        for at, entry in enumerate(kept):
            if entry["digest"] == digest:
                kept[at] = _entry(media_type, digest, name_of(entry), origins)
        return [*kept, _entry(media_type, digest, name, origins)]

    change(alter)
    return lost


def _entry(media_type: str, digest: str, name: str, origins: set[str] | tuple[str, ...]) -> Json:
    notes = {NAME: name} if name else {}
    if origins:
        notes[ORIGIN] = " ".join(sorted(origins))
    return blobs.descriptor(media_type, digest) | ({"annotations": notes} if notes else {})


def images() -> list[Image]:
    """Every image of the store, each once, with all its names; an index counts as the image of this machine's kind."""
    names: dict[str, list[str]] = {}
    origins: dict[str, set[str]] = {}
    kinds: dict[str, str] = {}
    for entry in entries():
        digest = entry["digest"]
        kinds[digest] = entry["mediaType"]
        names.setdefault(digest, []).extend(filter(None, [name_of(entry)]))
        origins.setdefault(digest, set()).update(origins_of(entry))
    found = []
    for digest, kind in kinds.items():
        try:
            found.append(load(digest, kind, tuple(sorted(names[digest])), tuple(sorted(origins[digest]))))
        except CosoError:
            continue  # `coso system check` tells of it.
    return found


def load(
    digest: str, media_type: str = "", names: tuple[str, ...] = (), origins: tuple[str, ...] = (), platform: str = ""
) -> Image:
    """The image of a manifest, or of the fitting one in an index; raises CosoError."""
    manifest = blobs.read_json(digest)
    media_type = media_type or str(manifest.get("mediaType", OCI_MANIFEST))
    if media_type in INDEXES:
        chosen = choose(manifest, platform or PLATFORM)
        return replace(
            load(chosen["digest"], chosen["mediaType"], names, origins), listed=digest, listed_type=media_type
        )
    check_manifest(manifest, digest)
    config = blobs.read_json(manifest["config"]["digest"])
    return Image(digest, media_type, manifest, config, names, origins, digest, media_type)


def check_manifest(found: Json, what: str) -> None:
    """Raise CosoError unless this is a manifest whose parts are what the specification says (manifest.md)."""
    layers = found.get("layers")
    parts = [found.get("config"), *(layers if isinstance(layers, list) else [None])]
    for part in parts:
        if not isinstance(part, dict) or not isinstance(part.get("size"), int):
            raise CosoError(f"{what} is no manifest of an image", cause="it is of an old kind, or made to confuse")
        blobs.blob_path(str(part.get("digest")))
        if not isinstance(part.get("mediaType"), str):
            raise CosoError(f"{what} has a part without a media type")


def check_layers(manifest: Json, config: Json, what: str) -> list[str]:
    """The digests of an image's unpacked layers; raises CosoError unless there is a good one for each layer."""
    rootfs = config.get("rootfs")
    diff_ids = rootfs.get("diff_ids") if isinstance(rootfs, dict) else None
    if not isinstance(diff_ids, list) or len(diff_ids) != len(manifest["layers"]):
        raise CosoError(f"the configuration of {what} and its manifest do not name as many layers")
    for diff_id in diff_ids:
        key_of(str(diff_id))
    return [str(diff_id) for diff_id in diff_ids]


def choose(index: Json, platform: str) -> Json:
    """The manifest of an index for a platform; raises MissingError that says which there are."""
    listed = [item for item in index.get("manifests") or [] if isinstance(item.get("platform"), dict)]
    system, _, rest = platform.partition("/")
    machine, _, variant = rest.partition("/")
    offered = []
    for item in listed:
        its = item["platform"]
        offered.append("/".join(filter(None, (its.get("os"), its.get("architecture"), its.get("variant")))))
        if its.get("os") == system and its.get("architecture") == machine and variant in ("", its.get("variant")):
            return dict(item)
    if not listed and len(index.get("manifests") or []) == 1:
        return dict(index["manifests"][0])
    known = ", ".join(sorted({name for name in offered if "unknown" not in name}))
    raise MissingError(f"the image is not made for {platform}", hint=f"it is for {known}" if known else "")


def find(word: str) -> Image:
    """The image that a person means by a name, or by the beginning of an id or a digest; raises MissingError."""
    found = find_or_none(word)
    if found is None:
        raise MissingError(f"there is no image {word!r} here", hint=f"`coso pull {word}`, or see `coso images`")
    return found


def find_or_none(word: str) -> Image | None:
    """As `find`, without the error; raises UsageError for what several images' ids begin with."""
    listed = entries()
    wanted = _as_name(word)
    for entry in listed:
        if wanted and (name_of(entry) == wanted.whole or (wanted.digest and _is_from(entry, wanted))):
            return _loaded(entry, listed)
    return _by_id(word.removeprefix("sha256:"), listed)


def _as_name(word: str) -> Reference | None:
    try:
        return parse(word)
    except UsageError:
        return None


def _is_from(entry: Json, wanted: Reference) -> bool:
    return f"{wanted.name}@{wanted.digest}" in origins_of(entry) or (
        entry["digest"] == wanted.digest and name_of(entry).startswith(f"{wanted.name}:")
    )


def _loaded(entry: Json, listed: list[Json]) -> Image:
    same = [other for other in listed if other["digest"] == entry["digest"]]
    names = tuple(sorted(filter(None, (name_of(other) for other in same))))
    origins = tuple(sorted({origin for other in same for origin in origins_of(other)}))
    return load(entry["digest"], entry["mediaType"], names, origins)


def _by_id(word: str, listed: list[Json]) -> Image | None:
    if not word or set(word) - HEX:
        return None
    matches: dict[str, Image] = {}
    for entry in listed:
        try:
            image = _loaded(entry, listed)
        except CosoError:
            continue
        if image.id.startswith(word) or entry["digest"].removeprefix("sha256:").startswith(word):
            matches[entry["digest"]] = image
    if len(matches) > 1:
        raise UsageError(f"{len(matches)} images have ids that begin with {word!r}", hint="give more digits")
    return next(iter(matches.values()), None)


def key_of(diff_id: str) -> str:
    """The directory of a layer: 128 bits of its digest, so that many names fit into one mount option.

    Raises CosoError for what is no digest: an image may say anything, and this becomes a path.
    """
    blobs.blob_path(str(diff_id))
    return diff_id.removeprefix("sha256:")[:KEY_DIGITS]


def tree_of(diff_id: str) -> str:
    """The path of a layer's tree."""
    return f"{TREES}/{key_of(diff_id)}"


def keys_of(image: Image) -> tuple[str, ...]:
    """The layers of an image as an overlay takes them: the uppermost first, each once."""
    return tuple(dict.fromkeys(key_of(diff_id) for diff_id in reversed(image.diff_ids)))


def size_of(image: Image) -> int:
    """The bytes of an image's layers, unpacked."""
    return sum(layer_size(diff_id) for diff_id in image.diff_ids)


def layer_size(diff_id: str) -> int:
    """The bytes of the files of one layer, as counted when it was unpacked."""
    try:
        with open(f"{tree_of(diff_id)}.json") as file:
            return int(quickjson.loads(file.read())["size"])
    except (OSError, ValueError, KeyError):
        return 0


def reachable(digest: str) -> Iterator[str]:
    """A manifest's digest and those of all it leads to, as far as they are here."""
    yield digest
    try:
        found = blobs.read_json(digest)
    except CosoError:
        return
    manifests, layers = found.get("manifests"), found.get("layers")
    for item in manifests if isinstance(manifests, list) else []:
        if isinstance(item, dict) and item.get("digest") != digest:
            yield from reachable(str(item.get("digest")))
    for item in [found.get("config"), *(layers if isinstance(layers, list) else [])]:
        if isinstance(item, dict) and item.get("digest"):
            yield str(item["digest"])
