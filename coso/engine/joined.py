"""The namespaces of other containers that a container shares: --network, --pid and --ipc container:NAME."""

from __future__ import annotations

from coso.spec import Joined

TYPE_CHECKING = False
if TYPE_CHECKING:
    from coso.flags import Words

NAMESPACES = {"network": "net", "pid": "pid", "ipc": "ipc"}


def joined_namespaces(given: Words) -> tuple[Joined, ...]:
    """The namespaces of other containers that --network, --pid and --ipc ask for; raises CosoError."""
    pids: dict[str, int] = {}
    for option in NAMESPACES:
        kind, colon, name = given.last(option).partition(":")
        if kind == "container" and colon:
            from coso.runtime.running import find

            pids[option] = find(name).pid
    return joined_to(pids)


def joined_to(pids: dict[str, int]) -> tuple[Joined, ...]:
    """The namespaces of other containers: by the option that shares each, a process of its owner."""
    found = {option: f"/proc/{pid}/ns/{NAMESPACES[option]}" for option, pid in pids.items()}
    for option, pid in pids.items():
        if option != "network":
            # Its processes and its IPC belong to its user namespace; in another there is no right over them.
            found["user"] = f"/proc/{pid}/ns/user"
    return tuple(Joined(kind, path) for kind, path in found.items())
