"""What all of `coso compose` uses: the project that is asked for, and how is told what happens."""

from __future__ import annotations

import os
import sys

from coso.errors import UsageError
from coso.services import consistency, support
from coso.services import project as projects
from coso.services.places import Map
from coso.services.project import Project, Wish
from coso.value import replace

TYPE_CHECKING = False
if TYPE_CHECKING:
    from coso.flags import Words

COLOURS = (36, 33, 32, 35, 34, 96, 93, 92, 95, 94)


class Asked:
    """The words before the command."""

    def __init__(self, given: Words) -> None:
        self.wish = Wish(
            files=tuple(given.all("file")),
            name=given.last("project-name"),
            profiles=tuple(given.all("profile")),
            env_files=tuple(given.all("env-file")),
            directory=given.last("project-directory"),
        )
        self.ignores_unsupported = given.on("ignore-unsupported")
        self.dry_run = given.on("dry-run")


def load(asked: Asked, services: tuple[str, ...] = (), *, check: bool = True, only_name: bool = False) -> Project:
    """The project that is asked for; with `only_name` one that is known by its name alone will do. Raises CosoError."""
    wish = replace(asked.wish, services=services, profiles=("*",) if only_name else asked.wish.profiles)
    try:
        found = projects.load(wish, warn)
    except UsageError:
        if only_name and wish.name and not wish.files:
            return Project(wish.name, os.getcwd(), (), dict(os.environ), Map())
        raise
    if check and not only_name:
        consistency.check_ports(found.services)
        support.refuse(found, warn if asked.ignores_unsupported else None)
    return found


def protect(project: Project) -> None:
    """Where root inside a service is the host's, begin again from an interpreter that it cannot change.

    Now, before anything is made: the command line is executed once more.
    """
    if any(str(one.get("userns_mode")) == "host" for one in project.services.values()):
        from coso.runtime.protect import protect_interpreter

        protect_interpreter()


_warned: set[str] = set()


def warn(text: str) -> None:
    """Say something once that is no error."""
    if text not in _warned:
        _warned.add(text)
        sys.stderr.write(f"coso: {text}\n")


def tell(what: str, happened: str) -> None:
    """Say what happens to something."""
    mark = coloured("✔", 32) if sys.stderr.isatty() else ""
    sys.stderr.write(f" {mark}{' ' if mark else ''}{what}  {happened}\n")
    sys.stderr.flush()


def coloured(text: str, colour: int) -> str:
    """A text in a colour of the terminal."""
    return f"\033[{colour}m{text}\033[0m"
