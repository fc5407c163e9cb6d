"""Variables in a compose file: `$NAME`, `${NAME}` and its forms with a default, an alternative or an error.

Source: compose-spec, 12-interpolation.md.
"""

from __future__ import annotations

import re

from coso.services.places import Item, Map, Seq, Tagged

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Callable, Mapping

NAME = re.compile(r"[_a-zA-Z][_a-zA-Z0-9]*")
# What stands between the name and the rest: with a colon an empty variable counts as none.
FORMS = (":-", ":?", ":+", "-", "?", "+")


class TemplateError(Exception):
    """A text that cannot be put together; says why."""


class MissingVariableError(TemplateError):
    """A variable that must have a value, and the words of whoever demands it."""


def put_in(content: object, variables: Mapping[str, str], warn: Callable[[str], None], item: Item) -> object:
    """The same value with its variables put in; keys are left alone. Raises ConfigError."""
    if isinstance(content, str):
        try:
            return expand(content, variables, warn)
        except MissingVariableError as error:
            item.fail(str(error))
        except TemplateError as error:
            item.fail(f"{content!r}: {error}", hint="a dollar sign itself is written $$")
    if isinstance(content, Map):
        return Map(
            {
                key: put_in(inner.content, variables, warn, inner)
                for key, inner in Item(content, item.path, item.place).entries()
            },
            content.places,
        )
    if isinstance(content, Seq):
        items = Item(content, item.path, item.place).items()
        return Seq([put_in(inner.content, variables, warn, inner) for inner in items], content.places)
    if isinstance(content, Tagged):
        return Tagged(content.tag, put_in(content.content, variables, warn, item))
    return content


def expand(text: str, variables: Mapping[str, str], warn: Callable[[str], None]) -> str:
    """A text with its variables put in. Raises TemplateError."""
    if "$" not in text:
        return text
    found, at = "", 0
    while (dollar := text.find("$", at)) >= 0:
        found += text[at:dollar]
        piece, at = _one(text, dollar, variables, warn)
        found += piece
    return found + text[at:]


def _one(text: str, at: int, variables: Mapping[str, str], warn: Callable[[str], None]) -> tuple[str, int]:
    """What stands for the dollar sign at a place, and where the text goes on."""
    after = text[at + 1 : at + 2]
    if after == "$":
        return "$", at + 2
    if after == "{":
        end = _closing(text, at + 2)
        return _braced(text[at + 2 : end], variables, warn), end + 1
    name = NAME.match(text, at + 1)
    if not name:
        return "$", at + 1  # It begins no name, so it is itself.
    return _value(name[0], variables, warn), name.end()


def _closing(text: str, at: int) -> int:
    """Where a brace that was opened before `at` is closed."""
    depth = 1
    for place in range(at, len(text)):
        if text[place] == "{" and text[place - 1] == "$":
            depth += 1
        elif text[place] == "}":
            depth -= 1
            if not depth:
                return place
    raise TemplateError("a brace is not closed")


def _braced(text: str, variables: Mapping[str, str], warn: Callable[[str], None]) -> str:
    name = NAME.match(text)
    if not name:
        raise TemplateError(f"{text!r} is no variable's name")
    rest = text[name.end() :]
    if not rest:
        return _value(name[0], variables, warn)
    form = next((form for form in FORMS if rest.startswith(form)), "")
    if not form:
        raise TemplateError(f"{rest!r} after the name {name[0]} means nothing")
    value = variables.get(name[0])
    there = value is not None and (value != "" or not form.startswith(":"))
    words = rest[len(form) :]
    if form.endswith("+"):
        return expand(words, variables, warn) if there else ""
    if there:
        return value or ""
    if form.endswith("-"):
        return expand(words, variables, warn)
    raise MissingVariableError(
        f"the variable {name[0]} is wanted: {expand(words, variables, warn) or 'it has no value'}"
    )


def _value(name: str, variables: Mapping[str, str], warn: Callable[[str], None]) -> str:
    if name not in variables:
        warn(name)
    return variables.get(name, "")
