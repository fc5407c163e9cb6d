"""A project: what its files say together, completed and checked.

Source: compose-spec, 03-compose-file.md to 15-profiles.md.
"""

from __future__ import annotations

import os
import re

from coso.errors import UsageError
from coso.services import completion, consistency
from coso.services.loading import STDIN, Loader, read_variables
from coso.services.places import Item, Map
from coso.value import value

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Callable

NAMES = ("compose.yaml", "compose.yml", "docker-compose.yml", "docker-compose.yaml")
OVERRIDES = (
    "compose.override.yml",
    "compose.override.yaml",
    "docker-compose.override.yml",
    "docker-compose.override.yaml",
)
PROJECT_NAME = re.compile(r"[a-z0-9][a-z0-9_-]*")


@value
class Project:
    """What is to run: `model` has the words of the specification, each in its long form."""

    name: str
    directory: str
    files: tuple[str, ...]
    variables: dict[str, str]
    model: Map
    # Services of profiles that are not active.
    off: tuple[str, ...] = ()

    @property
    def services(self) -> Map:
        """The services that are switched on, by name."""
        return self.model.get("services") or Map()


@value
class Wish:
    """How a project is asked for: `-f`, `-p`, `--profile`, `--env-file`, `--project-directory`."""

    files: tuple[str, ...] = ()
    name: str = ""
    profiles: tuple[str, ...] = ()
    env_files: tuple[str, ...] = ()
    directory: str = ""
    # Services named on the command line are switched on, whatever their profiles.
    services: tuple[str, ...] = ()


def load(wish: Wish, warn: Callable[[str], None]) -> Project:
    """Read a project. Raises ConfigError and UsageError."""
    try:
        return _load(wish, warn)
    except RecursionError:
        raise UsageError("the compose file is nested too deeply to be read") from None


def _load(wish: Wish, warn: Callable[[str], None]) -> Project:
    outer = dict(os.environ)
    start = os.path.abspath(wish.directory or ".")
    files = [os.path.abspath(path) if path != STDIN else path for path in wish.files]
    if not files:
        # The variable that names the files may itself stand in a file of variables.
        known = _variables(wish, start, outer)
        files = _split(known["COMPOSE_FILE"], start, known) if known.get("COMPOSE_FILE") else _nearby(start)
    first = os.path.dirname(files[0]) if files[0] != STDIN else os.getcwd()
    directory = os.path.abspath(wish.directory) if wish.directory else first
    variables = _variables(wish, directory, outer)
    wanted = wish.name or variables.get("COMPOSE_PROJECT_NAME", "")
    loader = Loader(variables, warn)
    # Files may speak of the name, and one of them may say it.
    name = variables["COMPOSE_PROJECT_NAME"] = _name(wanted, loader.name_in(files), directory)
    model = loader.load(files, directory)
    said = (text.strip() for text in variables.get("COMPOSE_PROFILES", "").split(","))
    profiles = set(wish.profiles) or set(filter(None, said))
    completion.complete(model, name, variables)
    off = consistency.switch(model, profiles, set(wish.services))
    completion.read_files(model, variables)
    consistency.check(model)
    return Project(name, directory, tuple(dict.fromkeys(loader.files)), variables, model, off)


def _split(text: str, directory: str, variables: dict[str, str]) -> list[str]:
    separator = variables.get("COMPOSE_PATH_SEPARATOR") or os.pathsep
    return [os.path.join(directory, part) for part in text.split(separator) if part]


def _nearby(directory: str) -> list[str]:
    """The file of this directory or of the nearest one above, and the one that goes over it."""
    place = directory
    while True:
        here = [f"{place.rstrip('/')}/{name}" for name in NAMES if os.path.isfile(f"{place}/{name}")]
        if here:
            more = [f"{place.rstrip('/')}/{name}" for name in OVERRIDES if os.path.isfile(f"{place}/{name}")]
            return [here[0], *more[:1]]
        if place == "/":
            raise UsageError(
                f"there is no compose file in {directory}, nor above it", hint=f"{NAMES[0]}, or name one: -f FILE"
            )
        place = os.path.dirname(place)


def _variables(wish: Wish, directory: str, outer: dict[str, str]) -> dict[str, str]:
    """The environment, over what the files of variables say."""
    said = [text for text in outer.get("COMPOSE_ENV_FILES", "").split(",") if text]
    files = [os.path.abspath(path) for path in wish.env_files or said]
    default = f"{directory}/.env"
    is_off = outer.get("COMPOSE_DISABLE_ENV_FILE", "").lower() in ("1", "true")
    if not files and not is_off and os.path.isfile(default):
        files = [default]
    return {**read_variables(files, outer), **outer}


def _name(wanted: str, given: Item | None, directory: str) -> str:
    if wanted:
        if not PROJECT_NAME.fullmatch(wanted):
            raise UsageError(
                f"{wanted!r} is no name of a project", hint="small letters, digits, - and _, a letter or digit first"
            )
        return wanted
    if given and given.content:
        if not PROJECT_NAME.fullmatch(str(given.content)):
            given.fail(f"{given.content!r} is no name of a project")
        return str(given.content)
    found = re.sub(r"[^a-z0-9_-]", "", os.path.basename(directory).lower()).lstrip("_-")
    if not found:
        raise UsageError(f"the directory {directory} gives the project no name", hint="-p NAME, or name: in the file")
    return found
