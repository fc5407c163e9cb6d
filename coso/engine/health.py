"""Health checks: a command inside, now and then, whose exit status says whether the container is well.

The words are Docker's: `starting`, then `healthy`, or `unhealthy` after as
many failures in a row as there may be.
"""

from __future__ import annotations

import os
import select
from time import monotonic

from coso.times import duration, now

TYPE_CHECKING = False
if TYPE_CHECKING:
    from coso.engine.record import Json, Record

SIGKILL = 9
NANO = 1_000_000_000
DEFAULT_SECONDS, DEFAULT_RETRIES = 30.0, 3
MOST_OUTPUT, MOST_RESULTS = 4096, 5
OPTIONS = {"health-interval": "Interval", "health-timeout": "Timeout", "health-start-period": "StartPeriod"}


def settings_of(one: Record) -> Json | None:
    """The health check of a container, as the image specification has it; None without one."""
    if one.switch("no-healthcheck"):
        return None
    found: Json = dict(one.settings.get("Healthcheck") or {})
    if "health-cmd" in one.options:
        found["Test"] = ["CMD-SHELL", one.option("health-cmd")]
    for option, name in OPTIONS.items():
        if option in one.options:
            found[name] = int(duration(one.option(option), option) * NANO)
    if "health-retries" in one.options:
        found["Retries"] = int(one.option("health-retries"))
    test = found.get("Test") or []
    return found if test and test[0] != "NONE" else None


def checks_of(one: Record) -> Checks | None:
    """The checks of a container that has some."""
    found = settings_of(one)
    return Checks(one, found) if found else None


class Checks:
    """A container's checks, one at a time."""

    def __init__(self, one: Record, wanted: Json) -> None:
        self._one = one
        kind, *words = wanted["Test"]
        self._words = ("/bin/sh", "-c", words[0]) if kind == "CMD-SHELL" else tuple(words)
        self._interval = (wanted.get("Interval") or 0) / NANO or DEFAULT_SECONDS
        self._timeout = (wanted.get("Timeout") or 0) / NANO or DEFAULT_SECONDS
        self._retries = int(wanted.get("Retries") or 0) or DEFAULT_RETRIES
        self._spared_until = monotonic() + (wanted.get("StartPeriod") or 0) / NANO
        self._due = monotonic() + self._interval
        self._child, self._pipe, self._begun, self._said = 0, -1, "", b""
        self._results: list[Json] = []
        self._status, self._failures = "starting", 0
        self._first = True

    def milliseconds(self) -> int:
        """How long until something is due."""
        return max(0, int((self._due - monotonic()) * 1000) + 1)

    def step(self, poll: select.poll, ready: dict[int, int]) -> Json | None:
        """Begin a check, read what it says, or end it; the container's health when that has changed."""
        if self._first:
            self._first = False
            return self._health()
        if self._child:
            if self._pipe in ready:
                data = os.read(self._pipe, MOST_OUTPUT)
                self._said = (self._said + data)[:MOST_OUTPUT]
                if not data:
                    poll.unregister(self._pipe)
                    return self._end(timed_out=False)
            elif monotonic() >= self._due:
                poll.unregister(self._pipe)
                os.killpg(self._child, SIGKILL)
                return self._end(timed_out=True)
        elif monotonic() >= self._due:
            self._begin()
            poll.register(self._pipe, select.POLLIN)
        return None

    def _begin(self) -> None:
        self._pipe, writing = os.pipe2(os.O_CLOEXEC)
        self._begun, self._said = now(), b""
        self._child = os.fork()
        if self._child == 0:
            try:
                os.setsid()
                os.dup2(writing, 1)
                os.dup2(writing, 2)
                from coso.engine.inside import run_inside

                os._exit(run_inside(self._one, self._words))
            finally:
                os._exit(125)
        os.close(writing)
        self._due = monotonic() + self._timeout

    def _end(self, *, timed_out: bool) -> Json:
        os.close(self._pipe)
        self._pipe = -1
        _, status = os.waitpid(self._child, 0)
        self._child = 0
        self._due = monotonic() + self._interval
        code = -1 if timed_out else os.waitstatus_to_exitcode(status)
        said = (
            f"Health check exceeded timeout ({self._timeout:g}s)" if timed_out else self._said.decode(errors="replace")
        )
        result = {"Start": self._begun, "End": now(), "ExitCode": code, "Output": said}
        self._results = [*self._results, result][-MOST_RESULTS:]
        if code == 0:
            self._status, self._failures = "healthy", 0
        elif self._status != "starting" or monotonic() >= self._spared_until:
            self._failures += 1
            if self._failures >= self._retries:
                self._status = "unhealthy"
        return self._health()

    def _health(self) -> Json:
        return {"Status": self._status, "FailingStreak": self._failures, "Log": self._results}

    def stop(self) -> None:
        """End a check that is under way."""
        if self._child:
            try:
                os.killpg(self._child, SIGKILL)
            except ProcessLookupError:
                pass
            os.close(self._pipe)
            os.waitpid(self._child, 0)
            self._child = 0
