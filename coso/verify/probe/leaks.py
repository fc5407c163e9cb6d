"""Probes of what the caller has open, and the helpers of checks that are seen from the host."""

from __future__ import annotations

import json
import os
import socket
import time

from .common import mount

TYPE_CHECKING = False
if TYPE_CHECKING:
    from .common import Bait

PATIENCE = 20.0
# Some runtimes wait for what a container leaves in the background.
LINGERING = 12.0


def callers_input(_: Bait) -> str:
    """Is the input of whoever started the container out of reach?"""
    return "the caller's input can be read" if os.read(0, 1) else ""


def descriptors(_: Bait) -> str:
    """Are input, output and error the only open descriptors?"""
    found = []
    for name in os.listdir("/proc/self/fd"):
        try:
            if int(name) > 2:
                found.append(f"{name} is {os.readlink(f'/proc/self/fd/{name}')}")
        except FileNotFoundError:
            continue  # the listing's own
    return f"descriptor {found[0]}" if found else ""


def directory(bait: Bait) -> str:
    """Is the working directory inside, where it was asked?"""
    here = os.getcwd()
    return "" if here == bait["directory"] else f"the working directory is {here}"


def callers_directory(bait: Bait) -> str:
    """Is the working directory inside, and not a directory that the caller has open?"""
    name = os.path.basename(bait["outside"])
    try:
        os.getcwd()
    except OSError:
        return "the working directory is outside of the root"
    return f"the caller's directory is the working directory: {name} is there" if os.path.exists(name) else ""


def own_program(_: Bait) -> str:
    """Can the runtime's own program not be written by what it executed?

    access(2) is asked: open(2) fails with ETXTBSY as long as anybody executes it.
    """
    if not os.access("/proc/self/exe", os.W_OK):
        return ""
    return f"the host's {os.readlink('/proc/self/exe')} can be overwritten"


def await_file(path: str) -> None:
    """Wait for the host to make a file."""
    deadline = time.monotonic() + PATIENCE
    while not os.path.exists(path):
        if time.monotonic() > deadline:
            raise TimeoutError(f"{path} does not appear")
        time.sleep(0.005)


def neighbour(bait: Bait) -> str:
    """Be a neighbour: listen everywhere, say where, and wait for the file `stop`."""
    with socket.create_server(("0.0.0.0", 0)) as server, socket.socket(socket.AF_UNIX) as abstract:
        abstract.bind("\0" + bait["neighbour"])
        abstract.listen()
        with open("/proc/self/uid_map") as file:
            users = [list(map(int, line.split()[1:])) for line in file]
        _tell(f"{bait['shared']}/neighbour", {"port": server.getsockname()[1], "neighbour_users": users})
        await_file(f"{bait['shared']}/stop")
    return ""


def propagation(bait: Bait) -> str:
    """Mount below the shared directory, let the host mount there, and say what is seen."""
    shared = bait["shared"]
    os.makedirs(f"{shared}/out", exist_ok=True)
    if mount("none", f"{shared}/out", "tmpfs") == 0:
        open(f"{shared}/out/seen", "w").close()
    _tell(f"{shared}/ready", {})
    await_file(f"{shared}/mounted")
    return "a mount that the host made afterwards is seen inside" if os.path.exists(f"{shared}/in/seen") else ""


def linger(bait: Bait, then: str) -> str:
    """Leave a process behind that knows no parent; then end, or wait to be killed."""
    if not os.fork():
        os.setsid()
        null = os.open("/dev/null", os.O_RDWR) if os.path.exists("/dev/null") else 0
        for fd in (0, 1, 2):
            os.dup2(null, fd)
        time.sleep(LINGERING)
        os._exit(0)
    _tell(f"{bait['shared']}/lingering", {})
    if then == "wait":
        time.sleep(LINGERING)
    return ""


def _tell(path: str, facts: dict[str, object]) -> None:
    with open(f"{path}.new", "w") as file:
        json.dump(facts, file)
    os.rename(f"{path}.new", path)


PROBES = (
    callers_input,
    descriptors,
    directory,
    callers_directory,
    own_program,
    neighbour,
    propagation,
    linger,
)
