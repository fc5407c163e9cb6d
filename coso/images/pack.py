"""A tree becomes an archive (image-spec layer.md, "Representing Changes").

In the order of names, with owners as numbers, without the names of the
machine's users: nothing in the archive depends on who makes it where.
"""

from __future__ import annotations

import os
import stat
import tarfile
from collections.abc import Set
from typing import IO

from coso.errors import CosoError
from coso.images.unpack import OPAQUE, OPAQUE_MARKS, STEERING, WHITEOUT, XATTR

# What the kernel shows for owners outside of the map.
RANGE = 65536


def pack(
    directory: str | int,
    stream: IO[bytes],
    *,
    first_id: int = 0,
    clamp: int | None = None,
    within: str = "",
    whiteouts: bool = True,
    exclude: Set[str] = frozenset(),
) -> None:
    """Write what is in a directory as an archive, names below `within`.

    Owners are counted from `first_id`.  Marks of an overlay become whiteout
    files, or with `whiteouts` off stay what they are.  `exclude` are absolute
    paths that are left out, with what is below them.
    """
    opened = os.open(directory, os.O_RDONLY | os.O_DIRECTORY | os.O_CLOEXEC) if isinstance(directory, str) else -1
    root = opened if isinstance(directory, str) else os.dup(directory)
    with tarfile.open(fileobj=stream, mode="w|", format=tarfile.PAX_FORMAT, bufsize=1 << 18) as tar:
        _Packer(tar, first_id, clamp, whiteouts, exclude).directory(root, within)


def pack_one(parent: int, name: str, stream: IO[bytes], *, within: str) -> None:
    """Write one file, or a directory and all below it, as an archive, called `within` there."""
    with tarfile.open(fileobj=stream, mode="w|", format=tarfile.PAX_FORMAT, bufsize=1 << 18) as tar:
        _Packer(tar, 0, None, False, frozenset()).entry(parent, name, within)


class _Packer:
    """An archive being written, and which files with several names are in it already."""

    def __init__(
        self, tar: tarfile.TarFile, first_id: int, clamp: int | None, whiteouts: bool, exclude: Set[str]
    ) -> None:
        self._exclude = exclude
        self._tar = tar
        self._first_id = first_id
        self._clamp = clamp
        self._whiteouts = whiteouts
        self._linked: dict[tuple[int, int], str] = {}

    def directory(self, fd: int, path: str) -> None:
        """Add what is in a directory, and close it."""
        try:
            for name in sorted(os.listdir(fd)):
                self.entry(fd, name, f"{path}/{name}" if path else name)
        finally:
            os.close(fd)

    def entry(self, parent: int, name: str, path: str) -> None:
        """Add one entry and all below it."""
        if f"/{path}" in self._exclude:
            return
        found = os.lstat(name, dir_fd=parent)
        mode = found.st_mode
        if self._whiteouts and stat.S_ISCHR(mode) and found.st_rdev == 0:
            place, _, base = path.rpartition("/")
            self._tar.addfile(self._plain(f"{place}/{WHITEOUT}{base}".lstrip("/")))
            return
        if stat.S_ISSOCK(mode):
            return  # A socket without its program is nothing; tar has no word for it.
        info = self._info(found, parent, name, path)
        if stat.S_ISREG(mode) and found.st_nlink > 1:
            first = self._linked.setdefault((found.st_dev, found.st_ino), path)
            if first != path:
                info.type, info.linkname, info.size = tarfile.LNKTYPE, first, 0
                self._tar.addfile(info)
                return
        if stat.S_ISREG(mode):
            with open(os.open(name, os.O_RDONLY | os.O_NOFOLLOW | os.O_CLOEXEC, dir_fd=parent), "rb") as file:
                self._tar.addfile(info, file)
            return
        self._tar.addfile(info)
        if stat.S_ISDIR(mode):
            inside = os.open(name, os.O_RDONLY | os.O_DIRECTORY | os.O_NOFOLLOW | os.O_CLOEXEC, dir_fd=parent)
            if self._whiteouts and any(_attribute(inside, mark) == b"y" for mark in OPAQUE_MARKS):
                self._tar.addfile(self._plain(f"{path}/{OPAQUE}"))
            self.directory(inside, path)

    def _info(self, found: os.stat_result, parent: int, name: str, path: str) -> tarfile.TarInfo:
        info = tarfile.TarInfo(path)
        mode = found.st_mode
        info.mode = stat.S_IMODE(mode)
        info.uid, info.gid = self._owner(found.st_uid, path), self._owner(found.st_gid, path)
        info.mtime = int(found.st_mtime) if self._clamp is None else min(int(found.st_mtime), self._clamp)
        if stat.S_ISREG(mode):
            info.size = found.st_size
        elif stat.S_ISDIR(mode):
            info.type = tarfile.DIRTYPE
        elif stat.S_ISLNK(mode):
            info.type, info.linkname = tarfile.SYMTYPE, os.readlink(name, dir_fd=parent)
        elif stat.S_ISFIFO(mode):
            info.type = tarfile.FIFOTYPE
        else:
            info.type = tarfile.CHRTYPE if stat.S_ISCHR(mode) else tarfile.BLKTYPE
            info.devmajor, info.devminor = os.major(found.st_rdev), os.minor(found.st_rdev)
        if stat.S_ISREG(mode) or stat.S_ISDIR(mode):
            self._attributes(info, parent, name)
        return info

    def _owner(self, number: int, path: str) -> int:
        if not self._first_id:
            return number
        if not 0 <= number - self._first_id < RANGE:
            raise CosoError(f"{path} belongs to user or group {number}, who is nobody in the container")
        return number - self._first_id

    def _attributes(self, info: tarfile.TarInfo, parent: int, name: str) -> None:
        fd = os.open(name, os.O_RDONLY | os.O_NOFOLLOW | os.O_NONBLOCK | os.O_CLOEXEC, dir_fd=parent)
        headers: dict[str, str] = {}
        try:
            for key in sorted(os.listxattr(fd)):
                if key.startswith((*STEERING, "security.selinux", "system.")):
                    continue
                text = os.getxattr(fd, key)
                if key == "security.capability":
                    text = _without_root(text)
                headers[XATTR + key] = text.decode("utf-8", "surrogateescape")
        except OSError:
            pass  # A filesystem without attributes.
        finally:
            os.close(fd)
        info.pax_headers = headers

    def _plain(self, path: str) -> tarfile.TarInfo:
        info = tarfile.TarInfo(path)
        info.mode = 0o644
        return info


def _attribute(fd: int, name: str) -> bytes:
    try:
        return os.getxattr(fd, name)
    except OSError:
        return b""


def _without_root(text: bytes) -> bytes:
    """File capabilities as the host writes them: revision 3 names its namespace's root (capabilities(7))."""
    if len(text) == 24 and text[3] == 3:
        return bytes((*text[:3], 2)) + text[4:20]
    return text
