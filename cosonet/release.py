"""`cosonet release` and `cosonet gc`: take a connection back, and a network after its last one.

The link itself goes with the container's namespace; deleting it here would
wait 30 ms for what the kernel does on its own.
"""

from __future__ import annotations

import fcntl
import os
import time

from coso.errors import CosoError, NetworkError
from cosonet import elements, lease, member, names, network, owner, publish
from cosonet.member import Member

# How long a network outlives its last container, so that the next start finds it made.
LINGER = 2.0
# How often dead owners are looked for meanwhile.
LOOK_SECONDS = 0.5
ALONE = f"{network.DIRECTORY}/waiting"


def release(who: str, name: str = "", *, remove_link: bool = False) -> list[Member]:
    """End the connections of an owner, or the one to a network; return them. Raises CosoError with all that failed."""
    found = member.of(who)
    mine = [one for one in found if not name or one.network == name]
    failures: list[str] = []
    for one in mine:
        failures += take_back(one, remove_link=remove_link)
    if failures:
        raise CosoError(f"not all of the network could be released: {'; '.join(failures)}", hint="run `cosonet gc`")
    return mine


def release_soon(who: str) -> None:
    """Have the connections of an owner that ends now taken back within a second, and its names at once.

    To forget who was allowed to speak takes the kernel 10 ms, in which nobody
    else can be allowed either: so it is done for many at a time, by the
    process that also removes networks. What that one does not come to do, is
    done by the next that finds the owner dead.
    """
    mine = member.of(who)
    if any(one.ports for one in mine):
        # Somebody may ask for the port again.
        _release_beside(who)
        return
    if any(one.names for one in mine):
        with network.locked():
            for one in mine:
                names.leave(one)
    if mine:
        remove_later()


def _release_beside(who: str) -> None:
    """As `release` and `remove_later`, in a process that nobody waits for."""
    if os.fork():
        return
    try:
        _detach(os.open("/dev/null", os.O_RDONLY | os.O_CLOEXEC))
        release(who)
        remove_later()
    finally:
        os._exit(0)


def release_pid(pid: int) -> bool:
    """End the connections of a process that had this number and has ended; whether it had any. Raises CosoError."""
    found = {one.owner for one in member.dead() if owner.pid_of(one.owner) == pid}
    for who in found:
        release(who)
    return bool(found)


def take_back(one: Member, *, remove_link: bool = False) -> list[str]:
    """Undo a connection, as far as it was made; go on after an error, and return what failed."""
    with network.locked():
        # Somebody else may have taken it back meanwhile, and others have its address or port by now.
        return _take_back(one, remove_link=remove_link) if member.find(one.owner, one.network) else []


def _take_back(one: Member, *, remove_link: bool = False, closed: bool = False) -> list[str]:
    """With `closed`, the firewall has forgotten it already."""
    failures: list[str] = []
    removal = [_remove_link] if remove_link else []
    close = [] if closed else [_close_firewall]
    for act in (names.leave, *close, _forget_flows, _give_ports_back, _give_addresses_back, *removal):
        try:
            act(one)
        except Exception as error:  # Whatever it is, the rest is taken back.
            failures.append(str(error))
    if not failures:
        member.forget(one)
        if not member.of(one.owner):
            owner.forget(one.owner)
    return failures


def _close_firewall(one: Member) -> None:
    if one.host_link:
        elements.delete(elements.of_member(one))


def _forget_flows(one: Member) -> None:
    if any(protocol == "udp" for protocol, *_ in one.ports):
        from cosonet import flows

        try:
            flows.forget(one.addresses)
        except NetworkError:
            pass  # A kernel without ctnetlink: they end by themselves, half a minute after the last packet.


def _give_ports_back(one: Member) -> None:
    publish.give_back(one.ports, one.owner)


def _give_addresses_back(one: Member) -> None:
    for address in one.addresses:
        lease.give_back(one.network, address, one.owner)


def _remove_link(one: Member) -> None:
    if one.host_link:
        network.delete_link(one.host_link)
    elif one.is_alive:
        from cosonet.inside import remove_inside

        remove_inside(one)


