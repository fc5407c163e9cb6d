"""The last step: execve of the command, or the reason why not (execve(2), path_resolution(7))."""

from __future__ import annotations

import _signal
import errno
import os

from coso.errors import CommandNotExecutableError, CommandNotFoundError, CosoError
from coso.kernel.process import close_on_exec_from
from coso.runtime.container import Container
from coso.runtime.pid import FORWARDED

SIGPIPE, SIGXFSZ = 13, 25


def enter_directory(container: Container) -> None:
    """Go to the working directory, made where it is missing, and make sure that it is inside.

    A directory of the host that were still open could be reached as
    /proc/self/fd/N (CVE-2024-21626); every descriptor but the channel is
    closed before, and the kernel is asked where we are after.
    """
    cwd = container.spec.process.cwd or "/"
    kept = container.theirs.filenos() | (container.gate.filenos() if container.gate else set())
    place = 3 + container.preserved
    for fd in sorted(kept):
        os.closerange(place, fd)
        place = fd + 1
    os.closerange(place, 1 << 30)
    # Here and not just before execve: a filter need not allow close_range(2) then.
    close_on_exec_from(3 + container.preserved)
    for fd in range(3, 3 + container.preserved):
        os.set_inheritable(fd, True)
    try:
        if not container.init:
            os.makedirs(cwd, exist_ok=True)
        os.chdir(cwd)
        os.getcwd()
    except OSError as error:
        raise CosoError(f"cannot enter the working directory {cwd}: {error.strerror}") from None


def environment(container: Container) -> dict[str, str]:
    """The command's variables: those of the spec, and HOME and HOSTNAME where it has none."""
    variables = dict(item.partition("=")[::2] for item in container.spec.process.env)
    if not variables.get("HOME"):
        # An empty one is as good as none, for runc and crun too: engines take it for the image's silence.
        variables.pop("HOME", "")
    own = {"HOME": container.home}
    if container.listening:
        own |= {"LISTEN_FDS": str(container.listening), "LISTEN_PID": "1"}
    if container.spec.names:
        own["HOSTNAME"] = container.hostname
    return own | variables


def check(container: Container) -> None:
    """Find the command; raise the error that `execute` would for one that is not there, or not for its user."""
    name = container.spec.process.args[0]
    paths = _paths(name, environment(container))
    for path in paths:
        if os.access(path, os.X_OK, effective_ids=True) and os.path.isfile(path):
            container.program = path
            return
    if any(map(_is_there, paths)):
        raise _not_executable(container.id, name, errno.EACCES)
    raise _not_found(container, name)


def _paths(name: str, variables: dict[str, str]) -> list[str]:
    # Without a PATH the working directory, which may hold anything, is no place to look in (execvp(3)).
    path = variables.get("PATH", "/bin:/usr/bin")
    return [name] if "/" in name else [f"{place or '.'}/{name}" for place in path.split(":")]


def reset_signals() -> None:
    """Undo what Python and the runtime did to signals; execve keeps blocked and ignored ones."""
    for number in (SIGPIPE, SIGXFSZ, *FORWARDED):
        _signal.signal(number, _signal.SIG_DFL)
    _signal.pthread_sigmask(_signal.SIG_SETMASK, ())


def execute(container: Container) -> None:
    """Become the command; raise an error of exit status 127 or 126 when that is impossible."""
    args, variables = container.spec.process.args, environment(container)
    name = args[0]
    paths = _paths(name, variables)
    if container.program and not (container.gate or container.spec.hooks.start_container):
        # It was found a moment ago, and what comes before it in PATH was not.
        paths = paths[paths.index(container.program) :]
    denied = 0
    for path in paths:
        try:
            os.execve(path, list(args), variables)
        except OSError as error:
            number = error.errno or 0
            if number in (errno.ENOENT, errno.ENOTDIR) and not _is_there(path):
                continue
            denied = number
            if number != errno.EACCES:
                raise _not_executable(container.id, path, number) from None
    if denied:
        raise _not_executable(container.id, name, denied)
    raise _not_found(container, name)


def _not_found(container: Container, name: str) -> CosoError:
    """Engines look for these words to tell status 127 from others (podman, dockerd: "executable file not found")."""
    variables = environment(container)
    said = "no such file or directory" if "/" in name else "executable file not found in $PATH"
    hint = "" if "/" in name else f"PATH inside is {variables.get('PATH', '')!r}"
    return CommandNotFoundError(
        container.id,
        "execute",
        f"{name}: there is no such command in the container ({said})",
        number=errno.ENOENT,
        hint=hint,
    )


def _is_there(path: str) -> bool:
    return os.path.lexists(path)


def _not_executable(container: str, path: str, number: int) -> CosoError:
    causes = {
        errno.EACCES: "it is a directory or has no execute permission for this user",
        errno.ENOENT: "the interpreter or loader it names is not in the image",
        errno.ENOEXEC: "it is neither a program of this machine's architecture nor a script that names its interpreter",
    }
    kind = CommandNotFoundError if number == errno.ENOENT else CommandNotExecutableError
    return kind(
        container,
        "execute",
        # In small letters: dockerd tells status 126 by the words "permission denied".
        f"{path} cannot be executed: {os.strerror(number).lower()}",
        number=number,
        cause=causes.get(number, ""),
    )
