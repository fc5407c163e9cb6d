"""Health checks: a command inside, now and then, whose exit status says whether the container is well.

The words are Docker's: `starting`, then `healthy`, or `unhealthy` after as
many failures in a row as there may be.  Each container that has checks has a
process for them beside its monitor, which ends with that.
"""

from __future__ import annotations

import os
import select
from time import monotonic

from coso.engine import events, record
from coso.times import duration, now

TYPE_CHECKING = False
if TYPE_CHECKING:
    from typing import NoReturn

    from coso.engine.record import Json, Record

SIGKILL = 9
NANO = 1_000_000_000
DEFAULT_SECONDS, DEFAULT_RETRIES = 30.0, 3
MOST_OUTPUT, MOST_RESULTS = 4096, 5
TIMED_OUT = -1
OPTIONS = {
    "health-interval": "Interval",
    "health-timeout": "Timeout",
    "health-start-period": "StartPeriod",
    "health-start-interval": "StartInterval",
}


def settings_of(one: Record) -> Json | None:
    """The health check of a container, as the image specification has it; None without one."""
    if one.switch("no-healthcheck"):
        return None
    found: Json = dict(one.settings.get("Healthcheck") or {})
    if "health-cmd" in one.options:
        found["Test"] = ["CMD-SHELL", one.option("health-cmd")]
    if "health-words" in one.options:  # Of compose files; the command line has no way to say it.
        found["Test"] = ["CMD", *one.options["health-words"]]
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
    """A container's checks, and what came of them."""

    def __init__(self, one: Record, wanted: Json) -> None:
        self._one = one
        kind, *words = wanted["Test"]
        self._words = ("/bin/sh", "-c", words[0]) if kind == "CMD-SHELL" else tuple(words)
        self._interval = (wanted.get("Interval") or 0) / NANO or DEFAULT_SECONDS
        self._start_interval = (wanted.get("StartInterval") or 0) / NANO or self._interval
        self._timeout = (wanted.get("Timeout") or 0) / NANO or DEFAULT_SECONDS
        self._retries = int(wanted.get("Retries") or 0) or DEFAULT_RETRIES
        self._spared_until = monotonic() + (wanted.get("StartPeriod") or 0) / NANO
        self._results: list[Json] = []
        self._status, self._failures = "starting", 0

    def run(self) -> NoReturn:
        """Check again and again; ends with the monitor."""
        self._tell("")
        while True:
            starts = self._status == "starting" and monotonic() < self._spared_until
            select.select([], [], [], self._start_interval if starts else self._interval)
            begun = now()
            code, said = self._check()
            result = {"Start": begun, "End": now(), "ExitCode": code, "Output": said}
            self._results = [*self._results, result][-MOST_RESULTS:]
            before = self._status
            self._judge(code)
            self._tell(before)

    def _check(self) -> tuple[int, str]:
        """Run the command; its exit status and what it said."""
        reading, writing = os.pipe2(os.O_CLOEXEC)
        child = os.fork()
        if child == 0:
            try:
                os.setsid()
                os.dup2(writing, 1)
                os.dup2(writing, 2)
                from coso.engine.inside import run_inside

                os._exit(run_inside(self._one, self._words))
            finally:
                os._exit(125)
        os.close(writing)
        said, until = b"", monotonic() + self._timeout
        timed_out = False
        while not timed_out:
            ready, _, _ = select.select([reading], [], [], max(0.0, until - monotonic()))
            timed_out = not ready
            if ready:
                data = os.read(reading, MOST_OUTPUT)
                said = (said + data)[:MOST_OUTPUT]
                if not data:
                    break
        os.close(reading)
        if timed_out:
            os.killpg(child, SIGKILL)
        _, status = os.waitpid(child, 0)
        if timed_out:
            return TIMED_OUT, f"Health check exceeded timeout ({self._timeout:g}s)"
        return os.waitstatus_to_exitcode(status), said.decode(errors="replace")

    def _judge(self, code: int) -> None:
        if code == 0:
            self._status, self._failures = "healthy", 0
        elif self._status != "starting" or monotonic() >= self._spared_until:
            self._failures += 1
            if self._failures >= self._retries:
                self._status = "unhealthy"

    def _tell(self, before: str) -> None:
        """Write it down, in a file of its own: others write the state."""
        found = {"Status": self._status, "FailingStreak": self._failures, "Log": self._results}
        record.write(self._one.id, record.HEALTH, found)
        if before != self._status:
            events.tell(f"health_status: {self._status}", self._one.id, self._one.config)
