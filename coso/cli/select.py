"""`--filter KEY=VALUE`: which keys were given, and whether labels fit."""

from __future__ import annotations

from coso.errors import UsageError

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Mapping


class Filters:
    """The filters of a command; raises UsageError for a key that it does not have."""

    def __init__(self, texts: list[str], keys: tuple[str, ...]) -> None:
        self._given: dict[str, list[str]] = {}
        for text in texts:
            key, equals, value = text.partition("=")
            if key not in keys or not equals:
                raise UsageError(f"--filter {text!r} is not known here", hint=f"KEY=VALUE with {', '.join(keys)}")
            self._given.setdefault(key, []).append(value)

    def all(self, key: str) -> list[str]:
        """Every value given for a key."""
        return self._given.get(key, [])

    def last(self, key: str) -> str:
        """The value given last, or `""`."""
        return self._given.get(key, [""])[-1]

    def labels_fit(self, labels: Mapping[str, str]) -> bool:
        """Whether all labels that were asked for are there, with their values."""
        return all(
            name in labels and (not equals or labels[name] == value)
            for name, equals, value in (text.partition("=") for text in self.all("label"))
        )
