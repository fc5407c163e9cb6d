"""The operations on a container that is there: start, kill, delete, pause, resume (OCI runtime.md "Operations")."""

from __future__ import annotations

import os

from coso import cgroups, quickjson
from coso.cgroups import hierarchies, members
from coso.errors import CosoError, LimitError, UsageError
from coso.kernel.process import signal_process
from coso.oci import notify
from coso.oci.store import Place, State, is_alive, missing
from coso.runtime import channel
from coso.spec import VERSION, Spec

SIGKILL = 9

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Callable

    Warn = Callable[[str], None]


def state_json(place: Place, state: State, status: str) -> dict[str, object]:
    """The container's state in the specification's form, with what engines of the field read besides."""
    known: dict[str, object] = {
        "ociVersion": VERSION,
        "id": state.id,
        "pid": 0 if status == "stopped" else state.pid,
        "status": status,
        "bundle": state.bundle,
        "rootfs": saved_spec(place).root.path,
        "created": state.created,
    }
    return known | ({"annotations": state.annotations} if state.annotations else {})


def saved_spec(place: Place) -> Spec:
    """The specification that the container was made by."""
    from coso.spec.read import read

    try:
        with open(place.config, "rb") as file:
            text = file.read()
    except FileNotFoundError:
        raise missing(place.id) from None
    return read(text, bundle=place.read().bundle)


def _hook_state(state: State, status: str, pid: int) -> str:
    known = {"ociVersion": VERSION, "id": state.id, "status": status, "pid": pid, "bundle": state.bundle}
    return quickjson.dumps(known | {"annotations": state.annotations})


def start(place: Place, warn: Warn) -> None:
    """Let the command of a created container go; raises CosoError, also for what execve says."""
    held = place.lock()
    try:
        state = place.read()
        if (status := place.status(state)) != "created":
            raise CosoError(f"container {place.id} cannot be started: it is {status}, not created")
        if not state.has_process:
            raise CosoError(
                f"container {place.id} cannot be started: its configuration has no `process`",
                hint="delete it, and create it with one",
            )
        listener = notify.listen(place.notify, state.notify)
        try:
            conversation = channel.connect(place.gate)
        except OSError:
            raise CosoError(f"container {place.id} cannot be started: its process has ended") from None
        conversation.watch(lambda: _check_memory(state))
        # First, so that a container which runs is never taken for one that waits.
        os.unlink(place.gate)
        conversation.send("go")
        while (message := conversation.hear()) is not None:
            if message[0] == "error":
                from coso.runtime.report import error_from

                raise error_from(place.id, message[1])
        # A hook may take its time, and somebody may want the container deleted meanwhile.
        held.close()
        run_poststart(place, state, warn)
        notify.pass_on(listener, state.notify, state.pid)
    finally:
        held.close()


def _check_memory(state: State) -> None:
    """Raise LimitError, and end the process, when it waits for memory in vain; it cannot be told anything else."""
    try:
        cgroups.check_memory(state.cgroup)
    except LimitError:
        send(state, SIGKILL)
        raise


def run_poststart(place: Place, state: State, warn: Warn) -> None:
    """Run the hooks after the command has gone; one that fails is only said (config.md "Poststart")."""
    if "poststart" in state.hooks:
        os.chdir(state.bundle)
        _run_and_warn("poststart", saved_spec(place), _hook_state(state, "running", state.pid), warn)


def _run_and_warn(point: str, spec: Spec, text: str, warn: Warn) -> None:
    from coso.runtime import hooks

    for hook in getattr(spec.hooks, point):
        try:
            hooks.run_all(point, (hook,), text)
        except CosoError as error:
            warn(error.message)


def signal_number(text: str) -> int:
    """A signal by number (0 asks whether the process is there) or by name, with SIG or without; raises UsageError."""
    import signal

    name = text.upper().removeprefix("SIG")
    if text.isdecimal() and int(text) < signal.NSIG:
        return int(text)
    if f"SIG{name}" in signal.Signals.__members__:
        return int(signal.Signals[f"SIG{name}"])
    base, sign, offset = name.replace("-", "+-").partition("+")
    if base in ("RTMIN", "RTMAX") and sign and offset.lstrip("-").isdecimal():
        return int(getattr(signal, f"SIG{base}")) + int(offset)
    raise UsageError(f"{text!r} is no signal", hint="a name such as TERM or SIGKILL, or a number; see signal(7)")


def kill(place: Place, text: str, *, everyone: bool = False) -> None:
    """Send a signal to the container's process, or to all of its processes; raises CosoError when it has ended."""
    number = signal_number(text)
    state = place.read()
    if everyone and state.cgroup:
        members.kill_all(state.cgroup, hierarchies(), number)
        return
    if place.status(state) == "stopped" or not send(state, number):
        # containerd knows by the words `container not running` that there is nothing left to kill.
        raise CosoError(f"container not running: the process of {place.id} has ended", hint="`delete` removes it")
    if number == SIGKILL and state.cgroup:
        if "pid" not in saved_spec(place).namespaces:
            # Without a PID namespace of its own the others would outlive its first process.
            members.kill_all(state.cgroup, hierarchies(), number)
        elif members.is_frozen(state.cgroup, hierarchies()):
            # What v1 has frozen dies only when it is thawed.
            members.thaw(state.cgroup, hierarchies())


def send(state: State, number: int) -> bool:
    """Send a signal to the very process that was recorded; False when it is gone."""
    return signal_process(state.pid, state.started, number)


def delete(place: Place, warn: Warn, *, force: bool = False) -> None:
    """Take back everything of a stopped container; with `force`, of any. Raises CosoError."""
    try:
        held = place.lock()
    except CosoError:
        if force and not os.path.isdir(place.path):
            return
        raise
    try:
        state = place.read()
    except CosoError:
        if not force:
            held.close()
            raise
        place.remove(held)
        return
    if (status := place.status(state)) != "stopped":
        if not force:
            held.close()
            raise CosoError(
                f"cannot delete container {place.id} that is not stopped: it is {status}",
                hint="kill it first, or give --force",
            )
        send(state, SIGKILL)
        if status == "paused":
            members.thaw(state.cgroup, hierarchies())
    spec = _spec_or_none(place, warn) if "poststop" in state.hooks else None
    place.remove(held)
    if spec and spec.hooks.poststop:
        if os.path.isdir(state.bundle):
            os.chdir(state.bundle)
        _run_and_warn("poststop", spec, _hook_state(state, "stopped", 0), warn)


def _spec_or_none(place: Place, warn: Warn) -> Spec | None:
    try:
        return saved_spec(place)
    except (CosoError, OSError) as error:
        warn(f"the configuration of {place.id} cannot be read, so no poststop hook runs: {error}")
        return None


def pause(place: Place) -> None:
    """Freeze every process of a container."""
    state = place.read()
    if (status := place.status(state)) not in ("created", "running"):
        raise CosoError(f"container {place.id} cannot be paused: it is {status}")
    members.freeze(state.cgroup, hierarchies())


def resume(place: Place) -> None:
    """Let the processes of a paused container go on."""
    state = place.read()
    if (status := place.status(state)) != "paused":
        raise CosoError(f"container {place.id} is not paused: it is {status}")
    members.thaw(state.cgroup, hierarchies())


def alive(state: State) -> bool:
    """Whether the container's process is still the one recorded, and runs."""
    return is_alive(state.pid, state.started)
