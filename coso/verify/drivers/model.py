"""What a check wants of a container, and what a runtime offers."""

from __future__ import annotations

from collections.abc import Callable
from contextlib import AbstractContextManager

from coso.errors import UnsupportedError
from coso.value import value

__all__ = ["Driver", "UnsupportedError", "Wish", "asked", "capability", "refusal"]


@value
class Wish:
    """A container as a check wants it.

    The container may write to `rootfs`, which has every mount point it needs.
    A volume is a path on the host, a path inside, and whether it is read-only.
    Options are spelled as those of `docker run`, always as one word: `--memory=256m`.
    """

    rootfs: str
    command: tuple[str, ...]
    volumes: tuple[tuple[str, str, bool], ...] = ()
    options: tuple[str, ...] = ()


@value
class Driver:
    """A runtime.

    `lacking` is `""`, or a clause that says why it cannot run here.
    `command` takes a wish, a name for the container and a scratch directory,
    lays out what the runtime reads, and returns the words of a command in the
    foreground: it prints what the container prints, ends with its exit status,
    and passes standard input on at least where `--interactive` is asked.  `remove` takes the same name and directory
    and removes what a killed runtime has left; that there is nothing is no
    error.  With `by_daemon` the container is no descendant of the command.
    `started` is what has to run around the commands, in a scratch directory.
    """

    name: str
    lacking: Callable[[], str]
    command: Callable[[Wish, str, str], list[str]]
    remove: Callable[[str, str], None]
    version: Callable[[], str]
    by_daemon: bool = False
    started: Callable[[str], AbstractContextManager[None]] | None = None


def asked(wish: Wish) -> list[tuple[str, str]]:
    """The options as pairs: `--memory=256m` is `("memory", "256m")`."""
    pairs = (option.removeprefix("--").partition("=") for option in wish.options)
    return [(name, text) for name, _, text in pairs]


def capability(text: str) -> str:
    """The kernel's name of a capability, `ALL` for all."""
    return text if text == "ALL" else f"CAP_{text.removeprefix('CAP_')}"


def refusal(runtime: str, name: str, text: str) -> UnsupportedError:
    """The error for an option which a runtime cannot grant."""
    return UnsupportedError(f"{runtime} has no way to grant --{name}{'=' if text else ''}{text}")
