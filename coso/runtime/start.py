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
from coso.errors import CosoError
from coso.kernel.process import is_limited, start_time
from coso.runtime import channel, child, console, handover, journal, net, plan, security
from coso.runtime.container import Container
from coso.runtime.ready import await_ready, close, explained, hear, let_go, load, release, take_over
from coso.runtime.supervise import supervise

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Callable

    from coso.runtime.ready import Explainer
    from coso.spec import Spec


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


def check(spec: Spec) -> None:
    """Raise an error for what can be known to fail before anything is done."""
    if "network" in spec.namespaces:
        net.check_helper(spec.network, spec.network_words, spec.networks_more)
    if spec.name:
        from coso.runtime import running

        running.check_name(spec.name)
    load(spec)


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
            hear(container, kind, words, explain)
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
