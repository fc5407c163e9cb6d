"""The rootfs on disk: which image it is, and whether it may be trusted."""

from __future__ import annotations

import os
import stat

from coso.errors import MissingError, UnsafePathError, UsageError
from coso.spec.defaults import ROOTFS

NAMES = ("alpine", "busybox")


def resolve(image: str) -> str:
    """The path of an image; raise an error that says which there are."""
    name, _, version = image.partition(":")
    if name not in NAMES:
        raise UsageError(
            f"there is no image {image!r}",
            cause="without -rootfs the first word is an image",
            hint=f"images are {' and '.join(NAMES)}; for a command in the default rootfs: "
            f"`coso run -rootfs {ROOTFS} -- {image} …`",
        )
    if not os.path.isdir(ROOTFS):
        raise _missing(ROOTFS)
    release = os_release(ROOTFS)
    here, here_version = release.get("ID", "an unknown system"), release.get("VERSION_ID", "")
    if here != name or not f"{here_version}.".startswith(f"{version or here_version}."):
        raise MissingError(
            f"the image {image!r} is not here: {ROOTFS} holds {here} {here_version}".rstrip(),
            hint=f"run `invoke fs-setup --source {name}`"
            + (f" --version {version}" if version and name == "alpine" else ""),
        )
    return ROOTFS


def os_release(rootfs: str) -> dict[str, str]:
    """The fields of the rootfs' os-release file (os-release(5))."""
    from coso.errors import KernelError
    from coso.kernel.path import open_in_root

    root = os.open(rootfs, os.O_PATH | os.O_DIRECTORY | os.O_CLOEXEC)
    try:
        fd = open_in_root(root, "/etc/os-release", os.O_RDONLY)
    except KernelError:
        return {}
    finally:
        os.close(root)
    with os.fdopen(fd, errors="replace") as file:
        pairs = (line.strip().partition("=") for line in file)
        return {key: text.strip("\"'") for key, equals, text in pairs if equals}


def check(rootfs: str) -> None:
    """Raise an error when a rootfs is missing, or somebody else could change it."""
    try:
        found = os.stat(rootfs)
    except FileNotFoundError:
        raise _missing(rootfs) from None
    except OSError as error:
        raise MissingError(f"the rootfs {rootfs} cannot be read: {error.strerror}") from None
    if not stat.S_ISDIR(found.st_mode):
        raise MissingError(f"the rootfs {rootfs} is not a directory", hint="unpack it, or run `invoke fs-setup`")
    if os.access(rootfs, os.R_OK) and not os.listdir(rootfs):
        raise MissingError(f"the rootfs {rootfs} is empty", hint="run `invoke fs-setup`")
    check_owner(os.path.abspath(rootfs))


def check_owner(path: str) -> None:
    """Raise UnsafePathError when `path`, or a directory above it, belongs to or can be changed by another user.

    /tmp is everybody's: whoever makes /tmp/coso first could put a rootfs of
    theirs there.  A directory above with the sticky bit is safe, as only owners
    rename in it; the person who called sudo is no stranger.
    """
    trusted = {0, os.geteuid(), _caller_of_sudo()}
    place = path = os.path.realpath(path)
    while True:
        found = os.stat(place)
        sticky = found.st_mode & stat.S_ISVTX and place != path
        if found.st_uid not in trusted:
            raise UnsafePathError(
                f"{place} belongs to user {found.st_uid}, who could change it under you",
                hint=f"look at what it is; then `chown root: {place}` or remove it",
            )
        if found.st_mode & (stat.S_IWGRP | stat.S_IWOTH) and not sticky:
            raise UnsafePathError(
                f"{place} can be written by others (mode {stat.S_IMODE(found.st_mode):04o})",
                hint="give a directory below it"
                if found.st_mode & stat.S_ISVTX
                else f"run `chmod go-w {place}` after a look at what is in it",
            )
        if place == "/":
            return
        place = os.path.dirname(place)


def _caller_of_sudo() -> int:
    text = os.environ.get("SUDO_UID", "")
    return int(text) if text.isdecimal() else 0


def _missing(rootfs: str) -> MissingError:
    where = "" if rootfs == ROOTFS else f" --rootfs {rootfs}"
    return MissingError(f"there is no rootfs at {rootfs}", hint=f"run `invoke fs-setup{where}` to make one")
