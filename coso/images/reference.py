"""Names of images: `[REGISTRY[:PORT]/]NAME[:TAG][@DIGEST]` (distribution specification, "Pulling manifests").

A name without a registry is short.  What it is short for is settled here,
once, and shown before anything is fetched: docker.io, as with Docker, or the
first registry of `unqualified-search-registries` (coso.images.registries).
"""

from __future__ import annotations

from coso.errors import UsageError
from coso.value import value

DOCKER_HUB = "docker.io"
NAME_CHARACTERS = frozenset("abcdefghijklmnopqrstuvwxyz0123456789._-")
TAG_CHARACTERS = frozenset("abcdefghijklmnopqrstuvwxyzABCDEFGHIJKLMNOPQRSTUVWXYZ0123456789._-")
HEX = frozenset("0123456789abcdef")
LONGEST_TAG = 128


@value
class Reference:
    """A whole name; exactly one of `tag` and `digest` leads to a manifest, the digest where both are given."""

    registry: str
    repository: str
    tag: str = ""
    digest: str = ""

    @property
    def name(self) -> str:
        """Registry and repository."""
        return f"{self.registry}/{self.repository}"

    @property
    def whole(self) -> str:
        """The name as it is kept: nothing left to be guessed."""
        return f"{self.name}@{self.digest}" if self.digest else f"{self.name}:{self.tag}"

    @property
    def wanted(self) -> str:
        """What a registry is asked for."""
        return self.digest or self.tag


def parse(text: str, search: str = DOCKER_HUB) -> Reference:
    """The reference that a person means; `search` is the registry of short names. Raises UsageError."""
    rest, at, digest = text.partition("@")
    if at:
        check_digest(digest, text)
    head, slash, tail = rest.partition("/")
    if slash and ("." in head or ":" in head or head == "localhost"):
        registry, rest = head, tail
    else:
        registry = search
    name, colon, tag = rest.rpartition(":") if ":" in rest else (rest, "", "")
    if registry in ("index.docker.io", "registry-1.docker.io"):
        registry = DOCKER_HUB
    parts = name.split("/")
    if not all(_is_part(part) for part in parts):
        hint = "it is written in small letters" if name.lower() != name else "write it as alpine:3.20 or host:5000/a/b"
        raise UsageError(f"{text!r} is no name of an image", hint=hint)
    if colon and (not tag or set(tag) - TAG_CHARACTERS or tag[0] in ".-" or len(tag) > LONGEST_TAG):
        raise UsageError(
            f"{text!r} has no valid tag after the colon", hint="letters, digits and _ . -, as in alpine:3.20"
        )
    if registry == DOCKER_HUB and len(parts) == 1:
        name = f"library/{name}"
    return Reference(registry, name, tag if tag or digest else "latest", digest)


def _is_part(part: str) -> bool:
    return bool(part) and not set(part) - NAME_CHARACTERS and part[0] not in "._-" and part[-1] not in "._-"


def check_digest(digest: str, text: str = "") -> None:
    """Raise UsageError unless this is a sha256 digest."""
    kind, _, number = digest.partition(":")
    if kind != "sha256" or len(number) != 64 or set(number) - HEX:
        raise UsageError(f"{text or digest!r} has no valid digest", hint="sha256: and 64 hexadecimal digits")


def familiar(whole: str) -> str:
    """A kept name as people write it: Docker Hub's registry and `library/` left out."""
    return whole.removeprefix(f"{DOCKER_HUB}/").removeprefix("library/") if whole.startswith(DOCKER_HUB) else whole


def split(whole: str) -> tuple[str, str]:
    """A kept name's familiar repository and its tag (`<none>` for a digest)."""
    short = familiar(whole)
    if "@" in short:
        return short.partition("@")[0], "<none>"
    name, _, tag = short.rpartition(":")
    return name, tag
