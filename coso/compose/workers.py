"""Several things at a time, each in a process of its own; what went wrong in one is an error here."""

from __future__ import annotations

import os
import select

from coso.errors import CosoError

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Callable

SIGINT = 2


class Worker:
    """A process that does something; its end is seen through a pipe."""

    def __init__(self, act: Callable[[], None]) -> None:
        reading, writing = os.pipe2(os.O_CLOEXEC)
        self._pid = os.fork()
        if self._pid == 0:
            os.close(reading)
            self._become(act, writing)
        os.close(writing)
        self.fd = reading

    def _become(self, act: Callable[[], None], writing: int) -> None:
        import _signal

        status, said = 0, ""
        try:
            # What is begun is finished: whoever typed Ctrl-C is answered by the parent.
            _signal.signal(SIGINT, _signal.SIG_IGN)
            act()
        except CosoError as error:
            status, said = 1, str(error)
        except BaseException as error:
            status, said = 1, f"{type(error).__name__}: {error}"
        os.write(writing, said.encode(errors="replace")[:60000])
        os._exit(status)

    def finish(self) -> None:
        """Wait for its end; raises as a CosoError what was raised there."""
        with os.fdopen(self.fd, encoding="utf-8", errors="replace") as pipe:
            said = pipe.read()
        if os.waitpid(self._pid, 0)[1]:
            raise CosoError(said or "a process of this command was killed")


def wait_for(workers: list[Worker], seconds: float) -> list[Worker]:
    """Those that have ended, or are about to; waits for one, but not longer than this."""
    ready, _, _ = select.select([one.fd for one in workers], [], [], seconds)
    return [one for one in workers if one.fd in ready]


def all_at_once(acts: list[Callable[[], None]]) -> None:
    """Do several things at the same time. Raises the first CosoError, once all of them have ended."""
    errors = []
    for worker in [Worker(act) for act in acts]:
        try:
            worker.finish()
        except CosoError as error:
            errors.append(error)
    if errors:
        raise errors[0]
