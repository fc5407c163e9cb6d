"""Containers that run at the moment, by id or by name.

A name is a symbolic link to the id, made before the container and removed
after it; making one is atomic, so no two have the same.
"""

from __future__ import annotations

import os

from coso.errors import CosoError, UsageError
from coso.kernel.process import start_time
from coso.runtime import journal
from coso.runtime.container import Container
from coso.runtime.undo import remove_link
from coso.state import LAYERS, NAMES, make_directories
from coso.steps import Step
from coso.value import value

ALLOWED = frozenset("abcdefghijklmnopqrstuvwxyzABCDEFGHIJKLMNOPQRSTUVWXYZ0123456789_.-")
LONGEST = 128


@value
class Running:
    """A container, its first process, and the hosts file that is shown inside."""

    id: str
    pid: int
    started: int

    @property
    def hosts(self) -> str:
        """The hosts file that is shown inside."""
        return f"{LAYERS}/{self.id}/hosts"

    def names(self) -> list[str]:
        """Its name, if it has one."""
        return [name for name in os.listdir(NAMES) if _named(name) == self.id] if os.path.isdir(NAMES) else []


def find(word: str) -> Running:
    """The container that runs under an id, the beginning of one, or a name; raises CosoError."""
    living = journal.living()
    matches = [container for container in living if container in (word, _named(word))]
    matches = matches or [container for container in living if word and container.startswith(word)]
    if len(matches) != 1:
        several = f"{len(matches)} running containers have ids that begin with {word!r}"
        raise CosoError(several if matches else f"no running container has the id or name {word!r}")
    for kind, *words in journal.records_of(matches[0]):
        if kind == "kill" and start_time(int(words[0])) == int(words[1]):
            return Running(matches[0], int(words[0]), int(words[1]))
    raise CosoError(f"the container {word} has no process, or not yet")


def _named(word: str) -> str:
    try:
        return os.readlink(f"{NAMES}/{word}") if not set(word) - ALLOWED else ""
    except OSError:
        return ""


def check_name(name: str) -> None:
    """Raise UsageError for a name that cannot be one, on a network and as a file."""
    if set(name) - ALLOWED or name[:1] in ("", "_", ".", "-") or len(name) > LONGEST:
        raise UsageError(f"--name {name!r} is not valid", hint="letters, digits and _ . - with a letter or digit first")


def take_name(container: Container) -> None:
    """Give the container its name for as long as it runs. Raises CosoError."""
    container.journal.record("remove-link", f"{NAMES}/{container.spec.name}", container.id)
    hold_name(container.spec.name, container.id)


def hold_name(name: str, container: str) -> None:
    """Let a name lead to a container; that of one that is gone is free. Raises CosoError."""
    make_directories(NAMES)
    path = f"{NAMES}/{name}"
    while True:
        try:
            os.symlink(container, path)
            return
        except FileExistsError:
            holder = os.readlink(path)
            if journal.is_known(holder):
                raise CosoError(
                    f"the name {name} is that of the container {holder}",
                    hint=f"choose another, or `coso rm {name}`; `coso gc` frees those of killed runtimes",
                ) from None
            remove_link(path, holder)


NAME = Step(
    "take the name",
    "write down whose name this is",
    "symlink()",
    "a name leads to one container",
    "symlink(2)",
    take_name,
)
