"""Users and groups by the image's own /etc/passwd and /etc/group (passwd(5), group(5)).

Called after the root is entered, so plain paths are the image's.  Python's
`pwd` is not used: it would load the host's name service modules.
"""

from __future__ import annotations

import os
import stat

from coso.errors import CosoError
from coso.value import replace, value

TYPE_CHECKING = False
if TYPE_CHECKING:
    from coso.runtime.container import Container

LARGEST = 65535
LONGEST = 1 << 24


@value
class Account:
    """The numbers behind a user name."""

    uid: int
    gid: int
    groups: list[int]
    home: str


def look_up(text: str) -> Account:
    """The account for `name`, `uid`, `name:group` or `uid:gid`; `""` is root. Raises CosoError."""
    user, colon, group = text.partition(":")
    entries = _read("/etc/passwd")
    entry = _find(entries, user or "0")
    if entry is None and not user.isdecimal() and user:
        raise CosoError(
            f"there is no user {user!r} in the image", hint="give a number, or a user of the image's /etc/passwd"
        )
    uid = int(entry[2]) if entry else int(user or 0)
    gid = int(entry[3]) if entry and entry[3].isdecimal() else 0
    home = entry[5] if entry and len(entry) > 5 else "/"
    groups = _read("/etc/group")
    if colon:
        found = _find(groups, group)
        if found is None and not group.isdecimal():
            raise CosoError(f"there is no group {group!r} in the image", hint="give a number, or a group of the image")
        number = int(found[2]) if found else int(group)
        return _checked(Account(uid, number, [number], home))
    name = entry[0] if entry else ""
    more = [int(fields[2]) for fields in groups if len(fields) > 3 and name in fields[3].split(",")] if name else []
    # The main group is among the others too: else giving it up gets one past "all but this group" (CVE-2022-36109).
    return _checked(Account(uid, gid, [gid, *(number for number in more if number != gid)], home))


def account_of(container: Container) -> Account:
    """The numbers of the command's user: looked up in the image by name, or given, with the image's home directory."""
    if container.account is None:
        user = container.spec.process.user
        if user.name is not None:
            found = look_up(user.name)
            container.account = replace(found, groups=[*found.groups, *(_group(name) for name in user.group_names)])
        else:
            container.account = Account(user.uid, user.gid, list(user.additional_gids), home_of(user.uid))
    return container.account


def _group(name: str) -> int:
    """The number of one of the image's groups; raises CosoError."""
    found = _find(_read("/etc/group"), name)
    if found is None and not name.isdecimal():
        raise CosoError(f"there is no group {name!r} in the image", hint="give a number, or a group of the image")
    return int(found[2]) if found else int(name)


def home_of(uid: int) -> str:
    """The home directory of a user by number, `/` when the image does not know it."""
    entry = next((fields for fields in _read("/etc/passwd") if fields[2] == str(uid)), None)
    return (entry[5] if entry and len(entry) > 5 else "") or "/"


def _checked(account: Account) -> Account:
    for number in (account.uid, account.gid, *account.groups):
        if number > LARGEST:
            raise CosoError(
                f"user or group {number} is outside of the container's range 0–{LARGEST}", hint="give a smaller number"
            )
    return account


def _read(path: str) -> list[list[str]]:
    """The entries of a file of the image; none where it is no plain file: a pipe there would keep us waiting."""
    try:
        fd = os.open(path, os.O_RDONLY | os.O_NONBLOCK | os.O_NOCTTY | os.O_CLOEXEC)
    except OSError:
        return []
    try:
        found = os.fstat(fd)
        text = os.read(fd, min(found.st_size, LONGEST)) if stat.S_ISREG(found.st_mode) else b""
    except OSError:
        text = b""
    finally:
        os.close(fd)
    lines = [line.split(":") for line in text.decode(errors="replace").split("\n") if ":" in line]
    return [fields for fields in lines if len(fields) > 3 and fields[2].isdecimal()]


def _find(entries: list[list[str]], text: str) -> list[str] | None:
    for fields in entries:
        if fields[0] == text:
            return fields
    for fields in entries:
        if fields[2] == text:
            return fields
    return None
