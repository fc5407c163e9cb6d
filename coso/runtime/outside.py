"""Who stays outside when the runtime enters a user namespace: starts programs as the ordinary user that it was.

pasta(1) and slirp4netns(1) join the container's namespaces from the user's
own.  From within they could not.
"""

from __future__ import annotations

import os

from coso.runtime import channel
from coso.spawn import SIGPIPE

TYPE_CHECKING = False
if TYPE_CHECKING:
    from coso.runtime.channel import Channel

# In the words of a program: the path by which it opens a descriptor that it is given.
DESCRIPTOR = "@descriptor{}@"


class Outside:
    """The way to that process; it ends with this one."""

    def __init__(self, conversation: Channel) -> None:
        self._conversation = conversation

    def start(self, words: list[str], fds: tuple[int, ...]) -> int:
        """Start a program that goes on; its number."""
        self._conversation.send("start", *words, fds=fds)
        _, words, _ = self._conversation.receive() or ("", ["0"], [])
        return int(words[0])

    def close(self) -> None:
        """Let it end."""
        self._conversation.close()


def begin() -> Outside:
    """Fork the process that stays outside."""
    ours, theirs = channel.pair()
    if os.fork() == 0:
        try:
            ours.close()
            os.setsid()  # The terminal's Ctrl-C is the container's.
            while message := theirs.receive():
                theirs.send("started", _start(message[1], message[2]))
        finally:
            os._exit(0)
    theirs.close()
    return Outside(ours)


def _start(words: list[str], fds: list[int]) -> int:
    """Start a program in the background; 0 when it cannot be executed."""
    for number, fd in enumerate(fds):
        os.set_inheritable(fd, True)
        words = [word.replace(DESCRIPTOR.format(number), f"/proc/self/fd/{fd}") for word in words]
    null = os.open("/dev/null", os.O_RDWR | os.O_CLOEXEC)
    actions = [(os.POSIX_SPAWN_DUP2, null, fd) for fd in (0, 1, 2)]
    try:
        return os.posix_spawn(words[0], words, os.environ, file_actions=actions, setsigmask=[], setsigdef=[SIGPIPE])
    except OSError:
        return 0
    finally:
        for fd in (null, *fds):
            os.close(fd)
