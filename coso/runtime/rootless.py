"""Without rights over the machine: a user namespace first, and in it everything as usual (user_namespaces(7)).

An ordinary user enters the user namespace that the specification asks for
before the container is made, and is root there.  An engine of an ordinary
user, as podman is, has done so already.  Either way the runtime gets a mount
namespace of its own, in which it may mount, and what is left of the
specification is that of a container without a user namespace.
"""

from __future__ import annotations

import os

from coso.errors import CosoError, KernelError, PrivilegeError
from coso.kernel import mount
from coso.kernel.process import CLONE_NEWNS, CLONE_NEWUSER, PR_SET_DUMPABLE, prctl, unshare
from coso.runtime.user import write_map
from coso.spawn import find
from coso.spec import IdMapping, Spec
from coso.value import replace

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Callable

TTY = 5
PING, HIGHEST_PING = "net.ipv4.ping_group_range", 65535


def for_user(spec: Spec) -> Spec:
    """A Spec of `coso run` as far as an ordinary user, or root of a user namespace, can have it.

    Raises PrivilegeError for a wish that takes more.
    """
    if os.geteuid() == 0:
        # Of a namespace: its ids are all there are, and the container's own.
        with open("/proc/self/gid_map") as file:
            groups = sum(int(line.split()[2]) for line in file)
        return _as_mapped(replace(spec, namespaces=tuple(name for name in spec.namespaces if name != "user")), groups)
    if "user" not in spec.namespaces:
        raise PrivilegeError("--userns=host needs root", hint="leave it out, or run coso with sudo")
    if spec.joined:
        raise PrivilegeError("--network container:NAME needs root", hint="run coso with sudo")
    uids, gids = _own_ids("/etc/subuid", os.geteuid()), _own_ids("/etc/subgid", os.getegid())
    found = replace(spec, uid_mappings=uids, gid_mappings=gids)
    return _as_mapped(found, sum(item.size for item in gids))


def _own_ids(file: str, own: int) -> tuple[IdMapping, ...]:
    """Root inside is this user; all others inside are subordinate ids, where the user has some (subuid(5))."""
    alone = (IdMapping(0, own, 1),)
    if not find("newuidmap"):
        return alone
    import pwd

    names = {str(os.geteuid())}
    try:
        names.add(pwd.getpwuid(os.geteuid()).pw_name)
    except KeyError:
        pass
    try:
        with open(file) as lines:
            for line in lines:
                name, _, rest = line.strip().partition(":")
                first, _, count = rest.partition(":")
                if name in names and first.isdecimal() and count.isdecimal() and int(count):
                    return (*alone, IdMapping(1, int(first), int(count)))
    except OSError:
        pass
    return alone


def _as_mapped(spec: Spec, groups: int) -> Spec:
    """Leave out what names groups that are not there: ptys of group tty, ping for all."""
    mounts = tuple(
        replace(item, options=tuple(option for option in item.options if option != f"gid={TTY}" or groups > TTY))
        for item in spec.mounts
    )
    parameters = tuple(
        (name, f"0 {min(groups, HIGHEST_PING + 1) - 1}" if name == PING else text) for name, text in spec.sysctl
    )
    return replace(spec, mounts=mounts, sysctl=parameters)


def become_root() -> None:
    """Become root of a user namespace with all ids that an ordinary user has."""
    if os.geteuid() != 0:
        _enter_users(_own_ids("/etc/subuid", os.geteuid()), _own_ids("/etc/subgid", os.getegid()))


def enter(spec: Spec) -> Spec:
    """Become root of a user namespace where need be, with mounts of its own; what is left of the Spec to be done.

    Raises PrivilegeError where that cannot be.
    """
    left = spec
    if os.geteuid() != 0:
        if "user" not in spec.namespaces:
            raise PrivilegeError(
                "an ordinary user can make a container only in a user namespace of its own, and "
                "linux.namespaces has none",
                hint="`coso-oci spec --rootless` writes a configuration that has",
            )
        _enter_users(spec.uid_mappings, spec.gid_mappings)
        kept = tuple(name for name in spec.namespaces if name != "user")
        left = replace(spec, namespaces=kept, uid_mappings=(), gid_mappings=())
    unshare(CLONE_NEWNS)
    mount.set_propagation("/", mount.MS_SLAVE)
    # No node can be made here, and those of the host that are shown keep the host's rules.
    return replace(left, limited=True, resources=replace(left.resources, devices=()))


def _enter_users(uids: tuple[IdMapping, ...], gids: tuple[IdMapping, ...]) -> None:
    """Make a user namespace with these maps and become its root."""
    user, group = os.geteuid(), os.getegid()
    begun, goes_on = os.pipe()
    helper = os.fork()
    if helper == 0:
        os.close(goes_on)
        os.read(begun, 1)
        os._exit(_map_from_outside(os.getppid(), uids, gids, user, group))
    os.close(begun)
    try:
        unshare(CLONE_NEWUSER)
        # New rights make a process root's in /proc, and then only root could map it.
        prctl(PR_SET_DUMPABLE, 1)
    except KernelError as error:
        os.close(goes_on)
        os.waitpid(helper, 0)
        raise PrivilegeError(
            f"no user namespace can be made: {error.message}", cause="this machine allows them to root only"
        ) from None
    os.write(goes_on, b"!")
    os.close(goes_on)
    if os.waitpid(helper, 0)[1]:
        raise PrivilegeError(
            "the ids of the user namespace cannot be mapped",
            cause="linux.uidMappings or gidMappings ask for more than /etc/subuid and /etc/subgid give, "
            "or newuidmap(1) is not installed",
        )
    os.setresgid(0, 0, 0)
    os.setresuid(0, 0, 0)


def _map_from_outside(pid: int, uids: tuple[IdMapping, ...], gids: tuple[IdMapping, ...], user: int, group: int) -> int:
    """Write the maps of a process; of more than oneself only newuidmap(1) may."""
    try:
        if _is_alone(uids, user) and _is_alone(gids, group):
            # Who may give up groups could get at files that a group is kept from (user_namespaces(7)).
            with open(f"/proc/{pid}/setgroups", "w") as file:
                file.write("deny")
            write_map(pid, "uid_map", uids)
            write_map(pid, "gid_map", gids)
            return 0
        for program, mappings in (("newuidmap", uids), ("newgidmap", gids)):
            words = [str(number) for item in mappings for number in (item.container_id, item.host_id, item.size)]
            if os.spawnvp(os.P_WAIT, program, [program, str(pid), *words]):
                return 1
        return 0
    except OSError:
        return 1


def _is_alone(mappings: tuple[IdMapping, ...], number: int) -> bool:
    return len(mappings) == 1 and mappings[0].size == 1 and mappings[0].host_id == number


def as_root(act: Callable[[], None]) -> None:
    """Do something as root of a user namespace where this user is an ordinary one, in another process then.

    Raises what was raised there, as a CosoError.
    """
    if os.geteuid() == 0:
        act()
        return
    reading, writing = os.pipe()
    pid = os.fork()
    if pid == 0:
        status, said = 0, ""
        try:
            become_root()
            act()
        except CosoError as error:
            status, said = error.exit_status, str(error)
        except BaseException as error:
            status, said = 125, str(error) or type(error).__name__
        os.write(writing, said.encode()[:65536])
        os._exit(status)
    os.close(writing)
    with os.fdopen(reading, encoding="utf-8", errors="replace") as pipe:
        said = pipe.read()
    if os.waitpid(pid, 0)[1]:
        raise CosoError(said or "the process that acts as root of a user namespace died")
