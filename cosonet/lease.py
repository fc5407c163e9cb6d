"""Addresses, leased to processes.

A lease is a symbolic link named like the address, pointing to
`pid:start-time` of its owner.  Making a link is atomic, so containers that
start at the same moment get different addresses without waiting for each
other; and a pid with its start time names one process for good, so a lease
whose owner is gone is recognised even when the pid is in use again.
"""

from __future__ import annotations

import os

from coso.errors import NetworkError
from coso.kernel.process import start_time
from coso.state import RUN
from coso.value import value

DIRECTORY = f"{RUN}/network/leases"


@value
class Lease:
    """An address and its owner."""

    address: str
    pid: int
    started: int

    def is_alive(self) -> bool:
        """Whether the owner still runs."""
        return self.started != 0 and start_time(self.pid) == self.started


def to_text(number: int) -> str:
    """An IPv4 address in dotted form."""
    return ".".join(str(number >> shift & 255) for shift in (24, 16, 8, 0))


def to_number(text: str) -> int:
    """An IPv4 address as a number."""
    number = 0
    for part in text.split("."):
        number = number << 8 | int(part)
    return number


def take(pid: int, started: int, network: int, length: int) -> str:
    """Lease a free address of a subnet; the first is the gateway's. Raises NetworkError when none is left."""
    last = (1 << 32 - length) - 2
    begin = int.from_bytes(os.urandom(4), "big")
    for round_ in (1, 2):
        for offset in range(last - 1):
            address = to_text(network + 2 + (begin + offset) % (last - 1))
            try:
                os.symlink(f"{pid}:{started}", f"{DIRECTORY}/{address}")
            except FileExistsError:
                continue
            return address
        if round_ == 1 and not drop_dead():
            break
    raise NetworkError(
        f"all {last - 1} addresses of {to_text(network)}/{length} are leased",
        cause="as many containers run",
        hint="see `cosonet list`; end some containers",
    )


def of(pid: int, started: int) -> list[str]:
    """The addresses leased to a process."""
    return [lease.address for lease in leases() if (lease.pid, lease.started) == (pid, started)]


def give_back(pid: int, started: int) -> list[str]:
    """End a process's leases; return their addresses."""
    mine = of(pid, started)
    for address in mine:
        os.unlink(f"{DIRECTORY}/{address}")
    return mine


def drop_dead() -> list[str]:
    """End the leases of processes that are gone; return their addresses. The caller holds the network's lock."""
    dead = [lease.address for lease in leases() if not lease.is_alive()]
    for address in dead:
        try:
            os.unlink(f"{DIRECTORY}/{address}")
        except FileNotFoundError:
            continue
    return dead


def leases() -> list[Lease]:
    """Every lease."""
    found = []
    for address in sorted(os.listdir(DIRECTORY)) if os.path.isdir(DIRECTORY) else []:
        try:
            pid, _, started = os.readlink(f"{DIRECTORY}/{address}").partition(":")
        except FileNotFoundError:
            continue
        found.append(Lease(address, int(pid), int(started)))
    return found


def any_left() -> bool:
    """Whether anybody has a lease."""
    return os.path.isdir(DIRECTORY) and bool(os.listdir(DIRECTORY))
