"""From files to one model: documents laid over each other, services that extend others, files that are included.

Source: compose-spec, 05-services.md ("extends"), 13-merge.md, 14-include.md.
"""

from __future__ import annotations

import os

from coso.errors import ConfigError
from coso.services import environment, text
from coso.services.interpolation import put_in
from coso.services.merging import over, untagged
from coso.services.places import NOWHERE, Item, Map, Place, Seq, Tagged, plain
from coso.services.resources import read_file
from coso.services.values import REMOTE, resolved

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Callable

    Variables = dict[str, str]

PARTS = ("services", "networks", "volumes", "secrets", "configs", "models")
STDIN = "-"


class Loader:
    """Reads files with the variables of one project."""

    def __init__(self, variables: Variables, warn: Callable[[str], None]) -> None:
        self._variables = variables
        self._warn = warn
        self._read: dict[str, list[Map]] = {}
        self.files: list[str] = []

    def name_in(self, paths: list[str]) -> Item | None:
        """The name that the last of the files gives the project which gives one. Raises ConfigError."""
        found = None
        for path in paths:
            for raw in self._raw(path):
                name = untagged(raw.get("name"))
                if isinstance(name, str):
                    item = Item(name, "name", raw.places["name"])
                    found = Item(put_in(name, self._variables, self._missing, item), "name", item.place)
        return found

    def _raw(self, path: str) -> list[Map]:
        """The documents of a file as they stand; standard input can be read once only."""
        if path not in self._read:
            self._read[path] = text.read(_content(path), path if path != STDIN else "standard input")
        return self._read[path]

    def load(self, paths: list[str], directory: str, including: tuple[str, ...] = ()) -> Map:
        """Several files, each laid over those before it, with what they include. Raises ConfigError."""
        model = Map()
        for path in paths:
            for document in self._documents(path, directory):
                self._extend(document, path, directory)
                # What a file includes is its own: files that come later are laid over that, too.
                found = over(model, self._included(document, directory, (*including, path)))
                assert isinstance(found, Map)
                model = found
        if not model:
            raise ConfigError(paths[0], "", "the file is empty: it has no services")
        bare = untagged(model)
        assert isinstance(bare, Map)
        for service in (bare.get("services") or {}).values():
            _settle_context(service, directory)
        return bare

    def _documents(self, path: str, directory: str) -> list[Map]:
        """The documents of a file, with variables put in, in their long form."""
        self.files.append(path)
        found = []
        for raw in self._raw(path):
            whole = Item(raw, "", Place(path, 1, 1))
            filled = put_in(raw, self._variables, self._missing, whole)
            found.append(read_file(Item(filled, "", whole.place), directory))
        return found

    def _missing(self, name: str) -> None:
        self._warn(f"the variable {name} is not set: it stands for nothing")

    def _extend(self, document: Map, path: str, directory: str) -> None:
        services = content_of(document.get("services")) or Map()
        for name in list(services):
            services[name] = self._extended(services, name, path, directory, ())

    def _extended(self, services: Map, name: str, path: str, directory: str, through: tuple[str, ...]) -> Map:
        """A service laid over the one that it extends."""
        service = services[name]
        wanted = untagged(service.get("extends")) if isinstance(service, Map) else None
        if not isinstance(wanted, Map) or not wanted:
            return service  # type: ignore[no-any-return]
        item = Item(wanted, f"services.{name}.extends", service.places.get("extends", NOWHERE))
        if "service" not in wanted:
            item.fail("the key service is missing")
        other, file = wanted["service"], wanted.get("file")
        place = f"{resolved(file, directory) if file else path}:{other}"
        if place in through:
            item.fail(f"the services extend each other in a circle: {' → '.join((*through, place))}")
        if file:
            base_file = resolved(file, directory)
            if not os.path.isfile(base_file):
                item.fail(f"there is no file {base_file}")
            its, its_directory = Map(), os.path.dirname(base_file)
            for document in self._documents(base_file, its_directory):
                its = over(its, content_of(document.get("services")) or Map())  # type: ignore[assignment]
        else:
            its, base_file, its_directory = services, path, directory
        if other not in its:
            item.fail(
                f"there is no service {other!r} in {base_file}", hint=f"there are: {', '.join(its)}" if its else ""
            )
        below = self._extended(its, other, base_file, its_directory, (*through, f"{path}:{name}", place))
        found = over(untagged(below), Map({k: v for k, v in service.items() if k != "extends"}, service.places))
        assert isinstance(found, Map)
        found.pop("extends", None)
        return found

    def _included(self, model: Map, directory: str, including: tuple[str, ...]) -> Map:
        """The model with that of each included file beside it."""
        entries = untagged(model.pop("include", None))
        if not isinstance(entries, Seq):
            return model
        for number, entry in enumerate(entries):
            item = Item(entry, f"include[{number}]", entries.places[number])
            paths = [resolved(path, directory) for path in entry["path"]]
            for path in paths:
                if REMOTE.match(path):
                    item.fail(f"{path} is elsewhere: files of other machines are not fetched")
                if path in including:
                    item.fail(f"the files include each other in a circle: {' → '.join((*including, path))}")
                if not os.path.isfile(path):
                    item.fail(f"there is no file {path}")
            base = entry.get("project_directory")
            its_directory = resolved(base, directory) if base else os.path.dirname(paths[0])
            files = [resolved(path, directory) for path in entry.get("env_file") or ()]
            default = f"{its_directory}/.env"
            files = files or ([default] if os.path.isfile(default) else [])
            inner = Loader({**read_variables(files, self._variables), **self._variables}, self._warn)
            beside = inner.load(paths, its_directory, including)
            for service in (beside.get("services") or {}).values():
                _pass_on(service, inner._variables)
            self.files += inner.files
            _put_beside(model, beside, item)
        return model


