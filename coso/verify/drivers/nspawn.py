"""systemd-nspawn: its defaults, and a network of its own.

--private-network is what its unit gives containers that `machinectl start`
starts (as part of --network-veth); the bare command shares the host's.
--register=no and --keep-unit let it run where no systemd does.
"""

from __future__ import annotations

import os

from coso.spawn import find
from coso.verify.drivers import host
from coso.verify.drivers.model import Driver, Wish, asked, capability, refusal

# Its switches that are environment variables alone (ENVIRONMENT.md of systemd).
ENVIRONMENT = {
    ("pid", "host"): "SYSTEMD_NSPAWN_SHARE_NS_PID=1",
    ("ipc", "host"): "SYSTEMD_NSPAWN_SHARE_NS_IPC=1",
    ("uts", "host"): "SYSTEMD_NSPAWN_SHARE_NS_UTS=1",
    ("cgroupns", "host"): "SYSTEMD_NSPAWN_USE_CGNS=0",
    ("security-opt", "seccomp=unconfined"): "SYSTEMD_SECCOMP=0",
}


def command(wish: Wish, name: str, scratch: str) -> list[str]:
    """The words of systemd-nspawn; limits are systemd's to set, so it has no option for them without one."""
    environment, more, network = [], [], ["--private-network"]
    for option, text in asked(wish):
        match option, text:
            case pair if pair in ENVIRONMENT:
                environment.append(ENVIRONMENT[pair])
            case "network", "host":
                network = []
            case "cap-add", _:
                more.append(f"--capability={'all' if text == 'ALL' else capability(text)}")
            case "security-opt", "no-new-privileges=false" | "no-new-privileges=true":
                more.append(f"--{text}")
            case "workdir", _:
                more.append(f"--chdir={text}")
            case "hostname", _:
                more.append(f"--hostname={text}")
            case ("network", "none") | ("userns", "host") | ("interactive", _):
                pass  # It is so in any case.
            case _:
                raise refusal("systemd-nspawn", option, text)
    for path, inside, read_only in wish.volumes:
        more.append(f"--bind{'-ro' if read_only else ''}={_escaped(path)}:{_escaped(inside)}")
    words = [find("systemd-nspawn") or "systemd-nspawn", "--directory", wish.rootfs, f"--machine={name}"]
    words += ["--register=no", "--keep-unit", "--quiet", "--pipe", *network, *more, "--", *wish.command]
    _remember(wish.rootfs, _link(name, scratch))
    return ["/usr/bin/env", *environment, *words] if environment else words


def remove(name: str, scratch: str) -> None:
    """Kill the container's processes, which outlive a killed nspawn, and remove its empty control groups."""
    link = _link(name, scratch)
    if os.path.islink(link):
        host.kill_inside(link)
        os.unlink(link)
    try:
        os.rmdir(f"/run/systemd/nspawn/propagate/{name}")
    except OSError:
        pass
    host.drop_empty_groups("payload", "supervisor")


def _link(name: str, scratch: str) -> str:
    return f"{scratch}/{name}.root"


def _remember(rootfs: str, link: str) -> None:
    if os.path.islink(link):
        os.unlink(link)
    os.symlink(os.path.abspath(rootfs), link)


def _escaped(path: str) -> str:
    return path.replace("\\", "\\\\").replace(":", "\\:")


DRIVER = Driver(
    "nspawn",
    host.absence("systemd-nspawn"),
    command,
    remove,
    host.version("systemd-nspawn"),
)
