"""JSON by the C half of Python's own module, whose Python half imports `re` and takes 7 ms.

A container's life takes three commands, and each would pay that.
"""

from __future__ import annotations

from _json import encode_basestring_ascii, make_encoder, make_scanner

TYPE_CHECKING = False
if TYPE_CHECKING:
    from typing import Any


class _Context:
    """What the scanner asks for (json.decoder.JSONDecoder has the same)."""

    strict = True
    object_hook = None
    object_pairs_hook = None
    parse_float = float
    parse_int = int
    memo: dict[str, str] = {}  # noqa: RUF012  # the scanner's own

    @staticmethod
    def parse_constant(name: str) -> object:
        """Refuse NaN and Infinity, which are no JSON."""
        raise ValueError(f"{name} is no number")


_SPACE = " \t\n\r"
_scan = make_scanner(_Context)  # type: ignore[arg-type]  # any object with these attributes serves


def loads(text: str) -> Any:
    """The value of a JSON text; raises ValueError, and RecursionError for one that is nested too deep."""
    body = text.lstrip(_SPACE)
    if not body:
        raise ValueError("nothing is there")
    try:
        found, end = _scan(body, 0)
    except StopIteration as at:
        raise ValueError(f"no value at character {at.value}") from None
    if rest := body[end:].strip(_SPACE):
        raise ValueError(f"something follows the value: {rest[:20]!r}")
    return found


def dumps(value: object) -> str:
    """A value as JSON on one line."""
    encode = make_encoder(None, _refuse, encode_basestring_ascii, None, ": ", ", ", False, False, False)
    return "".join(encode(value, 0))


def _refuse(value: object) -> object:
    raise TypeError(f"{type(value).__name__} cannot be written as JSON")