def drop_dead(name: str = "") -> list[Member]:
    """End the connections of owners that are gone; return them. The caller holds the network's lock."""
    gone = [one for one in member.dead() if not name or one.network == name]
    # In one piece, whose grace period the kernel waits for once.
    elements.delete([element for one in gone if one.host_link for element in elements.of_member(one)])
    return [one for one in gone if not _take_back(one, closed=True)]


def unused() -> list[str]:
    """The networks that are made and that nobody is connected to."""
    return [name for name in network.names() if not lease.any_left(name)]


def remove_unused() -> list[str]:
    """Remove the networks that nobody uses; return their names."""
    with network.locked():
        drop_dead()
        found = unused()
        for name in found:
            network.remove(name)
        return found


def remove_later() -> None:
    """Leave a short-lived process behind that takes back what dead owners had, and networks LINGER seconds later.

    Nobody waits for it, and there is one at a time; when it is killed,
    `coso gc` does its work.
    """
    with network.locked():
        alone = os.open(ALONE, os.O_CREAT | os.O_RDWR | os.O_CLOEXEC, 0o600)
        try:
            fcntl.flock(alone, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except OSError:
            os.close(alone)
            return
        if not (unused() or member.dead()) or os.fork():
            os.close(alone)
            return
    try:
        _detach(alone)
        pause = LOOK_SECONDS
        while pause:
            time.sleep(pause)
            pause = _look(alone)
    finally:
        os._exit(0)


def _detach(keep: int) -> None:
    """Let go of everything the container's caller could wait for: terminal, pipes, directory."""
    os.setsid()
    os.chdir("/")
    os.closerange(3, keep)
    os.closerange(keep + 1, 1 << 30)
    null = os.open("/dev/null", os.O_RDWR | os.O_CLOEXEC)
    for fd in (0, 1, 2):
        os.dup2(null, fd)


def _look(alone: int) -> float:
    """Take back what is nobody's; the seconds until the next look, 0 when nothing is left to wait for."""
    if not os.path.isdir(network.DIRECTORY):
        return 0  # A tear-down was quicker; taking the lock would make the directory again.
    with network.locked():
        drop_dead()
        now = time.time()
        left = {name: network.last_use(name) + LINGER - now for name in unused()}
        for name in [name for name, rest in left.items() if rest <= 0]:
            network.remove(name)
            del left[name]
        if left:
            return max(0.01, min(LOOK_SECONDS, *left.values()))
        # Under the lock: the last container to end finds no one waiting, and starts another.
        os.close(alone)
        return 0


def collect() -> list[str]:
    """End the connections of owners that are gone and remove unused networks; return what was removed."""
    if not os.path.isdir(network.DIRECTORY):
        return []
    with network.locked():
        removed = [f"lease {address}" for one in drop_dead() for address in one.addresses]
        removed += [f"lease {address}" for address in _stray_leases()]
        _remove_half_written()
    removed += [f"network {name}" for name in remove_unused()]
    return removed


def _remove_half_written() -> None:
    """Files that a cosonet which was killed had not put in their place yet."""
    for directory in (network.MADE, member.DIRECTORY):
        for name in os.listdir(directory) if os.path.isdir(directory) else []:
            if name.startswith("."):
                os.unlink(f"{directory}/{name}")
    for name in os.listdir(owner.NAMESPACES) if os.path.isdir(owner.NAMESPACES) else []:
        if not member.of(f"{owner.CNI}:{name}"):
            os.unlink(f"{owner.NAMESPACES}/{name}")


def _stray_leases() -> list[str]:
    """Leases without a record, of a cosonet that was killed between the two: ended, and returned."""
    found = []
    known = {(one.network, address) for one in member.everybody() for address in one.addresses}
    for name in os.listdir(lease.DIRECTORY) if os.path.isdir(lease.DIRECTORY) else []:
        for address in os.listdir(lease.directory(name)):
            if (name, address) not in known:
                os.unlink(f"{lease.directory(name)}/{address}")
                found.append(address)
    return found
