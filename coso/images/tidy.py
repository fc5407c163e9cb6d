"""Taking images away: `rmi`, `image prune`, what crashes left, and whether all is whole."""

from __future__ import annotations

import os

from coso import quickjson
from coso.errors import CosoError, UsageError
from coso.images import blobs, store
from coso.images.reference import familiar, parse
from coso.runtime.undo import remove_tree
from coso.state import BUILD, IMAGES, LAYERS, TREES
from coso.value import value

LARGEST_MANIFEST = 4 << 20


@value
class Removed:
    """What `remove` did: names that are gone, manifests that are."""

    untagged: list[str]
    deleted: list[str]


def in_use() -> dict[str, list[str]]:
    """The manifests that containers were made from, and which containers."""
    found: dict[str, list[str]] = {}
    for container in os.listdir(LAYERS) if os.path.isdir(LAYERS) else []:
        try:
            with open(f"{LAYERS}/{container}/config.json", encoding="utf-8") as file:
                digest = quickjson.loads(file.read()).get("manifest")
        except (OSError, ValueError):
            continue
        if digest:
            found.setdefault(digest, []).append(container)
    return found


def remove(word: str, *, force: bool = False) -> Removed:
    """Take a name away, and the image with its last name; raises CosoError where containers need it."""
    image = store.find(word)
    by_name = next((name for name in image.names if name == _whole(word)), "")
    if not by_name and len(image.names) > 1 and not force:
        raise UsageError(
            f"the image {image.id[:12]} has {len(image.names)} names", hint="remove them one by one, or give --force"
        )
    gone = [by_name] if by_name else list(image.names)
    last = set(gone) >= set(image.names)
    users = in_use().get(image.digest, [])
    if last and users and not (force and by_name):
        raise CosoError(
            f"the image {word} is used by the container {', '.join(sorted(users))}",
            hint="remove the container first" + ("" if force else ", or take only the name away with --force"),
        )

    def alter(listed: list[store.Json]) -> list[store.Json]:
        kept = [entry for entry in listed if entry["digest"] != image.listed or store.name_of(entry) not in (*gone, "")]
        if last and users:
            nameless = next(entry for entry in listed if entry["digest"] == image.listed)
            kept.append({**nameless, "annotations": {}})
        return kept

    store.change(alter)
    sweep()
    return Removed([familiar(name) for name in gone], [] if not last or users else [image.id])


def _whole(word: str) -> str:
    try:
        return parse(word).whole
    except UsageError:
        return ""


def prune(*, every: bool = False) -> tuple[list[store.Image], int]:
    """Remove images without a name, with `every` all that no container uses; those, and the bytes that became free."""
    before = disk_usage()
    used = in_use()
    unwanted = [image for image in store.images() if image.digest not in used and (every or not image.names)]
    digests = {image.listed for image in unwanted}
    store.change(lambda listed: [entry for entry in listed if entry["digest"] not in digests])
    sweep(parts=True)
    return unwanted, max(0, before - disk_usage())


def disk_usage() -> int:
    """The bytes of all blobs and trees."""
    packed = sum(os.path.getsize(f"{blobs.BLOBS}/{name}") for name in _names(blobs.BLOBS))
    sizes = 0
    for name in _names(TREES):
        if name.endswith(".json"):
            with open(f"{TREES}/{name}") as file:
                sizes += int(quickjson.loads(file.read()).get("size", 0))
    return packed + sizes


def _names(directory: str) -> list[str]:
    return os.listdir(directory) if os.path.isdir(directory) else []


def needed() -> tuple[set[str], set[str]]:
    """The digests of blobs, and the keys of trees, that images and containers claim."""
    digests: set[str] = set()
    trees: set[str] = set()
    for digest in {*(entry["digest"] for entry in store.entries()), *in_use()}:
        for one in store.reachable(digest):
            digests.add(one)
            trees.update(_keys_of(one))
    for name in _names(f"{BUILD}/cache"):
        try:
            with open(f"{BUILD}/cache/{name}", encoding="utf-8") as file:
                found = quickjson.loads(file.read())
        except (OSError, ValueError):
            continue
        if found["described"]:
            digests.add(found["described"]["digest"])
            trees.add(store.key_of(found["diff_id"]))
    trees.add("scratch")
    return digests, trees


