"""A single file of a container: put it there, get it, remove it; paths are resolved in its root, mounts included."""

from __future__ import annotations

import os
import posixpath
import stat

from coso.engine import merged
from coso.errors import CosoError
from coso.kernel.path import make_in_root, open_in_root

TYPE_CHECKING = False
if TYPE_CHECKING:
    from coso.engine.record import Record

MISSING = "there is no such file or directory in the container"


def open_directory(root: int, path: str) -> int:
    """A directory below a root. Raises CosoError."""
    try:
        return open_in_root(root, path, os.O_RDONLY | os.O_DIRECTORY)
    except CosoError:
        raise CosoError(f"{path}: {MISSING}") from None


def put(one: Record, path: str, data: bytes, mode: int, owner: tuple[int, int]) -> None:
    """Write a file into a container, and make the directories above it. Raises CosoError."""

    def act() -> None:
        root = merged.enter(one)
        above, name = posixpath.split(posixpath.normpath(f"/{path}"))
        os.close(make_in_root(root, above, directory=True))
        parent = open_directory(root, above)
        fd = os.open(name, os.O_CREAT | os.O_WRONLY | os.O_TRUNC | os.O_NOFOLLOW, 0o600, dir_fd=parent)
        with os.fdopen(fd, "wb") as file:
            file.write(data)
        os.chown(name, *owner, dir_fd=parent, follow_symlinks=False)
        os.chmod(name, mode, dir_fd=parent)

    merged.inside(act)


def get(one: Record, path: str, out: int) -> None:
    """Write what a file of a container holds to a descriptor. Raises CosoError."""

    def act() -> None:
        root = merged.enter(one)
        try:
            fd = open_in_root(root, path, os.O_RDONLY | os.O_NONBLOCK)
        except CosoError:
            raise CosoError(f"{path}: {MISSING}") from None
        if not stat.S_ISREG(os.fstat(fd).st_mode):
            raise CosoError(f"{path} in the container is no file")
        while data := os.read(fd, 1 << 20):
            while data:
                data = data[os.write(out, data) :]

    merged.inside(act)


def put_file(one: Record, path: str, source: str) -> None:
    """Write what is in a file of the host into a container, with its mode. Raises CosoError."""
    with open(source, "rb") as file:
        data = file.read()
    put(one, path, data, stat.S_IMODE(os.stat(source).st_mode), (0, 0))


def remove(one: Record, paths: list[str]) -> None:
    """Remove files of a container, where they are there. Raises CosoError."""

    def act() -> None:
        root = merged.enter(one)
        for path in paths:
            above, name = posixpath.split(posixpath.normpath(f"/{path}"))
            try:
                os.unlink(name, dir_fd=open_in_root(root, above, os.O_RDONLY | os.O_DIRECTORY))
            except (OSError, CosoError):
                continue

    merged.inside(act)
