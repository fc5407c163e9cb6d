"""What the runtime does beside a process on its way to a command: hears it, lets it go, says what went wrong."""

from __future__ import annotations

import _signal
import os

from coso import steps
from coso.errors import CosoError, KernelError, StartError, from_os_error
from coso.kernel.process import exit_status_of
from coso.runtime import console, hooks
from coso.runtime.container import Container
from coso.runtime.pid import FORWARDED, SIGCHLD
from coso.runtime.report import error_from

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Callable

    from coso.spec import Spec

    Explainer = Callable[[steps.Step, int], None]


def take_over() -> set[int]:
    """Block the signals that are passed on; return those that were blocked before."""
    # A caller that ignores SIGCHLD has its children reaped by the kernel, and nobody told.
    _signal.signal(SIGCHLD, _signal.SIG_DFL)
    before: set[int] = _signal.pthread_sigmask(_signal.SIG_BLOCK, FORWARDED | {SIGCHLD})
    return before


def load(spec: Spec) -> None:
    """Import what the child will need: once the root is entered, the host's files are out of reach."""
    if spec.process.rlimits:
        import resource  # noqa: F401
    if any("tmpcopyup" in item.options for item in spec.mounts):
        import coso.runtime.copyup  # noqa: F401
    if spec.hooks.create_container or spec.hooks.start_container:
        import time  # noqa: F401


def await_ready(container: Container, explain: Explainer | None = None) -> None:
    """Read what the child says until the command may go, and run the hooks that it waits for."""
    while (message := container.ours.receive()) is not None:
        kind, words, fds = message
        if kind == "terminal":
            container.terminal = fds[0]
            if not container.spec.process.console_size:
                console.copy_window_size(0, container.terminal)
        elif kind == "listener":
            hooks.give_listener(container, fds[0])
        elif kind == "hooks":
            wanted = container.spec.hooks
            state = hooks.state_of(container, "creating")
            hooks.run_all("prestart", wanted.prestart, state)
            hooks.run_all("createRuntime", wanted.create_runtime, state)
            container.ours.send("hooked")
        elif kind == "ready":
            container.ready = True
            return
        else:
            hear(container, kind, words, explain)
    raise _died_early(container)


def release(container: Container) -> None:
    """Say that the command may go, once; where nothing is to be done before, it can be said before all is ready."""
    if not container.released:
        container.released = True
        container.ours.send("go")


def let_go(container: Container, explain: Explainer | None = None) -> None:
    """Let the command go, and read on until execve ends the conversation; raises what goes wrong until then."""
    release(container)
    while (message := container.ours.receive()) is not None:
        hear(container, message[0], message[1], explain)


def hear(container: Container, kind: str, words: list[str], explain: Explainer | None) -> None:
    """Take up what a process says on its way; raises the error that it reports."""
    if kind == "error":
        raise error_from(container.id, words)
    if kind == "warn":
        container.warn(words[0])
    if kind == "step" and explain:
        from coso.runtime import plan

        explain(plan.child_steps(container.spec)[words[0]], int(words[1]))


def _died_early(container: Container) -> StartError:
    try:
        _, status = os.waitpid(container.pid, 0)
        code = os.waitstatus_to_exitcode(status)
    except ChildProcessError:
        # It was made as a sibling, and is its parent's to wait for.
        code = os.waitstatus_to_exitcode(exit_status_of(container.pid, container.pidfd) or 0)
    cause = "its memory limit is too small to start in" if code == -9 and container.spec.resources.memory.limit else ""
    return StartError(
        container.id, "start", f"the container's first process ended before the command (status {code})", cause=cause
    )


def explained(container: Container, failure: steps.FailedStep | OSError) -> CosoError:
    """The error a person reads for a step that failed on this side."""
    error = failure.__cause__ if isinstance(failure, steps.FailedStep) else failure
    step = failure.step.name if isinstance(failure, steps.FailedStep) else "start"
    if isinstance(error, OSError):
        call = failure.step.call if isinstance(failure, steps.FailedStep) else "start"
        error = from_os_error(error, call)
    if isinstance(error, KernelError):
        return StartError(
            container.id,
            step,
            f"cannot {step}: {error.message}",
            number=error.errno,
            cause=error.cause,
            hint=error.hint,
        )
    if isinstance(error, CosoError):
        return error
    return StartError(container.id, step, f"cannot {step}: {error}", cause="bad input, or a fault of coso")


def close(container: Container) -> None:
    """Close what the runtime has open for the container; a process that still waits for a word then ends."""
    container.ours.close()
    for end in container.held:
        end.close()
    if container.outside:
        container.outside.close()
    if container.gate:
        container.gate.close()
    if container.membership:
        for fd in (*container.membership.tasks, container.membership.unified):
            if fd >= 0:
                os.close(fd)
    for fd in (container.layers, container.lower, container.dev, *container.binds, container.pidfd):
        if fd >= 0:
            os.close(fd)
