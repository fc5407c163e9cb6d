"""`exec`: another process in a container that runs (setns(2)).

Namespaces are entered by the pidfd of the container's first process: first
those in which a helper clones the new process, which enters the cgroup namespace
itself, and for root the user namespace too.  For while it is the host's, the
clone can put it into a v2 group; a process that moves there later waits out an
RCU grace period, 15 ms (CLONE_INTO_CGROUP, clone(2)).  From there on it takes the
same last steps as a container's first process.
"""

from __future__ import annotations

import os

from coso import steps
from coso.cgroups import hierarchies, join
from coso.errors import CosoError, KernelError
from coso.kernel import process
from coso.kernel.process import PR_SET_DUMPABLE, pidfd_open, prctl, start_time
from coso.oci.console import check_console, hand_out
from coso.oci.store import Place, State
from coso.runtime import channel, command, console, security, user
from coso.runtime import process as labels
from coso.runtime.container import Container
from coso.runtime.last import at_last, in_any_process
from coso.runtime.ready import await_ready, close, explained, let_go, load, take_over
from coso.runtime.report import report
from coso.runtime.supervise import supervise
from coso.spec import Hooks, Process, Spec
from coso.value import replace, value

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Callable


@value
class ExecWishes:
    """What the command line says besides the process."""

    console_socket: str = ""
    pid_file: str = ""
    pidfd_socket: str = ""
    preserve_fds: int = 0
    detach: bool = False
    cgroup: str = ""
    ignore_paused: bool = False


class NoJournal:
    """What is made for an exec ends with its process: there is nothing to undo."""

    def __init__(self, container: str) -> None:
        self.container = container

    def record(self, kind: str, *words: str) -> None:
        """Nothing of the kind is ever made."""
        raise AssertionError(f"exec changed the host: {kind} {words}")


def execute(place: Place, spec: Spec, wanted: Process, wishes: ExecWishes, warn: Callable[[str], None]) -> int:
    """Run a process in a container and return its exit status, 0 at once with `detach`. Raises CosoError."""
    state = place.read()
    status = place.status(state)
    if status == "paused" and wishes.ignore_paused:
        status = "running"
    if status != "running":
        raise CosoError(f"cannot exec in container {place.id}: it is {status}")
    return run_inside(state, spec, wanted, wishes, warn)


def run_inside(
    state: State,
    spec: Spec,
    wanted: Process,
    wishes: ExecWishes,
    warn: Callable[[str], None],
    stay: Callable[[Container], int] = supervise,
) -> int:
    """As `execute`, in a container that is known to run; `stay` waits for the process. Raises CosoError."""
    if wishes.detach or wishes.console_socket:
        check_console(wanted.terminal, wishes.console_socket)
    take_over()
    os.umask(0o022)
    inside = replace(spec, process=wanted, hooks=Hooks())
    container = Container(inside, NoJournal(state.id), *channel.pair())  # type: ignore[arg-type]
    container.init, container.bundle = state.pid, state.bundle
    container.preserved = wishes.preserve_fds
    container.has_console = False
    container.clamps, container.warn = True, warn
    container.no_pivot = state.no_pivot
    try:
        load(inside)
        container.filter, container.filter_flags = security.filter_for(inside)
        _make(container, state, wishes)
        await_ready(container)
        hand_out(container, wishes)
        let_go(container)
    except (steps.FailedStep, OSError) as failure:
        _give_up(container)
        raise explained(container, failure) from failure
    except BaseException:
        _give_up(container)
        raise
    if wishes.detach:
        return 0
    return stay(container)


def _give_up(container: Container) -> None:
    """End the process and reap it: the container's first process cannot end before all others are reaped."""
    pidfd, container.pidfd = container.pidfd, -1
    close(container)
    if pidfd >= 0:
        process.pidfd_send_signal(pidfd, 9)
        try:
            os.waitpid(container.pid, 0)
        except ChildProcessError:
            pass  # Whoever found it dead has asked for its status.
        os.close(pidfd)


