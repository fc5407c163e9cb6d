"""`tmpcopyup`: a tmpfs that begins with what was below it (config-linux.md, mount option of runc and crun)."""

from __future__ import annotations

import errno
import os
import stat

from coso.errors import KernelError
from coso.kernel.path import open_in_root
from coso.runtime.container import Container

CHUNK = 1 << 20


def copy_up(container: Container, place: str, tmpfs: int) -> None:
    """Copy what is at `place` inside the root to a detached tmpfs, owners and modes too."""
    try:
        source = open_in_root(container.root, place, os.O_RDONLY | os.O_DIRECTORY)
    except KernelError as error:
        if error.errno == errno.ENOENT:
            return
        raise
    # A mount's own descriptor is of no use but as a place (O_PATH).
    target = os.open(".", os.O_RDONLY | os.O_DIRECTORY | os.O_CLOEXEC, dir_fd=tmpfs)
    try:
        _copy_directory(source, target)
    finally:
        os.close(source)
        os.close(target)


def _copy_directory(source: int, target: int) -> None:
    for name in os.listdir(source):
        found = os.stat(name, dir_fd=source, follow_symlinks=False)
        if stat.S_ISDIR(found.st_mode):
            os.mkdir(name, 0o700, dir_fd=target)
            flags = os.O_RDONLY | os.O_DIRECTORY | os.O_NOFOLLOW | os.O_CLOEXEC
            inside, copy = os.open(name, flags, dir_fd=source), os.open(name, flags, dir_fd=target)
            _copy_directory(inside, copy)
            os.close(inside)
            os.close(copy)
        elif stat.S_ISLNK(found.st_mode):
            os.symlink(os.readlink(name, dir_fd=source), name, dir_fd=target)
        elif stat.S_ISREG(found.st_mode):
            _copy_file(name, source, target)
        else:
            os.mknod(name, found.st_mode, found.st_rdev, dir_fd=target)
        _copy_owner(name, target, found)
    found = os.fstat(source)
    os.fchown(target, found.st_uid, found.st_gid)
    os.fchmod(target, stat.S_IMODE(found.st_mode))


def _copy_owner(name: str, target: int, found: os.stat_result) -> None:
    os.chown(name, found.st_uid, found.st_gid, dir_fd=target, follow_symlinks=False)
    if not stat.S_ISLNK(found.st_mode):
        os.chmod(name, stat.S_IMODE(found.st_mode), dir_fd=target)
        os.utime(name, ns=(found.st_atime_ns, found.st_mtime_ns), dir_fd=target)


def _copy_file(name: str, source: int, target: int) -> None:
    reading = os.open(name, os.O_RDONLY | os.O_NOFOLLOW | os.O_CLOEXEC, dir_fd=source)
    writing = os.open(name, os.O_WRONLY | os.O_CREAT | os.O_EXCL | os.O_CLOEXEC, 0o600, dir_fd=target)
    try:
        while os.sendfile(writing, reading, None, CHUNK):
            pass
    finally:
        os.close(reading)
        os.close(writing)
