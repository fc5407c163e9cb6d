"""Files of variables: `.env`, and those of `env_file` and `--env-file`.

Source: compose-spec, 05-services.md ("env_file format").
"""

from __future__ import annotations

import re

from coso.errors import ConfigError
from coso.services.interpolation import TemplateError, expand

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Mapping

NAME = re.compile(r"\s*(?:export\s+)?([\w.\-\[\]]*)[ \t]*(?:[=:][ \t]*|(?=\s*(?:#|\n|$)))")
ESCAPES = {"n": "\n", "r": "\r", "t": "\t", "\\": "\\", '"': '"', "$": "$$", "f": "\f", "b": "\b", "a": "\a", "v": "\v"}


def parse(
    text: str, file: str, known: Mapping[str, str], earlier: Mapping[str, str] | None = None
) -> dict[str, str | None]:
    """The variables of a file's text; None for one that is named only. Raises ConfigError.

    They may refer to `known` ones, to those before them, and to `earlier` ones, which count in this order.
    """
    found: dict[str, str | None] = {}
    at = 0
    text = text.removeprefix("\ufeff").replace("\r\n", "\n")
    while at < len(text):
        line_end = text.find("\n", at) if "\n" in text[at:] else len(text)
        line = text[at:line_end]
        if not line.strip() or line.lstrip().startswith("#"):
            at = line_end + 1
            continue
        place = f"{file}:{text.count(chr(10), 0, at) + 1}"
        name = NAME.match(text, at)
        if not name or name.start() != at or "\n" in name[0].rstrip("\n "):
            raise ConfigError(place, "", f"{line.strip()!r} is not NAME=VALUE")
        if not name[0].rstrip().endswith(("=", ":")):
            found[name[1]] = None
            at = line_end + 1
            continue
        variables = {**(earlier or {}), **{key: value for key, value in found.items() if value is not None}, **known}
        found[name[1]], at = _value(text, name.end(), place, variables)
    return found


def parse_raw(text: str, file: str) -> dict[str, str | None]:
    """The variables of a file whose values are taken as they stand (`format: raw`)."""
    found: dict[str, str | None] = {}
    for number, line in enumerate(text.splitlines(), 1):
        if not line.strip() or line.lstrip().startswith("#"):
            continue
        name, equals, content = line.partition("=")
        if not name.strip():
            raise ConfigError(f"{file}:{number}", "", f"{line!r} is not NAME=VALUE")
        found[name.strip()] = content if equals else None
    return found


def _value(text: str, at: int, place: str, variables: Mapping[str, str]) -> tuple[str, int]:
    """The value that begins at a place, and where the next line does."""
    quote = text[at : at + 1]
    if quote in ("'", '"') and quote:
        end = at + 1
        while end < len(text) and text[end] != quote:
            end += 2 if text[end] == "\\" else 1
        if end >= len(text):
            raise ConfigError(place, "", f"a quote {quote} is not closed")
        inner = text[at + 1 : end]
        rest = text.find("\n", end)
        after = len(text) if rest < 0 else rest + 1
        if quote == "'":
            return inner.replace("\\'", "'"), after
        unescaped = re.sub(r"\\(.)", lambda m: ESCAPES.get(m[1], m[0]), inner, flags=re.DOTALL)
        return _expanded(unescaped, place, variables), after
    end = text.find("\n", at)
    end = len(text) if end < 0 else end
    bare = text[at:end].partition(" #")[0].strip()
    return _expanded(bare, place, variables), end + 1


def _expanded(text: str, place: str, variables: Mapping[str, str]) -> str:
    try:
        return expand(text, variables, lambda name: None)
    except TemplateError as error:
        raise ConfigError(place, "", f"{text!r}: {error}") from None
