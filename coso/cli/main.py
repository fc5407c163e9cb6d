"""`coso COMMAND …`; without a command, `coso run`, as in the first version."""

from __future__ import annotations

import gc
import os
import sys

from coso import bundle
from coso.errors import CosoError

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Callable

HELP = """coso: disposable, isolated containers, without a daemon

  coso run [OPTIONS] [IMAGE] [COMMAND …]   run a command in a new container
  coso network …                           networks that containers meet on
  coso port CONTAINER                      where the ports of a container are published
  coso verify [OPTIONS]                    prove that a container is isolated
  coso oci …                               the OCI runtime command line (coso-oci), for engines
  coso gc                                  take back what killed runtimes left behind
  coso version

  coso run --help                          every option of run
"""


def main(words: list[str] | None = None) -> int:
    """Carry out a command line and return the exit status."""
    words = sys.argv[1:] if words is None else words
    try:
        return _command(words)(words[1:] if words and not words[0].startswith("-") else words)
    except CosoError as error:
        sys.stderr.write(f"coso: {error}\n")
        return error.exit_status
    except (OSError, ValueError) as error:  # A full disk, a name that is no text, and their like.
        sys.stderr.write(f"coso: {error}\n")
        return 125
    except KeyboardInterrupt:
        return 130


def _command(words: list[str]) -> Callable[[list[str]], int]:
    first = words[0] if words else ""
    if first in ("help", "--help", "-h", "-help"):
        return _help
    if first in ("version", "--version", "-version"):
        return _version
    if first == "gc":
        from coso.cli import gc

        return gc.main
    if first in ("network", "port"):
        from coso.cli import network

        return network.main if first == "network" else network.port
    if first == "oci":
        from coso.cli import oci

        return oci.main
    if first == "verify":
        from coso.cli import verify

        return verify.main
    if first == "run" or first.startswith("-") or not first:
        from coso.cli import run

        return run.main
    from coso.errors import UsageError

    raise UsageError(
        f"coso has no command {first!r}", hint="see `coso --help`; to run a command: `coso run IMAGE COMMAND`"
    )


def _help(_: list[str]) -> int:
    sys.stdout.write(HELP)
    return 0


def _version(_: list[str]) -> int:
    from coso import __version__

    sys.stdout.write(f"coso {__version__}\n")
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
    bundled = bundle.use()  # The launcher has called it already; a program that pip made has not.
    status = main()
    if not bundled and "coso.runtime.start" in sys.modules:
        bundle.write()
    try:
        sys.stdout.flush()
        sys.stderr.flush()
    except OSError:
        pass
    os._exit(status)
