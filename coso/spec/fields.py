"""Typed reading of JSON objects; every complaint names the field, as in `mounts[2].destination: missing`.

The rules are Go's, as in the runtimes that others write configurations for:
null is as good as absent, a number with a fraction or an exponent is not a
whole number, and a field nobody asks for is no error (config.md,
Extensibility).  Strings go to the kernel, so they hold no NUL and can be
written as UTF-8.
"""

from __future__ import annotations

from coso import quickjson
from coso.errors import SpecError

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Callable, Collection, Iterator
    from typing import TypeVar

    T = TypeVar("T")

UINT16 = 0xFFFF
UINT32 = 0xFFFFFFFF
UINT64 = 0xFFFFFFFFFFFFFFFF
INT64 = 0x7FFFFFFFFFFFFFFF
# chown(2) and setuid(2) take 4294967295, (uid_t) -1, for "leave it".
HIGHEST_ID = UINT32 - 1


def parse(text: bytes | str) -> dict[str, object]:
    """The JSON object of a file (RFC 8259).  Raises SpecError."""
    try:
        if isinstance(text, bytes):
            text = text.decode("utf-8")
        data: object = quickjson.loads(text)
    except UnicodeDecodeError as error:
        raise SpecError(f"not UTF-8: the byte at offset {error.start}") from None
    except RecursionError:
        raise SpecError("not JSON that can be read: nested too deeply") from None
    except ValueError as error:
        raise SpecError(f"not JSON: {error}") from None
    if not isinstance(data, dict):
        raise SpecError(f"an object is wanted, not {shown(data)}")
    return data


def shown(value: object) -> str:
    """A value as a message quotes it: short, and harmless to a terminal."""
    if isinstance(value, str):
        text = "".join(c if c.isprintable() else ascii(c)[1:-1] for c in value[:60])
        return f'"{text}"' if len(value) <= 60 else f'"{text}"…'
    if value is None or isinstance(value, bool):
        return {None: "null", True: "true", False: "false"}[value]
    if isinstance(value, (int, float)):
        # Beyond some thousand digits Python refuses to print a number.
        return str(value) if isinstance(value, float) or value.bit_length() < 200 else "a huge number"
    return "an object" if isinstance(value, dict) else "a list" if isinstance(value, list) else type(value).__name__


