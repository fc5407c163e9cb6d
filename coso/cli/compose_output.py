"""Output of several containers at a time: `coso compose logs`, and `up` in front."""

from __future__ import annotations

import os
import signal
import sys
from contextlib import contextmanager
from time import monotonic, sleep

from coso.cli.compose_common import COLOURS, coloured, tell
from coso.engine import control, logs, record
from coso.errors import CosoError
from coso.services import down, state
from coso.services.carry_out import is_well

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Iterator, Sequence

    from coso.engine.record import Record
    from coso.flags import Words
    from coso.services.project import Project

LOOK_SECONDS = 0.1


def show(listed: list[Record], given: Words, *, follow: bool) -> list[int]:
    """Show the output of containers, each line after its name; the processes that follow, where they do."""
    width = max((len(one.name) for one in listed), default=0)
    colours = sys.stdout.isatty() and not given.on("no-color") and "NO_COLOR" not in os.environ
    children = []
    for number, one in enumerate(listed):
        prefix = "" if given.on("no-log-prefix") else f"{one.name.ljust(width)}  | "
        if prefix and colours:
            prefix = coloured(prefix, COLOURS[number % len(COLOURS)])
        if not follow:
            _write(logs.last(one.directory, _tail(given)), prefix, given)
            continue
        sys.stdout.flush()
        child = os.fork()
        if child == 0:
            try:
                # Whoever follows is ended by who started it, once all has been said.
                signal.signal(signal.SIGINT, signal.SIG_IGN)
                for entry in logs.follow(one.directory, lambda one=one: _goes_on(one.id), tail=_tail(given)):  # type: ignore[misc]
                    _write([entry], prefix, given)
            except BaseException:
                os._exit(1)
            os._exit(0)
        children.append(child)
    return children


def _tail(given: Words) -> int:
    text = given.last("tail", "all")
    return int(text) if text.isdecimal() else -1


def _write(entries: list[logs.Entry], prefix: str, given: Words) -> None:
    for entry in entries:
        when = f"{entry.time} " if given.on("timestamps") else ""
        text = entry.text if entry.text.endswith("\n") else f"{entry.text}\n"
        # In one piece: lines of several processes must not be mixed.
        sys.stdout.flush()
        os.write(1, f"{prefix}{when}{text}".encode())


def _goes_on(container: str) -> bool:
    found = record.read(container)
    if found is None or found.is_alive or found.status == "restarting":
        return found is not None
    return control.is_watched(container)


def stay(project: Project, services: list[str], given: Words) -> int:
    """Show output until all have ended; Ctrl-C stops them in order, and once more kills them."""
    listed = [one for one in state.containers(project.name) if state.service_of(one) in services]
    children = show(listed, given, follow=True)
    status = 0
    try:
        _wait(children)
    except KeyboardInterrupt:
        status = 130
        _stop(project, services)
        _wait(children)
    for one in listed:
        found = record.read(one.id)
        if found and not found.is_alive:
            sys.stdout.write(f"{found.name} exited with code {found.state.get('exitCode', 0)}\n")
    return status


def _stop(project: Project, services: Sequence[str]) -> None:
    """Stop services in order; when somebody is impatient, kill them."""
    sys.stderr.write("\n")
    mine = [one for one in state.containers(project.name) if state.service_of(one) in services]
    try:
        down.stop_all(project, mine, tell, None)
    except KeyboardInterrupt:
        for one in (record.read(one.id) for one in mine):
            if one and one.is_alive:
                control.kill(one, "KILL")


@contextmanager
def stopped_by_signals(project: Project, services: Sequence[str]) -> Iterator[None]:
    """While services begin, have Ctrl-C stop them; from here on SIGTERM and SIGHUP are Ctrl-C."""

    def interrupt(*_: object) -> None:
        raise KeyboardInterrupt

    for number in (signal.SIGTERM, signal.SIGHUP):
        if signal.getsignal(number) != signal.SIG_IGN:  # As nohup(1) has it.
            signal.signal(number, interrupt)
    try:
        yield
    except KeyboardInterrupt:
        if services:
            _stop(project, services)
        raise


def _wait(children: list[int]) -> None:
    while children:
        os.waitpid(children[0], 0)
        children.pop(0)


def wait_until_well(project: Project, services: tuple[str, ...], until: float | None) -> None:
    """Wait until containers run, and are healthy where that is checked. Raises CosoError."""
    while True:
        listed = [one for one in state.containers(project.name) if state.service_of(one) in services]
        well = True
        for one in listed:
            checked = bool(state.health_of(one)) or _is_checked(one)
            if one.status == "exited" and one.state.get("exitCode") == 0 and not checked:
                continue  # It was to do something, and has done it.
            if one.status == "exited":
                raise CosoError(
                    f"{one.name} ended with status {one.state.get('exitCode')}", hint=f"coso logs {one.name}"
                )
            well = is_well(one, must_be_healthy=checked) and well
        if well:
            for one in listed:
                tell(f"Container {one.name}", "Healthy" if state.health_of(one) else "Running")
            return
        if until and monotonic() > until:
            raise CosoError("time is up", hint="--wait-timeout SECONDS gives more")
        sleep(LOOK_SECONDS)


def _is_checked(one: Record) -> bool:
    from coso.engine import health

    return health.settings_of(one) is not None
