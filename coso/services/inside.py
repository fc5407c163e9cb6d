"""Hooks: commands in a container at its start and before its end (compose-spec, 05-services.md, "post_start")."""

from __future__ import annotations

import os
import sys

from coso.engine import inside
from coso.engine.record import Record
from coso.errors import CosoError
from coso.services.places import Map


def run_hook(one: Record, hook: Map) -> int:
    """Run one, with this process's output; its exit status."""
    child = os.fork()
    if child == 0:
        status = 125
        try:
            spec = inside.spec_of(one)
            wanted = inside.process_of(
                spec,
                tuple(hook["command"]),
                variables={name: text for name, text in (hook.get("environment") or {}).items() if text is not None},
                user=str(hook.get("user") or ""),
                directory=str(hook.get("working_dir") or ""),
                privileged=bool(hook.get("privileged")),
            )
            status = inside.execute(one, spec, wanted, detach=False)
        except CosoError as error:
            sys.stderr.write(f"coso: {error}\n")
            sys.stderr.flush()
        finally:
            os._exit(status)
    return os.waitstatus_to_exitcode(os.waitpid(child, 0)[1])
