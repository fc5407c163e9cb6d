"""`cosonet release` and `cosonet gc`: take a connection back, and the network after the last one.

The link itself goes with the container's namespace; deleting it here would
wait 30 ms for what the kernel does on its own.
"""

from __future__ import annotations

import fcntl
import os
import time

from coso.kernel.process import start_time
from cosonet import lease, network

# How long the network outlives its last container, so that the next start finds it made.
LINGER = 2.0
ALONE = f"{network.DIRECTORY}/waiting"


def release(pid: int, started: int = 0) -> list[str]:
    """End the leases of a process; return their addresses."""
    return lease.give_back(pid, started or start_time(pid))


def remove_unused() -> bool:
    """Remove the network if nobody uses it; whether it was removed."""
    with network.locked():
        if lease.any_left() or not os.path.exists(network.STATE):
            return False
        network.remove()
        return True


def remove_later() -> None:
    """Leave a short-lived process behind that removes the network once nobody has used it for LINGER seconds.

    Nobody waits for it, and there is one at a time; when it is killed,
    `coso gc` does its work.
    """
    with network.locked():
        if lease.any_left() or not os.path.exists(network.STATE):
            return
        alone = os.open(ALONE, os.O_CREAT | os.O_RDWR | os.O_CLOEXEC, 0o600)
        try:
            fcntl.flock(alone, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except OSError:
            os.close(alone)
            return
        if os.fork():
            os.close(alone)
            return
    try:
        _detach(alone)
        while _is_waiting(alone):
            continue
    finally:
        os._exit(0)


def _detach(keep: int) -> None:
    """Let go of everything the container's caller could wait for: terminal, pipes, directory."""
    os.setsid()
    os.chdir("/")
    os.closerange(3, keep)
    os.closerange(keep + 1, 1 << 30)
    null = os.open("/dev/null", os.O_RDWR | os.O_CLOEXEC)
    for fd in (0, 1, 2):
        os.dup2(null, fd)


def _is_waiting(alone: int) -> bool:
    """Sleep until the network may go; False when it is gone, or another container has come to take care of it."""
    time.sleep(min(LINGER, max(0.01, _last_use() + LINGER - time.time())))
    if not os.path.isdir(network.DIRECTORY):
        return False  # A tear-down was quicker; taking the lock would make the directory again.
    with network.locked():
        if lease.any_left():
            # Under the lock: the last container to end finds no one waiting, and starts another.
            os.close(alone)
            return False
        if time.time() < _last_use() + LINGER:
            return True
        if os.path.exists(network.STATE):
            network.remove()
        return False


def _last_use() -> float:
    """When the last lease was taken or given back: the directory of leases changed then."""
    try:
        return os.stat(lease.DIRECTORY).st_mtime
    except FileNotFoundError:
        return 0.0


def collect() -> list[str]:
    """End the leases of dead processes and remove an unused network; return what was removed."""
    if not os.path.isdir(network.DIRECTORY):
        return []
    with network.locked():
        removed = [f"lease {address}" for address in lease.drop_dead()]
    if remove_unused():
        removed.append(f"network {network.BRIDGE}")
    return removed
