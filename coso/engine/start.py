"""The start of a container that outlives who starts it: in a process of its own, between monitor and container.

Whatever a start touches, this process takes with it when it ends: the monitor
stays as small as it was forked.  The container's first process becomes the
monitor's child (CLONE_PARENT), as its own would be.
"""

from __future__ import annotations

import os

from coso import steps
from coso.engine import make
from coso.engine.record import Record, find
from coso.errors import CosoError
from coso.kernel.process import PR_SET_PDEATHSIG, is_limited, prctl, start_time
from coso.runtime import channel, start
from coso.runtime.container import Container
from coso.spec import Joined, Spec

TYPE_CHECKING = False
if TYPE_CHECKING:
    from coso.runtime.channel import Channel
    from coso.runtime.journal import Journal

SIGKILL = 9
NAMESPACES = {"network": "net", "pid": "pid", "ipc": "ipc"}


def begin(one: Record, held: Journal, talk: Channel, stdio: tuple[int, int, int]) -> None:
    """Start a container with these descriptors as its standard streams; tell how it went, and end."""
    try:
        # Without its monitor nobody would hear of the container, which then does not come to be.
        prctl(PR_SET_PDEATHSIG, SIGKILL)
        for number, fd in enumerate(stdio):
            os.dup2(fd, number)
        spec = make.spec_of(one, joined=joined_of(one))
        container = _start(spec, held)
        fds = [container.pidfd, *([container.terminal] if container.terminal >= 0 else [])]
        fds += [end.fileno() for end in container.held]
        told = (container.pid, start_time(container.pid), container.cgroup, container.address, container.terminal >= 0)
        talk.send("started", *told, fds=tuple(fds))
    except CosoError as error:
        talk.send("error", error.exit_status, error.message, error.cause, error.hint)
    except BaseException as error:
        talk.send("error", 125, f"{type(error).__name__}: {error}", "bad input, or a fault of coso", "")
    finally:
        os._exit(0)


def _start(spec: Spec, held: Journal) -> Container:
    start.check(spec)
    beyond = None
    if is_limited():
        from coso.runtime import outside, rootless

        beyond = outside.begin()
        spec = rootless.enter(rootless.for_user(spec))
    container = Container(spec, held, *channel.pair())
    container.outside, container.outlives = beyond, True
    if spec.cgroups_path:
        container.cgroup = f"{spec.cgroups_path.strip('/')}/{container.cgroup}"
    start.take_over()
    os.umask(0o022)
    try:
        start.prepare(container)
        start.let_go(container)
    except (steps.FailedStep, OSError) as failure:
        raise start.explained(container, failure) from failure
    return container


def joined_of(one: Record) -> tuple[Joined, ...]:
    """The namespaces of other containers that it shares, as they are now; raises CosoError."""
    found: dict[str, str] = {}
    for option, file in NAMESPACES.items():
        kind, colon, name = one.option(option).partition(":")
        if kind == "container" and colon:
            other = find(name)
            if not other.is_alive:
                raise CosoError(f"the container {name}, whose {option} namespace is to be shared, does not run")
            found[option] = f"/proc/{other.pid}/ns/{file}"
            if option != "network":
                found["user"] = f"/proc/{other.pid}/ns/user"
    return tuple(Joined(kind, path) for kind, path in found.items())
