"""The program that tries, inside a container: `probe.py BAIT CHECK…`, a line of JSON for each check.

It stands alone: any Python runs it in any root.  A probe returns "" when the
isolation holds, else what it saw; it raises Lacking when the kernel lacks
what would be tried.
"""

from __future__ import annotations

import ctypes
import errno
import json
import os
import socket
import stat
import sys
import time

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Callable
    from typing import Any

    Bait = dict[str, Any]

libc = ctypes.CDLL(None, use_errno=True)
CAPABILITIES_OF_THE_HOST = {
    "SYS_MODULE": 16,
    "SYS_RAWIO": 17,
    "SYS_PTRACE": 19,
    "SYS_ADMIN": 21,
    "SYS_BOOT": 22,
    "SYS_TIME": 25,
    "SYSLOG": 34,
    "BPF": 39,
}


class Lacking(Exception):  # noqa: N818  # no fault: the result of the check is "skip"
    """The kernel lacks what the probe would try."""


def namespace(bait: Bait, name: str) -> str:
    """Is the namespace another one than the host's?"""
    inside = os.readlink(f"/proc/self/ns/{name}")
    return f"{inside} is the host's" if inside == bait["namespaces"][name] else ""


def first_process(_: Bait) -> str:
    """Is this process number 1?"""
    return "" if os.getpid() == 1 else f"the first process has number {os.getpid()}"


def other_processes(_: Bait) -> str:
    """Does /proc show this process alone?"""
    others = [name for name in os.listdir("/proc") if name.isdecimal() and int(name) != os.getpid()]
    return f"/proc shows {len(others)} other processes" if others else ""


def signal(bait: Bait) -> str:
    """Is the host's process out of reach of kill()?"""
    try:
        os.kill(bait["pid"], 0)
    except ProcessLookupError:
        return ""
    except PermissionError:
        return f"process {bait['pid']} of the host is there, and only its owner protects it"
    return f"process {bait['pid']} of the host can be signalled"


def host_name(bait: Bait) -> str:
    """Is the name another one than the host's?"""
    name = os.uname().nodename
    return f"the host's name {name} is seen" if name == bait["name"] else ""


def system_v(bait: Bait, call: str) -> str:
    """Is the host's System V object (shared memory, queue, semaphores) unknown here?"""
    number = getattr(libc, call)(*((bait["key"], 0, 0) if call != "msgget" else (bait["key"], 0)))
    if number < 0 and ctypes.get_errno() == errno.ENOENT:
        return ""
    return f"the host's object with key {bait['key']:#x} is there"


def abstract_socket(bait: Bait) -> str:
    """Is the host's abstract socket out of reach?"""
    return _connect(socket.AF_UNIX, "\0" + bait["abstract"], "the host's abstract socket")


def loopback(bait: Bait) -> str:
    """Is a service on the host's 127.0.0.1 out of reach?"""
    return _connect(socket.AF_INET, ("127.0.0.1", bait["port"]), "a service on the host's loopback")


def _connect(family: int, address: Any, what: str) -> str:
    with socket.socket(family, socket.SOCK_STREAM) as end:
        end.settimeout(2)
        try:
            end.connect(address)
        except OSError:
            return ""
    return f"{what} accepts connections from inside"


def sockets(bait: Bait) -> str:
    """Does /proc/net list no socket of the host?"""
    port = f":{bait['port']:04X}"
    with open("/proc/self/net/tcp") as file:
        seen = any(line.split()[1].endswith(port) for line in file)
    return f"the host's listening port {bait['port']} is listed" if seen else ""


def root_is_nobody(_: Bait) -> str:
    """Is user 0 inside another user outside?"""
    with open("/proc/self/uid_map") as file:
        outside = file.readline().split()[1]
    return "root inside is root outside" if outside == "0" else ""


def control_groups(_: Bait) -> str:
    """Do the control groups show no path of the host?"""
    with open("/proc/self/cgroup") as file:
        paths = {line.rstrip("\n").split(":", 2)[2] for line in file}
    return f"the host's path {sorted(paths - {'/'})[0]} is seen" if paths - {"/"} else ""


def bounding_set(_: Bait) -> str:
    """Does the bounding set lack what governs the machine?"""
    bits = int(_status("CapBnd"), 16)
    held = [name for name, number in CAPABILITIES_OF_THE_HOST.items() if bits >> number & 1]
    return f"CAP_{', CAP_'.join(held)} can be had" if held else ""


def no_new_privileges(_: Bait) -> str:
    """Can no setuid program raise privileges?"""
    return "" if _status("NoNewPrivs") == "1" else "no_new_privs is not set"


def filtered(_: Bait) -> str:
    """Is a seccomp filter installed?"""
    return "" if _status("Seccomp") == "2" else f"seccomp mode is {_status('Seccomp')}"


def _status(key: str) -> str:
    with open("/proc/self/status") as file:
        return next(line.split()[1] for line in file if line.startswith(f"{key}:"))


