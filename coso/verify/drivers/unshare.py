"""unshare of util-linux, with every namespace it knows: what a shell script has in the place of a runtime."""

from __future__ import annotations

import shlex

from coso.spawn import find
from coso.verify.drivers import host
from coso.verify.drivers.model import Driver, Wish, asked, refusal

NAMESPACES = {
    "userns": ("--user", "--map-root-user"),
    "ipc": ("--ipc",),
    "pid": ("--pid", "--mount-proc"),
    "network": ("--net",),
    "uts": ("--uts",),
    "cgroupns": ("--cgroup",),
}


def command(wish: Wish, name: str, scratch: str) -> list[str]:
    """The words of unshare; volumes are mounted beforehand with mount(8), as scripts do, since it has no option."""
    shared, more = set(), []
    for option, text in asked(wish):
        match option, text:
            case (("userns" | "ipc" | "pid" | "network" | "uts" | "cgroupns"), "host"):
                shared.add(option)
            case "workdir", _:
                more += [f"--wd={text}"]
            case "monotonic", _:
                more += [f"--monotonic={text}"]
            case (
                ("network", "none")
                | ("cap-add", _)
                | ("security-opt", "seccomp=unconfined" | "no-new-privileges=false")
                | ("interactive", _)
            ):
                pass  # It is so in any case: it keeps every capability and filters nothing.
            case _:
                raise refusal("unshare", option, text)
    words = [find("unshare") or "unshare", "--mount", "--time", "--fork", "--kill-child"]
    words += [word for key, kind in NAMESPACES.items() if key not in shared for word in kind]
    words += [f"--root={wish.rootfs}", *more, "--", *wish.command]
    volumes = wish.volumes
    if "pid" in shared:
        volumes += (("/proc", "/proc", False),)  # Nobody may mount /proc in another's PID namespace.
    return host.after_mounts(_mounts(wish.rootfs, volumes), words) if volumes else words


def _mounts(rootfs: str, volumes: tuple[tuple[str, str, bool], ...]) -> list[str]:
    lines = []
    for path, inside, read_only in volumes:
        target = shlex.quote(f"{rootfs}{inside}")
        lines.append(f"mount --rbind {shlex.quote(path)} {target}")
        if read_only:
            lines.append(f"mount -o remount,bind,ro {target}")
    return lines


def remove(name: str, scratch: str) -> None:
    """Nothing to do: --kill-child has ended the command, and there is no state."""


DRIVER = Driver("unshare", host.absence("unshare", "util-linux"), command, remove, host.version("unshare"))