class Fields:
    """One JSON object while it is read: where it is, and which of its fields were asked for.

    A method named after a type wants the field to be there; with `_or` it
    takes a default for one that is not.
    """

    __slots__ = ("_asked", "_children", "data", "where")

    def __init__(self, data: object, where: str = "") -> None:
        if not isinstance(data, dict):
            raise SpecError(f"{where}: an object is wanted, not {shown(data)}".removeprefix(": "))
        self.data = data
        self.where = where
        self._asked: set[str] = set()
        self._children: list[Fields] = []

    def name(self, field: str) -> str:
        """The field's full name."""
        return f"{self.where}.{field}" if self.where else field

    def wrong(self, field: str, why: str) -> SpecError:
        """The error about a field, to be raised."""
        return SpecError(f"{self.name(field)}: {why}")

    def get(self, field: str) -> object:
        """The field's value as JSON has it; None when it is absent."""
        self._asked.add(field)
        return self.data.get(field)

    def need(self, field: str) -> object:
        """The same of a field that has to be there."""
        value = self.get(field)
        if value is None:
            raise self.wrong(field, "missing")
        return value

    def unknown(self) -> Iterator[str]:
        """The names of the fields that nobody has asked for, here and below."""
        for field in self.data:
            if field not in self._asked:
                yield self.name(field if _is_word(field) else f"[{shown(field)}]")
        for child in self._children:
            yield from child.unknown()

    def text(self, field: str) -> str:
        """A string."""
        return text(self.need(field), self.name(field))

    def text_or(self, field: str, default: str = "") -> str:
        """A string, or the default."""
        return default if self.get(field) is None else self.text(field)

    def word(self, field: str, words: Collection[str]) -> str:
        """One of some words."""
        return word(self.need(field), self.name(field), words)

    def word_or(self, field: str, words: Collection[str], default: str) -> str:
        """One of some words, or the default; an empty string is as good as absent."""
        return self.word(field, words) if self.text_or(field) else default

    def words(self, field: str, words: Collection[str]) -> tuple[str, ...]:
        """A list of some words; empty when absent."""
        return tuple(word(item, where, words) for item, where in self._items(field))

    def path(self, field: str) -> str:
        """An absolute path."""
        return absolute(self.need(field), self.name(field))

    def paths(self, field: str) -> tuple[str, ...]:
        """A list of absolute paths; empty when absent."""
        return tuple(absolute(item, where) for item, where in self._items(field))

    def texts(self, field: str) -> tuple[str, ...]:
        """A list of strings; empty when absent."""
        return tuple(text(item, where) for item, where in self._items(field))

    def flag(self, field: str) -> bool:
        """True or false."""
        value = self.need(field)
        if not isinstance(value, bool):
            raise self.wrong(field, f"true or false is wanted, not {shown(value)}")
        return value

    def flag_or(self, field: str, default: T) -> bool | T:
        """True or false, or the default."""
        return default if self.get(field) is None else self.flag(field)

    def number(self, field: str, least: int, most: int) -> int:
        """A whole number within bounds."""
        return number(self.need(field), self.name(field), least, most)

    def number_or(self, field: str, least: int, most: int, default: T) -> int | T:
        """A whole number within bounds, or the default."""
        return default if self.get(field) is None else self.number(field, least, most)

    def numbers(self, field: str, least: int, most: int) -> tuple[int, ...]:
        """A list of whole numbers within bounds; empty when absent."""
        return tuple(number(item, where, least, most) for item, where in self._items(field))

    def part(self, field: str) -> Fields:
        """An object."""
        return self._child(self.need(field), self.name(field))

    def part_or(self, field: str) -> Fields:
        """An object; an empty one when absent."""
        value = self.get(field)
        return self._child({} if value is None else value, self.name(field))

    def maybe(self, field: str, build: Callable[[Fields], T]) -> T | None:
        """What `build` makes of an object; None when it is absent."""
        return None if self.get(field) is None else build(self.part(field))

    def parts(self, field: str) -> tuple[Fields, ...]:
        """A list of objects; empty when absent."""
        return tuple(self._child(item, where) for item, where in self._items(field))

    def pairs(self, field: str) -> tuple[tuple[str, str], ...]:
        """An object of free keys and strings; empty when absent."""
        return tuple((key, text(value, where)) for key, value, where in self._entries(field))

    def named(self, field: str) -> tuple[tuple[str, Fields], ...]:
        """An object of free keys and objects; empty when absent."""
        return tuple((key, self._child(value, where)) for key, value, where in self._entries(field))

    def _child(self, data: object, where: str) -> Fields:
        child = Fields(data, where)
        self._children.append(child)
        return child

    def _items(self, field: str) -> Iterator[tuple[object, str]]:
        value = self.get(field)
        if value is None:
            return
        if not isinstance(value, list):
            raise self.wrong(field, f"a list is wanted, not {shown(value)}")
        for index, item in enumerate(value):
            yield item, f"{self.name(field)}[{index}]"

    def _entries(self, field: str) -> Iterator[tuple[str, object, str]]:
        value = self.get(field)
        if value is None:
            return
        if not isinstance(value, dict):
            raise self.wrong(field, f"an object is wanted, not {shown(value)}")
        for key, item in value.items():
            where = f"{self.name(field)}[{shown(key)}]"
            yield text(key, where), item, where


def text(value: object, where: str) -> str:
    """The value if it is a string that the kernel can be given."""
    if not isinstance(value, str):
        raise SpecError(f"{where}: a string is wanted, not {shown(value)}")
    if "\0" in value:
        raise SpecError(f"{where}: {shown(value)} has a NUL inside")
    try:
        value.encode()
    except UnicodeEncodeError:
        raise SpecError(f"{where}: {shown(value)} has half of a surrogate pair inside") from None
    return value


def word(value: object, where: str, words: Collection[str]) -> str:
    """The value if it is one of the words."""
    if text(value, where) not in words:
        raise SpecError(f"{where}: {shown(value)} is not one of {' '.join(words)}")
    return str(value)


def absolute(value: object, where: str) -> str:
    """The value if it is an absolute path."""
    if not text(value, where).startswith("/"):
        raise SpecError(f"{where}: an absolute path is wanted, not {shown(value)}")
    return str(value)


def number(value: object, where: str, least: int, most: int) -> int:
    """The value if it is a whole number within bounds; JSON's true and false are none."""
    if not isinstance(value, int) or isinstance(value, bool) or not least <= value <= most:
        raise SpecError(f"{where}: a whole number from {least} to {most} is wanted, not {shown(value)}")
    return value


def _is_word(key: str) -> bool:
    return key.isascii() and key.isidentifier()
