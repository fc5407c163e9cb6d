"""Control files: reading and writing them, and the settings that a limit consists of.

A `Setting` is a value: which field of the specification asks for it, which
controller keeps it, and which file gets which text.  v1 and v2 make lists of
settings out of Resources without touching the machine; `apply` writes them.
"""

from __future__ import annotations

import errno
import os
import sys

from coso.errors import LimitError
from coso.value import value

# The options of `coso run` that set a field, for messages.
OPTIONS = {
    "memory.limit": "--memory",
    "cpu.quota": "--cpus",
    "cpu.period": "--cpus",
    "pids.limit": "--pids-limit",
}
# What the kernel answers to a value that does not fit one that another file still has, or to none at all.
REFUSED_FOR_NOW = (errno.EINVAL, errno.EBUSY)


@value
class Setting:
    """A text for a control file, on behalf of a field of linux.resources.

    `instead` is another file and text where the kernel lacks `file`.  `missing`
    says what it means that it has neither: an error (None), nothing (""), or
    this warning.  Without `file` the limit cannot be kept at all, and `text`
    says why.
    """

    field: str
    controller: str
    file: str
    text: str
    instead: tuple[str, str] | None = None
    missing: str | None = None


def impossible(field: str, controller: str, reason: str) -> Setting:
    """The setting that stands for a limit which no file of this controller keeps."""
    return Setting(field, controller, "", reason)


def named(field: str) -> str:
    """A field as the specification names it, and the option that sets it."""
    option = OPTIONS.get(field)
    return f"linux.resources.{field} ({option})" if option else f"linux.resources.{field}"


def apply(group: str, settings: list[Setting]) -> None:
    """Write settings to a group's files; raise LimitError with the field, the file and the errno.

    The kernel holds limits against each other (memory against memory and swap,
    quota against period and burst), so on the way from one legal state to
    another some order of writes may be illegal.  What is refused is therefore
    tried again after the rest, as long as that gets anywhere.
    """
    for setting in settings:
        if not setting.file:
            raise LimitError(
                f"{named(setting.field)} cannot be kept: {setting.text}", hint="leave it out, or change it"
            )
    while settings:
        refused = [(setting, error) for setting in settings if (error := _attempt(group, setting))]
        if len(refused) == len(settings):
            raise refused[0][1]
        settings = [setting for setting, _ in refused]


def _attempt(group: str, setting: Setting) -> LimitError | None:
    """Write one setting; return the error when another order may help."""
    file, text = _choose(group, setting)
    if not file:
        return None
    try:
        put(f"{group}/{file}", text)
    except OSError as error:
        if error.errno == errno.EOPNOTSUPP and setting.missing is not None:
            warn(f"{named(setting.field)}: {setting.missing or error.strerror}")
            return None
        failure = _failure(f"{group}/{file}", text, error, setting.field)
        if error.errno not in REFUSED_FOR_NOW:
            raise failure from None
        return failure
    return None


def _choose(group: str, setting: Setting) -> tuple[str, str]:
    """The file and the text that this kernel takes; "" where there is none and that is no error."""
    given = (setting.file, setting.text)
    for file, text in (given, setting.instead or given):
        if os.path.exists(f"{group}/{file}"):
            return file, text
    if setting.missing is None:
        raise LimitError(
            f"{named(setting.field)} cannot be kept: there is no {group}/{setting.file}",
            cause="the kernel was built without it, or the controller is not enabled for this group",
            hint=f"see `cat {group}/cgroup.controllers` on cgroup v2; or leave the limit out",
        )
    if setting.missing:
        warn(f"{named(setting.field)}: {setting.missing}")
    return "", ""


def warn(text: str) -> None:
    """Tell the person in front of coso what could be done without, and was."""
    sys.stderr.write(f"coso: {text}\n")


def put(path: str, text: str) -> None:
    """Write a control file in one write, as the kernel wants it; raise OSError."""
    fd = os.open(path, os.O_WRONLY | os.O_CLOEXEC)
    try:
        os.write(fd, text.encode())
    finally:
        os.close(fd)


def write(path: str, text: str, field: str = "") -> None:
    """Write a control file; raise LimitError with the file, the value and the errno."""
    try:
        put(path, text)
    except OSError as error:
        raise _failure(path, text, error, field) from None


def _failure(path: str, text: str, error: OSError, field: str) -> LimitError:
    return LimitError(
        f"{f'{named(field)}: ' if field else ''}cannot write {text!r} to {path}: {error.strerror}",
        cause="the kernel refuses this value, or a group above allows less",
        hint=f"compare with `cat {path}` and the limits of the groups above",
    )


def read(path: str) -> str:
    """The text of a control file without its last newline; "" when it cannot be read."""
    try:
        fd = os.open(path, os.O_RDONLY | os.O_CLOEXEC)
    except OSError:
        return ""
    text = b""
    try:
        while part := os.read(fd, 65536):
            text += part
    except OSError:
        pass  # ENODEV: the group was removed meanwhile; EOPNOTSUPP: a threaded group has no list of processes.
    finally:
        os.close(fd)
    return text.decode(errors="surrogateescape").strip()


def number(path: str) -> int | None:
    """The number in a control file; None when there is none, `max` being 2^64 - 1 as runc has it."""
    text = read(path)
    if text == "max":
        return (1 << 64) - 1
    return int(text) if text.removeprefix("-").isdecimal() else None


def table(path: str) -> dict[str, int]:
    """The numbers of a control file with a key and a number on each line, such as memory.stat."""
    found = {}
    for line in read(path).splitlines():
        key, _, count = line.partition(" ")
        if count.isdecimal():
            found[key] = int(count)
    return found
