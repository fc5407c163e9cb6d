"""The last steps before a command: those of a container's first process, and of every other that joins it later."""

from __future__ import annotations

from coso.runtime import command, hooks, ipc, process, security
from coso.spec import Spec
from coso.steps import Step

DIRECTORY = Step(
    "enter the directory",
    "close every descriptor of the host and go to the working directory",
    "close_range(), chdir(), getcwd()",
    "a descriptor left open is a way out of the root",
    "open(2), CVE-2024-21626",
    command.enter_directory,
)


def in_any_process(spec: Spec) -> list[Step]:
    """The last steps before a command: those of the first process, and of every other that joins it later."""
    wanted = spec.process
    return [
        *([security.RLIMITS] if wanted.rlimits else []),
        *([process.SCHEDULE] if wanted.scheduler or wanted.io_priority else []),
        *([process.PERSONALITY] if spec.personality else []),
        ipc.KEYRING,
        DIRECTORY,
        # A filter needs no_new_privs or CAP_SYS_ADMIN. With the former it comes last: it need not let our calls by.
        *([] if wanted.no_new_privileges else [security.FILTER]),
        security.USER,
        # Who answers calls outside is reached by way of the runtime, which is there only until the command may go.
        *([security.FILTER] if wanted.no_new_privileges and security.notifies(spec) else []),
    ]


def at_last(spec: Spec) -> list[Step]:
    """The child's steps once the command may go."""
    return [
        *([hooks.START_CONTAINER] if spec.hooks.start_container else []),
        *([security.LAST_LIMITS] if any(security.is_scarce(limit) for limit in spec.process.rlimits) else []),
        *([security.FILTER] if spec.process.no_new_privileges and not security.notifies(spec) else []),
    ]
