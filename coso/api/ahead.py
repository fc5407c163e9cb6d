"""The container that a worker makes before it is asked for: blank, or like the last two where those were alike."""

from __future__ import annotations

import _signal

from coso import steps
from coso.errors import CosoError
from coso.flags import Words
from coso.kernel.process import is_limited
from coso.runtime import blank
from coso.runtime.start import end
from coso.spec.build import spec_from

TYPE_CHECKING = False
if TYPE_CHECKING:
    from coso.runtime.cloner import Cloner
    from coso.runtime.container import Container
    from coso.spec import Spec

# What most containers are like before it is known what for.
BLANK = spec_from(Words({"network": ["none"]}, ()), "/", ("true",), on_terminal=False)


class Ahead:
    """At most one container that waits for its Spec, and what the last one was like."""

    def __init__(self, cloner: Cloner) -> None:
        self._cloner = cloner
        self._made: Container | None = None
        self._last = blank.common(BLANK)
        self._again = False

    def begin(self) -> None:
        """Begin the next one while nobody waits; where that cannot be done the request will tell why."""
        if self._made and self._made.rooted and not (self._again and blank.fits(self._made, self._last)):
            self.throw_away()
        if self._made or is_limited():
            return
        try:
            self._made = self._make()
        finally:
            _signal.pthread_sigmask(_signal.SIG_SETMASK, set())

    def _make(self) -> Container | None:
        for wanted, rooted in ((self._last, True), (BLANK, False)):
            try:
                if not rooted or (self._again and blank.can_be_rooted(wanted)):
                    return blank.make(wanted, self._cloner, rooted=rooted)
            except (steps.FailedStep, CosoError, OSError):
                continue
        return None

    def take(self, spec: Spec) -> Container | None:
        """The one that has begun already, if a container with this Spec can go on from there."""
        like = blank.common(spec)
        self._again, self._last = self._last == like, like
        if self._made is None or not blank.fits(self._made, spec):
            return None
        made, self._made = self._made, None
        return made

    def throw_away(self) -> None:
        """End the one that was made."""
        if self._made:
            end(self._made)
            self._made = None

    def end(self) -> None:
        """Nobody will ask any more."""
        self.throw_away()
        self._cloner.close()
