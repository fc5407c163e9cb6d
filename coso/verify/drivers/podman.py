"""podman: `podman run` as root on a directory, with storage and state in the scratch directory."""

from __future__ import annotations

import glob
import json
import os
import resource

from coso.kernel.capability import permitted
from coso.spawn import find
from coso.verify.drivers import host
from coso.verify.drivers.docker import volumes, words_of
from coso.verify.drivers.model import Driver, Wish


def command(wish: Wish, name: str, scratch: str) -> list[str]:
    """The words of `podman run`."""
    start = ["run", "--rm", "--name", name, *limits_in_reach(), *words_of("podman", wish), *volumes(wish)]
    return words(scratch, *start, "--rootfs", wish.rootfs, *wish.command)


def remove(name: str, scratch: str) -> None:
    """Remove the container, and what podman keeps mounted."""
    if not find("podman"):
        return
    namespaces = network_namespaces(scratch)
    host.said(words(scratch, "rm", "--force", "--ignore", "--time=0", name))
    host.await_end(f"{scratch}/podman/")  # The container's monitor goes on for a moment, to clean up itself.
    for config, path in namespaces.items():
        # podman leaves the file when the mount on it went with a mount namespace.
        if not os.path.exists(config) and os.path.exists(path) and not os.path.ismount(path):
            os.unlink(path)
    host.unmount_below(f"{scratch}/podman")
    host.drop_empty_groups("libpod_parent/conmon", "libpod_parent")


def network_namespaces(scratch: str) -> dict[str, str]:
    """Where the containers in this storage have their network namespaces, by the file that says so."""
    found: dict[str, str] = {}
    for config in glob.glob(f"{scratch}/podman/root/*-containers/*/userdata/config.json"):
        with open(config) as file:
            paths = [item.get("path", "") for item in json.load(file)["linux"]["namespaces"]]
        found.update((config, path) for path in paths if path.startswith("/run/netns/"))
    return found


def words(scratch: str, *more: str) -> list[str]:
    """A command of podman, whose runtime may be crun."""
    places = [f"--{option}={scratch}/podman/{option}" for option in ("root", "runroot", "tmpdir")]
    return host.without_hybrid_controllers([find("podman") or "podman", *places, *more])


def limits_in_reach() -> list[str]:
    """The caller's own resource limits, where it may not raise them to podman's defaults.

    podman lowers its own limit of processes to the largest number a process may have.
    """
    if "CAP_SYS_RESOURCE" in permitted():
        return []
    kinds = {"nofile": resource.RLIMIT_NOFILE, "nproc": resource.RLIMIT_NPROC}
    hard = {name: resource.getrlimit(kind)[1] for name, kind in kinds.items()}
    with open("/proc/sys/kernel/pid_max") as file:
        hard["nproc"] = min(hard["nproc"], int(file.read()), key=_finite)
    return [f"--ulimit={name}={most}:{most}" for name, most in hard.items()]


def _finite(limit: int) -> float:
    return limit if limit != resource.RLIM_INFINITY else float("inf")


DRIVER = Driver("podman", host.absence("podman"), command, remove, host.version("podman"))
