"""Names of kernel parameters, and the namespace that keeps each (sysctl(8), namespaces(7)).

A name that begins with a dotted part, `net.ipv4.conf.eno2/100.rp_filter`,
has `/` for the dots that belong to a part; one that begins with a slashed
part, `net/ipv4/conf/eno2.100/rp_filter`, has them as they are.
"""

from __future__ import annotations

_SWAPPED = {ord("."): "/", ord("/"): "."}
_IPC = ("msgmax", "msgmnb", "msgmni", "sem", "shmall", "shmmax", "shmmni", "shm_rmid_forced")
_NAMESPACES = {f"kernel.{name}": "ipc" for name in _IPC} | {"kernel.domainname": "uts", "kernel.hostname": "uts"}


def dotted(name: str) -> str:
    """The name in its dotted form."""
    separators = [character for character in name if character in "./"]
    return name.translate(_SWAPPED) if separators[:1] == ["/"] else name


def file(name: str) -> str:
    """The file of a dotted name, below /proc/sys."""
    return name.translate(_SWAPPED)


def is_safe(name: str) -> bool:
    """Whether the file of a dotted name stays below /proc/sys."""
    return not {"", ".", ".."} & set(file(name).split("/"))


def namespace(name: str) -> str:
    """The kind of namespace that has a value of its own for a dotted name; "" for the whole machine."""
    if name.startswith("net."):
        return "network"
    if name.startswith("fs.mqueue."):
        return "ipc"
    return _NAMESPACES.get(name, "")
