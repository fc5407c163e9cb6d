"""The user namespace: root inside is nobody outside (user_namespaces(7)).

Every container gets 65536 host ids of its own from 0x70000000 upwards, a part
of the number space that neither people, services, systemd-nspawn nor
/etc/subuid use.  A range is leased by a symbolic link to the container's id:
making one is atomic, and the link says whose it is.
"""

from __future__ import annotations

import os

from coso.errors import CosoError
from coso.kernel.process import CLONE_NEWUSER
from coso.runtime import journal
from coso.runtime.container import Container
from coso.runtime.undo import remove_link
from coso.spec import IdMapping
from coso.state import USER_RANGES, make_directories
from coso.steps import Step

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Callable

FLAG = CLONE_NEWUSER

FIRST_ID = 0x70000000
RANGE = 65536
RANGES = 4096


def lease_range(container: Container) -> None:
    """Take a free range of ids for as long as the container runs."""
    mapping = take_range(container.id, container.journal.record)
    container.uid_mappings = container.gid_mappings = (mapping,)


def take_range(container: str, record: Callable[[str, str, str], None]) -> IdMapping:
    """Take a free range of ids for a container, after `record` has how to give it back. Raises CosoError."""
    make_directories(USER_RANGES)
    start = int.from_bytes(os.urandom(2), "big") % RANGES
    for offset in range(RANGES):
        slot = (start + offset) % RANGES
        path = f"{USER_RANGES}/{slot}"
        if os.path.lexists(path):
            continue
        record("remove-link", path, container)
        try:
            os.symlink(container, path)
        except FileExistsError:
            continue
        return IdMapping(0, FIRST_ID + slot * RANGE, RANGE)
    raise CosoError(
        f"all {RANGES} user id ranges are taken", cause="as many containers run", hint="run `coso gc`, or end some"
    )


def forget_range(container: str) -> None:
    """Give back the range of a container that is no more."""
    for slot in os.listdir(USER_RANGES) if os.path.isdir(USER_RANGES) else []:
        remove_link(f"{USER_RANGES}/{slot}", container)


def forget_abandoned_ranges() -> int:
    """Give back ranges whose container has no journal any more; return how many."""
    count = 0
    if os.path.isdir(USER_RANGES):
        for slot in os.listdir(USER_RANGES):
            path = f"{USER_RANGES}/{slot}"
            try:
                owner = os.readlink(path)
            except FileNotFoundError:
                continue
            if not journal.is_known(owner):
                remove_link(path, owner)
                count += 1
    return count


def write_maps(container: Container) -> None:
    """Map ids inside to ids outside."""
    for file, mappings in (("uid_map", container.uid_mappings), ("gid_map", container.gid_mappings)):
        write_map(container.pid, file, mappings)


def write_map(pid: int, file: str, mappings: tuple[IdMapping, ...]) -> None:
    """Write one of the maps of a process's new user namespace; the kernel takes it in one write, once."""
    lines = "".join(f"{item.container_id} {item.host_id} {item.size}\n" for item in mappings)
    fd = os.open(f"/proc/{pid}/{file}", os.O_WRONLY | os.O_CLOEXEC)
    try:
        os.write(fd, lines.encode())
    finally:
        os.close(fd)


def read_maps(container: Container) -> None:
    """Learn how the user namespace that the container has joined maps ids; one more process may not be in it yet."""
    maps = []
    for file in ("uid_map", "gid_map"):
        with open(f"/proc/{container.init or container.pid}/{file}") as lines:
            maps.append(tuple(IdMapping(*(int(word) for word in line.split())) for line in lines))
    container.uid_mappings, container.gid_mappings = maps


def become_root(container: Container) -> None:
    """Take the namespace's user 0: until then the child is an unmapped user in it."""
    if may_set_groups(container.proc):
        os.setgroups([])
    os.setresgid(0, 0, 0)
    os.setresuid(0, 0, 0)


def may_set_groups(proc: int) -> bool:
    """Whether groups can be set: not where a namespace was made without privilege (user_namespaces(7), setgroups).

    `proc` is the host's /proc, for who has entered a container: that has perhaps none.
    """
    fd = os.open("self/setgroups", os.O_RDONLY | os.O_CLOEXEC, dir_fd=proc) if proc >= 0 else "/proc/self/setgroups"
    with open(fd, "rb", buffering=0) as file:
        return file.read().strip() == b"allow"


LEASE = Step(
    "lease user range",
    "take 65536 host user and group ids for this container alone",
    "symlink()",
    "two containers that shared ids could signal and trace each other, were one to break out",
    "user_namespaces(7), subuid(5)",
    lease_range,
)
MAP = Step(
    "map users",
    "make root inside an unprivileged user outside",
    "write(/proc/PID/uid_map), write(/proc/PID/gid_map)",
    "only a process outside may map more than one id, and the child waits for it",
    "user_namespaces(7)",
    write_maps,
)
READ = Step(
    "learn who is who",
    "read how the joined user namespace maps ids",
    "read(/proc/PID/uid_map), read(/proc/PID/gid_map)",
    "files that are made for the container must belong to its root",
    "user_namespaces(7)",
    read_maps,
)
ROOT = Step(
    "become root inside",
    "leave the host's groups and take user and group 0 of the user namespace",
    "setgroups([]), setresgid(0), setresuid(0)",
    "files made before this would belong to nobody; supplementary groups of the host would open its files",
    "credentials(7)",
    become_root,
)
