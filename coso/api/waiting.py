"""Waiting until a container is ready, and saying why it is not: the reason, and the last lines of its log."""

from __future__ import annotations

import re
import shlex
from _socket import AF_INET, AF_INET6, SOCK_CLOEXEC, SOCK_STREAM, socket
from time import monotonic, sleep
from typing import TYPE_CHECKING

from coso.errors import CosoError, TimeoutExpiredError, UsageError

if TYPE_CHECKING:
    from collections.abc import Callable

    from coso.api.completed import Command
    from coso.api.container import Container

LOOK_SECONDS = 0.005
LONGEST_LOOK_SECONDS = 0.1
CONNECT_SECONDS = 1.0
LAST_LINES = 20


def wait_for(
    one: Container,
    *,
    port: int | None,
    log: str | None,
    health: bool | Command,
    until: Callable[[Container], object] | None,
    timeout: float,
) -> None:
    """Wait until a port answers, a log has a line (a regular expression), its health is well, a callable says so.

    `health` is a command, or True for that of the image or of `health_cmd`.
    The callable may raise CosoError, AssertionError or OSError as long as it
    is too early. Raises TimeoutExpiredError, or CosoError at once when the
    container ends meanwhile.
    """
    tests: list[tuple[str, Callable[[], object]]] = []
    if port is not None:
        tests.append((f"port {port} to answer", lambda: _answers(one, port)))
    if log is not None:
        pattern = re.compile(log)
        tests.append((f"its log to have {log!r}", lambda: pattern.search(one.logs())))
    if health:
        command = _health_of(one) if health is True else health
        tests.append((f"{_shown(command)!r} to succeed", lambda: _is_well(one, command)))
    if until is not None:
        tests.append((f"{getattr(until, '__name__', 'the callable')} to hold", lambda: until(one)))
    if not tests:
        raise UsageError("wait_for waits for nothing", hint="give it port=, log=, health= or until=")
    end = monotonic() + timeout
    for what, test in tests:
        _wait(one, what, test, end, timeout)


def _wait(one: Container, what: str, test: Callable[[], object], end: float, timeout: float) -> None:
    pause, reason = LOOK_SECONDS, ""
    while True:
        try:
            if test():
                return
        except (CosoError, AssertionError, OSError) as error:
            reason = f"{type(error).__name__}: {error}"
        if one.status == "exited":
            raise CosoError(f"the container {one.id} ended while it was waited for {what}{_said(one)}")
        if monotonic() >= end:
            raise TimeoutExpiredError(
                f"waited {timeout:g} seconds for {what}, of the container {one.id}{_said(one)}", cause=reason
            )
        sleep(pause)
        pause = min(pause * 1.5, LONGEST_LOOK_SECONDS)


def _said(one: Container) -> str:
    lines = one.logs().splitlines()[-LAST_LINES:]
    return "; it said last:\n" + "\n".join(f"  {line}" for line in lines) if lines else "; it said nothing"


def _answers(one: Container, port: int) -> bool:
    """Whether somebody accepts connections there: at its own address, else at the published port."""
    try:
        host, number = one.ip, port
    except CosoError:
        published = one.ports
        if port not in published:
            raise
        host, number = "127.0.0.1", published[port]
    end = socket(AF_INET6 if ":" in host else AF_INET, SOCK_STREAM | SOCK_CLOEXEC)
    try:
        end.settimeout(CONNECT_SECONDS)
        end.connect((host, number))
    finally:
        end.close()
    return True


def _health_of(one: Container) -> Command:
    found = one.inspect()["Config"].get("Healthcheck") or {}
    test = found.get("Test") or ["NONE"]
    if test[0] == "NONE":
        raise UsageError("the container has no health check", hint="health_cmd='…', or wait_for(health='…')")
    return str(test[1]) if test[0] == "CMD-SHELL" else tuple(test[1:])


def _shown(command: Command) -> str:
    return command if isinstance(command, str) else shlex.join(command)


def _is_well(one: Container, command: Command) -> bool:
    done = one.exec(command)
    if done.status:
        raise CosoError(f"status {done.status}: {(done.stderr or done.stdout).strip()[-200:]}")
    return True
