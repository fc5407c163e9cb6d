"""Files and directories."""

from __future__ import annotations

import os
import stat
from dataclasses import dataclass
from typing import ClassVar

from coso.errors import ProvisionError
from coso.images.rootfs import check_owner
from provisioning.resource import Change, Fine, Plan, State

ABSENT: State = {"exists": False}


@dataclass(frozen=True)
class Directory:
    """A directory with a mode, owned by whoever runs the set-up."""

    kind: ClassVar[str] = "directory"
    path: str
    mode: int = 0o755

    @property
    def label(self) -> str:
        """The path."""
        return self.path

    def inspect(self) -> State:
        """Whether it exists, and its mode."""
        if not os.path.lexists(self.path):
            return ABSENT
        found = os.lstat(self.path)
        if not stat.S_ISDIR(found.st_mode):
            raise ProvisionError(f"{self.path} is not a directory", hint="move it out of the way")
        return {"exists": True, "mode": f"{stat.S_IMODE(found.st_mode):04o}"}

    def plan(self, found: State) -> Plan:
        """Make it where it is missing; refuse one that somebody else can change."""
        if found["exists"]:
            check_owner(self.path)
            return Fine()
        return Change(found, {"exists": True, "mode": f"{self.mode:04o}"}, "make it")

    def apply(self, change: Change) -> None:
        """Make it and its parents."""
        os.makedirs(os.path.dirname(self.path), exist_ok=True)
        os.mkdir(self.path)
        os.chmod(self.path, self.mode)

    def undo(self, change: Change) -> str:
        """Remove it if it is empty."""
        if not os.path.isdir(self.path):
            return ""
        if os.listdir(self.path):
            return "left in place: it holds files that are not ours"
        os.rmdir(self.path)
        return "removed"


@dataclass(frozen=True)
class File:
    """A file with content and mode. Programs are files too; none is ever setuid."""

    kind: ClassVar[str] = "file"
    path: str
    content: str
    mode: int = 0o644

    @property
    def label(self) -> str:
        """The path."""
        return self.path

    def inspect(self) -> State:
        """Its content and mode."""
        try:
            found = os.lstat(self.path)
        except FileNotFoundError:
            return ABSENT
        if not stat.S_ISREG(found.st_mode):
            raise ProvisionError(f"{self.path} is not a regular file", hint="move it out of the way")
        with open(self.path, encoding="utf-8", errors="surrogateescape") as file:
            return {"exists": True, "mode": f"{stat.S_IMODE(found.st_mode):04o}", "content": file.read()}

    def plan(self, found: State) -> Plan:
        """Write it where content or mode differ."""
        wanted = {"exists": True, "mode": f"{self.mode:04o}", "content": self.content}
        if found == wanted:
            return Fine()
        return Change(found, wanted, "replace it" if found["exists"] else "write it")

    def apply(self, change: Change) -> None:
        """Write a sibling and rename it into place."""
        _write(self.path, change.after)

    def undo(self, change: Change) -> str:
        """Put the earlier content back, or remove the file; one changed since by others is left alone."""
        found = self.inspect()
        if found == change.before:
            return ""
        if found != change.after:
            return "left in place: somebody has changed it since"
        if not change.before["exists"]:
            os.unlink(self.path)
            return "removed"
        _write(self.path, change.before)
        return "the earlier content is back"


@dataclass(frozen=True)
class Program(File):
    """An executable for everybody, with nobody's privileges but the caller's."""

    kind: ClassVar[str] = "program"
    mode: int = 0o755


def _write(path: str, wanted: State) -> None:
    os.makedirs(os.path.dirname(path), exist_ok=True)
    sibling = f"{path}.coso-new"
    with open(sibling, "w", encoding="utf-8", errors="surrogateescape") as file:
        file.write(wanted["content"])
        os.fchmod(file.fileno(), int(wanted["mode"], 8))
    os.rename(sibling, path)
