"""`coso COMMAND …`; options without a command are those of `coso run`, as in the first version."""

from __future__ import annotations

import gc
import os
import sys

from coso import bundle
from coso.errors import CosoError

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Callable

NEXT = """coso: disposable, isolated containers, without a daemon
{commands}

What to do next:
  coso run -it alpine                 a shell in a new container
  coso run -d --name web -p 8080:80 nginx
  coso ps; coso logs web; coso rm -f web
  coso COMMAND --help                 every option of a command
"""


def main(words: list[str] | None = None) -> int:
    """Carry out a command line and return the exit status."""
    words = sys.argv[1:] if words is None else words
    try:
        command, rest = _command(words)
        return command(rest)
    except KeyboardInterrupt:
        return 130
    except BrokenPipeError:
        # Whoever read has enough; what is still held back must not be tried again at the end.
        os.dup2(os.open("/dev/null", os.O_WRONLY | os.O_CLOEXEC), 1)
        return 141
    except Exception as error:
        return say(error)


def say(error: Exception) -> int:
    """Say what went wrong in a line or three, and return the exit status for it; a fault of coso is raised again."""
    if isinstance(error, CosoError):
        sys.stderr.write(f"coso: {error}\n")
        return error.exit_status
    if isinstance(error, (OSError, ValueError)):  # A full disk, a name that is no text, and their like.
        sys.stderr.write(f"coso: {error}\n")
        return 125
    raise error


def _command(words: list[str]) -> tuple[Callable[[list[str]], int], list[str]]:
    first = words[0] if words else ""
    # Found without the table: this is the way to execve.
    if first == "run" or (first.startswith("-") and first not in ("--help", "-h", "-help", "--version", "-version")):
        if first != "run" or "--rm" in words:
            # It is most likely to live in front, in this very process.
            bundle.load_together()
        from coso.cli import run

        return run.main, words[1:] if first == "run" else words
    if not words or first in ("help", "--help", "-h", "-help"):
        return _help, words[1:]
    from coso.cli import commands

    name, rest = commands.find(["version"] if first in ("--version", "-version") else words)
    if name:
        _take_rights(name)
        return commands.load(name), rest
    if first in commands.ABOVE and (len(words) == 1 or words[1] in ("--help", "-h", "help")):
        return _help_below, [first]
    raise _unknown(words)


def _take_rights(name: str) -> None:
    from coso.cli.commands import as_user
    from coso.kernel.process import is_limited

    if not as_user(name) and is_limited() and os.geteuid() != 0:
        from coso.engine.adopt import adopt
        from coso.runtime import rootless

        # A monitor must not be made in there: it starts what joins the container from outside.
        adopt()
        rootless.become_root()


def _unknown(words: list[str]) -> CosoError:
    from difflib import get_close_matches

    from coso.cli import commands
    from coso.errors import UsageError

    first = words[0]
    if first in commands.ABOVE:
        known, said = list(commands.below(first)), f"coso {first} has no command {words[1]!r}"
        close = get_close_matches(words[1], known, 1)
        hint = f"did you mean `{first} {close[0]}`?" if close else f"there are {', '.join(known)}"
        return UsageError(said, hint=hint)
    close = get_close_matches(first, [name for name in commands.PATHS if " " not in name], 1)
    return UsageError(
        f"coso has no command {first!r}",
        hint=f"did you mean `coso {close[0]}`?" if close else "see `coso --help`; to run it: `coso run IMAGE COMMAND`",
    )


def _help(words: list[str]) -> int:
    from coso.cli import commands

    name, _ = commands.find(words)
    if name:
        return commands.load(name)(["--help"])
    if words and words[0] in commands.ABOVE:
        return _help_below(words)
    sys.stdout.write(NEXT.format(commands=commands.overview()))
    return 0


def _help_below(words: list[str]) -> int:
    from coso.cli import commands

    lines = [f"  {name}".ljust(14) + text for name, text in commands.below(words[0]).items()]
    sys.stdout.write(f"coso {words[0]} COMMAND …\n\n" + "\n".join(lines) + "\n")
    return 0


def open_standard_streams() -> None:
    """Open those of 0, 1 and 2 that the caller has closed: other files must not take their numbers."""
    fd = os.open("/dev/null", os.O_RDWR)
    while fd <= 2:
        os.set_inheritable(fd, True)
        fd = os.open("/dev/null", os.O_RDWR)
    os.close(fd)
    sys.stdout = sys.stdout or open(1, "w", closefd=False)
    sys.stderr = sys.stderr or open(2, "w", closefd=False)


def entry() -> None:
    """The installed program: leave without the interpreter's own tear-down, which takes milliseconds."""
    open_standard_streams()
    # Imports make nothing but keepers: looking for cycles among them costs a millisecond.
    gc.disable()
    bundle.use()  # The launcher has called it already; a program that pip made has not.
    status = main()
    bundle.write()
    try:
        sys.stdout.flush()
        sys.stderr.flush()
    except OSError:
        pass
    os._exit(status)
