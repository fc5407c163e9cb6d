"""Something done in a process of its own; what goes wrong there is an error here."""

from __future__ import annotations

import _signal
import os
import select

from coso.errors import CosoError

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Callable

MOST_SAID = 60000
# What is begun is finished: whoever typed Ctrl-C is answered by the parent.
FINISHED = {_signal.SIGINT: _signal.SIG_IGN}


class Worker:
    """A process that does something; it can be read from `fd` that it has ended.

    `signals` says what it does about them.
    """

    def __init__(self, act: Callable[[], None], signals: dict[int, _signal.Handlers]) -> None:
        self.fd, writing = os.pipe2(os.O_CLOEXEC)
        self._pid = os.fork()
        if self._pid == 0:
            _become(act, signals, writing)
        os.close(writing)

    def finish(self) -> None:
        """Wait for its end; raises as a CosoError what was raised there."""
        with os.fdopen(self.fd, encoding="utf-8", errors="replace") as pipe:
            said = pipe.read()
        if os.waitpid(self._pid, 0)[1]:
            raise CosoError(said or "a process of this command was killed")


def _become(act: Callable[[], None], signals: dict[int, _signal.Handlers], writing: int) -> None:
    status, said = 1, ""
    try:
        for number, handler in signals.items():
            _signal.signal(number, handler)
        act()
        status = 0
    except CosoError as error:
        said = str(error)
    except OSError as error:
        said = f"{error.strerror}{f': {error.filename}' if error.filename else ''}"
    except BaseException as error:
        said = f"{type(error).__name__}: {error}"
    os.write(writing, said.encode(errors="replace")[:MOST_SAID])
    os._exit(status)


def wait_for(workers: list[Worker], seconds: float) -> list[Worker]:
    """Those that have ended, or are about to; waits for one, but not longer than this."""
    ready, _, _ = select.select([one.fd for one in workers], [], [], seconds)
    return [one for one in workers if one.fd in ready]


def all_at_once(acts: list[Callable[[], None]]) -> None:
    """Do several things at the same time. Raises the first CosoError, once all of them have ended."""
    errors = []
    for worker in [Worker(act, FINISHED) for act in acts]:
        try:
            worker.finish()
        except CosoError as error:
            errors.append(error)
    if errors:
        raise errors[0]
