"""Readers of single values: each takes an Item and gives the long form, or raises ConfigError with its place.

A reader's second argument is the directory that relative paths start from.
"""

from __future__ import annotations

import os
import re
import shlex
from collections.abc import Callable
from decimal import Decimal
from difflib import get_close_matches
from math import isfinite

from coso.services.places import Item, Map, Seq, Tagged

TYPE_CHECKING = False
if TYPE_CHECKING:
    from typing import Any

Reader = Callable[[Item, str], object]
TRUE = ("true", "yes", "on", "y", "t", "1")
FALSE = ("false", "no", "off", "n", "f", "0")
SPAN = re.compile(r"([0-9]+(?:\.[0-9]*)?|\.[0-9]+)(ns|us|µs|ms|s|m|h|d|w)")
NANOS = {"ns": 1, "us": 10**3, "µs": 10**3, "ms": 10**6, "s": 10**9, "m": 60 * 10**9, "h": 3600 * 10**9}
NANOS |= {"d": 24 * NANOS["h"], "w": 7 * 24 * NANOS["h"]}
SIZE = re.compile(r"((?:[0-9]+(?:\.[0-9]*)?|\.[0-9]+)(?:e[0-9]{1,2})?) ?([kmgtp]?)(i?b)?", re.IGNORECASE)
MOST_DIGITS = 30
MOST_PLAIN = 6
REMOTE = re.compile(r"[a-z][a-z0-9+.-]*://|git@|github\.com/")


def text(item: Item, _: str = "") -> str:
    """A text."""
    if not isinstance(item.content, str):
        item.fail(f"a text is wanted here, not {item.kind}", hint=_quoted(item.content))
    return item.content


def _quoted(content: object) -> str:
    return f'in quotes it is one: "{said(content)}"' if isinstance(content, (int, float)) else ""


def said(content: object) -> str:
    """A number, or true and false, as a text."""
    if content is None:
        return ""
    if isinstance(content, bool):
        return "true" if content else "false"
    if isinstance(content, float):
        return _shown_float(content)
    return str(content)


def _shown_float(found: float) -> str:
    """As Go prints one: with an exponent from a million on (strconv.FormatFloat, 'g')."""
    if not isfinite(found):
        return {"inf": "+Inf", "-inf": "-Inf"}.get(str(found), "NaN")
    exact = Decimal(repr(found)).normalize()
    exponent = exact.adjusted()
    if -4 <= exponent < MOST_PLAIN:
        return f"{exact:f}"
    sign, digits, _ = exact.as_tuple()
    mantissa = "".join(map(str, digits))
    mantissa = f"{mantissa[0]}.{mantissa[1:]}" if len(mantissa) > 1 else mantissa
    return f"{'-' * sign}{mantissa}e{'-' if exponent < 0 else '+'}{abs(exponent):02d}"


def word(item: Item, _: str = "") -> str:
    """A text, or a number that is taken for one."""
    if isinstance(item.content, bool) or not isinstance(item.content, (str, int, float)):
        item.fail(f"a text is wanted here, not {item.kind}")
    return said(item.content)


def one_of(*known: str) -> Reader:
    """A reader of one of these texts."""

    def read(item: Item, _: str) -> str:
        if item.content not in known:
            item.fail(f"{item.content!r} is not one of {', '.join(known)}")
        return str(item.content)

    return read


def flag(item: Item, _: str = "") -> bool:
    """True or false, also as a text with a variable in it."""
    if isinstance(item.content, bool):
        return item.content
    lower = item.content.lower() if isinstance(item.content, str) else ""
    if lower not in TRUE + FALSE:
        item.fail(f"true or false is wanted here, not {item.kind}")
    return lower in TRUE


def whole(item: Item, _: str = "") -> int:
    """A whole number."""
    try:
        if isinstance(item.content, bool) or not isinstance(item.content, (int, str)):
            raise ValueError
        return int(item.content)
    except ValueError:
        item.fail(f"a whole number is wanted here, not {_shown(item)}")


