"""What COPY and ADD read: a directory, less what `.dockerignore` names; sources found, hashed, and copied."""

from __future__ import annotations

import os
import re
import stat
from collections.abc import Callable, Iterator
from hashlib import sha256

from coso.build import ignore
from coso.errors import CosoError, KernelError, UsageError
from coso.kernel.path import open_in_root
from coso.value import value

CHUNK = 1 << 20
MAGIC = re.compile(r"[*?\[]")


@value
class Tree:
    """An open directory, and which paths in it are not to be seen."""

    root: int
    patterns: list[ignore.Pattern]

    def sees(self, path: str) -> bool:
        """Whether a path may be copied."""
        return not self.patterns or not ignore.is_left_out(path, self.patterns)


@value
class Found:
    """A source that is there: its path in the tree, and whether it is copied itself or what it holds."""

    path: str
    about: os.stat_result
    inside: bool


def of_directory(path: str, dockerfile: str = "") -> Tree:
    """The context that a directory is; a Dockerfile may have an ignore file of its own."""
    for name in (f"{dockerfile}.dockerignore" if dockerfile else "", os.path.join(path, ".dockerignore")):
        try:
            with open(name, encoding="utf-8") as file:
                known = ignore.patterns(file.read())
            break
        except (FileNotFoundError, NotADirectoryError):
            known = []
    return Tree(os.open(path, os.O_RDONLY | os.O_DIRECTORY | os.O_CLOEXEC), known)


def find(tree: Tree, word: str) -> list[Found]:
    """The sources that a word names, which may be a pattern; raises UsageError when there are none."""
    path = os.path.normpath(word).lstrip("/")
    if path.startswith(".."):
        raise UsageError(f"{word!r} leads out of the context")
    path = "" if path == "." else path
    names = [path] if not MAGIC.search(path) else sorted(_matching(tree, path))
    found = []
    for name in names:
        if name and not tree.sees(name) and not (tree.patterns and ignore.may_bring_back(name, tree.patterns)):
            continue
        about = _stat(tree, name)
        if about is not None:
            found.append(Found(name, about, stat.S_ISDIR(about.st_mode)))
    if not found:
        raise UsageError(
            f"{word!r} is not in the context", hint="a path below it, and not one that .dockerignore names"
        )
    return found


def _matching(tree: Tree, pattern: str) -> Iterator[str]:
    expression = re.compile(ignore.translated(pattern))
    depth = pattern.count("/")
    yield from (path for path in _paths(tree, "", depth) if expression.fullmatch(path) and tree.sees(path))


def _paths(tree: Tree, above: str, depth: int) -> Iterator[str]:
    fd = _open(tree, above, os.O_RDONLY | os.O_DIRECTORY)
    if fd < 0:
        return
    try:
        names = os.listdir(fd)
    finally:
        os.close(fd)
    for name in names:
        path = f"{above}/{name}" if above else name
        yield path
        if depth:
            about = _stat(tree, path)
            if about and stat.S_ISDIR(about.st_mode):
                yield from _paths(tree, path, depth - 1)


def _open(tree: Tree, path: str, flags: int) -> int:
    try:
        return open_in_root(tree.root, path or "/", flags)
    except KernelError:
        return -1


def _stat(tree: Tree, path: str) -> os.stat_result | None:
    """What a source is: a link that is named itself is followed inside the tree, as Docker does."""
    fd = _open(tree, path, os.O_PATH)
    if fd < 0:
        return None
    try:
        return os.fstat(fd)
    finally:
        os.close(fd)


def walk(tree: Tree, path: str) -> Iterator[tuple[str, int, str, os.stat_result]]:
    """All that is to be seen below a directory, in the order of names: path, open parent, name and what it is."""
    fd = _open(tree, path, os.O_RDONLY | os.O_DIRECTORY)
    if fd < 0:
        raise CosoError(f"{path} went away meanwhile")
    try:
        for name in sorted(os.listdir(fd)):
            inner = f"{path}/{name}" if path else name
            about = os.lstat(name, dir_fd=fd)
            is_directory = stat.S_ISDIR(about.st_mode)
            seen = tree.sees(inner)
            if seen:
                yield inner, fd, name, about
            if is_directory and (seen or ignore.may_bring_back(inner, tree.patterns)):
                yield from walk(tree, inner)
    finally:
        os.close(fd)


def digest(tree: Tree, found: list[Found]) -> str:
    """A hash of all that sources hold: names, kinds, modes and contents, not times."""
    known = sha256()
    for source in found:
        if not source.inside:
            if not stat.S_ISREG(source.about.st_mode):
                raise UsageError(f"{source.path} is neither a file nor a directory")
            fd = _open(tree, source.path, os.O_RDONLY | os.O_NONBLOCK)
            known.update(_line(os.path.basename(source.path), source.about))
            _hash_file(known.update, fd)
            continue
        for path, parent, name, about in walk(tree, source.path):
            known.update(_line(path.removeprefix(source.path), about))
            if stat.S_ISREG(about.st_mode):
                _hash_file(known.update, os.open(name, os.O_RDONLY | os.O_NOFOLLOW | os.O_CLOEXEC, dir_fd=parent))
            elif stat.S_ISLNK(about.st_mode):
                known.update(os.readlink(name, dir_fd=parent).encode())
    return known.hexdigest()


def _line(path: str, about: os.stat_result) -> bytes:
    size = about.st_size if stat.S_ISREG(about.st_mode) else 0
    return f"\0{path}\0{about.st_mode:o}\0{size}\0".encode(errors="surrogateescape")


def _hash_file(update: Callable[[bytes], None], fd: int) -> None:
    with os.fdopen(fd, "rb") as file:
        while data := file.read(CHUNK):
            update(data)
