"""The time namespace: clocks of one's own, where asked (time_namespaces(7)).

The parent makes it before the clone: offsets can only be written while the
namespace has no process, and the parent itself stays outside.
"""

from __future__ import annotations

import os

from coso.kernel.process import CLONE_NEWTIME, unshare
from coso.runtime.container import Container
from coso.steps import Step


def set_offsets(container: Container) -> None:
    """Make the time namespace of children to come and set its clocks."""
    unshare(CLONE_NEWTIME)
    offsets = container.spec.time_offsets
    text = "".join(f"{clock} {offset.secs} {offset.nanosecs}\n" for clock, offset in offsets)
    if not text:
        return
    fd = os.open("/proc/self/timens_offsets", os.O_WRONLY | os.O_CLOEXEC)
    try:
        os.write(fd, text.encode())
    finally:
        os.close(fd)


OFFSETS = Step(
    "set the clocks",
    "make a time namespace and set its offsets",
    "unshare(CLONE_NEWTIME), write(/proc/self/timens_offsets)",
    "offsets can be written only before the first process enters",
    "time_namespaces(7)",
    set_offsets,
)
