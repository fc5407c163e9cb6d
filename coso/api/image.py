"""Images: found, pulled, built."""

from __future__ import annotations

import os
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

from coso.api.command import command

if TYPE_CHECKING:
    from collections.abc import Mapping


@dataclass(frozen=True)
class Image:
    """An image of the store: its name, the digest of its configuration, and what that says."""

    name: str
    id: str
    settings: dict[str, Any]

    def __str__(self) -> str:
        return self.name

    def remove(self) -> None:
        """Remove it. Raises CosoError while containers use it."""
        command("rmi", self.name)


def image(name: str) -> Image:
    """An image that is here. Raises MissingError."""
    from coso.images import store

    found = store.find(name)
    return Image(name, found.id, dict(found.settings))


def pull_image(name: str, *, always: bool = False, timeout: float | None = None) -> Image:
    """Bring an image here, unless it is; with `always`, look for a newer one. Raises CosoError."""
    from coso.images import store

    if always or store.find_or_none(name) is None:
        command("pull", "-q", name, timeout=timeout)
    return image(name)


def build_image(
    context: str | os.PathLike[str],
    tag: str,
    *,
    file: str | os.PathLike[str] = "",
    args: Mapping[str, str] | None = None,
    target: str = "",
    timeout: float | None = None,
) -> Image:
    """Build an image from a Dockerfile. Raises CosoError with what the build said last."""
    words = ["build", "-q", "-t", tag]
    words += ["-f", os.path.abspath(file)] if file else []
    words += [word for name, text in (args or {}).items() for word in ("--build-arg", f"{name}={text}")]
    words += ["--target", target] if target else []
    command(*words, os.path.abspath(context), timeout=timeout)
    return image(tag)
