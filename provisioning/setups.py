"""What each set-up consists of, and how it is carried out and undone."""

from __future__ import annotations

import os

from coso import launcher
from coso.errors import PrivilegeError, UsageError
from coso.spec.defaults import NETWORK, ROOTFS
from coso.state import remove_empty_directories
from provisioning import engine, report
from provisioning.fetch import cache_directory
from provisioning.files import Directory, File, Program
from provisioning.firewall import ForwardPolicy
from provisioning.peers import peers
from provisioning.resource import Resource
from provisioning.rootfs import Cache, Rootfs, require_no_container
from provisioning.system import Package, Sysctl

KINDS: dict[str, type] = {
    kind.kind: kind for kind in (Cache, Directory, File, ForwardPolicy, Package, Program, Rootfs, Sysctl)
}
TEARDOWNS = {
    "fs-setup": "fs-teardown",
    "net-setup": "net-teardown",
    "install": "uninstall",
    "peers-setup": "peers-teardown",
}
COSO = "/usr/local/bin/coso"
COSO_OCI = "/usr/local/bin/coso-oci"
SOURCES = ("auto", "alpine", "busybox")
FORWARD = ("policy", "rules")


def fs_setup(
    *, rootfs: str = ROOTFS, source: str = "auto", mirror: str = "", branch: str = "", version: str = ""
) -> list[Resource]:
    """A root filesystem in its directory."""
    if source not in SOURCES:
        raise UsageError(f"--source {source!r} is not one of {', '.join(SOURCES)}")
    path = os.path.abspath(rootfs)
    return [
        Directory(os.path.dirname(path)),
        Cache(cache_directory()),
        Rootfs(path, source, mirror, branch, version),
    ]


def net_setup(*, forward: str = "policy", network: str = NETWORK, ipv6: bool = False) -> list[Resource]:
    """What a container's network needs of the host; with `ipv6`, for networks of that version too."""
    if forward not in FORWARD:
        raise UsageError(f"--forward {forward!r} is not one of {', '.join(FORWARD)}")
    leave = forward == "rules"
    return [
        Package("iptables", "iptables"),
        Package("nftables", "nft"),
        Program(network, launcher.text("cosonet")),
        Sysctl("net.ipv4.ip_forward", "1"),
        *([Sysctl("net.ipv6.conf.all.forwarding", "1")] if ipv6 else []),
        ForwardPolicy("iptables", leave=leave),
        ForwardPolicy("iptables-legacy", leave=leave),
    ]


def install() -> list[Resource]:
    """The `coso` and `coso-oci` programs for everybody's PATH."""
    return [Program(COSO, launcher.text("coso")), Program(COSO_OCI, launcher.text("coso-oci"))]


def peers_setup() -> list[Resource]:
    """The runtimes that `coso verify` and the benchmarks drive beside coso; none of their daemons is started."""
    return [*peers()]


def carry_out(
    setup: str, resources: list[Resource], *, check: bool = False, diff: bool = False, as_json: bool = False
) -> int:
    """Apply a set-up, print what happened, and return the exit status."""
    _require_root(setup, check)
    os.umask(0o022)  # What is set up is for everybody to read, whatever the caller's habit.
    results = engine.apply(setup, resources, report.printer(diff=diff, quiet=as_json), check=check)
    return report.finish(setup, results, check=check, as_json=as_json)


def tear_down(setup: str, *, check: bool = False, diff: bool = False, as_json: bool = False) -> int:
    """Undo what a set-up has recorded, print what happened, and return the exit status."""
    name = TEARDOWNS[setup]
    _require_root(name, check)
    if setup == "net-setup" and not check:
        from cosonet.release import collect

        require_no_container("take the network's tools away")
        collect()
    results = engine.undo(setup, KINDS, report.printer(diff=diff, quiet=as_json), check=check)
    if not check:
        remove_empty_directories()
    return report.finish(name, results, check=check, as_json=as_json)


def _require_root(setup: str, check: bool) -> None:
    if os.geteuid() != 0 and not check:
        raise PrivilegeError(f"{setup} changes the host and needs root", hint=f"run `sudo ./dev invoke {setup}`")
