"""`coso-oci`: the command line by which engines drive an OCI runtime.

That of runc, with crun's additions where engines use them: podman, Docker,
containerd and Kubernetes call it so.  Errors go to standard error and, in
the form that engines parse, to the log file.
"""

from __future__ import annotations

import gc
import os
import sys

from coso.errors import CosoError, UsageError
from coso.flags import Option, Words, parse, usage

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Callable

    Command = Callable[["Caller", Words], int]

GLOBALS = (
    Option(
        "root",
        "",
        "DIR",
        "where containers' states are kept (default /run/coso/oci, a user's $XDG_RUNTIME_DIR/coso/oci)",
    ),
    Option("log", "", "FILE", "write errors and warnings there too"),
    Option("log-format", "", "text|json", "form of the log (default text)"),
    Option("log-level", "", "LEVEL", "debug, info, warn or error (default warn)"),
    Option("debug", "", "", "the same as --log-level debug"),
    Option("systemd-cgroup", "", "", "have systemd make the control groups"),
    Option("cgroup-manager", "", "NAME", "cgroupfs, systemd or disabled (default cgroupfs)"),
    Option("rootless", "", "true|false|auto", "accepted; what can be done is found out by trying"),
    Option("criu", "", "PATH", "accepted; checkpoints are not supported"),
    Option("version", "v", "", "print the version"),
    Option("help", "h", "", "print this"),
)
LEVELS = ("debug", "info", "warn", "warning", "error", "fatal")


class Caller:
    """Whom a command works for: where states are, how groups are made, and where words go."""

    def __init__(self, given: Words) -> None:
        from coso.oci.store import default_root

        self.root = os.path.abspath(given.last("root") or default_root())
        self.log = os.path.abspath(given.last("log")) if given.last("log") else ""
        self.warns = True
        self.json = given.last("log-format", "text") == "json"
        self.level = "debug" if given.on("debug") else given.last("log-level", "warn")
        self.manager = "systemd" if given.on("systemd-cgroup") else given.last("cgroup-manager", "cgroupfs")
        for name, answer, known in (
            ("log-format", given.last("log-format", "text"), ("text", "json")),
            ("log-level", self.level, LEVELS),
            ("cgroup-manager", self.manager, ("cgroupfs", "systemd", "disabled")),
        ):
            if answer not in known:
                raise UsageError(f"--{name} {answer!r} is not known", hint=f"one of {', '.join(known)}")

    def spare_the_container(self) -> None:
        """Warn on a terminal and in the log only: standard error becomes the container's, and so part of its log."""
        self.warns = sys.stderr.isatty()

    def say(self, level: str, message: str) -> None:
        """Write a line to the log; to standard error too when there is none, or for an error."""
        if level != "error" and LEVELS.index(level) < LEVELS.index(self.level):
            return
        line = " ".join(message.split("\n"))
        if level == "error" or (self.warns and not self.log):
            sys.stderr.write(f"coso-oci: {message}\n" if level == "error" else f"coso-oci: {level}: {line}\n")
        if self.log:
            self._append(level, line)

    def _append(self, level: str, line: str) -> None:
        import time

        now = time.strftime("%Y-%m-%dT%H:%M:%SZ", time.gmtime())
        if self.json:
            import json

            text = json.dumps({"level": level, "msg": line, "time": now})
        else:
            quoted = line.replace("\\", "\\\\").replace('"', '\\"')
            text = f'time="{now}" level={level} msg="{quoted}"'
        try:
            fd = os.open(self.log, os.O_WRONLY | os.O_CREAT | os.O_APPEND | os.O_CLOEXEC, 0o644)
            os.write(fd, f"{text}\n".encode(errors="replace"))
            os.close(fd)
        except OSError as error:
            sys.stderr.write(f"coso-oci: --log {self.log}: {error.strerror}\n")

    def warn(self, message: str) -> None:
        """Say what is not an error."""
        self.say("warn", message)


def main(words: list[str] | None = None) -> int:
    """Carry out a command line and return the exit status."""
    words = sys.argv[1:] if words is None else words
    caller = None
    try:
        given = parse(GLOBALS, words, "coso-oci")
        if given.on("version"):
            return _version()
        if given.on("help") or not given.rest or given.rest[0] == "help":
            return _help()
        caller = Caller(given)
        return _command(caller, given.rest[0], list(given.rest[1:]))
    except CosoError as error:
        _say_error(caller, str(error))
        # Engines know a failure of the runtime by 1; a command's own status is what is left.
        return error.exit_status if error.exit_status != 125 else 1
    except (OSError, ValueError) as error:
        _say_error(caller, str(error))
        return 1
    except KeyboardInterrupt:
        return 130
    except Exception as error:  # An engine reads what is said here: a sentence, and never a traceback.
        _say_error(caller, f"this is a fault of coso: {type(error).__name__}: {error}")
        return 1


def _say_error(caller: Caller | None, text: str) -> None:
    if caller:
        caller.say("error", text)
    else:
        sys.stderr.write(f"coso-oci: {text}\n")


def _command(caller: Caller, name: str, words: list[str]) -> int:
    from coso.cli.oci_commands import COMMANDS

    if name not in COMMANDS:
        raise UsageError(f"coso-oci has no command {name!r}", hint="see `coso-oci --help`")
    table, arguments, carry_out = COMMANDS[name]
    table += (Option("help", "h", "", "print this"),)
    # What follows the container's id is another program's command line where the list is open.
    given = parse(table, words, f"coso-oci {name}", anywhere="…" not in arguments)
    if given.on("help"):
        sys.stdout.write(f"coso-oci {name} [OPTIONS] {arguments}\n\n{usage(table)}\n")
        return 0
    wanted = arguments.split()
    least = sum(not word.startswith("[") for word in wanted)
    most = 1 << 20 if "…" in arguments else len(wanted)
    if not least <= len(given.rest) <= most:
        raise UsageError(f"coso-oci {name} takes {arguments or 'no arguments'}", hint=f"see `coso-oci {name} --help`")
    return carry_out(caller, given)


def _version() -> int:
    from coso import __version__
    from coso.spec import VERSION

    sys.stdout.write(f"coso-oci version {__version__}\nspec: {VERSION}\n")
    return 0


def _help() -> int:
    from coso.cli.oci_commands import COMMANDS

    sys.stdout.write("coso-oci [OPTIONS] COMMAND …: an OCI runtime\n\n")
    for name, (_, arguments, carry_out) in COMMANDS.items():
        sys.stdout.write(f"  {f'{name} {arguments}':<34} {(carry_out.__doc__ or '').split(chr(10))[0]}\n")
    sys.stdout.write(f"\n{usage(GLOBALS)}\n")
    return 0


def entry() -> None:
    """The installed program."""
    from coso import bundle
    from coso.cli.main import open_standard_streams

    open_standard_streams()
    gc.disable()
    bundle.use()
    status = main()
    bundle.write()
    try:
        sys.stdout.flush()
        sys.stderr.flush()
    except OSError:
        pass
    os._exit(status)
