"""The model: what every resource can do.

A resource says how it finds itself (`inspect`), what it would change
(`plan`), changes it (`apply`), and puts an earlier state back (`undo`).
States are small dictionaries of JSON values, so they can be recorded,
compared and shown as a diff.
"""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import Any, ClassVar, Protocol

State = dict[str, Any]


@dataclass(frozen=True)
class Change:
    """What a resource would do: from one state to another, in a sentence; `note` adds what people should know."""

    before: State
    after: State
    sentence: str
    note: str = ""


@dataclass(frozen=True)
class Skip:
    """Nothing is done on purpose, and why."""

    reason: str


@dataclass(frozen=True)
class Fine:
    """Nothing needs to be done; `note` adds what people should know."""

    note: str = ""


Plan = Change | Skip | Fine


class Resource(Protocol):
    """A part of a host. Implementations are frozen dataclasses: their fields are what the record keeps."""

    kind: ClassVar[str]

    @property
    def label(self) -> str:
        """How people call it: a path, a key, package names."""
        ...

    def inspect(self) -> State:
        """The state as it is. Changes nothing."""
        ...

    def plan(self, found: State) -> Plan:
        """What has to be done about a state. Changes nothing."""
        ...

    def apply(self, change: Change) -> None:
        """Make the change; raise CosoError with nothing half done."""
        ...

    def undo(self, change: Change) -> str:
        """Put the earlier state back; return what was done as a sentence, `""` for nothing."""
        ...


@dataclass
class Result:
    """What became of one resource: ok, changed, skipped or failed."""

    kind: str
    label: str
    status: str
    message: str = ""
    change: Change | None = None
    hint: str = field(default="")
