"""Probes of the eight namespaces, and of a neighbour in another container."""

from __future__ import annotations

import ctypes
import errno
import os
import socket
import time

from .common import libc, syscall

TYPE_CHECKING = False
if TYPE_CHECKING:
    from .common import Bait

PTRACE_SEIZE = 0x4206
MQ_OPEN, PTRACE = 240, 101


def namespace(bait: Bait, name: str) -> str:
    """Is the namespace another one than the host's?"""
    inside = os.readlink(f"/proc/self/ns/{name}")
    return f"{inside} is the host's" if inside == bait["namespaces"][name] else ""


def first_process(_: Bait) -> str:
    """Is this process number 1?"""
    return "" if os.getpid() == 1 else f"the first process has number {os.getpid()}"


def no_parent(_: Bait) -> str:
    """Is whoever started the first process out of sight?"""
    return "" if os.getppid() == 0 else f"the parent is seen as process {os.getppid()}"


def other_processes(_: Bait) -> str:
    """Does /proc show this process alone?"""
    others = [name for name in os.listdir("/proc") if name.isdecimal() and int(name) != os.getpid()]
    return f"/proc shows {len(others)} other processes" if others else ""


def signal(bait: Bait) -> str:
    """Is the host's process out of reach of kill()?"""
    return _reach(bait["pid"], "of the host")


def signal_all(_: Bait) -> str:
    """Does kill(-1) find nobody else?"""
    try:
        os.kill(-1, 0)
    except ProcessLookupError:
        return ""
    except PermissionError:
        pass
    return "kill(-1) goes to processes of others"


def orphans(_: Bait) -> str:
    """Is an orphan handed to the first process of the container, and not to the host's?"""
    reading, writing = os.pipe()
    child = os.fork()
    if not child:
        middle = os.getpid()
        if not os.fork():
            while os.getppid() == middle:
                time.sleep(0.001)
            os.write(writing, str(os.getppid()).encode())
        os._exit(0)
    os.waitpid(child, 0)
    os.close(writing)
    parent = int(os.read(reading, 16))
    os.close(reading)
    return "" if parent == os.getpid() == 1 else f"an orphan of the container is handed to process {parent}"


def ptrace(bait: Bait) -> str:
    """Can the neighbour's process be neither traced nor signalled?"""
    number = syscall(PTRACE, PTRACE_SEIZE, bait["neighbour_pid"], 0, 0)
    if number == 0:
        return f"process {bait['neighbour_pid']} of another container can be traced"
    return _reach(bait["neighbour_pid"], "of another container")


def _reach(pid: int, whose: str) -> str:
    try:
        os.kill(pid, 0)
    except ProcessLookupError:
        return ""
    except PermissionError:
        return f"process {pid} {whose} is there, and only its owner protects it"
    return f"process {pid} {whose} can be signalled"


def host_name(bait: Bait) -> str:
    """Is the name another one than the host's?"""
    name = os.uname().nodename
    return f"the host's name {name} is seen" if name == bait["name"] else ""


def system_v(bait: Bait, call: str) -> str:
    """Is the host's System V object (shared memory, queue, semaphores) unknown here?"""
    number = getattr(libc, call)(*((bait["key"], 0, 0) if call != "msgget" else (bait["key"], 0)))
    if number < 0 and ctypes.get_errno() == errno.ENOENT:
        return ""
    return f"the object of another with key {bait['key']:#x} is there"


def system_v_list(bait: Bait) -> str:
    """Does /proc/sysvipc list no object of the host?"""
    with open("/proc/sysvipc/shm") as file:
        keys = {int(line.split()[0]) for line in file.readlines()[1:]}
    return f"the host's segment with key {bait['key']:#x} is listed" if bait["key"] in keys else ""


def message_queue(bait: Bait) -> str:
    """Is the host's POSIX message queue unknown here?"""
    number = syscall(MQ_OPEN, bait["queue"].encode(), os.O_RDONLY, 0, 0)
    if number == -errno.ENOENT:
        return ""
    return f"the host's POSIX message queue {bait['queue']} is there"


def shared_memory(bait: Bait) -> str:
    """Is the host's /dev/shm another one?"""
    return f"/dev/shm/{bait['queue']} of the host is there" if os.path.exists(f"/dev/shm/{bait['queue']}") else ""


def root_is_nobody(_: Bait, kind: str) -> str:
    """Is user (or group) 0 inside another one outside?"""
    with open(f"/proc/self/{kind}_map") as file:
        outside = file.readline().split()[1]
    return "root inside is root outside" if outside == "0" else ""


def own_users(bait: Bait) -> str:
    """Does the neighbour have other host users than we have?"""
    with open("/proc/self/uid_map") as file:
        mine = [tuple(map(int, line.split()[1:])) for line in file]
    shared = [
        max(mine_first, first)
        for mine_first, mine_count in mine
        for first, count in bait["neighbour_users"]
        if mine_first < first + count and first < mine_first + mine_count
    ]
    return f"two containers share host user {min(shared)}" if shared else ""


def monotonic(bait: Bait) -> str:
    """Is the monotonic clock another one than the host's?"""
    off = abs(time.clock_gettime(time.CLOCK_MONOTONIC) - bait["monotonic"])
    return "" if off > 500 else f"the clock is {off:.1f} s from the host's"


def control_groups(_: Bait) -> str:
    """Do the control groups show no path of the host?"""
    with open("/proc/self/cgroup") as file:
        paths = {line.rstrip("\n").split(":", 2)[2] for line in file}
    return f"the host's path {sorted(paths - {'/'})[0]} is seen" if paths - {"/"} else ""


def abstract_socket(bait: Bait) -> str:
    """Is the abstract socket of another out of reach?"""
    with socket.socket(socket.AF_UNIX) as end:
        try:
            end.connect("\0" + bait["abstract"])
        except OSError:
            return ""
    return f"the abstract socket @{bait['abstract']} of another accepts connections"


PROBES = (
    namespace,
    first_process,
    no_parent,
    other_processes,
    signal,
    signal_all,
    orphans,
    ptrace,
    host_name,
    system_v,
    system_v_list,
    message_queue,
    shared_memory,
    root_is_nobody,
    own_users,
    monotonic,
    control_groups,
    abstract_socket,
)
