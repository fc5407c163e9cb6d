"""The start of a container that outlives who starts it: in a process of its own, between monitor and container.

Whatever a start touches, this process takes with it when it ends: the monitor
stays as small as it was forked.  The container's first process becomes the
monitor's child (CLONE_PARENT), as its own would be.
"""

from __future__ import annotations

import os

from coso import steps
from coso.engine import stored
from coso.engine.record import Record
from coso.kernel.process import is_limited
from coso.runtime import channel
from coso.runtime.container import Container
from coso.runtime.ready import explained, let_go, take_over
from coso.runtime.start import check, prepare

TYPE_CHECKING = False
if TYPE_CHECKING:
    from coso.runtime.journal import Journal


def start(one: Record, held: Journal, stdio: tuple[int, int, int]) -> Container:
    """Start a container with these as its standard streams, in a process that ends soon. Raises CosoError."""
    for number, fd in enumerate(stdio):
        os.dup2(fd, number)
    spec = stored.spec_of(one)
    check(spec)
    beyond = None
    if is_limited():
        from coso.runtime import outside, rootless

        beyond = outside.begin()
        spec = rootless.enter(rootless.for_user(spec))
    container = Container(spec, held, *channel.pair())
    container.outside, container.outlives = beyond, True
    if spec.cgroups_path:
        container.cgroup = f"{spec.cgroups_path.strip('/')}/{container.cgroup}"
    take_over()
    os.umask(0o022)
    try:
        prepare(container, at_once=True)
        let_go(container)
    except (steps.FailedStep, OSError) as failure:
        raise explained(container, failure) from failure
    return container
