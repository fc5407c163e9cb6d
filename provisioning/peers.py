"""The runtimes that coso is compared with, as Debian has them."""

from __future__ import annotations

from provisioning.system import Package, is_offered

PEERS: tuple[Package, ...] = tuple(
    Package(name, program, idle=True)
    for name, program in (
        ("crun", "crun"),
        ("runc", "runc"),
        ("bubblewrap", "bwrap"),
        ("podman", "podman"),
        ("netavark", "netavark"),  # podman's network, which Debian only recommends
        ("iptables", "iptables"),  # netavark needs it
        ("catatonit", "catatonit"),  # podman run --init
        ("uidmap", "newuidmap"),  # maps ids for ordinary users
        ("docker.io", "dockerd"),
        ("systemd-container", "systemd-nspawn"),
        ("lxc", "lxc-execute"),
    )
)
# docker.io holds Docker's client up to Debian 12, and this package since.
CLIENT = Package("docker-cli", "docker")


def peers() -> list[Package]:
    """All of them, as far as this Debian needs them."""
    return [*PEERS, *([CLIENT] if is_offered(CLIENT.name) else [])]
