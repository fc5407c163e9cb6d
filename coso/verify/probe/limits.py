"""Probes of limits: do they bite?"""

from __future__ import annotations

import os
import time

TYPE_CHECKING = False
if TYPE_CHECKING:
    from .common import Bait

SPELL = 0.5  # seconds of spinning


def memory_limit(_: Bait) -> str:
    """Is a process killed that takes more memory than the container may have?"""
    child = os.fork()
    if not child:
        taken = b"x" * (512 << 20)
        os._exit(len(taken) & 1)
    ended = os.waitstatus_to_exitcode(os.waitpid(child, 0)[1])
    return "" if ended == -9 else "a process took 512 MiB"


def process_limit(_: Bait) -> str:
    """Is fork() refused at some point?"""
    children: list[int] = []
    try:
        while len(children) < 200:
            child = os.fork()
            if not child:
                time.sleep(60)
                os._exit(0)
            children.append(child)
    except BlockingIOError:
        return ""
    finally:
        for child in children:
            os.kill(child, 9)
            os.waitpid(child, 0)
    return f"{len(children)} processes could be started"


def cpu_limit(_: Bait) -> str:
    """Does a spinning process get no more than its share, a fifth of a CPU? With room for the first period."""
    begun, used = time.monotonic(), time.process_time()
    while time.monotonic() - begun < SPELL:
        pass
    share = (time.process_time() - used) / (time.monotonic() - begun)
    return "" if share < 0.4 else f"it got {share:.0%} of a CPU"


PROBES = (memory_limit, process_limit, cpu_limit)