def count(item: Item, _: str = "") -> int:
    """How many: a whole number from 0 on."""
    found = whole(item)
    if found < 0:
        item.fail(f"{found} is less than none")
    return found


def number(item: Item, _: str = "") -> float:
    """A number."""
    try:
        if isinstance(item.content, bool) or not isinstance(item.content, (int, float, str)):
            raise ValueError
        found = float(item.content)
        if not isfinite(found):
            raise ValueError
    except (ValueError, OverflowError):
        item.fail(f"a number is wanted here, not {_shown(item)}")
    return int(found) if found == int(found) else found


def _shown(item: Item) -> str:
    return repr(item.content) if isinstance(item.content, (str, int, float)) else item.kind


def span(item: Item, _: str = "") -> str:
    """A duration, as Go writes it: 1m30s."""
    written = text(item)
    if written == "0":
        return "0s"
    parts = SPAN.findall(written)
    if not parts or "".join(f"{a}{b}" for a, b in parts) != written or any(len(a) > MOST_DIGITS for a, _ in parts):
        item.fail(f"{written!r} is no duration", hint="write it as 1m30s, 500ms or 10s")
    return shown_span(sum(round(float(count) * NANOS[unit]) for count, unit in parts))


def shown_span(nanos: int) -> str:
    """Nanoseconds as Go writes a duration."""
    if not nanos:
        return "0s"
    for unit, size in (("ns", 1), ("µs", 10**3), ("ms", 10**6)):
        if nanos < 1000 * size:
            return f"{said(nanos / size)}{unit}"
    hours, rest = divmod(nanos, NANOS["h"])
    minutes, rest = divmod(rest, NANOS["m"])
    seconds = f"{said(rest / 10**9)}s"
    if hours:
        return f"{hours}h{minutes}m{seconds}"
    return f"{minutes}m{seconds}" if minutes else seconds


def seconds_of(written: str) -> float:
    """The seconds of a duration that `span` has read."""
    return sum(float(count) * NANOS[unit] for count, unit in SPAN.findall(written)) / 10**9


def size(item: Item, _: str = "") -> str:
    """Bytes, as a text: 1g is 1073741824."""
    if isinstance(item.content, (int, float)) and not isinstance(item.content, bool) and isfinite(item.content):
        return str(int(item.content))
    found = SIZE.fullmatch(text(item).strip())
    if not found or len(found[1]) > MOST_DIGITS:
        if item.content == "-1":
            return "-1"
        item.fail(f"{item.content!r} is no size", hint="write it as 64m, 1.5g or a number of bytes")
    return str(int(float(found[1]) * 1024 ** " kmgtp".index(found[2].lower() or " ")))


def mode(item: Item, _: str = "") -> str:
    """Permission bits as a text of octal digits: 0440."""
    if isinstance(item.content, int) and not isinstance(item.content, bool):
        return f"0{item.content:o}"
    written = text(item)
    try:
        return f"0{int(written.removeprefix('0o') or '0', 8):o}"
    except ValueError:
        item.fail(f"{written!r} is no mode", hint="write it as 0440")


def path(item: Item, directory: str) -> str:
    """A path of the host, absolute."""
    return resolved(text(item), directory)


def resolved(written: str, directory: str) -> str:
    """A path as seen from a directory; `~` is the home of whoever asks."""
    if written == "~" or written.startswith("~/"):
        return os.path.normpath(os.path.expanduser("~") + written[1:])
    return os.path.normpath(os.path.join(directory, written))


def context(item: Item, directory: str) -> str:
    """Where a build takes its files from: a path, or an address."""
    written = text(item)
    return written if REMOTE.match(written) else resolved(written, directory)


