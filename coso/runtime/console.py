"""The terminal: a pseudo-terminal of the container's own devpts (pty(7), pts(4), OCI console).

The child opens it inside and hands the master to the parent, so the host's
terminal is never open in the container and cannot be typed into.
"""

from __future__ import annotations

import os
from _struct import pack
from fcntl import ioctl

from coso.errors import CosoError
from coso.kernel import mount
from coso.kernel.path import DEVPTS_SUPER_MAGIC, filesystem_type
from coso.runtime.container import Container
from coso.runtime.users import account_of
from coso.steps import Step

TIOCGPTPEER = 0x5441
TIOCGWINSZ = 0x5413
TIOCSCTTY = 0x540E
TIOCSPTLCK = 0x40045431
TIOCSWINSZ = 0x5414


def open_terminal(container: Container) -> None:
    """Open a pseudo-terminal, make it the controlling one and /dev/console, and send its master out."""
    master = os.open("/dev/pts/ptmx", os.O_RDWR | os.O_NOCTTY | os.O_CLOEXEC)
    if filesystem_type(master) != DEVPTS_SUPER_MAGIC:
        raise CosoError("/dev/pts inside is no devpts filesystem", hint="mount one there, or run without a terminal")
    ioctl(master, TIOCSPTLCK, pack("i", 0))
    slave: int = ioctl(master, TIOCGPTPEER, os.O_RDWR | os.O_NOCTTY | os.O_CLOEXEC)
    container.theirs.send("terminal", fds=(master,))
    os.close(master)
    ioctl(slave, TIOCSCTTY, 0)
    size = container.spec.process.console_size
    if size:
        ioctl(slave, TIOCSWINSZ, pack("4H", *size, 0, 0))
    if container.has_console:
        # By descriptor: at a path under /dev/pts somebody could have put something else by now (CVE-2025-52565).
        console = mount.open_tree("", slave)
        mount.move_mount(console, "/dev/console")
    account = account_of(container)
    if account.uid != 0:
        # A program that opens its terminal anew, by /dev/tty or its name, must be allowed to.
        os.fchown(slave, account.uid, -1)
    for fd in (0, 1, 2):
        os.dup2(slave, fd)


def redirect_input(container: Container) -> None:
    """Give a command that was not asked to read an empty input."""
    if not container.spec.process.interactive:
        os.dup2(os.open("/dev/null", os.O_RDONLY | os.O_CLOEXEC), 0)


def give_pipes(container: Container) -> None:
    """Make anonymous pipes at standard output and error the container's, in the parent.

    A program that opens /dev/stdout opens the pipe anew, which the kernel
    allows to its owner only. Terminals and files keep their owner.
    """
    user = container.spec.process.user
    owner, group = container.host_uid(user.uid), container.host_gid(user.gid)
    if owner == os.geteuid():
        return
    for fd in (0, 1, 2):
        try:
            if os.readlink(f"/proc/self/fd/{fd}").startswith("pipe:"):
                os.fchown(fd, owner, group)
        except OSError:
            continue


def set_size(terminal: int, rows: int, columns: int) -> None:
    """Give a terminal a size; nothing when it is gone."""
    try:
        ioctl(terminal, TIOCSWINSZ, pack("4H", rows, columns, 0, 0))
    except OSError:
        pass


def copy_window_size(source: int, target: int) -> None:
    """Give the container's terminal the size of the user's; nothing when that is no terminal."""
    try:
        ioctl(target, TIOCSWINSZ, ioctl(source, TIOCGWINSZ, bytes(8)))
    except OSError:
        pass


TERMINAL = Step(
    "open the terminal",
    "open a pseudo-terminal inside and make it /dev/console",
    "ioctl(TIOCGPTPEER), ioctl(TIOCSCTTY), sendmsg(SCM_RIGHTS)",
    "a process that holds the host's own terminal could type into it",
    "pty(7), ioctl_tty(2)",
    open_terminal,
)
INPUT = Step(
    "redirect input",
    "read from /dev/null unless --interactive is given",
    "dup2()",
    "a command in the background must not take the input of its caller",
    "null(4)",
    redirect_input,
)
