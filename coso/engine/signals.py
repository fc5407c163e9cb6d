"""Signals by name or number, as people give them (signal(7))."""

from __future__ import annotations

from coso.errors import UsageError

NAMES = (
    "HUP INT QUIT ILL TRAP ABRT BUS FPE KILL USR1 SEGV USR2 PIPE ALRM TERM STKFLT CHLD CONT STOP TSTP TTIN TTOU URG "
    "XCPU XFSZ VTALRM PROF WINCH IO PWR SYS"
).split()
REALTIME_FIRST, HIGHEST = 34, 64


def number_of(text: str) -> int:
    """The number of `KILL`, `SIGKILL`, `9`, `RTMIN+3`. Raises UsageError."""
    name = text.upper().removeprefix("SIG")
    if name in NAMES:
        return NAMES.index(name) + 1
    if name.isdecimal() and 0 < int(name) <= HIGHEST:
        return int(name)
    for base, first in (("RTMIN", REALTIME_FIRST), ("RTMAX", HIGHEST)):
        rest = name.removeprefix(base)
        if name.startswith(base) and (not rest or rest[1:].isdecimal()):
            number = first + int(rest or 0)
            if REALTIME_FIRST <= number <= HIGHEST:
                return number
    raise UsageError(f"{text!r} is no signal", hint="KILL, SIGTERM, 15; see signal(7)")
