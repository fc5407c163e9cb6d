"""Values of a compose file with the places where they stand, for messages that lead there."""

from __future__ import annotations

from coso.errors import ConfigError
from coso.value import value

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Iterator
    from typing import Any, NoReturn


@value
class Place:
    """Where something stands: a file, a line and a column, both counted from 1."""

    file: str
    line: int
    column: int

    def __str__(self) -> str:
        return f"{self.file}:{self.line}:{self.column}"


NOWHERE = Place("", 0, 0)


class Map(dict[str, "Any"]):
    """A mapping whose keys have places."""

    def __init__(self, items: dict[str, Any] | None = None, places: dict[str, Place] | None = None) -> None:
        super().__init__(items or {})
        self.places = dict(places or {})

    def put(self, key: str, content: object, place: Place) -> None:
        """Set a key, and where it stands."""
        self[key] = content
        self.places[key] = place


class Seq(list["Any"]):
    """A sequence whose items have places."""

    def __init__(self, items: list[Any] | None = None, places: list[Place] | None = None) -> None:
        super().__init__(items or [])
        self.places = list(places or [])

    def put(self, content: object, place: Place) -> None:
        """Append an item, and where it stands."""
        self.append(content)
        self.places.append(place)


class Tagged:
    """A value with one of Compose's tags: `!reset` takes away what files before gave, `!override` replaces it."""

    def __init__(self, tag: str, content: object) -> None:
        self.tag, self.content = tag, content


class Item:
    """A value on its way to be read: what it is, how one gets to it, and where it stands."""

    def __init__(self, content: object, path: str, place: Place) -> None:
        self.content, self.path, self.place = content, path, place

    def fail(self, said: str, hint: str = "") -> NoReturn:
        """Raise ConfigError about this value."""
        raise ConfigError(str(self.place), self.path, said, hint=hint)

    @property
    def kind(self) -> str:
        """What a person would call it."""
        names = {
            "bool": "true or false",
            "int": "a number",
            "float": "a number",
            "str": "a text",
            "NoneType": "nothing",
        }
        return {"Map": "a mapping", "Seq": "a list"}.get(type(self.content).__name__) or names.get(
            type(self.content).__name__, "a date"
        )

    def entries(self) -> Iterator[tuple[str, Item]]:
        """The entries of a mapping; raises ConfigError for anything else."""
        content = self.content
        if not isinstance(content, Map):
            self.fail(f"a mapping is wanted here, not {self.kind}")
        for key, inner in content.items():
            yield key, Item(inner, f"{self.path}.{key}" if self.path else key, content.places.get(key, self.place))

    def items(self) -> Iterator[Item]:
        """The items of a list; raises ConfigError for anything else."""
        content = self.content
        if not isinstance(content, Seq):
            self.fail(f"a list is wanted here, not {self.kind}")
        for number, inner in enumerate(content):
            yield Item(inner, f"{self.path}[{number}]", content.places[number])


def plain(content: object) -> object:
    """The same without places."""
    if isinstance(content, dict):
        return {key: plain(inner) for key, inner in content.items()}
    if isinstance(content, list):
        return [plain(inner) for inner in content]
    return content
