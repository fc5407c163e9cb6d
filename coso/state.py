"""Where coso keeps what must outlive a process: files, no daemon.

`/run/coso` holds journals and leases (gone after a reboot, as are the
processes they speak of), `/var/lib/coso` the writable layers of containers
and the records of provisioning.  An ordinary user's are where that user's
files of these kinds are (XDG base directories).  COSO_RUN and COSO_LIB move
them.
"""

from __future__ import annotations

import os


def _places() -> tuple[str, str]:
    """Where state of this boot is, and where state that outlives it."""
    if os.geteuid() == 0:
        return "/run/coso", "/var/lib/coso"
    home = os.environ.get("HOME", "/")
    lib = f"{os.environ.get('XDG_DATA_HOME') or f'{home}/.local/share'}/coso"
    run = os.environ.get("XDG_RUNTIME_DIR") or f"/run/user/{os.geteuid()}"
    # Without a session there is no such place, and in /tmp anybody could be first.
    return (f"{run}/coso" if os.path.isdir(run) else f"{lib}/run"), lib


RUN = os.environ.get("COSO_RUN") or _places()[0]
LIB = os.environ.get("COSO_LIB") or _places()[1]

JOURNALS = f"{RUN}/containers"
ENGINE = f"{RUN}/engine"
# Not in RUN: a stopped container's files belong to its range, over a reboot too.
USER_RANGES = f"{LIB}/userns"
NAMES = f"{LIB}/names"
LAYERS = f"{LIB}/containers"
IMAGES = f"{LIB}/images"
TREES = f"{LIB}/layers"
VOLUMES = f"{LIB}/volumes"
BUILD = f"{LIB}/build"


def make_directories(*paths: str) -> None:
    """Make state directories that only root can enter."""
    for path in paths:
        if not os.path.isdir(path):
            os.makedirs(path, 0o700, exist_ok=True)


def lock(path: str, *, shared: bool = False, wait: bool = True) -> int:
    """Take the lock of a file, made where missing; its descriptor, which closing gives back.

    -1 when somebody has it, and it is not waited for.
    """
    import fcntl

    fd = os.open(path, os.O_CREAT | os.O_RDWR | os.O_CLOEXEC, 0o600)
    kind = fcntl.LOCK_SH if shared else fcntl.LOCK_EX
    try:
        fcntl.flock(fd, kind if wait else kind | fcntl.LOCK_NB)
    except BlockingIOError:
        os.close(fd)
        return -1
    return fd


def remove_empty_directories() -> None:
    """Remove the state directories that hold nothing any more, so that the machine is as before."""
    network = f"{RUN}/network"
    parts = [f"{network}/{name}" for name in ("leases", "made", "members", "names", "namespaces", "ports")]
    for place in parts:
        _remove_if_empty(place)
    locks = {"lock", "waiting"}
    if os.path.isdir(network) and set(os.listdir(network)) <= locks:
        for name in os.listdir(network):
            os.unlink(f"{network}/{name}")
    places = (
        f"{RUN}/oci",
        ENGINE,
        JOURNALS,
        USER_RANGES,
        NAMES,
        network,
        RUN,
        LAYERS,
        f"{LIB}/networks",
        f"{LIB}/provisioning",
        LIB,
    )
    for place in places:
        _remove_if_empty(place)


def _remove_if_empty(place: str) -> None:
    try:
        os.rmdir(place)
    except OSError:
        pass
