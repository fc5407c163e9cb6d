"""What several drivers need of the host: programs, mounts before a start, what is left after an end."""

from __future__ import annotations

import os
import re
import signal
import subprocess
import time
from collections.abc import Callable, Iterable, Iterator, Mapping

from coso.cgroups import hierarchies
from coso.errors import KernelError
from coso.kernel.mount import unmount
from coso.spawn import find

HYBRID_CONTROLLERS = "/sys/fs/cgroup/unified/cgroup.controllers"


def absence(program: str, package: str = "") -> Callable[[], str]:
    """What to say when a program is not there."""
    return lambda: "" if find(program) else f"{package or program} is not installed"


def version(program: str) -> Callable[[], str]:
    """Ask a program for its version: the first number in what it says, `""` when it is not there."""
    return lambda: first_number(said([find(program), "--version"])) if find(program) else ""


def first_number(text: str) -> str:
    """The first word that looks like a version: `1.1.5` of `runc version 1.1.5+ds1`."""
    found = re.search(r"\d+(\.\d+)*", text)
    return found.group() if found else ""


def said(words: list[str], environment: Mapping[str, str] | None = None) -> str:
    """What a program prints; its complaints and its exit status are nobody's concern."""
    env = os.environ | (environment or {})
    done = subprocess.run(words, stdin=subprocess.DEVNULL, capture_output=True, text=True, check=False, env=env)
    return done.stdout


def after_mounts(lines: Iterable[str], words: list[str]) -> list[str]:
    """Words that run `words` in a mount namespace of its own, in which the lines of shell have been run."""
    script = " && ".join((*lines, 'exec "$@"'))
    return [find("unshare"), "--mount", "/bin/sh", "-c", script, "sh", *words]


def without_hybrid_controllers(words: list[str]) -> list[str]:
    """Words that show a program a v2 hierarchy without controllers.

    crun refuses a hybrid machine whose v2 hierarchy has any, be it one that no limit needs (hugetlb).
    """
    try:
        with open(HYBRID_CONTROLLERS) as file:
            controllers = file.read().strip()
    except FileNotFoundError:
        return words
    return after_mounts([f"mount --bind /dev/null {HYBRID_CONTROLLERS}"], words) if controllers else words


def kill_inside(rootfs: str) -> None:
    """Kill every process whose root directory is this one."""
    try:
        wanted = os.stat(rootfs)
    except FileNotFoundError:
        return
    for pid in filter(str.isdecimal, os.listdir("/proc")):
        try:
            if os.path.samestat(os.stat(f"/proc/{pid}/root/"), wanted):
                os.kill(int(pid), signal.SIGKILL)
        except OSError:
            continue  # It has ended, or is a kernel thread.


def await_end(word: str, seconds: float = 5.0) -> None:
    """Wait for processes that have this text in their command line, a directory of ours say."""
    end = time.monotonic() + seconds
    while time.monotonic() < end and any(word in line for line in _command_lines()):
        time.sleep(0.02)


def _command_lines() -> Iterator[str]:
    for pid in filter(str.isdecimal, os.listdir("/proc")):
        try:
            with open(f"/proc/{pid}/cmdline", errors="replace") as file:
                yield file.read()
        except OSError:
            continue  # It has ended.


def unmount_below(directory: str) -> None:
    """Unmount everything below a directory, the last mount first; mounts may lie on mounts, hence the passes."""
    for _ in range(16):
        with open("/proc/self/mountinfo") as file:
            points = [line.split()[4] for line in file]
        below = [point for point in points if point.startswith(f"{directory}/")]
        if not below:
            return
        for point in reversed(below):
            try:
                unmount(point)
            except KernelError:
                continue  # It lies below another that has gone, and went with it.


def drop_empty_directories(path: str) -> None:
    """Remove a directory and those below it, as far as they hold no file."""
    for directory, _, _ in os.walk(path, topdown=False):
        try:
            os.rmdir(directory)
        except OSError:
            continue  # In use.


def drop_empty_groups(*names: str) -> None:
    """Remove control groups that hold no process, at the top and beside this process.

    A process that has just ended is in its group for a moment yet, hence the patience.
    """
    places = [f"{directory}/{name}" for directory in _group_directories() for name in names]
    deadline = time.monotonic() + 2
    while places and time.monotonic() < deadline:
        places = [place for place in places if not _is_gone(place)]
        time.sleep(0.05 if places else 0)


def _group_directories() -> set[str]:
    return {*(hierarchy.path for hierarchy in hierarchies()), *_own_groups()}


def _is_gone(group: str) -> bool:
    try:
        os.rmdir(group)
    except FileNotFoundError:
        return True
    except OSError:
        return False  # In use, by somebody else perhaps.
    return True


def _own_groups() -> list[str]:
    """The directories of this process's own control groups."""
    with open("/proc/self/cgroup") as file:
        lines = [line.rstrip("\n").split(":", 2) for line in file]
    paths = {tuple(controllers.split(",")) if controllers else (): path for _, controllers, path in lines}
    keyed = ((hierarchy, () if hierarchy.version == 2 else hierarchy.controllers) for hierarchy in hierarchies())
    return [f"{hierarchy.path}{paths[key].rstrip('/')}" for hierarchy, key in keyed if key in paths]
