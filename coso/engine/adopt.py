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


def adopt() -> list[str]:
    """Look for containers without a monitor, and have them adopted; which they were. Raises CosoError."""
    if os.geteuid() == 0 and is_limited():
        return []  # Root of a user namespace only: who entered it has looked before.
    orphans = [name for name in _journals() if journal.is_kept(name) and not record.holder_of(name)]
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


def _journals() -> list[str]:
    return sorted(os.listdir(JOURNALS)) if os.path.isdir(JOURNALS) else []
