"""`cosonet release` and `cosonet gc`: take a connection back, and the network after the last one.

The link itself goes with the container's namespace; deleting it here would
wait 30 ms for what the kernel does on its own.
"""

from __future__ import annotations

import os
import time

from coso.kernel.process import start_time
from cosonet import lease, network

# How long the network outlives its last container, so that the next start finds it made.
LINGER = 2.0


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
    """Leave a short-lived process behind that removes the network, unless another container comes.

    Nobody waits for it; when it is killed, `coso gc` does its work.
    """
    if lease.any_left() or not os.path.exists(network.STATE) or os.fork():
        return
    try:
        os.setsid()
        os.chdir("/")
        os.closerange(0, 1 << 30)
        os.open("/dev/null", os.O_RDWR)
        os.dup2(0, 1)
        os.dup2(0, 2)
        time.sleep(LINGER)
        remove_unused()
    finally:
        os._exit(0)


def collect() -> list[str]:
    """End the leases of dead processes and remove an unused network; return what was removed."""
    if not os.path.isdir(network.DIRECTORY):
        return []
    with network.locked():
        removed = [f"lease {address}" for address in lease.drop_dead()]
    if remove_unused():
        removed.append(f"network {network.BRIDGE}")
    return removed
