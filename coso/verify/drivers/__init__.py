"""Starting a container under another runtime, as its users get it by default, to check it with the same probes.

A `Wish` says what the container is; a `Driver` turns it into the words of a
command in the foreground, and cleans up after a runtime that was killed.  An
option which a runtime has no way to grant is an UnsupportedError: leaving it
out in silence would compare different containers.

Run the commands in a network and a mount namespace of their own: docker and
podman make bridges, podman and crun need mounts of their own.
"""

from __future__ import annotations

from coso.verify.drivers import bubblewrap, coso, docker, lxc, nspawn, oci, podman, unshare
from coso.verify.drivers.model import Driver, UnsupportedError, Wish

__all__ = ["DRIVERS", "Driver", "UnsupportedError", "Wish"]

DRIVERS: dict[str, Driver] = {
    driver.name: driver
    for driver in (
        coso.DRIVER,
        *oci.DRIVERS,
        podman.DRIVER,
        docker.DRIVER,
        bubblewrap.DRIVER,
        nspawn.DRIVER,
        lxc.DRIVER,
        unshare.DRIVER,
    )
}
