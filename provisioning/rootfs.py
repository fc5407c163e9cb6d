"""The root filesystem: found, downloaded, verified, unpacked beside its place, and put there in one step."""

from __future__ import annotations

import os
import shutil
import sys
from collections.abc import Callable
from dataclasses import dataclass
from typing import ClassVar

from coso.errors import DownloadError, ProvisionError, ReleaseError
from coso.images.rootfs import check_owner, os_release
from coso.kernel.call import call
from coso.runtime import journal
from provisioning import alpine, busybox, record
from provisioning.alpine import Release
from provisioning.fetch import Progress, cache_directory, fetch_archive
from provisioning.resource import Change, Fine, Plan, State
from provisioning.unpack import unpack

AT_FDCWD = -100
RENAME_EXCHANGE = 2
SETUP = "fs-setup"


@dataclass(frozen=True)
class Rootfs:
    """An Alpine minirootfs, or busybox where no mirror can be reached and `source` is `auto`."""

    kind: ClassVar[str] = "rootfs"
    path: str
    source: str = "auto"
    mirror: str = ""
    branch: str = ""
    version: str = ""

    @property
    def label(self) -> str:
        """The path."""
        return self.path

    def inspect(self) -> State:
        """Which system is there."""
        if not os.path.lexists(self.path):
            return {"id": "", "version": ""}
        if not os.path.isdir(self.path) or os.path.islink(self.path):
            raise ProvisionError(f"{self.path} is not a directory", hint="move it out of the way")
        check_owner(self.path)
        release = os_release(self.path)
        return {"id": release.get("ID", "unknown"), "version": release.get("VERSION_ID", "")}

    def plan(self, found: State) -> Plan:
        """Replace what is there when the source offers another system or version."""
        wanted, note = self._wanted(found)
        if (found["id"], found["version"]) == (wanted["id"], wanted["version"]):
            return Fine("; ".join(filter(None, (f"{found['id']} {found['version']}", note))))
        if found["id"] and not self._is_ours():
            # Not made by us, so it must come back: it is kept beside its place.
            wanted["kept"] = f"{self.path}.before-coso"
        verb = f"replace {found['id']} {found['version']}".rstrip() + " by" if found["id"] else "make"
        if wanted.get("kept"):
            note = "; ".join(filter(None, (f"what is there now is kept as {wanted['kept']}", note)))
        return Change(found, wanted, f"{verb} {wanted['id']} {wanted['version']}", note)

    def _wanted(self, found: State) -> tuple[State, str]:
        if self.source == "busybox":
            return {"id": "busybox", "version": busybox.version()}, ""
        mirrors = alpine.mirrors(self.mirror)
        try:
            release = alpine.find(mirrors, self.branch, self.version)
        except ReleaseError:
            raise
        except DownloadError as error:
            if self.source == "alpine":
                raise
            if found["id"] in ("alpine", "busybox"):
                return dict(found), f"kept: {error.message}"
            return {
                "id": "busybox",
                "version": busybox.version(),
            }, f"{error.message}; so Debian's {busybox.PACKAGE} it is (--source alpine would fail)"
        keys = ("url", "size", "sha256", "sha512")
        wanted: State = {"id": "alpine", "version": release.version}
        return wanted | {key: getattr(release, key) for key in keys}, ""

    def _is_ours(self) -> bool:
        return any(kind == self.kind and fields["path"] == self.path for kind, fields, _ in record.read(SETUP))

    def apply(self, change: Change) -> None:
        """Make the tree beside its place, then exchange the two."""
        beside = os.path.join(os.path.dirname(self.path), f".{os.path.basename(self.path)}.new")
        if change.before["id"]:
            require_no_container(f"replace {self.path}")
        try:
            archive = self._archive(change.after)
            remove_tree(beside)
            os.makedirs(beside, mode=0o755)
            if archive:
                unpack(archive, beside)
            else:
                busybox.build(beside)
            if change.after.get("kept"):
                _replace_keeping(self.path, beside, change.after["kept"])
            else:
                put_in_place(beside, self.path)
        except OSError as error:
            raise ProvisionError(
                f"cannot make {self.path}: {error.strerror} ({error.filename or beside})",
                hint="see `df` and the mount's options; what was there before is untouched",
            ) from None
        finally:
            remove_tree(beside)

    def _archive(self, wanted: State) -> str:
        if wanted["id"] == "busybox":
            return ""
        release = Release(wanted["version"], wanted["url"], wanted["size"], wanted["sha256"], wanted["sha512"])
        with _Progress(release) as progress:
            return fetch_archive(release, cache_directory(), progress)

    def undo(self, change: Change) -> str:
        """Remove the tree, or put the one back that was there before us."""
        kept = change.after.get("kept")
        require_no_container(f"remove {self.path}")
        if kept and os.path.isdir(kept):
            # Whenever this is interrupted, the kept tree is under one of the two names, whole.
            remove_tree(self.path)
            os.rename(kept, self.path)
            return "the earlier tree is back"
        if change.before["id"]:
            return ""  # An earlier version of ours; the first record decides.
        if not os.path.lexists(self.path):
            return ""
        remove_tree(self.path)
        return "removed"


