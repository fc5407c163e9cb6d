"""The runtime's side of a container: start it, stay with it, take everything back.

`run` is what `coso run` calls: the Spec goes in, the exit status comes out,
and nothing of the container is left behind either way.  Its parts serve
coso.oci, whose containers outlive the process that makes them.
"""

from __future__ import annotations

import _signal
import os
import sys

from coso import cgroups, steps
from coso.errors import CosoError, KernelError, StartError, from_os_error
from coso.kernel.process import exit_status_of, is_limited, start_time
from coso.runtime import channel, child, console, handover, hooks, journal, net, plan, security
from coso.runtime.container import Container
from coso.runtime.pid import FORWARDED, SIGCHLD
from coso.runtime.supervise import supervise

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Callable

    from coso.spec import Spec

    Explainer = Callable[[steps.Step, int], None]


def run(
    spec: Spec,
    *,
    observe: steps.Observer | None = None,
    explain: Explainer | None = None,
    about: str = "",
    claims: tuple[int, ...] = (),
    stay: Callable[[Container], int] = supervise,
    blank: Container | None = None,
) -> int:
    """Run a container to its end and return its exit status, which is what `stay` returns.

    `about` is kept beside the container for other commands to read, and once
    it is, `claims` are closed, which hold what it uses;
    `observe` is told before and after each step, on both sides of the clone;
    `explain` gets each finished step and its microseconds, in the caller's
    process; `blank` is a container that has begun already, and is its to end.
    Raises CosoError when the container cannot be started; whatever was done
    until then is undone.
    """
    try:
        check(spec)
    except CosoError:
        if blank:
            end(blank)
        raise
    beyond = None
    if is_limited():
        from coso.runtime import outside, rootless

        beyond = outside.begin()
        spec = rootless.enter(rootless.for_user(spec))
    container = blank or Container(spec, journal.create(), *channel.pair())
    container.outside = beyond
    container.observe = observe
    container.about, container.claims = about, claims
    if spec.cgroups_path:
        container.cgroup = f"{spec.cgroups_path.strip('/')}/{container.cgroup}"
    masked, umask = take_over(), os.umask(0o022)
    try:
        prepare(container, explain, spec, at_once=True)
        let_go(container, explain)
        return stay(container)
    except (steps.FailedStep, OSError) as failure:
        raise explained(container, failure) from failure
    finally:
        end(container)
        os.umask(umask)
        _signal.pthread_sigmask(_signal.SIG_SETMASK, masked)


def take_over() -> set[int]:
    """Block the signals that are passed on; return those that were blocked before."""
    # A caller that ignores SIGCHLD has its children reaped by the kernel, and nobody told.
    _signal.signal(SIGCHLD, _signal.SIG_DFL)
    before: set[int] = _signal.pthread_sigmask(_signal.SIG_BLOCK, FORWARDED | {SIGCHLD})
    return before


def check(spec: Spec) -> None:
    """Raise an error for what can be known to fail before anything is done."""
    if "network" in spec.namespaces:
        net.check_helper(spec.network, spec.network_words, spec.networks_more)
    if spec.name:
        from coso.runtime import running

        running.check_name(spec.name)
    load(spec)


def load(spec: Spec) -> None:
    """Import what the child will need: once the root is entered, the host's files are out of reach."""
    if spec.process.rlimits:
        import resource  # noqa: F401
    if any("tmpcopyup" in item.options for item in spec.mounts):
        import coso.runtime.copyup  # noqa: F401
    if spec.hooks.create_container or spec.hooks.start_container:
        import time  # noqa: F401


def prepare(
    container: Container, explain: Explainer | None = None, wanted: Spec | None = None, *, at_once: bool = False
) -> None:
    """Do everything up to the moment when the command may go; raises steps.FailedStep, CosoError or OSError.

    `wanted` is the Spec for a container that has begun without; `at_once`
    says that the caller has nothing to do before the command may go.
    """
    # Before the first process is given an observer of its own.
    observe = _timed(container.observe, explain)
    try:
        if container.pid and wanted:
            from coso.runtime import blank

            blank.fill(container, wanted)
        else:
            _begin(container, explain, observe)
        _go_on(container, explain, observe, at_once=at_once)
    except (steps.FailedStep, OSError):
        # Both sides work at the same time: what fails here may only follow from the end of the other.
        for kind, words, _ in container.ours.last_words() if container.pid else ():
            _hear(container, kind, words, explain)
        raise


def _begin(container: Container, explain: Explainer | None, observe: steps.Observer | None) -> None:
    """Everything until there is a first process, which knows who is who."""
    spec = container.spec
    container.filter, container.filter_flags = security.filter_for(spec)
    container.nested = _timed(container.observe, explain)
    steps.execute(plan.before_clone(spec), container, observe)
    if explain:
        container.observe = child.explaining_observer(container)
    steps.execute([plan.clone(spec, child.run)], container, observe)
    container.theirs.close()
    container.journal.record("kill", str(container.pid), str(start_time(container.pid)))
    if spec.resources.memory.disable_oom_killer:
        container.ours.watch(lambda: cgroups.check_memory(container.cgroup))
    if spec.systemd:
        steps.execute(plan.groups(spec), container, observe)
        handover.give_groups(container)
    steps.execute(plan.ids(spec), container, observe)
    if plan.awaits_ids(spec):
        handover.give_ids(container)


def _go_on(container: Container, explain: Explainer | None, observe: steps.Observer | None, *, at_once: bool) -> None:
    """What is beside the first process's own steps, up to the moment when the command may go."""
    spec = container.spec
    console.give_pipes(container)
    if not container.rooted:
        give_root(container, observe)
    steps.execute(plan.network(spec), container, observe)
    if at_once and not (spec.hooks.prestart or spec.hooks.create_runtime or spec.net_devices):
        # The first process need not wait until this one is awake again.
        release(container)
    await_ready(container, explain)
    if spec.net_devices:
        from coso.runtime import netdevices

        netdevices.settle(container)


def give_root(container: Container, observe: steps.Observer | None = None) -> None:
    """Make what the root is stacked of, and hand it to the first process."""
    steps.execute(plan.roots(container.spec), container, observe)
    handover.give_root(container)
    steps.execute(plan.files(container.spec), container, observe)
    handover.give_files(container)


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
            _hear(container, kind, words, explain)
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
        _hear(container, message[0], message[1], explain)


def _hear(container: Container, kind: str, words: list[str], explain: Explainer | None) -> None:
    if kind == "error":
        raise child.error_from(container.id, words)
    if kind == "warn":
        container.warn(words[0])
    if kind == "step" and explain:
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


def _timed(observe: steps.Observer | None, explain: Explainer | None) -> steps.Observer | None:
    """An observer that also explains; None, and so no cost at all, when neither is wanted."""
    if explain is None:
        return observe
    from time import perf_counter_ns

    begun = 0

    def both(moment: str, step: steps.Step) -> None:
        nonlocal begun
        if observe:
            observe(moment, step)
        if moment == "before":
            begun = perf_counter_ns()
        else:
            explain(step, (perf_counter_ns() - begun) // 1000)

    return both


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


def end(container: Container) -> None:
    """Undo everything; what cannot be undone is said, and stays recorded for `coso gc`."""
    close(container)
    owner = net.owner_of(container)
    for failure in container.journal.undo(skip=net.RELEASE if owner else ""):
        sys.stderr.write(f"coso: not undone: {failure}; `coso gc` will try again\n")
    # Its first process has gone by now: while that lives, what it has is nobody's to take.
    if owner:
        net.release_soon(owner)
    else:
        net.leave(container)


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
