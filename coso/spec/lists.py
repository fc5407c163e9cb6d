"""Lists of CPUs and memory nodes as cpuset(7) writes them, such as `0-3,7`."""

from __future__ import annotations

# CONFIG_NR_CPUS is 8192 at most (arch/x86/Kconfig).
MOST = 8192


def numbers(text: str) -> tuple[int, ...]:
    """The numbers of a list, in order.  Raises ValueError, whose text says why."""
    # A bit for each, so that a list which repeats itself a million times stays small.
    bits = 0
    for part in text.split(",") if text.strip() else ():
        first, dash, last = part.strip().partition("-")
        low = _number(first)
        high = _number(last) if dash else low
        if low > high:
            raise ValueError(f"{part.strip()} runs backwards")
        bits |= ((1 << (high - low + 1)) - 1) << low
    return tuple(index for index in range(bits.bit_length()) if bits >> index & 1)


def _number(text: str) -> int:
    if not (text.isascii() and text.isdecimal()):
        raise ValueError("a list such as 0-3,7 is wanted")
    if len(text) > 8 or int(text) >= MOST:
        raise ValueError(f"numbers are below {MOST}")
    return int(text)