@dataclass(frozen=True)
class Cache:
    """The directory of verified archives; recorded, so that a tear-down removes what downloads left in it."""

    kind: ClassVar[str] = "cache"
    path: str

    @property
    def label(self) -> str:
        """The path."""
        return self.path

    def inspect(self) -> State:
        """Whether it is there."""
        return {"exists": os.path.isdir(self.path)}

    def plan(self, found: State) -> Plan:
        """Make it where it is missing."""
        return Fine() if found["exists"] else Change(found, {"exists": True}, "make it")

    def apply(self, change: Change) -> None:
        """Make it."""
        os.makedirs(self.path, mode=0o755)

    def undo(self, change: Change) -> str:
        """Remove it with all archives."""
        if not os.path.isdir(self.path):
            return ""
        remove_tree(self.path)
        return "removed"


def require_no_container(act: str) -> None:
    """Raise ProvisionError while containers run: their root and network would be taken from under them."""
    if running := journal.living():
        raise ProvisionError(
            f"cannot {act} while containers run: {', '.join(running)}", hint="end them, then run this again"
        )


def _replace_keeping(path: str, tree: str, kept: str) -> None:
    """Rename a tree that is not ours aside, never out of reach, and ours to its place."""
    if os.path.lexists(kept):
        raise ProvisionError(f"{kept} is in the way of what is at {path} now", hint="move one of the two away")
    os.rename(path, kept)
    try:
        os.rename(tree, path)
    except OSError:
        os.rename(kept, path)
        raise


def put_in_place(tree: str, place: str) -> None:
    """Rename a tree to its place; what was there takes the tree's name, in the same instant (rename(2))."""
    if os.path.lexists(place):
        call("renameat2", AT_FDCWD, tree.encode(), AT_FDCWD, place.encode(), RENAME_EXCHANGE, path=place)
    else:
        os.rename(tree, place)


def remove_tree(path: str) -> None:
    """Remove a directory and all below it, never through a link."""
    if os.path.lexists(path):
        shutil.rmtree(path)


class _Progress:
    """A progress bar on a terminal, silence elsewhere."""

    def __init__(self, release: Release) -> None:
        self._release = release
        self._stop: Callable[[], None] = lambda: None

    def __enter__(self) -> Progress:
        if not sys.stdout.isatty():
            return lambda _: None
        from rich.progress import BarColumn, DownloadColumn, Progress, TextColumn, TransferSpeedColumn

        columns = (TextColumn("{task.description}"), BarColumn(), DownloadColumn(), TransferSpeedColumn())
        bar = Progress(*columns, transient=True)
        task = bar.add_task(self._release.file, total=self._release.size or None)
        bar.start()
        self._stop = bar.stop
        return lambda done: bar.update(task, completed=done)

    def __exit__(self, *_: object) -> None:
        self._stop()
