"""What is done to containers that are there: start, stop, kill, pause, remove, rename, wait, update."""

from __future__ import annotations

import os
from contextlib import contextmanager
from time import monotonic, sleep

from coso.cgroups import hierarchies, members
from coso.engine import events, launching, make, record, volumes, zygote
from coso.engine.record import Record
from coso.engine.signals import number_of
from coso.errors import CosoError, MissingError, UsageError
from coso.kernel.process import signal_process
from coso.runtime import journal, running
from coso.runtime.undo import remove_link
from coso.state import NAMES

TYPE_CHECKING = False
if TYPE_CHECKING:
    from _socket import socket
    from collections.abc import Iterator

SIGKILL = 9
DEFAULT_SECONDS = 10
FIRST_LOOK_SECONDS, LOOK_SECONDS = 0.002, 0.02


def start(one: Record, *, attach: bool = False) -> socket | None:
    """Start a container; the conversation with its monitor. None when it runs already. Raises CosoError."""
    if one.is_alive:
        return None
    _marker(one, on=False)
    end = launching.launch(one.id, zygote.START, attach=attach)
    try:
        launching.hear(end)
    except CosoError:
        end.close()
        raise
    return end


def _marker(one: Record, *, on: bool) -> None:
    """Whether the container shall stay stopped, whatever its restart policy says."""
    path = f"{one.directory}/stop"
    if on:
        os.close(os.open(path, os.O_CREAT | os.O_WRONLY | os.O_CLOEXEC, 0o600))
    else:
        try:
            os.unlink(path)
        except FileNotFoundError:
            pass


def stop(one: Record, seconds: int | None = None, signal: str = "") -> None:
    """Ask a container to end, and kill it when it has not after a while. Raises CosoError."""
    if one.is_kept:
        _marker(one, on=True)
    if one.status == "restarting":
        found = _after_restart(one)
        if found is None:
            return
        one = found
    if not one.is_alive:
        return
    number = number_of(signal or stop_signal(one))
    patience = stop_seconds(one) if seconds is None else seconds
    send(one, number)
    if one.status == "paused":
        members.thaw(str(one.state["cgroup"]), hierarchies())
    if not _wait_for_end(one, patience):
        send(one, SIGKILL)
        if not _wait_for_end(one, DEFAULT_SECONDS):
            raise CosoError(
                f"the container {one.name or one.id} does not end, though it was killed",
                cause="a process in it waits for the kernel and cannot be disturbed (state D in `coso top`)",
                hint="try again later",
            )
    events.tell("stop", one.id, one.config)


def _after_restart(one: Record) -> Record | None:
    """A container between two starts as it is after that: ended, or running once more; None where it is gone."""
    until = monotonic() + DEFAULT_SECONDS
    found = record.read(one.id)
    while found and (found.status == "restarting" or (not found.is_alive and is_watched(one.id))):
        if monotonic() > until:
            raise CosoError(f"the container {one.name or one.id} is being started again, and that takes long")
        sleep(LOOK_SECONDS)
        found = record.read(one.id)
    return found


@contextmanager
def settled(word: str) -> Iterator[Record]:
    """A container by name or id, which is neither started nor removed meanwhile where it does not run.

    Raises MissingError, or a CosoError when another command is busy with it.
    """
    one, until = record.find(word), monotonic() + DEFAULT_SECONDS
    held = None
    while not one.is_alive and one.is_kept and held is None:
        held = journal.of_kept(one.id)
        if held is None and monotonic() > until:
            raise CosoError(f"another command is busy with the container {one.name or one.id}", hint="try again")
        if held is None:
            sleep(LOOK_SECONDS)
        one = record.read(one.id) or one if held else record.find(one.id)
    try:
        if held and record.read(one.id) is None:
            raise MissingError(f"there is no container {word!r}", hint="`coso ps -a` lists all")
        yield one
    finally:
        if held:
            held.forget()


def stop_signal(one: Record) -> str:
    """The signal that asks a container to end."""
    return one.option("stop-signal") or str(one.settings.get("StopSignal") or "") or "TERM"


def stop_seconds(one: Record) -> int:
    """How long a container may take to end when asked."""
    return int(one.option("stop-timeout", str(DEFAULT_SECONDS)))


