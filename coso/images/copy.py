"""Copy a directory's content by descriptors: owners, modes, times, attributes and hard links too."""

from __future__ import annotations

import os
import stat

CHUNK = 1 << 20

Links = dict[tuple[int, int], str]


def copy_tree(source: int, target: int) -> None:
    """Copy all that is in an open directory, and its own attributes, into another; nothing there may be in the way."""
    top = os.open(f"/proc/self/fd/{target}", os.O_RDONLY | os.O_DIRECTORY | os.O_CLOEXEC)
    try:
        _copy_directory(source, target, top, "", {})
    finally:
        os.close(top)


def _copy_directory(source: int, target: int, top: int, above: str, links: Links) -> None:
    for name in os.listdir(source):
        path = f"{above}/{name}".lstrip("/")
        found = os.lstat(name, dir_fd=source)
        if stat.S_ISDIR(found.st_mode):
            os.mkdir(name, 0o700, dir_fd=target)
            flags = os.O_RDONLY | os.O_DIRECTORY | os.O_NOFOLLOW | os.O_CLOEXEC
            inner, outer = os.open(name, flags, dir_fd=source), os.open(name, flags, dir_fd=target)
            try:
                _copy_directory(inner, outer, top, path, links)
            finally:
                os.close(inner)
                os.close(outer)
            continue
        first = links.get((found.st_dev, found.st_ino))
        if first:
            os.link(first, name, src_dir_fd=top, dst_dir_fd=target, follow_symlinks=False)
            continue
        if found.st_nlink > 1:
            links[found.st_dev, found.st_ino] = path
        copy_one(source, name, found, target, name)
    _dress(f"/proc/self/fd/{source}/.", os.fstat(source), f"/proc/self/fd/{target}/.")


def copy_one(source: int, name: str, found: os.stat_result, target: int, new: str) -> None:
    """Copy something that is no directory."""
    mode = found.st_mode
    if stat.S_ISREG(mode):
        flags = os.O_CREAT | os.O_EXCL | os.O_WRONLY | os.O_NOFOLLOW | os.O_CLOEXEC
        reading = os.open(name, os.O_RDONLY | os.O_NOFOLLOW | os.O_CLOEXEC, dir_fd=source)
        writing = os.open(new, flags, 0o600, dir_fd=target)
        try:
            while os.copy_file_range(reading, writing, CHUNK):
                pass
        except OSError:
            _copy_bytes(reading, writing)
        finally:
            os.close(reading)
            os.close(writing)
    elif stat.S_ISLNK(mode):
        os.symlink(os.readlink(name, dir_fd=source), new, dir_fd=target)
    elif stat.S_ISSOCK(mode):
        return
    else:
        os.mknod(new, mode, found.st_rdev, dir_fd=target)
    _dress(f"/proc/self/fd/{source}/{name}", found, f"/proc/self/fd/{target}/{new}")


def _copy_bytes(reading: int, writing: int) -> None:
    """For filesystems between which the kernel does not copy."""
    os.lseek(reading, 0, os.SEEK_SET)
    os.ftruncate(writing, 0)
    os.lseek(writing, 0, os.SEEK_SET)
    while data := os.read(reading, CHUNK):
        while data:
            data = data[os.write(writing, data) :]


def _dress(source: str, found: os.stat_result, target: str) -> None:
    os.chown(target, found.st_uid, found.st_gid, follow_symlinks=False)
    if not stat.S_ISLNK(found.st_mode):
        os.chmod(target, stat.S_IMODE(found.st_mode))
    for name in os.listxattr(source, follow_symlinks=False):
        if name.startswith(("trusted.overlay.", "user.overlay.", "system.", "security.selinux")):
            continue
        try:
            os.setxattr(target, name, os.getxattr(source, name, follow_symlinks=False), follow_symlinks=False)
        except OSError:
            continue  # A filesystem without them.
    os.utime(target, ns=(found.st_atime_ns, found.st_mtime_ns), follow_symlinks=False)
