"""The container's first process, from clone3 to execve.

Nothing may be imported from here on: after the overlay is stacked the host's
files are out of reach, so the parent imports whatever the child will need.
An error goes to the parent as words over the channel; the child then ends.
"""

from __future__ import annotations

import os

from coso import steps
from coso.kernel.process import PR_SET_DUMPABLE, prctl
from coso.runtime import command, last, pid, plan, security
from coso.runtime.container import Container
from coso.runtime.report import report

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Callable, Iterable


def run(container: Container) -> None:
    """Execute the child's steps and become the command; never returns."""
    _run(container, _enter)


def run_blank(container: Container) -> None:
    """As `run`, of a container that is given its Spec later (coso.runtime.blank)."""
    _run(container, _enter_blank)


def _run(container: Container, enter: Callable[[Container], None]) -> None:
    try:
        container.ours.close()
        if container.joins("pid") and not container.has("user"):
            # Its neighbours there could trace it, which has the runtime's rights yet (CVE-2016-9962).
            prctl(PR_SET_DUMPABLE, 0)
        # A session of its own: the caller's terminal cannot be typed into, nor its Ctrl-C reach the command twice.
        os.setsid()
        enter(container)
    except steps.FailedStep as failure:
        _last_words(container, failure.step.name, failure.__cause__)
    except BaseException as error:
        _last_words(container, "execute", error)
    os._exit(125)


def _last_words(container: Container, step: str, error: BaseException | None) -> None:
    """Report, and end in any case: this process must never go on as the runtime that it was cloned from."""
    try:
        report(container, step, error)
    finally:
        os._exit(125)


def _enter_blank(container: Container) -> None:
    from coso.runtime import blank

    if container.rooted:
        done = plan.before_command(container.spec)
        if security.has_default_filter(container.spec):
            container.filter, container.filter_flags = security.filter_for(container.spec)
        steps.execute(done, container)
        container.theirs.send("rooted")
        blank.receive(container)
        _go(container, plan.in_root(container.spec), done)
    else:
        steps.execute([step for step in plan.to_root(container.spec) if step in plan.IN_BLANK], container)
        blank.receive(container)
        _go(container, plan.in_child(container.spec), plan.IN_BLANK)


def _enter(container: Container) -> None:
    _go(container, plan.in_child(container.spec))


def _go(container: Container, wanted: list[steps.Step], done: Iterable[steps.Step] = ()) -> None:
    """Execute the steps that are wanted and not done, and become the command once that may go."""
    spec = container.spec
    names = {step.name for step in done}
    steps.execute([step for step in wanted if step.name not in names], container, container.observe)
    if spec.process.args:
        command.check(container)
    if not container.theirs.send("ready"):
        # The word to go may lie here already; but whoever has said it is no more.
        os._exit(125)
    _await_word(container)
    steps.execute([step for step in last.at_last(spec) if step.name not in names], container, container.observe)
    if spec.process.init:
        pid.fork_command(container.theirs.filenos(), spec.process.terminal)
    command.reset_signals()
    command.execute(container)


def _await_word(container: Container) -> None:
    """Wait until the command may go.

    With a gate, the runtime that made the container ends now, and another
    process will come by with the word; it hears of errors in its place.
    """
    message = container.theirs.hear()
    if message and message[0] == "wait" and container.gate:
        container.theirs.close()
        container.theirs = container.gate
        message = container.theirs.hear()
    if message is None:
        os._exit(125)


def explaining_observer(container: Container) -> steps.Observer:
    """An observer for the child, that times each step and sends it to the parent."""
    from time import perf_counter_ns

    begun = 0

    def observe(moment: str, step: steps.Step) -> None:
        nonlocal begun
        if moment == "before":
            begun = perf_counter_ns()
        else:
            container.theirs.send("step", step.name, (perf_counter_ns() - begun) // 1000)

    return observe
