"""The tasks people type: `invoke fs-setup net-setup run`. Each is a few lines; the work is in the rooms."""

from __future__ import annotations

import os
import shlex
import sys
from collections.abc import Callable

from invoke import Context, Exit, task

from coso.errors import CosoError
from coso.spec.defaults import NETWORK, ROOTFS
from provisioning import setups, vm

OUTPUT = {
    "check": "touch nothing, say what would change; exit status 2 when anything would",
    "diff": "show each change as a unified diff",
    "json": "print JSON instead of lines",
}


def _finish(work: Callable[[], int]) -> None:
    """Turn an exit status or an error of coso's tree into what invoke ends with."""
    try:
        status = work()
    except CosoError as error:
        raise Exit(f"coso: {error}", 1) from None
    sys.stdout.flush()
    if status:
        raise Exit(code=status)


@task(
    help={
        "rootfs": f"where to put it (default {ROOTFS})",
        "source": "alpine, busybox (from Debian's package), or auto: alpine where a mirror can be reached",
        "mirror": "addresses separated by spaces: https, http or file (default: COSO_ALPINE_MIRROR, then Alpine's own)",
        "branch": "v3.20, latest-stable, …",
        "version": "3.20.3, …",
        **OUTPUT,
    }
)
def fs_setup(
    _: Context,
    rootfs: str = ROOTFS,
    source: str = "auto",
    mirror: str = "",
    branch: str = "",
    version: str = "",
    check: bool = False,
    diff: bool = False,
    json: bool = False,
) -> None:
    """Download, verify and unpack a root filesystem."""
    _finish(
        lambda: setups.carry_out(
            "fs-setup",
            setups.fs_setup(rootfs=rootfs, source=source, mirror=mirror, branch=branch, version=version),
            check=check,
            diff=diff,
            as_json=json,
        )
    )


@task(
    help={
        "forward": "policy: set iptables' FORWARD policy to ACCEPT; rules: leave it, cosonet adds narrow rules",
        "ipv6": "forward packets of version 6 too; a host that learns its own route by advertisements may lose it",
        **OUTPUT,
    }
)
def net_setup(
    _: Context,
    forward: str = "policy",
    ipv6: bool = False,
    check: bool = False,
    diff: bool = False,
    json: bool = False,
) -> None:
    """Install what a container's network needs, and let the host forward packets."""
    wanted = setups.net_setup(forward=forward, ipv6=ipv6)
    _finish(lambda: setups.carry_out("net-setup", wanted, check=check, diff=diff, as_json=json))


@task(help=OUTPUT)
def install(_: Context, check: bool = False, diff: bool = False, json: bool = False) -> None:
    """Install the `coso` program in /usr/local/bin."""
    _finish(lambda: setups.carry_out("install", setups.install(), check=check, diff=diff, as_json=json))


@task(help=OUTPUT)
def peers_setup(_: Context, check: bool = False, diff: bool = False, json: bool = False) -> None:
    """Install the runtimes that coso is compared with: crun, runc, bubblewrap, podman, docker, nspawn, lxc."""
    _finish(lambda: setups.carry_out("peers-setup", setups.peers_setup(), check=check, diff=diff, as_json=json))


@task(help=OUTPUT)
def fs_teardown(_: Context, check: bool = False, diff: bool = False, json: bool = False) -> None:
    """Undo exactly what fs-setup recorded."""
    _finish(lambda: setups.tear_down("fs-setup", check=check, diff=diff, as_json=json))


@task(help=OUTPUT)
def net_teardown(_: Context, check: bool = False, diff: bool = False, json: bool = False) -> None:
    """Undo exactly what net-setup recorded, an earlier FORWARD policy included."""
    _finish(lambda: setups.tear_down("net-setup", check=check, diff=diff, as_json=json))


@task(help=OUTPUT)
def peers_teardown(_: Context, check: bool = False, diff: bool = False, json: bool = False) -> None:
    """Purge exactly what peers-setup installed."""
    _finish(lambda: setups.tear_down("peers-setup", check=check, diff=diff, as_json=json))


@task(help=OUTPUT)
def uninstall(_: Context, check: bool = False, diff: bool = False, json: bool = False) -> None:
    """Remove the `coso` program again."""
    _finish(lambda: setups.tear_down("install", check=check, diff=diff, as_json=json))


@task(
    help={
        "rootfs": f"root filesystem (default {ROOTFS})",
        "network": f"network helper, none or host (default {NETWORK})",
        "command": "a command line for the container's shell (default: an interactive shell)",
        "options": "further options of `coso run`, as one string",
    }
)
def run(_: Context, rootfs: str = ROOTFS, network: str = NETWORK, command: str = "", options: str = "") -> None:
    """Run a shell, or a command, in a container."""
    from coso.cli.main import main

    inside = ["--", "/bin/sh", "-c", command] if command else []
    _finish(lambda: main(["run", "-rootfs", rootfs, "-network", network, *shlex.split(options), *inside]))


@task
def gc(_: Context) -> None:
    """Take back what killed runtimes left behind."""
    from coso.cli.main import main

    _finish(lambda: main(["gc"]))


@task
def vm_up(_: Context) -> None:
    """Bring up a Debian 12 in a virtual machine, with all that this needs, and set coso up in it."""
    _finish(vm.up)


@task(help={"junit": "write a report for CI systems there", "engines": "everything that engines are tested with"})
def vm_test(_: Context, junit: str = "", engines: bool = False) -> None:
    """Test the machine inside the virtual machine, over SSH."""
    _finish(lambda: vm.test(junit, every_engine_test=engines))


@task
def vm_down(_: Context) -> None:
    """Remove the virtual machine and whatever was started for it."""
    _finish(vm.down)


@task(
    help={
        "runs": "runs of each case (default 30)",
        "only": "parts, with commas between: start, library, many, images, services, network (default all)",
        "write": "a directory for what is found: tables, pictures, numbers",
    }
)
def bench(context: Context, runs: int = 30, only: str = "", write: str = "") -> None:
    """Compare coso with crun, runc, bubblewrap, lxc, podman, Docker and others, installed from Debian where missing."""
    words = ["--runs", str(int(runs)), *(["--only", only] if only else []), *(["--write", write] if write else [])]
    context.run(f"{shlex.quote(sys.executable)} -m benchmarks {shlex.join(words)}", env=dict(os.environ))
