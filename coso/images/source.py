"""What a container's root is made of: an image of the store, a rootfs on disk, nothing, or the machine itself."""

from __future__ import annotations

import os

from coso.errors import MissingError, UsageError
from coso.images import rootfs, store
from coso.spec import defaults
from coso.state import TREES, make_directories
from coso.value import value

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Callable
    from typing import Any

SCRATCH, HOST = "scratch", "host"
PULLS = ("missing", "always", "never")


@value
class Source:
    """A root's layers below `path` (itself, where there are none), and what its image says.

    The ids are `""` where there is no image.
    """

    name: str
    path: str
    layers: tuple[str, ...] = ()
    settings: dict[str, Any] | None = None
    id: str = ""
    manifest: str = ""


def of_rootfs(path: str) -> Source:
    """A directory that somebody named; raises CosoError when it cannot be one, or be trusted."""
    rootfs.check(path)
    return Source(path, os.path.abspath(path))


def resolve(word: str, fetch: Callable[[str], None], *, pull: str = "missing", platform: str = "") -> Source:
    """What a person means by an image; `fetch` brings one that is not here into the store. Raises CosoError."""
    if pull not in PULLS:
        raise UsageError(f"--pull {pull!r} is not known", hint=f"there are {', '.join(PULLS)}")
    if word == SCRATCH:
        return _scratch()
    if word == HOST:
        return Source(HOST, "/")
    if pull != "always":
        image = store.find_or_none(word)
        if image is not None and (not platform or _fits(image, platform)):
            return of_image(image, word)
        if word.partition(":")[0] in rootfs.NAMES and not platform:
            found = _of_setup(word, must=pull == "never")
            if found:
                return found
    if pull == "never":
        raise MissingError(f"there is no image {word!r} here", hint=f"coso pull {word}")
    fetch(word)
    return of_image(store.find(word), word)


def _fits(image: store.Image, platform: str) -> bool:
    return image.platform == platform or image.platform.startswith(f"{platform}/")


def _scratch() -> Source:
    """An empty root, for what volumes bring."""
    path = f"{TREES}/{SCRATCH}"
    make_directories(TREES)
    if not os.path.isdir(path):
        os.makedirs(path, 0o755, exist_ok=True)
    return Source(SCRATCH, path)


def _of_setup(word: str, *, must: bool) -> Source | None:
    """The rootfs that fs-setup made, where it is the image that was asked for."""
    if not must and not os.path.isdir(defaults.ROOTFS):
        return None
    try:
        path = rootfs.resolve(word)
    except MissingError:
        if must:
            raise
        return None
    rootfs.check(path)
    return Source(word, path)


def of_image(image: store.Image, word: str) -> Source:
    """An image of the store; raises MissingError when one of its layers is gone."""
    for diff_id in image.diff_ids:
        if not os.path.isdir(store.tree_of(diff_id)):
            raise MissingError(
                f"a layer of the image {word} is missing", cause="it was removed by hand", hint="`coso system check`"
            )
    if not image.diff_ids:
        empty = _scratch()
        return Source(word, empty.path, (), image.settings, image.id, image.digest)
    return Source(word, TREES, store.keys_of(image), image.settings, image.id, image.digest)
