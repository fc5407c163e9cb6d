"""Moments as OCI documents and logs write them (RFC 3339, UTC), and moments and spans as people give them.

`datetime` takes long to import: only what reads a moment does so.
"""

from __future__ import annotations

from time import gmtime, time, time_ns

from coso.errors import UsageError

UNITS = {"ns": 1e-9, "us": 1e-6, "ms": 1e-3, "s": 1.0, "m": 60.0, "h": 3600.0, "d": 86400.0}

_second = -1
_text = ""


def now() -> str:
    """The present moment, to the nanosecond."""
    return written(time_ns())


def written(nanoseconds: int) -> str:
    """A moment in nanoseconds since 1970 as text."""
    global _second, _text
    seconds, rest = divmod(nanoseconds, 1_000_000_000)
    if seconds != _second:
        at = gmtime(seconds)
        _text = f"{at[0]:04}-{at[1]:02}-{at[2]:02}T{at[3]:02}:{at[4]:02}:{at[5]:02}"
        _second = seconds
    return f"{_text}.{rest:09}Z"


def seconds_of(text: str) -> float:
    """The seconds since 1970 of a written moment; 0 for none and for what is no moment."""
    from datetime import UTC, datetime

    body, dot, rest = text.partition(".")
    digits = ""
    while rest and rest[0].isdecimal():
        digits, rest = digits + rest[0], rest[1:]
    try:
        found = datetime.fromisoformat((body + rest if dot else text).replace("Z", "+00:00"))
    except ValueError:
        return 0.0
    if found.tzinfo is None:
        found = found.replace(tzinfo=UTC)
    return found.timestamp() + (float(f"0.{digits}") if digits else 0.0)


def moment(text: str, option: str) -> float:
    """What `--since` and `--until` mean: seconds since 1970, a moment, or how long ago (10m, 1h30m)."""
    try:
        return float(text)
    except ValueError:
        pass
    if found := seconds_of(text):
        return found
    return time() - duration(text, option)


def duration(text: str, option: str) -> float:
    """Seconds of `1h30m`, `10s`, `500ms`; raises UsageError."""
    rest, total = text, 0.0
    while rest:
        digits = ""
        while rest and (rest[0].isdecimal() or rest[0] == "."):
            digits, rest = digits + rest[0], rest[1:]
        unit = next((unit for unit in UNITS if rest.startswith(unit)), "")
        if not digits.strip(".") or digits.count(".") > 1 or not unit:
            raise UsageError(f"--{option} {text!r} is no time span", hint="write it as 10s, 5m, 1h30m")
        total += float(digits) * UNITS[unit]
        rest = rest[len(unit) :]
    return total
