"""The PID namespace: the command is process 1 (pid_namespaces(7)).

With `--init` a small reaper is process 1 and the command its child: it passes
signals on, which the kernel withholds from a process 1 without handlers, and
reaps orphans.
"""

from __future__ import annotations

import _signal
import os

from coso.kernel.process import CLONE_NEWPID, PR_SET_DUMPABLE, prctl

FLAG = CLONE_NEWPID

FORWARDED = frozenset((1, 2, 3, 10, 12, 15, 28))
SIGCHLD, SIGTTIN, SIGTTOU = 17, 21, 22


def fork_command(channel_ends: set[int], terminal: bool) -> None:
    """Return in a child that is to become the command; the caller stays process 1 and never returns."""
    # The reaper's memory and its interpreter are the host's: nobody inside may trace it or open its /proc/1/exe.
    prctl(PR_SET_DUMPABLE, 0)
    watched = FORWARDED | {SIGCHLD}
    _signal.pthread_sigmask(_signal.SIG_BLOCK, watched)
    command = os.fork()
    if command == 0:
        os.setpgid(0, 0)
        if terminal:
            # A background group that takes the terminal is stopped by SIGTTOU, unless that is blocked.
            _signal.pthread_sigmask(_signal.SIG_BLOCK, {SIGTTOU})
            os.tcsetpgrp(0, os.getpgrp())
        return
    for fd in channel_ends:
        os.close(fd)
    # The pipes and files of standard input and output belong to the command: a reader must see their end.
    null = os.open("/dev/null", os.O_RDWR)
    for fd in (0, 1, 2):
        os.dup2(null, fd)
    os._exit(_reap_until_end(command, watched))


def _reap_until_end(command: int, watched: frozenset[int]) -> int:
    while True:
        number = _signal.sigwaitinfo(watched).si_signo
        if number != SIGCHLD:
            try:
                os.kill(command, number)
            except ProcessLookupError:
                pass
            continue
        while True:
            try:
                pid, status = os.waitpid(-1, os.WNOHANG)
            except ChildProcessError:
                break
            if pid == 0:
                break
            if pid == command:
                return exit_status(status)


def exit_status(status: int) -> int:
    """A wait status as shells report it: the exit status, or 128 and the signal."""
    code = os.waitstatus_to_exitcode(status)
    return code if code >= 0 else 128 - code