def _wait_for_end(one: Record, seconds: int) -> bool:
    """Wait until a container has ended and its monitor is done with it; for ever with a negative time."""
    until, pause = monotonic() + seconds, FIRST_LOOK_SECONDS
    while seconds < 0 or monotonic() < until:
        found = record.read(one.id)
        if found is None or (not found.is_alive and found.status != "restarting" and not is_watched(one.id)):
            return True
        sleep(pause)
        pause = min(2 * pause, LOOK_SECONDS)
    return False


def is_watched(container: str) -> bool:
    """Whether a monitor, or a runtime in the foreground, is still busy with a container."""
    return record.holder_of(container) != 0


def kill(one: Record, signal: str) -> None:
    """Send a signal to a container's first process. Raises CosoError."""
    number = number_of(signal)
    if not one.is_alive:
        raise CosoError(f"the container {one.name or one.id} is not running")
    if number == SIGKILL and one.is_kept:
        _marker(one, on=True)
    if not send(one, number):
        raise CosoError(f"the container {one.name or one.id} has ended meanwhile")
    if number == SIGKILL and one.status == "paused":
        members.thaw(str(one.state["cgroup"]), hierarchies())
    events.tell("kill", one.id, one.config, signal=str(number))


def send(one: Record, number: int) -> bool:
    """Send a signal to a container's first process; False when it is gone."""
    return signal_process(*one.process, number)


def pause(one: Record) -> None:
    """Freeze every process of a container. Raises CosoError."""
    if one.status != "running":
        raise CosoError(f"the container {one.name or one.id} is {one.status}, and cannot be paused")
    members.freeze(str(one.state["cgroup"]), hierarchies())
    events.tell("pause", one.id, one.config)


def unpause(one: Record) -> None:
    """Let the processes of a paused container go on. Raises CosoError."""
    if one.status != "paused":
        raise CosoError(f"the container {one.name or one.id} is not paused")
    members.thaw(str(one.state["cgroup"]), hierarchies())
    events.tell("unpause", one.id, one.config)


def remove(one: Record, *, force: bool = False, with_volumes: bool = False) -> None:
    """Remove a container that does not run; with `force` any. Raises CosoError."""
    if one.is_alive or one.status == "restarting":
        if not force:
            raise CosoError(
                f"the container {one.name or one.id} is {one.status}", hint="stop it first, or give --force"
            )
        stop(one, 0, "KILL")
        if not one.is_kept or record.read(one.id) is None:
            return
    held = journal.of_kept(one.id)
    if held is None:
        raise CosoError(f"another command is busy with the container {one.name or one.id}", hint="try again")
    failures = held.undo(keep=True)
    if failures:
        held.close()
        raise CosoError(f"the container {one.id} could not be undone: {'; '.join(failures)}", hint="coso gc")
    found = record.read(one.id)
    if found is None:
        held.clear()
        held.forget()
        return
    make.remove(found)
    held.clear()
    held.forget()
    for name in one.config.get("anonymous") or [] if with_volumes or one.config.get("remove") else []:
        volumes.remove(name, force=True)
    events.tell("destroy", one.id, one.config)


def rename(one: Record, name: str) -> None:
    """Give a container another name. Raises CosoError."""
    if not one.is_kept:
        raise CosoError("a container in the foreground cannot be renamed")
    running.check_name(name)
    if name == one.name:
        raise UsageError(f"the container has the name {name} already")
    running.hold_name(name, one.id)
    options = {**one.config["options"], "name": [name]}
    record.write(one.id, "config.json", {**one.config, "name": name, "options": options})
    remove_link(f"{NAMES}/{one.name}", one.id)
    events.tell("rename", one.id, {**one.config, "name": name})


def wait(one: Record) -> int:
    """Wait for a container's end; its exit status."""
    end = launching.connect(one.id)
    if end is not None:
        try:
            end.send(b"x")
            while packet := end.recv(1 << 17):
                if packet[:1] == b"x":
                    return int(packet[1:])
        except OSError:
            pass
        finally:
            end.close()
    _wait_for_end(one, -1)
    found = record.read(one.id)
    return int(found.state.get("exitCode", 0)) if found else 0