# Calls that are harmless with these arguments even where they are allowed: number on x86_64, arguments.
CALLS: dict[str, tuple[int, ...]] = {
    "bpf": (321, 0, 0, 0),
    "init_module": (175, 0, 0, 0),
    "io_uring_setup": (425, 0, 0),
    "kexec_load": (246, 0, 17, 0, 0),
    "keyctl": (250, 0, -3, 0),
    "mount": (165, 0, 0, 0, 0, 0),
    "open_by_handle_at": (304, -100, 0, 0),
    "perf_event_open": (298, 0, 0, -1, -1, 0),
    "unshare": (272, 0x10000000),
    "userfaultfd": (323, 0),
}


def call_number(name: str) -> int:
    """Make a call of CALLS in a process of its own and return its errno, 0 for success."""
    child = os.fork()
    if not child:
        result = libc.syscall(*(ctypes.c_long(word) for word in CALLS[name]))
        os._exit(ctypes.get_errno() if result == -1 else 0)
    return os.waitstatus_to_exitcode(os.waitpid(child, 0)[1])


def call(bait: Bait, name: str) -> str:
    """Is a system call refused before the kernel looks at its arguments?"""
    if bait["calls"][name] == errno.ENOSYS:
        raise Lacking(f"this kernel has no {name}")
    number = call_number(name)
    if number in (errno.EPERM, errno.ENOSYS):
        return ""
    return f"{name} is let through: {os.strerror(number) if number else 'it succeeds'}"


def device_node(_: Bait) -> str:
    """Can no device node be made?"""
    try:
        os.mknod("/coso-verify-node", stat.S_IFCHR | 0o600, os.makedev(1, 1))
    except PermissionError:
        return ""
    os.unlink("/coso-verify-node")
    return "a node of the machine's memory (1:1) can be made"


def masked(bait: Bait, path: str) -> str:
    """Is a file covered by /dev/null, or a directory by an empty one?"""
    if not _is_there(bait, path):
        return ""
    found = os.stat(path)
    if stat.S_ISDIR(found.st_mode):
        return "" if os.path.ismount(path) and not os.listdir(path) else f"{path} is the kernel's own"
    return "" if found.st_rdev == os.makedev(1, 3) else f"{path} is the kernel's own"


def read_only(bait: Bait, path: str) -> str:
    """Is what is at a path mounted read-only?"""
    return "" if not _is_there(bait, path) or os.statvfs(path).f_flag & os.ST_RDONLY else f"{path} can be written to"


def _is_there(bait: Bait, path: str) -> bool:
    """Whether the container has a path; that the kernel lacks it is for the host to say, not for what is inside."""
    if path not in bait["paths"]:
        raise Lacking(f"this kernel has no {path}")
    return os.path.exists(path)


def memory_limit(_: Bait) -> str:
    """Is a process killed that takes more memory than the container may have?"""
    child = os.fork()
    if not child:
        taken = b"x" * (512 << 20)
        os._exit(len(taken) & 1)
    ended = os.waitstatus_to_exitcode(os.waitpid(child, 0)[1])
    return "" if ended == -9 else "a process took 512 MiB"


def process_limit(_: Bait) -> str:
    """Is fork() refused at some point?"""
    children: list[int] = []
    try:
        while len(children) < 200:
            child = os.fork()
            if not child:
                time.sleep(60)
                os._exit(0)
            children.append(child)
    except BlockingIOError:
        return ""
    finally:
        for child in children:
            os.kill(child, 9)
            os.waitpid(child, 0)
    return f"{len(children)} processes could be started"


def callers_input(_: Bait) -> str:
    """Is the input of whoever started the container out of reach?"""
    return "the caller's input can be read" if os.read(0, 1) else ""


PROBES: dict[str, Callable[..., str]] = {
    "namespace": namespace,
    "first_process": first_process,
    "other_processes": other_processes,
    "signal": signal,
    "host_name": host_name,
    "system_v": system_v,
    "abstract_socket": abstract_socket,
    "loopback": loopback,
    "sockets": sockets,
    "root_is_nobody": root_is_nobody,
    "control_groups": control_groups,
    "bounding_set": bounding_set,
    "no_new_privileges": no_new_privileges,
    "filtered": filtered,
    "call": call,
    "device_node": device_node,
    "masked": masked,
    "read_only": read_only,
    "memory_limit": memory_limit,
    "process_limit": process_limit,
    "callers_input": callers_input,
}


def main() -> None:
    """Try what the words say: `CHECK=PROBE[:ARGUMENT]`."""
    bait = json.loads(sys.argv[1])
    for word in sys.argv[2:]:
        check, _, probe = word.partition("=")
        name, _, argument = probe.partition(":")
        begun = time.perf_counter()
        try:
            reason = PROBES[name](bait, argument) if argument else PROBES[name](bait)
            result = "fail" if reason else "pass"
        except Lacking as lack:
            result, reason = "skip", str(lack)
        except Exception as error:
            result, reason = "error", f"{type(error).__name__}: {error}"
        spent = round((time.perf_counter() - begun) * 1000, 3)
        print(json.dumps({"id": check, "result": result, "reason": reason, "milliseconds": spent}), flush=True)


if __name__ == "__main__":
    main()
