"""Sizes, CPUs and counts as people write them."""

from __future__ import annotations

from coso.errors import UsageError

_FACTORS = {"": 1, "b": 1, "k": 1 << 10, "m": 1 << 20, "g": 1 << 30, "t": 1 << 40}
_LEAST_MEMORY = 512 << 10


def size(text: str) -> int:
    """Bytes of `64m`, `1.5g`, `1048576`; suffixes b k m g t, also as kb or KiB. Raises UsageError."""
    lower = text.strip().lower()
    number = lower.rstrip("bkmgti")
    suffix = lower[len(number) :]
    unit = suffix[:1] if suffix[1:] in ("", "b", "ib") else None
    try:
        found = int(float(number) * _FACTORS[unit if unit is not None else "?"])
    except (ValueError, KeyError, OverflowError):
        raise UsageError(f"{text!r} is not a size", hint="write it as 64m, 1.5g or a number of bytes") from None
    if found < 0:
        raise UsageError(f"{text!r} is not a size", hint="write it as 64m, 1.5g or a number of bytes")
    return found


def memory(text: str) -> int:
    """Bytes of memory for processes, written as any size. Raises UsageError."""
    found = size(text)
    if found < _LEAST_MEMORY:
        raise UsageError(f"{text!r} is too little memory to start a process", hint="give 512k or more, 64m say")
    return found


def cpus(text: str) -> float:
    """CPUs of `0.5` or `2`. Raises UsageError."""
    try:
        count = float(text)
    except ValueError:
        count = -1.0
    if not 0.01 <= count <= 8192:
        raise UsageError(f"{text!r} is not a number of CPUs", hint="write it as 0.5 or 2; the least is 0.01")
    return count


def count(text: str, what: str) -> int:
    """A whole number of at least 1. Raises UsageError."""
    if len(text) > 18 or not text.isdecimal() or int(text) < 1:
        raise UsageError(f"{text!r} is not a valid {what}", hint="give a whole number of 1 or more")
    return int(text)
