"""A command line of coso, carried out by a worker of the starter: what has no need to be quick."""

from __future__ import annotations

import os
from typing import TYPE_CHECKING

from coso.api import client
from coso.api.completed import Completed, complete
from coso.errors import CosoError

if TYPE_CHECKING:
    from coso.api.client import Starter


def command(*words: str, timeout: float | None = None, starter: Starter | None = None) -> Completed:
    """Carry out `coso WORDS …` here and now; raises CosoError with what it said when it fails."""
    request = {"act": "command", "command": words, "directory": os.getcwd(), "environment": dict(os.environ)}
    starter = starter or client.of_this_process()
    starter.settle()
    done = complete(request, None, timeout, starter)
    if done.status:
        said = done.stderr.strip().removeprefix("coso: ")
        raise CosoError(said or f"`coso {' '.join(words)}` ended with status {done.status}")
    return done
