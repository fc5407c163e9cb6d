"""Names: who is on a network stands in the hosts files of all who are on it, at once and for any C library (hosts(5)).

Only who has been given a name is written down, so that a network of many
nameless containers costs none of them anything.  What a newcomer has to be
told stands in one file for each network.  Lines of ours end in a comment with
the network and the owner; all others are left alone.
"""

from __future__ import annotations

import os

from coso.state import RUN, make_directories
from cosonet import member
from cosonet.member import Member

DIRECTORY = f"{RUN}/network/names"
# A hosts file beyond that is a container's jest, and nobody reads it for its sake.
LARGEST = 1 << 20

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Callable


def _mark(one: Member) -> str:
    return f"# coso {one.network} {one.owner}"


def lines(one: Member) -> str:
    """What stands of a member in a hosts file."""
    words = " ".join(one.names)
    return "".join(f"{address}\t{words}\t{_mark(one)}\n" for address in one.addresses) if words else ""


def arrive(one: Member) -> None:
    """Tell a new member who is there, and those who are there of it. The caller holds the lock."""
    known = f"{DIRECTORY}/{one.network}"
    if one.hosts and os.path.exists(known):
        with open(known) as file:
            _append(one.hosts, file.read())
    if one.names:
        make_directories(DIRECTORY)
        os.close(os.open(known, os.O_CREAT | os.O_WRONLY | os.O_CLOEXEC, 0o600))
        for path in (known, one.hosts):
            _append(path, lines(one))
        _each(_files_of_others(one), lambda path: _append(path, lines(one)))


def leave(one: Member) -> None:
    """Forget a member in the files of all, and all of its network in its own. The caller holds the lock."""
    if one.names:
        known = f"{DIRECTORY}/{one.network}"
        _drop(known, _mark(one))
        _each(_files_of_others(one), lambda path: _drop(path, _mark(one)))
        if os.path.exists(known) and not os.path.getsize(known):
            os.unlink(known)
    if one.hosts:
        _drop(one.hosts, f"# coso {one.network}")


def _each(paths: list[str], act: Callable[[str], None]) -> None:
    """Change the files of others as far as they let us: a container may do with its own what it likes."""
    for path in paths:
        try:
            act(path)
        except OSError:
            continue


def _files_of_others(one: Member) -> list[str]:
    return [other.hosts for other in member.everybody(one.network) if other.hosts and other.owner != one.owner]


def _append(path: str, text: str) -> None:
    """Add lines; a container that is gone has no file any more."""
    if not text or not path:
        return
    try:
        fd = os.open(path, os.O_WRONLY | os.O_APPEND | os.O_NOFOLLOW | os.O_CLOEXEC)
    except FileNotFoundError:
        return
    try:
        os.write(fd, text.encode())
    finally:
        os.close(fd)


def _drop(path: str, mark: str) -> None:
    """Remove the lines with a mark or one that begins with its words, in place: the file is bound by its inode."""
    try:
        fd = os.open(path, os.O_RDWR | os.O_NOFOLLOW | os.O_CLOEXEC)
    except FileNotFoundError:
        return
    try:
        if os.fstat(fd).st_size > LARGEST:
            return
        before = os.pread(fd, LARGEST, 0).decode(errors="surrogateescape")
        kept = [line for line in before.splitlines(keepends=True) if f"{mark} " not in line.replace("\n", " ")]
        text = "".join(kept).encode(errors="surrogateescape")
        if len(text) != len(before.encode(errors="surrogateescape")):
            # One write, shorter than before: a reader at this moment sees names twice, never none.
            os.pwrite(fd, text, 0)
            os.ftruncate(fd, len(text))
    finally:
        os.close(fd)
