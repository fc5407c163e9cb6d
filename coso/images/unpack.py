"""A layer's archive becomes a directory tree (image-spec layer.md, "Applying Changesets").

The archive is anybody's: every path is resolved by the kernel inside the tree
(RESOLVE_IN_ROOT), names that lead out are refused, and attributes by which an
overlay is steered are not taken over.  What the layer says of lower layers is
said in the overlay's own language: a removed file is a character device 0:0,
a directory that hides what is below carries the attribute `opaque`.
"""

from __future__ import annotations

import os
import stat
import tarfile
from typing import IO

from coso.errors import ArchiveError, KernelError
from coso.kernel.path import make_in_root, open_in_root
from coso.kernel.process import is_limited
from coso.runtime.undo import remove_at

WHITEOUT, OPAQUE = ".wh.", ".wh..wh..opq"
# With an overlay of a user namespace the second is read, else the first (overlayfs.rst, "User xattr").
OPAQUE_MARKS = ("trusted.overlay.opaque", "user.overlay.opaque")
STEERING = ("trusted.overlay.", "user.overlay.")
XATTR = "SCHILY.xattr."
BLOCK = 1 << 18


def unpack(
    archive: IO[bytes],
    target: str | int,
    *,
    whiteouts: bool = True,
    owner: tuple[int, int] | None = None,
    rename: tuple[str, str] | None = None,
    limited: bool | None = None,
) -> int:
    """Unpack an uncompressed archive into an existing directory; return the bytes of its files. Raises ArchiveError.

    Without `whiteouts` it is no layer, and names are just names; `owner` is
    whose all of it shall be; `rename` gives what is at the top another name.
    `limited` says that there are no rights over the host, where that is known.
    """
    tree = _Tree(target, is_limited() if limited is None else limited, whiteouts, owner)
    try:
        with tarfile.open(fileobj=archive, mode="r|", bufsize=BLOCK, errorlevel=1) as tar:
            for member in tar:
                if rename:
                    _rename(member, *rename)
                tree.add(tar, member)
        tree.finish()
    except tarfile.TarError as error:
        raise ArchiveError(f"the layer is damaged: {error}") from None
    except KernelError as error:
        raise ArchiveError(f"the layer cannot be unpacked: {error.message}") from None
    except OSError as error:
        where = f" ({error.filename})" if error.filename else ""
        raise ArchiveError(f"the layer cannot be unpacked: {error.strerror}{where}") from None
    finally:
        tree.close()
    return tree.size


def _is_alone() -> bool:
    """Whether one user alone is mapped here (user_namespaces(7))."""
    try:
        with open("/proc/self/uid_map") as file:
            return sum(int(line.split()[2]) for line in file) == 1
    except OSError:
        return False  # In the tree of a container, whose owners are asked for.


def _rename(member: tarfile.TarInfo, old: str, new: str) -> None:
    """Give the first component of an entry, and of what it is a hard link to, another name."""
    member.name = new + member.name.removeprefix(old)
    if member.islnk():
        member.linkname = new + member.linkname.removeprefix(old)


