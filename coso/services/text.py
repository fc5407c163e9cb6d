"""YAML as Compose takes it: texts and what they mean to YAML 1.2, anchors, merges, and two tags of its own.

Source: yaml.org/spec/1.2.2, yaml.org/type/merge.html, compose-spec 13-merge.md.
"""

from __future__ import annotations

import re

from coso.errors import ConfigError
from coso.services.places import Map, Place, Seq, Tagged

TYPE_CHECKING = False
if TYPE_CHECKING:
    from typing import Any

PLAIN = "!plain"
TAG = "tag:yaml.org,2002:"
TAGS = ("!reset", "!override")
WORDS: dict[str, bool | None] = {"": None, "~": None, "null": None, "Null": None, "NULL": None}
WORDS |= dict.fromkeys(("true", "True", "TRUE"), True) | dict.fromkeys(("false", "False", "FALSE"), False)
WHOLE = re.compile(r"[-+]?(0b[01_]+|0o[0-7_]+|0x[0-9a-fA-F_]+|0[0-7_]*|[1-9][0-9_]*)")
FLOAT = re.compile(r"[-+]?(\.[0-9]+|[0-9]+(\.[0-9]*)?)([eE][-+]?[0-9]+)?")
SPECIAL = re.compile(r"[-+]?\.(inf|Inf|INF)|\.(nan|NaN|NAN)")
# Anchors can be made to multiply without end.
MOST_NODES = 1_000_000
# What is larger is no whole number to Go.
MOST_WHOLE = 1 << 64


def read(text: str, file: str) -> list[Map]:
    """The documents of a text, each a mapping; raises ConfigError."""
    import yaml

    class Loader(yaml.SafeLoader):
        """Leaves the meaning of plain scalars to this module."""

    Loader.yaml_implicit_resolvers = {}
    Loader.add_implicit_resolver(PLAIN, re.compile(""), None)
    try:
        nodes = list(yaml.compose_all(text, Loader))
    except yaml.MarkedYAMLError as error:
        mark = error.problem_mark or error.context_mark
        place = str(Place(file, mark.line + 1, mark.column + 1)) if mark else file
        raise ConfigError(place, "", f"this is no YAML: {error.problem or error.context}") from None
    except yaml.YAMLError as error:
        raise ConfigError(file, "", f"this is no YAML: {error}") from None
    reader = _Reader(file)
    documents = []
    for node in nodes:
        content = reader.value_of(node)
        if content is None:
            continue
        if not isinstance(content, Map):
            raise ConfigError(str(reader.place(node)), "", "a compose file is a mapping at the top")
        documents.append(content)
    return documents


class _Reader:
    def __init__(self, file: str) -> None:
        self._file, self._count = file, 0
        self._open: set[int] = set()

    def place(self, node: Any) -> Place:
        return Place(self._file, node.start_mark.line + 1, node.start_mark.column + 1)

    def fail(self, node: Any, said: str, hint: str = "") -> ConfigError:
        return ConfigError(str(self.place(node)), "", said, hint=hint)

    def value_of(self, node: Any) -> object:
        self._count += 1
        if self._count > MOST_NODES:
            raise self.fail(node, "the file is too large, or its anchors multiply")
        if id(node) in self._open:
            raise self.fail(node, "an anchor contains itself")
        self._open.add(id(node))
        try:
            content = self._content(node)
        finally:
            self._open.discard(id(node))
        if node.tag in TAGS:
            return Tagged(node.tag, content)
        return content

    def _content(self, node: Any) -> object:
        kind = type(node).__name__
        if kind == "ScalarNode":
            return self._scalar(node)
        if kind == "SequenceNode":
            found = Seq()
            for inner in node.value:
                found.put(self.value_of(inner), self.place(inner))
            return found
        return self._mapping(node)

    def _mapping(self, node: Any) -> Map:
        found, merged = Map(), Map()
        for name, inner in node.value:
            if name.tag == PLAIN and name.value == "<<":
                self._merge(inner, merged)
                continue
            if type(name).__name__ != "ScalarNode":
                raise self.fail(name, "a key is a text, not a list or a mapping")
            if name.value in found:
                raise self.fail(name, f"the key {name.value!r} stands here twice")
            found.put(name.value, self.value_of(inner), self.place(name))
        for key, content in merged.items():
            if key not in found:
                found.put(key, content, merged.places[key])
        return found

    def _merge(self, node: Any, into: Map) -> None:
        """Take in a merge key's mappings: of two that have a key the first counts."""
        for one in node.value if type(node).__name__ == "SequenceNode" else [node]:
            content = self.value_of(one)
            if not isinstance(content, Map):
                raise self.fail(one, "`<<` takes a mapping, or a list of some")
            for key, inner in content.items():
                if key not in into:
                    into.put(key, inner, content.places[key])

    def _scalar(self, node: Any) -> object:
        text: str = node.value
        if node.tag == PLAIN:
            return meaning(text)
        if node.tag in (f"{TAG}int", f"{TAG}float", f"{TAG}bool", f"{TAG}null"):
            return meaning(text)
        return meaning(text) if node.tag in TAGS and node.style is None else text


def meaning(text: str) -> object:
    """What a plain scalar means: nothing, true or false, a number, or a text."""
    if text in WORDS:
        return WORDS[text]
    if WHOLE.fullmatch(text):
        digits = text.replace("_", "").lower()
        octal = re.fullmatch(r"([-+]?)0([0-7]+)", digits)
        try:
            found = int(f"{octal[1]}0o{octal[2]}" if octal else digits, 0)
            return found if -MOST_WHOLE // 2 <= found < MOST_WHOLE else float(found)
        except (ValueError, OverflowError):
            return text  # Only a sign of its base, or thousands of digits.
    if FLOAT.fullmatch(text):
        return float(text)
    if SPECIAL.fullmatch(text):
        return float(text.replace(".", ""))
    return text
