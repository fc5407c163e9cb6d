"""Containers whose monitor was killed: another monitor takes over, or writes down the end that nobody saw."""

from __future__ import annotations

import os

from coso.engine import record
from coso.errors import CosoError
from coso.kernel.process import is_limited
from coso.runtime import journal
from coso.state import JOURNALS

TYPE_CHECKING = False
if TYPE_CHECKING:
    from _socket import socket


MANY = 200


def adopt() -> list[str]:
    """Look for containers without a monitor, and have them adopted; which they were. Raises CosoError."""
    if os.geteuid() == 0 and is_limited():
        return []  # Root of a user namespace only: who entered it has looked before.
    orphans = [name for name in _perhaps_unheld() if journal.is_kept(name) and not record.holder_of(name)]
    if not orphans:
        return []
    from coso.engine import launching, zygote

    # All at once, then wait for each.
    ends: list[socket] = []
    for name in orphans:
        try:
            ends.append(launching.launch(name, zygote.ADOPT))
        except CosoError:
            continue  # It went away, or another command was faster.
    for end in ends:
        try:
            launching.hear(end)
        except CosoError:
            pass  # Another command was faster, or the container would not start again: its state tells.
        end.close()
    return orphans


def _perhaps_unheld() -> list[str]:
    """The containers whose journal nobody is known to hold: with a thousand of them, asking for each takes long."""
    try:
        # Whoever reads /proc/locks holds up all that lock, and waits until they know: an RCU grace period, 10 ms.
        if len(names := os.listdir(JOURNALS)) < MANY:
            return sorted(names)
        device = os.stat(JOURNALS).st_dev
        with os.scandir(JOURNALS) as entries, open("/proc/locks") as locks:
            place = f"{os.major(device):02x}:{os.minor(device):02x}:"
            # `1: POSIX  ADVISORY  WRITE PID MAJOR:MINOR:INODE 0 EOF` (proc(5)); those of another PID namespace lack.
            held = {line.split()[5] for line in locks if " POSIX " in line and place in line}
            return sorted(entry.name for entry in entries if f"{place}{entry.inode()}" not in held)
    except FileNotFoundError:
        return []