def _keys_of(digest: str) -> list[str]:
    """The trees of a manifest, by its configuration; nothing for every other blob, and for what makes no sense."""
    try:
        if os.path.getsize(blobs.blob_path(digest)) > LARGEST_MANIFEST:
            return []
        found = blobs.read_json(digest)
        store.check_manifest(found, digest)
        return [store.key_of(diff_id) for diff_id in store.check_layers(found, _config_of(found), digest)]
    except (CosoError, OSError):
        return []


def _config_of(manifest: store.Json) -> store.Json:
    return blobs.read_json(manifest["config"]["digest"])


def sweep(*, parts: bool = False) -> int:
    """Remove what no image and no container claims, unless somebody is adding just now; how much it was.

    Downloads that were cut short are kept for the next attempt, except with `parts`.
    """
    if not os.path.isdir(IMAGES):
        return 0
    lock = blobs.locked("use", wait=False)
    if lock < 0:
        return 0
    try:
        return _sweep(parts)
    finally:
        os.close(lock)


def _sweep(parts: bool) -> int:
    claimed, trees = needed()
    count = 0
    for name in _names(blobs.BLOBS):
        if name.endswith(".part") and not parts:
            continue
        if f"sha256:{name}" not in claimed:
            os.unlink(f"{blobs.BLOBS}/{name}")
            count += 1
    for name in _names(TREES):
        if name.removesuffix(".json") in trees:
            continue
        count += 1
        if name.endswith((".json", ".new")):
            os.unlink(f"{TREES}/{name}")
            continue
        # Under a name that nobody takes for a layer, so that a crash leaves no half of one.
        gone = name if name.startswith(":") else f":{name}"
        os.rename(f"{TREES}/{name}", f"{TREES}/{gone}")
        remove_tree(f"{TREES}/{gone}")
    # The list is being written by whoever holds its own lock.
    lock = blobs.locked("index")
    for name in _names(IMAGES):
        if name.startswith(":") or name.endswith(".new"):
            count += 1
            remove_tree(f"{IMAGES}/{name}")
    os.close(lock)
    return count


def check(*, repair: bool = False) -> list[str]:
    """Read every blob and tree against its digest; what is wrong, and with `repair` what became of it."""
    from hashlib import file_digest

    faults = []
    bad: set[str] = set()
    for name in sorted(_names(blobs.BLOBS)):
        if name.endswith((".part", ".new")):
            continue
        with open(f"{blobs.BLOBS}/{name}", "rb") as file:
            found = file_digest(file, "sha256").hexdigest()
        if found != name:
            faults.append(f"the blob {name[:12]} is damaged: its digest is {found[:12]}")
            bad.add(f"sha256:{name}")
    for entry in store.entries():
        faults += _faults_of(entry, bad)
    if repair and faults:
        _repair(bad)
    return faults


def _faults_of(entry: store.Json, bad: set[str]) -> list[str]:
    from coso.images import layers

    what = familiar(store.name_of(entry)) or entry["digest"][:19]
    faults = []
    try:
        image = store.load(entry["digest"], entry["mediaType"])
    except CosoError as error:
        bad.add(entry["digest"])
        return [f"{what}: {error.message}"]
    for layer, diff_id in zip(image.manifest["layers"], image.diff_ids, strict=False):
        blob_is_good = blobs.has_blob(layer["digest"]) and layer["digest"] not in bad
        if not blob_is_good:
            faults.append(f"{what}: its layer {layer['digest'][7:19]} is missing or damaged")
            bad.add(entry["digest"])
        elif not os.path.isdir(store.tree_of(diff_id)):
            faults.append(f"{what}: the tree of layer {layer['digest'][7:19]} is missing")
            layers.install(layer["digest"], diff_id)
    return faults


def _repair(bad: set[str]) -> None:
    """Take out of the list what cannot be whole again, and away what is damaged: a new pull brings it."""
    store.change(lambda listed: [entry for entry in listed if not bad & set(store.reachable(entry["digest"]))])
    for digest in bad:
        if os.path.exists(blobs.blob_path(digest)):
            os.unlink(blobs.blob_path(digest))
    sweep()
