"""The one tree of errors.

    CosoError                        exit status 125, as Docker's for its own failures
    ├── UsageError                   words of the user that make no sense together
    ├── ConfigError                  a compose file: place, key, what is wrong
    ├── SpecError                    a config.json that is not what the specification says
    ├── MissingError                 something that set-up provides is not there
    ├── UnsafePathError              a path that somebody else can change under us
    ├── PrivilegeError               the caller may not do this
    ├── KernelError                  a system call failed: call, path, errno
    ├── LimitError                   a limit that was asked for cannot be set
    ├── UnsupportedError             another runtime has no way to grant an option
    ├── StartError                   a step of the start failed: container, step, cause
    │   ├── CommandNotFoundError     exit status 127
    │   └── CommandNotExecutableError  exit status 126
    ├── CommandFailedError           a command that was to succeed did not
    ├── TimeoutExpiredError          something took longer than it was given
    ├── NetworkError                 the network helper, or cosonet itself
    └── ProvisionError               host set-up
        ├── ReleaseError             no such Alpine branch or version
        ├── DownloadError            mirror unreachable, 404, truncated
        ├── VerificationError        size or checksum is wrong
        └── ArchiveError             an archive that must not be unpacked

Each error carries what failed (`message`), the likely `cause`, and what to do
next (`hint`).  `str()` gives the lines a person reads; no error of this tree
reaches a user as a traceback.
"""

from __future__ import annotations

import errno as _errno
import os


class CosoError(Exception):
    """Anything coso can explain to the person in front of it."""

    exit_status = 125

    def __init__(self, message: str, *, cause: str = "", hint: str = "") -> None:
        super().__init__(message)
        self.message = message
        self.cause = cause
        self.hint = hint

    def __str__(self) -> str:
        lines = [self.message]
        if self.cause:
            lines.append(f"  likely cause: {self.cause}")
        if self.hint:
            lines.append(f"  what to do: {self.hint}")
        return "\n".join(lines)


class UsageError(CosoError):
    """The words given do not form a request."""


class ConfigError(CosoError):
    """A compose file does not say what it should: `place` is `FILE:LINE:COLUMN`, `path` the key, dotted."""

    def __init__(self, place: str, path: str, said: str, *, hint: str = "") -> None:
        super().__init__(": ".join(filter(None, (place, path, said))), hint=hint)
        self.place = place
        self.path = path


class SpecError(CosoError):
    """The configuration of a container is not what the specification says."""


class MissingError(CosoError):
    """A rootfs, an image or a program that set-up would have provided is absent."""


class UnsafePathError(CosoError):
    """A path can be changed by somebody who should not be able to."""


class PrivilegeError(CosoError):
    """The caller lacks a privilege."""


class LimitError(CosoError):
    """A resource limit that was asked for cannot be set here."""


class UnsupportedError(CosoError):
    """Another runtime, as checks drive it, has no way to grant an option."""


class CommandFailedError(CosoError):
    """A command in a container that was to succeed did not; `status`, `stdout` and `stderr` are what came of it."""

    def __init__(self, message: str, *, status: int = 0, stdout: str = "", stderr: str = "", cause: str = "") -> None:
        super().__init__(message, cause=cause)
        self.status = status
        self.stdout = stdout
        self.stderr = stderr


class TimeoutExpiredError(CosoError):
    """Something took longer than it was given."""


class NetworkError(CosoError):
    """The container's network could not be attached or released."""


class ProvisionError(CosoError):
    """Host set-up failed."""


class ReleaseError(ProvisionError):
    """The branch or version asked for is not offered by the mirror."""


class DownloadError(ProvisionError):
    """A file could not be fetched whole."""


class VerificationError(ProvisionError):
    """A file is not the one its publisher described."""


class ArchiveError(ProvisionError):
    """An archive is damaged, or holds an entry that must not be unpacked."""


class KernelError(CosoError):
    """A system call failed; `call`, `path` and `errno` say which, where and how."""

    def __init__(
        self, call: str, number: int, path: str = "", *, detail: str = "", cause: str = "", hint: str = ""
    ) -> None:
        where = f" on {path}" if path else ""
        more = f" ({detail})" if detail else ""
        super().__init__(f"{call}{where}: {os.strerror(number)} [{errno_name(number)}]{more}", cause=cause, hint=hint)
        self.call = call
        self.errno = number
        self.path = path
        self.detail = detail


class StartError(CosoError):
    """A step of a container's start failed, in the runtime or in the container's first process."""

    def __init__(
        self, container: str, step: str, message: str, *, number: int = 0, cause: str = "", hint: str = ""
    ) -> None:
        super().__init__(message, cause=cause, hint=hint)
        self.container = container
        self.step = step
        self.errno = number


class CommandNotFoundError(StartError):
    """The command does not exist inside the container."""

    exit_status = 127


class CommandNotExecutableError(StartError):
    """The command exists inside the container and cannot be executed."""

    exit_status = 126


def errno_name(number: int) -> str:
    """The symbol of an errno, `ENOENT` for 2."""
    return _errno.errorcode.get(number, str(number))


def from_os_error(error: OSError, call: str, path: str = "") -> KernelError:
    """The KernelError for an OSError that Python's own wrappers raised."""
    return KernelError(call, error.errno or 0, path or str(error.filename or ""))
