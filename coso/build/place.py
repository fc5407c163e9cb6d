"""COPY, ADD and WORKDIR in a tree: where things go, and whose they are.

Called in a process whose tree is mounted at an open directory; every path is
resolved in there by the kernel.
"""

from __future__ import annotations

import os
import posixpath
import stat
import tarfile
from typing import Any

from coso.build import context
from coso.build.context import Found, Tree
from coso.errors import CosoError, KernelError, UsageError
from coso.images.unpack import unpack
from coso.kernel.path import make_in_root, open_in_root
from coso.runtime.undo import remove_at
from coso.value import value

CHUNK = 1 << 20
DIRECTORY = os.O_RDONLY | os.O_DIRECTORY


@value
class Wish:
    """What COPY asks for besides its words: an owner, None for root or with `--chown` unsaid, a mode, archives."""

    owner: tuple[int, int] = (0, 0)
    mode: int | None = None
    unpacks: bool = False
    clamp: int | None = None


def is_directory(root: int, path: str) -> bool:
    """Whether there is a directory."""
    try:
        fd = open_in_root(root, path)
    except KernelError:
        return False
    try:
        return stat.S_ISDIR(os.fstat(fd).st_mode)
    finally:
        os.close(fd)


def make_directory(root: int, path: str, owner: tuple[int, int] = (0, 0)) -> None:
    """Make a directory and those above it where they are missing, all of one owner."""
    done = ""
    for name in [name for name in posixpath.normpath(f"/{path}").split("/") if name]:
        done = f"{done}/{name}"
        if not is_directory(root, done):
            fd = make_in_root(root, done, directory=True)
            os.chown(f"/proc/self/fd/{fd}", *owner)
            os.close(fd)


def copy(tree: Tree, sources: list[Found], root: int, target: str, wish: Wish) -> None:
    """Copy sources into the tree at `root`; raises UsageError where they do not fit there."""
    into = target.endswith("/") or len(sources) > 1 or is_directory(root, target)
    if len(sources) > 1 and not target.endswith("/"):
        raise UsageError(f"with more than one source, {target!r} must be a directory", hint="end it with a slash")
    for source in sources:
        if source.inside:
            _copy_directory(tree, source, root, target, wish)
        elif wish.unpacks and _is_archive(tree, source):
            _unpack(tree, source, root, target)
        else:
            name = posixpath.join(target, posixpath.basename(source.path)) if into else target
            _copy_file(tree, source, root, name, wish)


def _copy_directory(tree: Tree, source: Found, root: int, target: str, wish: Wish) -> None:
    make_directory(root, target, wish.owner)
    later: list[tuple[str, os.stat_result]] = []
    for path, parent, name, about in context.walk(tree, source.path):
        place = posixpath.join(target, path.removeprefix(source.path).lstrip("/"))
        above, base = posixpath.split(place)
        if not is_directory(root, above):
            make_directory(root, above, wish.owner)
        directory = open_in_root(root, above, DIRECTORY)
        try:
            if stat.S_ISDIR(about.st_mode):
                _make_one(directory, base)
                later.append((place, about))
            else:
                _make_way(directory, base)
                _copy_one(parent, name, about, directory, base, wish)
        finally:
            os.close(directory)
    for place, about in reversed(later):
        above, base = posixpath.split(place)
        directory = open_in_root(root, above, DIRECTORY)
        _dress(directory, base, about, wish)
        os.close(directory)


def _make_one(directory: int, name: str) -> None:
    try:
        os.mkdir(name, 0o755, dir_fd=directory)
    except FileExistsError:
        # A link to a directory is none: of whose tree would that be?
        if not stat.S_ISDIR(os.lstat(name, dir_fd=directory).st_mode):
            raise CosoError(f"{name} is there already, and is no directory") from None


def _make_way(directory: int, name: str) -> None:
    """A file takes the place of a file, not of a directory."""
    try:
        os.unlink(name, dir_fd=directory)
    except FileNotFoundError:
        return
    except IsADirectoryError:
        raise CosoError(f"a file cannot be copied over the directory {name}") from None


def _copy_file(tree: Tree, source: Found, root: int, target: str, wish: Wish) -> None:
    above, base = posixpath.split(posixpath.normpath(target))
    if not is_directory(root, above):
        make_directory(root, above, wish.owner)
    directory = open_in_root(root, above, DIRECTORY)
    try:
        _make_way(directory, base)
        if not stat.S_ISREG(source.about.st_mode):
            raise UsageError(f"{source.path} is neither a file nor a directory")
        reading = open_in_root(tree.root, source.path, os.O_RDONLY | os.O_NONBLOCK)
        try:
            _write(reading, directory, base)
        finally:
            os.close(reading)
        _dress(directory, base, source.about, wish)
    finally:
        os.close(directory)


def _copy_one(parent: int, name: str, about: os.stat_result, directory: int, base: str, wish: Wish) -> None:
    if stat.S_ISREG(about.st_mode):
        reading = os.open(name, os.O_RDONLY | os.O_NOFOLLOW | os.O_CLOEXEC, dir_fd=parent)
        try:
            _write(reading, directory, base)
        finally:
            os.close(reading)
    elif stat.S_ISLNK(about.st_mode):
        os.symlink(os.readlink(name, dir_fd=parent), base, dir_fd=directory)
    elif stat.S_ISSOCK(about.st_mode):
        return
    else:
        os.mknod(base, about.st_mode, about.st_rdev, dir_fd=directory)
    _dress(directory, base, about, wish)


