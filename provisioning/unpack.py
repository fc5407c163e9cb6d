"""Unpack an archive that nobody has to trust.

Every path is resolved by the kernel inside the target directory
(RESOLVE_IN_ROOT), so no link that the archive itself brought can lead out.
Refused: absolute names, `..`, links out of the tree, devices and FIFOs, and
more entries or bytes than a rootfs has.
"""

from __future__ import annotations

import os
import tarfile
import zlib
from typing import IO

from coso.errors import ArchiveError, KernelError
from coso.kernel.path import make_in_root, open_in_root

MOST_BYTES = 4 << 30
MOST_ENTRIES = 200_000
BLOCK = 1 << 16


def unpack(archive: str, target: str) -> None:
    """Unpack a tar archive (gzip, xz, bzip2 or plain) into an existing, empty directory. Raises ArchiveError."""
    root = os.open(target, os.O_PATH | os.O_DIRECTORY | os.O_CLOEXEC)
    directories: list[tuple[str, tarfile.TarInfo]] = []
    room = MOST_BYTES
    try:
        with tarfile.open(archive) as tar:
            for number, member in enumerate(tar):
                if number >= MOST_ENTRIES:
                    raise ArchiveError(f"{archive} has more than {MOST_ENTRIES} entries")
                room -= member.size if member.isfile() else 0
                if room < 0:
                    raise ArchiveError(f"{archive} unpacks to more than {MOST_BYTES >> 30} GiB")
                name = _checked_name(archive, member)
                if name:
                    _unpack_one(tar, root, name, member)
                if member.isdir() and not os.path.islink(os.path.join(target, name)):
                    directories.append((name, member))
        for name, member in reversed(directories):
            _set_time(root, name, member)
    except (tarfile.TarError, EOFError, zlib.error) as error:
        raise ArchiveError(f"{archive} is damaged: {error}", cause="a download cut short") from None
    except KernelError as error:
        raise ArchiveError(f"{archive} cannot be unpacked: {error.message}") from None
    finally:
        os.close(root)


def _checked_name(archive: str, member: tarfile.TarInfo) -> str:
    """The name without `./`; raise ArchiveError for an entry that must not be unpacked."""
    parts = [part for part in member.name.split("/") if part not in ("", ".")]
    if member.name.startswith("/") or ".." in parts:
        raise ArchiveError(f"{archive} has an entry that leads out of the tree: {member.name!r}")
    if not (member.isfile() or member.isdir() or member.issym() or member.islnk()):
        raise ArchiveError(f"{archive} has a device or FIFO, which a rootfs must not bring: {member.name!r}")
    link = member.linkname
    if member.islnk() and (link.startswith("/") or ".." in link.split("/")):
        raise ArchiveError(f"{archive} has a hard link that leads out of the tree: {member.name!r} to {link!r}")
    if member.issym() and not link.startswith("/") and _climbs_out(parts[:-1], link):
        raise ArchiveError(f"{archive} has a link that leads out of the tree: {member.name!r} to {link!r}")
    return "/".join(parts)


def _climbs_out(directory: list[str], link: str) -> bool:
    """Whether a relative link has more `..` than directories above it. Absolute ones mean the container's root."""
    depth = len(directory)
    for part in link.split("/"):
        depth += -1 if part == ".." else part not in ("", ".")
        if depth < 0:
            return True
    return False


def _unpack_one(tar: tarfile.TarFile, root: int, name: str, member: tarfile.TarInfo) -> None:
    directory, _, base = name.rpartition("/")
    parent = make_in_root(root, directory or "/", directory=True)
    try:
        if member.isdir():
            if not _make_directory(parent, base):
                return
        else:
            _make_way(parent, base)
        if member.isfile():
            source = tar.extractfile(member)
            if source is not None:
                _write_file(parent, base, source, member.size)
        elif member.issym():
            os.symlink(member.linkname, base, dir_fd=parent)
        elif member.islnk():
            _link(root, member.linkname, parent, base)
            return
        _set_owner(parent, base, member)
    finally:
        os.close(parent)


def _make_directory(parent: int, name: str) -> bool:
    """Make a directory; False when a link of that name is there (/bin to usr/bin), whose target is not touched."""
    try:
        os.mkdir(name, 0o755, dir_fd=parent)
    except FileExistsError:
        return not os.path.islink(f"/proc/self/fd/{parent}/{name}")
    return True


def _make_way(parent: int, name: str) -> None:
    """A later entry of the same name replaces an earlier one."""
    try:
        os.unlink(name, dir_fd=parent)
    except FileNotFoundError:
        return
    except IsADirectoryError:
        raise ArchiveError(f"a directory and a file share the name {name!r}") from None


def _write_file(parent: int, name: str, source: IO[bytes], size: int) -> None:
    flags = os.O_CREAT | os.O_EXCL | os.O_WRONLY | os.O_NOFOLLOW | os.O_CLOEXEC
    with open(os.open(name, flags, 0o600, dir_fd=parent), "wb", buffering=0) as file:
        while block := source.read(BLOCK):
            if block.count(0) == len(block):
                file.seek(len(block), os.SEEK_CUR)  # A hole stays a hole.
            else:
                file.write(block)
        file.truncate(size)


def _link(root: int, target: str, parent: int, name: str) -> None:
    directory, _, base = target.strip("/").rpartition("/")
    source = open_in_root(root, directory or "/", os.O_PATH | os.O_DIRECTORY)
    try:
        os.link(base, name, src_dir_fd=source, dst_dir_fd=parent, follow_symlinks=False)
    except FileNotFoundError:
        raise ArchiveError(f"a hard link {name!r} names {target!r}, which is not in the archive") from None
    finally:
        os.close(source)


def _set_owner(parent: int, name: str, member: tarfile.TarInfo) -> None:
    if os.geteuid() == 0:
        os.chown(name, member.uid, member.gid, dir_fd=parent, follow_symlinks=False)
    if member.issym():
        return
    # After chown, which clears the set-user-ID bit.
    os.chmod(name, member.mode & 0o7777, dir_fd=parent)
    os.utime(name, (member.mtime, member.mtime), dir_fd=parent)


def _set_time(root: int, name: str, member: tarfile.TarInfo) -> None:
    """A directory's time is set last: each entry made in it changes it."""
    fd = open_in_root(root, f"/{name}", os.O_RDONLY | os.O_DIRECTORY)
    try:
        os.utime(fd, (member.mtime, member.mtime))
    finally:
        os.close(fd)