def listing(reader: Reader, *, unique: bool = False, single: bool = False) -> Reader:
    """A reader of lists; with `single` also of one item alone."""

    def read(item: Item, directory: str) -> Seq:
        found = Seq()
        if single and not isinstance(item.content, Seq):
            found.put(reader(item, directory), item.place)
            return found
        for inner in item.items():
            content = tagged(inner, reader, directory)
            if unique and content in found:
                inner.fail(f"{content!r} stands in the list twice")
            found.put(content, inner.place)
        return found

    return read


def words_of_shell(item: Item, _: str = "") -> Seq | None:
    """A command: a list, or a line that is taken apart as a shell would; nothing for none."""
    if item.content is None:
        return None
    if isinstance(item.content, str):
        try:
            return Seq(found := shlex.split(item.content), [item.place] * len(found))
        except ValueError as error:
            item.fail(f"{item.content!r} is no command line: {error}")
    return listing(text)(item, "")  # type: ignore[return-value]


def mapping(empty: str | None = None) -> Reader:
    """A reader of `KEY: VALUE` or of a list of `KEY=VALUE`; `empty` is the value of a key without one."""

    def read(item: Item, _: str) -> Map:
        found = Map()
        if isinstance(item.content, Seq):
            for inner in item.items():
                key, equals, content = text(inner).partition("=")
                found.put(key, content if equals else empty, inner.place)
            return found
        for key, inner in item.entries():
            if isinstance(inner.content, Tagged):
                found.put(key, Tagged(inner.content.tag, said(inner.content.content)), inner.place)
                continue
            if isinstance(inner.content, (Map, Seq)):
                inner.fail(f"a text is wanted here, not {inner.kind}")
            found.put(key, empty if inner.content is None else said(inner.content), inner.place)
        return found

    return read


def named(reader: Reader, *, empty: bool = True) -> Reader:
    """A reader of a mapping from names to what `reader` reads; a name alone leads to nothing, where that may be."""

    def read(item: Item, directory: str) -> Map:
        found = Map()
        for key, inner in item.entries():
            nothing = inner.content is None and empty
            found.put(key, None if nothing else tagged(inner, reader, directory), inner.place)
        return found

    return read


def fields(table: dict[str, Reader], required: tuple[str, ...] = ()) -> Reader:
    """A reader of a mapping with known keys; those that begin with `x-` are anybody's."""

    def read(item: Item, directory: str) -> Map:
        found = Map()
        for key, inner in item.entries():
            if key.startswith("x-"):
                found.put(key, inner.content, inner.place)
                continue
            if key not in table:
                unknown(inner, key, table)
            found.put(key, tagged(inner, table[key], directory), inner.place)
        for key in required:
            if key not in found:
                item.fail(f"the key {key} is missing")
        return found

    return read


def unknown(item: Item, key: str, table: dict[str, Any]) -> None:
    """Raise ConfigError for a key that the specification does not have here."""
    near = get_close_matches(key, table, 1)
    item.fail("there is no such key", hint=f"{near[0]!r} perhaps?" if near else "")


def tagged(item: Item, reader: Reader, directory: str) -> object:
    """What a reader reads, under the tag that stands before it."""
    if not isinstance(item.content, Tagged):
        return reader(item, directory)
    if item.content.tag == "!reset":
        return item.content
    return Tagged(item.content.tag, reader(Item(item.content.content, item.path, item.place), directory))


def either(short: Reader, long: Reader) -> Reader:
    """A reader of a text in the short form, or a mapping in the long one."""

    def read(item: Item, directory: str) -> object:
        return long(item, directory) if isinstance(item.content, Map) else short(item, directory)

    return read


def or_nothing(reader: Reader) -> Reader:
    """A reader that takes a key without a value for what it would be without the key."""

    def read(item: Item, directory: str) -> object:
        return None if item.content is None else reader(item, directory)

    return read


def anything(item: Item, _: str) -> object:
    """Whatever it is."""
    return item.content
