"""Frozen, slotted value classes without the cost of `dataclasses`.

Lives on the start path, where importing `dataclasses` takes longer than
starting a container (it pulls in `inspect`, 18 ms).  The decorator gives
what the run path uses: `__init__`, `__repr__`, `__eq__`, and no assignment
afterwards.  Type checkers see a frozen dataclass.
"""

from __future__ import annotations

TYPE_CHECKING = False
if TYPE_CHECKING:
    from typing import Any, TypeVar, dataclass_transform

    T = TypeVar("T")

    @dataclass_transform(frozen_default=True)
    def value(cls: type[T]) -> type[T]:
        """Turn an annotated class into a frozen, slotted value."""

else:

    def value(cls):
        """Turn an annotated class into a frozen, slotted value."""
        fields = tuple(cls.__annotations__)
        defaults = {name: cls.__dict__[name] for name in fields if name in cls.__dict__}
        body = {k: v for k, v in cls.__dict__.items() if k not in defaults and k not in _IMPLICIT}
        body |= {
            "__slots__": fields,
            "_defaults": defaults,
            "__init__": _init,
            "__repr__": _repr,
            "__eq__": _eq,
            "__hash__": None,
            "__setattr__": _frozen,
            "__reduce__": _reduce,
        }
        return type(cls.__name__, cls.__bases__, body)


_IMPLICIT = ("__dict__", "__weakref__")


def _init(self: Any, *args: Any, **kwargs: Any) -> None:
    fields = self.__slots__
    if len(args) == len(fields) and not kwargs:
        for name, given in zip(fields, args, strict=True):
            object.__setattr__(self, name, given)
        return
    if len(args) > len(fields):
        raise TypeError(f"{type(self).__name__} takes {len(fields)} values, {len(args)} given")
    values = dict(zip(fields, args, strict=False))
    for name in kwargs:
        if name not in fields or name in values:
            raise TypeError(f"{type(self).__name__}: unexpected or repeated field {name!r}")
    values.update(kwargs)
    for name in fields:
        if name in values:
            object.__setattr__(self, name, values[name])
        elif name in self._defaults:
            object.__setattr__(self, name, self._defaults[name])
        else:
            raise TypeError(f"{type(self).__name__}: missing field {name!r}")


def _repr(self: Any) -> str:
    inside = ", ".join(f"{name}={getattr(self, name)!r}" for name in self.__slots__)
    return f"{type(self).__name__}({inside})"


def _eq(self: Any, other: Any) -> bool:
    if type(self) is not type(other):
        return False
    return all(bool(getattr(self, name) == getattr(other, name)) for name in self.__slots__)


def _reduce(self: Any) -> tuple[Any, tuple[Any, ...]]:
    """How a value is pickled: by its fields, since none can be assigned."""
    return type(self), tuple(getattr(self, name) for name in self.__slots__)


def _frozen(self: Any, name: str, _: Any) -> None:
    raise AttributeError(f"{type(self).__name__}.{name} cannot be assigned: values are frozen")


def replace(item: T, **changes: Any) -> T:
    """Return a copy of a value with some fields changed."""
    fields: Any = type(item)
    return fields(**({name: getattr(item, name) for name in fields.__slots__} | changes))  # type: ignore[no-any-return]
