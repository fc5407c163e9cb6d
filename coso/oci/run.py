"""`run`: create, start, and stay until the end; or, detached, until the command has started."""

from __future__ import annotations

from _signal import SIG_UNBLOCK, pthread_sigmask

from coso import steps
from coso.errors import CosoError, SpecError
from coso.oci import notify
from coso.oci.control import delete, run_poststart, start
from coso.oci.create import Wishes, create, make, read_bundle, with_own_rights
from coso.oci.store import Place
from coso.runtime.pid import FORWARDED
from coso.runtime.ready import close, explained, let_go
from coso.runtime.supervise import supervise

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Callable


def run(root: str, container_id: str, wishes: Wishes, warn: Callable[[str], None], *, detach: bool, keep: bool) -> int:
    """Run a container and return its command's exit status, 0 at once with `detach`. Raises CosoError."""
    place = Place(root, container_id)
    if detach:
        create(root, container_id, wishes, warn)
        # The service may take long until it is ready; whoever is tired of waiting can say so.
        pthread_sigmask(SIG_UNBLOCK, FORWARDED)
        try:
            start(place, warn)
        except CosoError:
            delete(place, warn, force=True)
            raise
        return 0
    spec, text = read_bundle(wishes, warn)
    if not spec.process.args:
        raise SpecError("process: missing; the command is wanted")
    spec = with_own_rights(notify.shown(spec, wishes.notify, place.notify))
    held = place.claim()
    container = make(place, held, spec, text, wishes, outlives=False, warn=warn)
    # Other commands may kill, pause or look at it meanwhile; what is recorded stays on disk.
    try:
        listener = notify.listen(place.notify, wishes.notify)
        try:
            let_go(container)
        except (steps.FailedStep, OSError) as failure:
            raise explained(container, failure) from failure
        held.close()
        run_poststart(place, place.read(), warn)
        notify.pass_on_beside(listener, wishes.notify, container.pid)
        status = supervise(container)
    except BaseException:
        held.close()
        close(container)
        delete(place, warn, force=True)
        raise
    close(container)
    if not keep:
        delete(place, warn, force=True)
    return status