def _write(reading: int, directory: int, base: str) -> None:
    flags = os.O_CREAT | os.O_EXCL | os.O_WRONLY | os.O_NOFOLLOW | os.O_CLOEXEC
    writing = os.open(base, flags, 0o600, dir_fd=directory)
    try:
        while data := os.read(reading, CHUNK):
            while data:
                data = data[os.write(writing, data) :]
    finally:
        os.close(writing)


def _dress(directory: int, base: str, about: os.stat_result, wish: Wish) -> None:
    os.chown(base, *wish.owner, dir_fd=directory, follow_symlinks=False)
    mode = stat.S_IMODE(about.st_mode) if wish.mode is None else wish.mode
    if stat.S_ISDIR(about.st_mode):
        # It may have been there before: by descriptor, so that no link is followed.
        fd = os.open(base, DIRECTORY | os.O_NOFOLLOW | os.O_CLOEXEC, dir_fd=directory)
        os.fchmod(fd, mode)
        os.close(fd)
    elif not stat.S_ISLNK(about.st_mode):
        os.chmod(base, mode, dir_fd=directory)
    seconds = about.st_mtime_ns if wish.clamp is None else min(about.st_mtime_ns, wish.clamp * 1_000_000_000)
    os.utime(base, ns=(seconds, seconds), dir_fd=directory, follow_symlinks=False)


def _is_archive(tree: Tree, source: Found) -> bool:
    """Whether a file is an archive that ADD unpacks: told by what it holds, not by its name."""
    fd = open_in_root(tree.root, source.path, os.O_RDONLY | os.O_NONBLOCK)
    with os.fdopen(fd, "rb") as file:
        try:
            with tarfile.open(fileobj=file) as tar:
                tar.next()
                return True
        except (tarfile.TarError, OSError, EOFError):
            return False


def _unpack(tree: Tree, source: Found, root: int, target: str) -> None:
    make_directory(root, target)
    directory = open_in_root(root, target, DIRECTORY)
    fd = open_in_root(tree.root, source.path, os.O_RDONLY)
    with os.fdopen(fd, "rb") as file:
        magic = file.read(6)
        file.seek(0)
        unpack(_plain(file, magic), directory, whiteouts=False)
    os.close(directory)


def _plain(file: Any, magic: bytes) -> Any:
    import bz2
    import gzip
    import lzma

    if magic.startswith(b"\x1f\x8b"):
        return gzip.GzipFile(fileobj=file)
    if magic.startswith(b"BZh"):
        return bz2.BZ2File(file)
    return lzma.LZMAFile(file) if magic.startswith(b"\xfd7zXZ") else file


def write_file(root: int, target: str, name: str, data: bytes, wish: Wish, default_mode: int = 0o644) -> None:
    """Write a file that is no file of the context: a here document, or a download."""
    place = posixpath.join(target, name) if target.endswith("/") or is_directory(root, target) else target
    above, base = posixpath.split(posixpath.normpath(place))
    if not is_directory(root, above):
        make_directory(root, above, wish.owner)
    directory = open_in_root(root, above, DIRECTORY)
    try:
        remove = os.path.lexists(f"/proc/self/fd/{directory}/{base}")
        if remove:
            remove_at(directory, base)
        fd = os.open(base, os.O_CREAT | os.O_EXCL | os.O_WRONLY | os.O_NOFOLLOW | os.O_CLOEXEC, 0o600, dir_fd=directory)
        with os.fdopen(fd, "wb") as file:
            file.write(data)
        os.chown(base, *wish.owner, dir_fd=directory, follow_symlinks=False)
        os.chmod(base, default_mode if wish.mode is None else wish.mode, dir_fd=directory)
        if wish.clamp is not None:
            os.utime(base, (wish.clamp, wish.clamp), dir_fd=directory)
    finally:
        os.close(directory)


def owner_of(root: int, text: str) -> tuple[int, int]:
    """The numbers of `user:group`, looked up in the tree's own files; raises UsageError."""
    if not text:
        return 0, 0
    user, colon, group = text.partition(":")
    uid = _number(root, user, "/etc/passwd")
    return uid, _number(root, group, "/etc/group") if colon else _group_of(root, user, uid)


def _number(root: int, name: str, file: str) -> int:
    if name.isdecimal():
        return int(name)
    for fields in _entries(root, file):
        if fields[0] == name:
            return int(fields[2])
    raise UsageError(f"there is no {name!r} in the image's {file}", hint="give a number")


def _group_of(root: int, name: str, uid: int) -> int:
    for fields in _entries(root, "/etc/passwd"):
        if fields[0] == name or (name.isdecimal() and fields[2] == name):
            return int(fields[3])
    return uid


def _entries(root: int, path: str) -> list[list[str]]:
    try:
        fd = open_in_root(root, path, os.O_RDONLY)
    except KernelError:
        return []
    with os.fdopen(fd, errors="replace") as file:
        return [fields for line in file if len(fields := line.strip().split(":")) > 3 and fields[2].isdecimal()]
