"""Frozen value classes without the cost of `dataclasses`.

Lives on the start path, where importing `dataclasses` takes longer than
starting a container (it pulls in `inspect`, 18 ms).  The decorator gives
what the run path uses: `__init__`, `__repr__`, `__eq__`, and no assignment
afterwards.  Type checkers see a frozen dataclass.  A field that is not given
is the class's own: nothing is stored for it.
"""

from __future__ import annotations

TYPE_CHECKING = False
if TYPE_CHECKING:
    from typing import Any, TypeVar, dataclass_transform

    T = TypeVar("T")

    @dataclass_transform(frozen_default=True)
    def value(cls: type[T]) -> type[T]:
        """Turn an annotated class into a frozen value."""

else:

    def value(cls):
        """Turn an annotated class into a frozen value."""
        cls._fields = tuple(cls.__annotations__)
        # What the class has of its own before anything of ours is in it: the defaults.
        cls._required = tuple(name for name in cls._fields if name not in cls.__dict__)
        cls.__init__ = _init
        cls.__repr__ = _repr
        cls.__eq__ = _eq
        cls.__hash__ = None
        cls.__setattr__ = _frozen
        cls.__reduce__ = _reduce
        return cls


def _init(self: Any, *args: Any, **kwargs: Any) -> None:
    fields, known = self._fields, self.__dict__
    if len(args) > len(fields):
        raise TypeError(f"{type(self).__name__} takes {len(fields)} values, {len(args)} given")
    known.update(zip(fields, args, strict=False))
    for name in kwargs:
        if name not in fields or name in known:
            raise TypeError(f"{type(self).__name__}: unexpected or repeated field {name!r}")
    known.update(kwargs)
    for name in self._required:
        if name not in known:
            raise TypeError(f"{type(self).__name__}: missing field {name!r}")


def _repr(self: Any) -> str:
    inside = ", ".join(f"{name}={item!r}" for name, item in fields_of(self).items())
    return f"{type(self).__name__}({inside})"


def _eq(self: Any, other: Any) -> bool:
    if type(self) is not type(other):
        return False
    # The same fields are given, as nearly always; a field that is given may equal another's default.
    if self.__dict__ == other.__dict__:
        return True
    return all(bool(getattr(self, name) == getattr(other, name)) for name in self._fields)


def _reduce(self: Any) -> tuple[Any, tuple[Any, ...]]:
    """How a value is pickled: by its fields, since none can be assigned."""
    return type(self), tuple(fields_of(self).values())


def _frozen(self: Any, name: str, _: Any) -> None:
    raise AttributeError(f"{type(self).__name__}.{name} cannot be assigned: values are frozen")


def names_of(kind: type) -> tuple[str, ...]:
    """The names of a value's fields."""
    return kind._fields  # type: ignore[attr-defined, no-any-return]


def fields_of(item: object) -> dict[str, Any]:
    """The fields of a value by name."""
    return {name: getattr(item, name) for name in names_of(type(item))}


def replace(item: T, **changes: Any) -> T:
    """Return a copy of a value with some fields changed."""
    return type(item)(**(item.__dict__ | changes))
