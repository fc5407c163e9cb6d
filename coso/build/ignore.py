"""`.dockerignore`: which files of a context are left out (Docker's build context reference)."""

from __future__ import annotations

import posixpath
import re
from functools import lru_cache

Pattern = tuple[bool, "re.Pattern[str]"]


def patterns(text: str) -> list[Pattern]:
    """The patterns of a file: whether each brings back what it names, and the expression."""
    found = []
    for line in text.splitlines():
        line = line.strip()
        if not line or line.startswith("#"):
            continue
        brings_back = line.startswith("!")
        path = posixpath.normpath(line.lstrip("!").strip()).lstrip("/")
        if path not in ("", "."):
            found.append((brings_back, re.compile(translated(path))))
    return found


def is_left_out(path: str, known: list[Pattern]) -> bool:
    """Whether a path is left out: the last pattern that fits it, or a directory above it, decides."""
    above = [path]
    while "/" in above[-1]:
        above.append(above[-1].rpartition("/")[0])
    out = False
    for brings_back, pattern in known:
        if brings_back == out and any(pattern.fullmatch(place) for place in above):
            out = not brings_back
    return out


def may_bring_back(path: str, known: list[Pattern]) -> bool:
    """Whether something in a directory that is left out may be wanted yet."""
    return any(brings_back for brings_back, _ in known)


@lru_cache(maxsize=1024)
def translated(pattern: str) -> str:
    """A pattern as a regular expression: `*` and `?` within a name, `**` over any number of names."""
    result, at = "", 0
    while at < len(pattern):
        letter = pattern[at]
        if pattern.startswith("**/", at):
            result, at = result + "(?:.*/)?", at + 3
        elif pattern.startswith("**", at):
            result, at = result + ".*", at + 2
        elif letter == "*":
            result, at = result + "[^/]*", at + 1
        elif letter == "?":
            result, at = result + "[^/]", at + 1
        elif letter == "[" and "]" in pattern[at + 1 :]:
            end = pattern.index("]", at + 1)
            inside = pattern[at + 1 : end].replace("\\", "\\\\")
            result, at = result + f"[{'^' + inside[1:] if inside.startswith('^') else inside}]", end + 1
        elif letter == "\\" and at + 1 < len(pattern):
            result, at = result + re.escape(pattern[at + 1]), at + 2
        else:
            result, at = result + re.escape(letter), at + 1
    return result
