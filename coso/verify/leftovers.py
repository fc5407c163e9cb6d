"""What is left on the host of a container that ended normally, was killed, or whose runtime was."""

from __future__ import annotations

import os
import re
import signal
import socket
import time
from collections.abc import Callable, Iterator, Sequence

from coso import cgroups, state
from coso.errors import UnsupportedError
from coso.spawn import find, spawn
from coso.verify import ground as stand
from coso.verify.checks import Check
from coso.verify.checks.check import options
from coso.verify.ground import Ground, Started
from coso.verify.scenes import Found, unsupported, verdict

# Names that files of coso's state always have, whether or not a container is there.
LOCKS = ("lock", "waiting")
PATIENCE = 8.0


def mounts() -> set[str]:
    """Mount points in this mount namespace."""
    with open("/proc/self/mountinfo") as file:
        return {line.split()[4] for line in file}


def links() -> set[str]:
    """Links of this network namespace."""
    return {name for _, name in socket.if_nameindex()}


def groups() -> set[str]:
    """Control groups without a process: one that has any is somebody's who came meanwhile."""
    found = set()
    for hierarchy in cgroups.hierarchies():
        for directory, names, _ in os.walk(hierarchy.path):
            if not names and not _has_process(directory):
                found.add(directory)
    return found


def _has_process(directory: str) -> bool:
    try:
        with open(f"{directory}/cgroup.procs") as file:
            return bool(file.read(1))
    except OSError:
        return False


def rules() -> set[str]:
    """Tables, chains and rules of nftables, iptables' own among them, without their counters."""
    program = find("nft")
    text = spawn([program, "list", "ruleset"])[1] if program else ""
    lines = {re.sub(r"packets \d+ bytes \d+ ?", "", line).strip() for line in text.splitlines()}
    return lines - {"", "}"}


def files() -> set[str]:
    """Files of coso's state: journals, leases, layers."""
    places = (os.environ.get("COSO_RUN", state.RUN), os.environ.get("COSO_LIB", state.LIB))
    found = set()
    for place in places:
        for directory, _, names in os.walk(place):
            found |= {f"{directory}/{name}" for name in names if name not in LOCKS}
    return found


KINDS: dict[str, Callable[[], set[str]]] = {
    "mounts": mounts,
    "links": links,
    "cgroups": groups,
    "rules": rules,
    "files": files,
}


def left(ground: Ground, checks: Sequence[Check], control: bool) -> Iterator[Found]:
    """Let a container end in the way that the scene names, and compare the host before and after."""
    for together in stand.group(checks, lambda check: options(check, control=control)):
        ending = together[0].scene.partition("-")[2]
        wanted = {check.probe.partition(":")[2] for check in together}
        before = {kind: KINDS[kind]() for kind in wanted if kind in KINDS}
        try:
            started = _ended(ground, options(together[0], control=control), ending)
        except UnsupportedError as error:
            yield from unsupported(together, error)
            continue
        if isinstance(started, str):
            yield from ((check, "error", f"no result: {started}", 0.0) for check in together)
            continue
        patience = PATIENCE if not control else 1.0
        remaining = _remaining(before, started.name if "processes" in wanted else "", patience)
        for pid in stand.processes(started.name):
            os.kill(pid, signal.SIGKILL)
        for check in together:
            more = sorted(remaining.get(check.probe.partition(":")[2], ()))
            yield verdict(check, f"{len(more)} left: {more[0]}" if more else "")


def _ended(ground: Ground, chosen: tuple[str, ...], ending: str) -> Started | str:
    """A container that has come to its end, or what the runtime said when there was none."""
    then = "exit" if ending == "exit" else "wait"
    started = stand.start(ground, chosen, [f"linger=linger:{then}"])
    if not stand.wait_for(f"{started.shared}/lingering", started):
        return started.finish()[1]
    if ending == "kill" and (first := started.first_process()):
        os.kill(first, signal.SIGKILL)
    if ending == "crash":
        started.process.kill()
        started.process.wait()  # Not for the end of its output: the container may go on, and have it open.
        stand.remove(ground, started)
    started.finish()
    return started


def _remaining(before: dict[str, set[str]], name: str, patience: float) -> dict[str, set[str]]:
    """What is there and was not before, after giving it time to go."""
    deadline = time.monotonic() + patience
    while True:
        found = {kind: KINDS[kind]() - earlier for kind, earlier in before.items()}
        if name:
            found["processes"] = {f"process {pid}" for pid in stand.processes(name)}
        if not any(found.values()) or time.monotonic() > deadline:
            return found
        time.sleep(0.05)