def _make(container: Container, state: State, wishes: ExecWishes) -> None:
    """Clone the process inside, by way of a helper that enters first."""
    try:
        init = pidfd_open(state.pid)
        root = os.open(f"/proc/{state.pid}/root", os.O_PATH | os.O_CLOEXEC)
    except (KernelError, OSError):
        raise CosoError(f"container {state.id} has ended") from None
    labels.check_labels(container)
    groups = join.groups_of(state.pid, hierarchies(), wishes.cgroup) if state.cgroup else None
    container.membership = groups
    if start_time(state.pid) != state.started:
        raise CosoError(f"container {state.id} has ended meanwhile")
    helper = os.fork()
    if helper == 0:
        _help(container, init, root, detach=wishes.detach)
    # Ours alone stays open, so that the helper's end is heard of, whatever ends it.
    container.theirs.close()
    message = container.ours.receive()
    os.waitpid(helper, 0)
    os.close(init)
    os.close(root)
    if message is None:
        raise CosoError("the process that enters the container died", cause="the container's memory limit, or its end")
    kind, words, _ = message
    if kind != "cloned":
        raise KernelError(words[0], int(words[1]), words[2])
    container.pid = int(words[0])
    container.pidfd = pidfd_open(container.pid)
    if container.has("user"):
        user.read_maps(container)
    console.give_pipes(container)
    if container.spec.process.oom_score_adj is not None:
        from coso.runtime.process import set_oom_score

        set_oom_score(container)
    container.ours.send("ids")


def _help(container: Container, init: int, root: int, *, detach: bool) -> None:
    """Enter the groups and namespaces, clone, tell the runtime the number, and end."""
    spec = container.spec
    try:
        # From the moment it is inside, the container may see it: its memory and descriptors are the host's.
        prctl(PR_SET_DUMPABLE, 0)
        kinds = {*spec.namespaces, *(joined.type for joined in spec.joined)}
        membership = container.membership
        affinity = spec.process.exec_cpu_affinity
        if affinity and affinity.initial:
            os.sched_setaffinity(0, affinity.initial)
        for fd in membership.tasks if membership else ():
            os.write(fd, b"0")
        container.proc = os.open("/proc", os.O_PATH | os.O_DIRECTORY | os.O_CLOEXEC)
        # Who is not root, of whatever namespace, has no right over the others before the user namespace is entered.
        later = kinds & ({"cgroup", "user"} if os.geteuid() == 0 else {"cgroup"})
        if first := _flags(kinds - later):
            process.setns(init, first)
        if "mount" not in kinds or container.no_pivot:
            os.fchdir(root)
            os.chroot(".")
        pid = process.clone_sibling(0, membership.unified if membership else -1)
        if pid == 0:
            _become(container, init, _flags(later), detach=detach)
        container.theirs.send("cloned", pid)
    except KernelError as error:
        container.theirs.send("error", error.call, error.errno, error.path)
    except OSError as error:
        container.theirs.send("error", "setns", error.errno or 0, error.filename or "")
    os._exit(0)


def _flags(kinds: set[str]) -> int:
    return sum(process.NAMESPACES[kind] for kind in kinds)


def _become(container: Container, init: int, later: int, *, detach: bool) -> None:
    """The steps of the new process, to its execve; never returns."""
    spec = container.spec
    try:
        container.ours.close()
        if later:
            process.setns(init, later)
        os.setsid()
        container.theirs.receive()
        ours = [
            *([user.ROOT] if container.has("user") else []),
            console.TERMINAL if spec.process.terminal else console.INPUT,
            *([labels.LABEL] if spec.process.apparmor_profile or spec.process.selinux_label else []),
            *in_any_process(spec),
        ]
        # Entering the groups has reset it, or not, as the kernel's version has it: what is final is said again.
        affinity = spec.process.exec_cpu_affinity
        if affinity and affinity.final:
            os.sched_setaffinity(0, affinity.final)
        steps.execute(ours, container)
        if detach:
            prctl(process.PR_SET_PDEATHSIG, 0)
        command.check(container)
        container.theirs.send("ready")
        if container.theirs.hear() is None:
            os._exit(125)
        steps.execute(at_last(spec), container)
        command.reset_signals()
        command.execute(container)
    except steps.FailedStep as failure:
        report(container, failure.step.name, failure.__cause__)
    except BaseException as error:
        report(container, "execute", error)
    os._exit(125)