class _Tree:
    """The tree on its way: the directory in hand, and what is left for the end."""

    def __init__(self, target: str | int, limited: bool, whiteouts: bool, owner: tuple[int, int] | None) -> None:
        self.size = 0
        # Whoever has no subordinate ids is alone in the namespace: all of an image belongs to that one then.
        self._whiteouts, self._owner = whiteouts, owner or ((0, 0) if limited and _is_alone() else None)
        self._limited = limited
        self._marks = OPAQUE_MARKS[1:] if limited else OPAQUE_MARKS
        opened = os.open(target, os.O_RDONLY | os.O_DIRECTORY | os.O_CLOEXEC) if isinstance(target, str) else -1
        self._root = opened if isinstance(target, str) else os.dup(target)
        self._parent, self._parent_name = -1, ""
        self._made: set[str] = set()
        self._times: list[tuple[str, float]] = []

    def add(self, tar: tarfile.TarFile, member: tarfile.TarInfo) -> None:
        """Unpack one entry."""
        parts = [part for part in member.name.split("/") if part not in ("", ".")]
        if ".." in parts:
            raise ArchiveError(f"the layer has an entry that leads out of the tree: {member.name!r}")
        if not parts:
            if member.isdir():
                self._dress(self._root, "", member)
            return
        directory, name = "/".join(parts[:-1]), parts[-1]
        parent = self._enter(directory)
        if self._whiteouts and name.startswith(WHITEOUT):
            self._hide(parent, directory, name)
            return
        self._make(tar, member, parent, name, "/".join(parts))
        self._made.add("/".join(parts))

    def _enter(self, directory: str) -> int:
        """The parent of the next entry: mostly that of the last one."""
        if self._parent < 0 or directory != self._parent_name:
            if self._parent >= 0:
                os.close(self._parent)
            self._parent = -1
            # Links to a directory are followed inside the tree.
            flags = os.O_RDONLY | os.O_DIRECTORY
            try:
                self._parent = open_in_root(self._root, directory or "/", flags)
            except KernelError:
                os.close(make_in_root(self._root, directory, directory=True))
                self._parent = open_in_root(self._root, directory, flags)
            self._parent_name = directory
        return self._parent

    def _hide(self, parent: int, directory: str, name: str) -> None:
        if name == OPAQUE:
            self._make_opaque(parent)
            return
        hidden = name.removeprefix(WHITEOUT)
        if hidden in ("", ".", "..") or hidden.startswith(WHITEOUT):
            return  # Names that aufs kept for itself.
        if f"{directory}/{hidden}".lstrip("/") in self._made:
            # It speaks of lower layers only; what this one brought stays.
            if stat.S_ISDIR(os.lstat(hidden, dir_fd=parent).st_mode):
                self._mark(parent, hidden)
            return
        self._make_way(parent, hidden)
        os.mknod(hidden, stat.S_IFCHR, 0, dir_fd=parent)

    def _mark(self, parent: int, name: str) -> None:
        fd = os.open(name, os.O_RDONLY | os.O_DIRECTORY | os.O_NOFOLLOW | os.O_CLOEXEC, dir_fd=parent)
        try:
            self._make_opaque(fd)
        finally:
            os.close(fd)

    def _make_opaque(self, fd: int) -> None:
        for mark in self._marks:
            os.setxattr(fd, mark, b"y")

    def _make(self, tar: tarfile.TarFile, member: tarfile.TarInfo, parent: int, name: str, path: str) -> None:
        if member.isdir():
            self._make_directory(parent, name)
            self._times.append((path, member.mtime))
        elif member.islnk():
            self._make_way(parent, name)
            self._link(member.linkname, parent, name)
            return
        else:
            self._make_way(parent, name)
            if not self._make_file(tar, member, parent, name):
                return
        self._dress(parent, name, member)

    def _make_directory(self, parent: int, name: str) -> None:
        """Make a directory, in place of whatever else has its name; a removed one hides what was below."""
        try:
            os.mkdir(name, 0o755, dir_fd=parent)
            return
        except FileExistsError:
            found = os.lstat(name, dir_fd=parent).st_mode
        if stat.S_ISDIR(found):
            return
        if not self._whiteouts:
            raise ArchiveError(f"{name!r} is a file there, and a directory cannot take its place")
        hidden = stat.S_ISCHR(found)
        os.unlink(name, dir_fd=parent)
        os.mkdir(name, 0o755, dir_fd=parent)
        if hidden:
            self._mark(parent, name)

    def _make_way(self, parent: int, name: str) -> None:
        """A later entry of the same name replaces an earlier one."""
        try:
            os.unlink(name, dir_fd=parent)
        except FileNotFoundError:
            return
        except IsADirectoryError:
            if not self._whiteouts:
                raise ArchiveError(f"{name!r} is a directory there, and a file cannot take its place") from None
            remove_at(parent, name)

    def _make_file(self, tar: tarfile.TarFile, member: tarfile.TarInfo, parent: int, name: str) -> bool:
        if member.isfile():
            source = tar.extractfile(member)
            flags = os.O_CREAT | os.O_EXCL | os.O_WRONLY | os.O_NOFOLLOW | os.O_CLOEXEC
            fd = os.open(name, flags, 0o600, dir_fd=parent)
            try:
                while source and (block := source.read(BLOCK)):
                    self.size += len(block)
                    while block:
                        block = block[os.write(fd, block) :]
            finally:
                os.close(fd)
        elif member.issym():
            os.symlink(member.linkname, name, dir_fd=parent)
        elif member.isfifo():
            os.mkfifo(name, 0o600, dir_fd=parent)
        elif member.ischr() or member.isblk():
            if self._limited:
                return False  # Nobody can make a device without rights over the host, nor use one.
            kind = stat.S_IFCHR if member.ischr() else stat.S_IFBLK
            os.mknod(name, kind | 0o600, os.makedev(member.devmajor, member.devminor), dir_fd=parent)
        else:
            raise ArchiveError(f"the layer has an entry of an unknown kind: {member.name!r}")
        return True

    def _link(self, target: str, parent: int, name: str) -> None:
        parts = [part for part in target.split("/") if part not in ("", ".")]
        if ".." in parts or not parts:
            raise ArchiveError(f"the layer has a hard link that leads out of the tree: {name!r} to {target!r}")
        source = open_in_root(self._root, "/".join(parts[:-1]) or "/", os.O_PATH | os.O_DIRECTORY)
        try:
            os.link(parts[-1], name, src_dir_fd=source, dst_dir_fd=parent, follow_symlinks=False)
        except FileNotFoundError:
            raise ArchiveError(f"the hard link {name!r} names {target!r}, which is not in the layer") from None
        finally:
            os.close(source)

    def _dress(self, parent: int, name: str, member: tarfile.TarInfo) -> None:
        """Owner, mode, attributes and time; the owner first, since a change of it clears set-user-ID and the like.

        No path goes through /proc: there may be none, in the tree of a container.
        """
        name = name or "."
        owner = self._owner or (member.uid, member.gid)
        try:
            os.chown(name, *owner, dir_fd=parent, follow_symlinks=False)
        except OSError as error:
            if not self._limited:
                raise
            raise ArchiveError(
                f"{member.name!r} belongs to user {member.uid}, group {member.gid}, whom this user cannot map: "
                f"{error.strerror}",
                hint="give the user more ids in /etc/subuid and /etc/subgid",
            ) from None
        if not member.issym():
            os.chmod(name, member.mode & 0o7777, dir_fd=parent)
        if member.isfile() or member.isdir():
            self._set_attributes(parent, name, member)
        if not member.isdir():
            nanoseconds = int(member.mtime * 1_000_000_000)
            os.utime(name, ns=(nanoseconds, nanoseconds), dir_fd=parent, follow_symlinks=False)

    def _set_attributes(self, parent: int, name: str, member: tarfile.TarInfo) -> None:
        wanted = {
            key.removeprefix(XATTR): text
            for key, text in member.pax_headers.items()
            if key.startswith(XATTR) and not key.startswith(tuple(XATTR + start for start in STEERING))
        }
        if not wanted:
            return
        fd = os.open(name, os.O_RDONLY | os.O_NOFOLLOW | os.O_NONBLOCK | os.O_CLOEXEC, dir_fd=parent)
        try:
            for key, text in wanted.items():
                self._set_attribute(fd, key, text)
        finally:
            os.close(fd)

    def _set_attribute(self, fd: int, name: str, text: str) -> None:
        try:
            os.setxattr(fd, name, text.encode("utf-8", "surrogateescape"))
        except OSError:
            # security.selinux and the like are the machine's where it was made; Docker leaves them out too.
            if name == "security.capability" and not self._limited:
                raise

    def finish(self) -> None:
        """Set the times of directories last: each entry made in one changes it."""
        for path, seconds in reversed(self._times):
            try:
                fd = open_in_root(self._root, path, os.O_RDONLY | os.O_DIRECTORY | os.O_NOFOLLOW)
            except KernelError:
                continue  # Replaced by a later entry.
            os.utime(fd, (seconds, seconds))
            os.close(fd)

    def close(self) -> None:
        """Close what is open."""
        for fd in (self._parent, self._root):
            if fd >= 0:
                os.close(fd)
