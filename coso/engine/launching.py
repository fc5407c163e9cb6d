"""How a command has a monitor made, and hears how that went."""

from __future__ import annotations

import os
from _socket import AF_UNIX, SOCK_CLOEXEC, SOCK_SEQPACKET, socket

from coso import quickjson
from coso.engine import record, sockets, zygote
from coso.errors import CommandNotExecutableError, CommandNotFoundError, CosoError, StartError
from coso.state import ENGINE, make_directories

LARGEST = 1 << 17
KINDS = {126: CommandNotExecutableError, 127: CommandNotFoundError}


def launch(container: str, act: bytes, *, attach: bool = False) -> socket:
    """Have a monitor made for a container; the conversation with it. Raises CosoError."""
    one = record.stored_config(container)
    if one["options"].get("userns", [""])[-1] != "host":
        return zygote.launch(container, act, attach=attach)
    # Root inside is the host's: what it is started from must be out of its reach, as this very process then is.
    from coso.runtime.protect import protect_interpreter

    protect_interpreter()
    return _fork(container, act, attach=attach)


def _fork(container: str, act: bytes, *, attach: bool) -> socket:
    """Fork a monitor from this process."""
    from _socket import socketpair

    make_directories(ENGINE)
    ours, theirs = socketpair(AF_UNIX, SOCK_SEQPACKET | SOCK_CLOEXEC)
    zygote.ask_for(ours, container, act, attach=attach)
    child = os.fork()
    if child == 0:
        try:
            if os.fork() == 0:
                ours.close()
                zygote.become_monitor(theirs)
        finally:
            os._exit(0)
    os.waitpid(child, 0)
    theirs.close()
    return ours


def hear(end: socket) -> None:
    """Wait until the container runs; raises what the monitor says went wrong."""
    try:
        answer = end.recv(LARGEST)
    except OSError:
        answer = b""
    if answer[:1] == b"k":
        return
    if not answer:
        raise CosoError("the container's monitor died", hint="try again; the kernel's log tells of OOM kills")
    said = quickjson.loads(answer[1:].decode())
    kind = KINDS.get(int(said["status"]))
    more = {"cause": said["cause"], "hint": said["hint"]}
    if kind:
        raise kind("", "execute", said["error"], **more)
    raise StartError("", "start", said["error"], **more)


def connect(container: str) -> socket | None:
    """The socket of a container's monitor, None when there is none."""
    return sockets.connect(f"{ENGINE}/{container}/socket")
