"""LXC: lxc-execute with the configuration that its templates share (common.conf), and no network.

Debian's default.conf would attach the container to lxcbr0, a bridge that a
service has to make; an empty network has the same namespace and needs none.
"""

from __future__ import annotations

import glob
import os
import re
import shutil

from coso.cgroups import hierarchies
from coso.cgroups import remove as remove_group
from coso.spawn import find
from coso.spec import units
from coso.verify.drivers import host
from coso.verify.drivers.model import Driver, Wish, asked, refusal

COMMON = "/usr/share/lxc/config/common.conf"
LOCKS = "/run/lxc/lock"
PERIOD = 100_000
NAMESPACES = {"pid": "pid", "ipc": "ipc", "uts": "uts", "cgroupns": "cgroup"}


def command(wish: Wish, name: str, scratch: str) -> list[str]:
    """The words of lxc-execute, for a configuration file in the scratch directory."""
    directory, file = f"{scratch}/lxc", f"{scratch}/{name}.conf"
    os.makedirs(directory, exist_ok=True)
    with open(file, "w") as config:
        config.write("\n".join(configuration(wish, name, unified=_is_unified())) + "\n")
    return [find("lxc-execute") or "lxc-execute", "-n", name, "-P", directory, "-f", file, "--", *wish.command]


def configuration(wish: Wish, name: str, *, unified: bool = True) -> list[str]:
    """The lines of a container's configuration, which names it as lxc-create does.

    `unified` says that limits are those of control groups v2.
    """
    given = asked(wish)
    kept = [NAMESPACES[option] for option, text in given if option in NAMESPACES and text == "host"]
    lines = [f"lxc.include = {COMMON}", "lxc.apparmor.profile = generated", "lxc.apparmor.allow_nesting = 1"]
    lines += [f"lxc.net.0.type = {'none' if ('network', 'host') in given else 'empty'}"]
    lines += [f"lxc.rootfs.path = dir:{wish.rootfs}"]
    lines += [f"lxc.uts.name = {name}"] if "uts" not in kept else []
    lines += [line for option, text in given for line in _granted(option, text, unified)]
    if kept:  # LXC makes a namespace of every kind that is not named here, those it makes on demand included.
        kept += ["user", *(["time"] if "monotonic" not in dict(given) else [])]
        lines.append(f"lxc.namespace.keep = {' '.join(kept)}")
    return lines + _volumes(wish)


def _granted(option: str, text: str, unified: bool) -> list[str]:
    """The lines that grant one option."""
    match option, text:
        case (("memory" | "pids-limit" | "cpus"), _):
            return _limit(option, text, unified)
        case "cap-add", _:
            return _capabilities(text)
        case "security-opt", "seccomp=unconfined":
            return ["lxc.seccomp.profile ="]
        case "security-opt", "no-new-privileges=false" | "no-new-privileges=true":
            return [f"lxc.no_new_privs = {int(text.endswith('true'))}"]
        case "workdir", _:
            return [f"lxc.init.cwd = {text}"]
        case "hostname", _:
            return [f"lxc.uts.name = {text}"]
        case "monotonic", _:
            return [f"lxc.time.offset.monotonic = {text}s"]
        case (("pid" | "ipc" | "uts" | "cgroupns" | "network" | "userns"), "host"):
            return []  # Nothing more than above; a user namespace has to be asked for.
        case ("network", "none") | ("interactive", _):
            return []
        case _:
            raise refusal("lxc", option, text)


def _volumes(wish: Wish) -> list[str]:
    def field(path: str) -> str:
        return path.replace(" ", "\\040")

    return [
        f"lxc.mount.entry = {field(path)} {field(inside.lstrip('/'))} none rbind{',ro' if read_only else ''} 0 0"
        for path, inside, read_only in wish.volumes
    ]


def _limit(option: str, text: str, unified: bool) -> list[str]:
    match option:
        case "memory":
            key, limit = ("memory.max" if unified else "memory.limit_in_bytes"), str(units.memory(text))
        case "pids-limit":
            key, limit = "pids.max", text
        case _:
            quota = int(units.cpus(text) * PERIOD)
            key, limit = ("cpu.max", f"{quota} {PERIOD}") if unified else ("cpu.cfs_quota_us", str(quota))
    return [f"lxc.cgroup{'2' if unified else ''}.{key} = {limit}"]


def _capabilities(text: str) -> list[str]:
    """Clear the list of capabilities that common.conf drops, and drop the others again."""
    added = text.lower().removeprefix("cap_")
    again = [name for name in _dropped() if added not in ("all", name)]
    return ["lxc.cap.drop =", *([f"lxc.cap.drop = {' '.join(again)}"] if again else [])]


def _dropped() -> list[str]:
    try:
        with open(COMMON) as file:
            return re.findall(r"^lxc\.cap\.drop = (.*)$", file.read(), re.MULTILINE)[0].split()  # type: ignore[no-any-return]
    except (FileNotFoundError, IndexError):
        return []


def _is_unified() -> bool:
    return all(hierarchy.version == 2 for hierarchy in hierarchies())


def remove(name: str, scratch: str) -> None:
    """Kill what is in the container's control groups, and remove them and its directory."""
    for hierarchy in hierarchies():
        for kind in ("payload", "monitor"):
            for path in glob.glob(f"{hierarchy.path}/**/lxc.{kind}.{name}", recursive=True):
                remove_group(path)
    shutil.rmtree(f"{scratch}/lxc/{name}", ignore_errors=True)
    shutil.rmtree(f"{LOCKS}{os.path.abspath(scratch)}/lxc", ignore_errors=True)
    host.drop_empty_directories(LOCKS)
    host.drop_empty_groups("lxc.pivot")


DRIVER = Driver("lxc", host.absence("lxc-execute", "lxc"), command, remove, host.version("lxc-execute"))