def content_of(part: object) -> Map | None:
    """A part of a document, whatever tag stands before it."""
    inner = part.content if isinstance(part, Tagged) else part
    return inner if isinstance(inner, Map) else None


def _settle_context(service: object, directory: str) -> None:
    """A build that names no context has that of its own file's project."""
    build = service.get("build") if isinstance(service, Map) else None
    if isinstance(build, Map):
        build.setdefault("context", directory)


def _pass_on(service: object, variables: Variables) -> None:
    """Give variables that a service names alone the value that they have for its own file."""
    named = service.get("environment") if isinstance(service, Map) else None
    for name, content in (named or Map()).items():
        if content is None and name in variables:
            named[name] = variables[name]  # type: ignore[index]


def _put_beside(model: Map, other: Map, item: Item) -> None:
    """Take in what an included file has; raises ConfigError for what both have, and differently."""
    for part in PARTS:
        its = other.get(part) or Map()
        if its and part not in model:
            model.put(part, Map(), item.place)
        ours = content_of(model.get(part))
        if ours is None:
            continue
        for name, content in its.items():
            if name in ours and plain(untagged(ours[name])) != plain(content):
                item.fail(f"{part}.{name} is in the including file too, and differs")
            if name not in ours:
                ours.put(name, content, its.places.get(name, item.place))


def _content(path: str) -> str:
    if path == STDIN:
        import sys

        return sys.stdin.read()
    try:
        with open(path, encoding="utf-8") as file:
            return file.read()
    except OSError as error:
        raise ConfigError(path, "", f"the file cannot be read: {error.strerror}") from None
    except UnicodeDecodeError:
        raise ConfigError(path, "", "the file is no text in UTF-8") from None


def read_variables(files: list[str], known: Variables) -> Variables:
    """The variables of files, the later ones over the earlier; `known` ones may be referred to. Raises ConfigError."""
    found: Variables = {}
    for path in files:
        for name, content in environment.parse(_content(path), path, known, found).items():
            given = known.get(name) if content is None else content
            if given is not None:
                found[name] = given
    return found
