"""Containers and images as people have them: an image of Alpine in the store, and the peers beside coso."""

from __future__ import annotations

import os
import subprocess
from collections.abc import Callable, Iterator
from contextlib import ExitStack
from pathlib import Path

import pytest
from testinfra import get_host

from coso.spawn import find
from coso.spec import defaults
from provisioning.system import Package
from tests.integration.conftest import Completed, Coso, machines_network, what_is_left
from tests.integration.engines import conftest as engines
from tests.integration.engines.conftest import Place

IMAGE = "test/alpine:3.20"
DEBIAN = "test/debian:12"
PACKAGES = "nginx-light,redis-server,redis-tools,python3-minimal,python3-redis,procps,iproute2"
Peer = Callable[..., Completed]


@pytest.fixture(scope="session")
def alpine(programs: Path, rootfs: Path) -> str:
    """An image in the store, as `docker import` would make it."""
    packed = subprocess.run(["tar", "-C", str(rootfs), "-c", "."], capture_output=True, check=True).stdout
    words = [str(programs / "coso"), "import", "-c", 'CMD ["/bin/sh"]', "-c", f"ENV PATH={defaults.PATH}", "-", IMAGE]
    subprocess.run(words, input=packed, check=True, capture_output=True)
    return IMAGE


@pytest.fixture(scope="session")
def debian(programs: Path, tmp_path_factory: pytest.TempPathFactory) -> Iterator[str]:
    """An image with Debian's nginx, redis and Python."""
    install(("mmdebstrap", "mmdebstrap"))
    archive = tmp_path_factory.mktemp("debian") / "debian.tar"
    with machines_network():
        words = ["mmdebstrap", "--quiet", "--mode=root", "--variant=minbase", f"--include={PACKAGES}", "bookworm"]
        done = subprocess.run([*words, str(archive)], capture_output=True, text=True, check=False)
    if done.returncode:
        pytest.skip(f"Debian's packages cannot be had: {done.stderr[-200:]}")
    subprocess.run([str(programs / "coso"), "import", str(archive), DEBIAN], check=True, capture_output=True)
    yield DEBIAN
    subprocess.run([str(programs / "coso"), "rmi", DEBIAN], check=False, capture_output=True)


@pytest.fixture
def c(coso: Coso, alpine: str) -> Iterator[Coso]:
    """Run a coso command line; `I` stands for the image. Afterwards nothing may be left."""

    def command(*words: str, **more: object) -> Completed:
        return coso(*(alpine if word == "I" else word for word in words), **more)

    yield command
    remove_all(coso)
    assert not what_is_left()


def remove_all(coso: Coso) -> None:
    """Remove every container and volume."""
    if ids := coso("ps", "-aq").stdout.split():
        coso("rm", "-f", "-v", *ids)
    coso("volume", "prune", "-a", "-f")


def ok(done: Completed) -> str:
    """What a command that must succeed printed."""
    assert done.returncode == 0, done.stdout + done.stderr
    return str(done.stdout).strip()


def install(*packages: tuple[str, str]) -> None:
    """Debian packages that a test needs on the other side; skips where they cannot be had."""
    for name, program in packages:
        if not find(program):
            with machines_network():
                found = Package(name, program, idle=True)
                try:
                    found.apply(found.plan(found.inspect()))  # type: ignore[arg-type]
                except Exception as error:
                    pytest.skip(f"{name} cannot be installed: {error}")


@pytest.fixture(scope="package")
def place() -> Iterator[Place]:
    """A directory for the peers on this machine."""
    if os.geteuid() != 0:
        pytest.skip("needs root")
    found = Place(get_host("local://"))
    yield found
    engines.tidy(found)
    found.host.check_output(f"rm -rf --one-file-system {found.directory}")


@pytest.fixture(scope="package")
def peers(place: Place, programs: Path, rootfs: Path, alpine: str) -> Iterator[dict[str, str]]:
    """podman and Docker with the same image, and coso-oci as their runtime: the words that begin a command line."""
    place.ok(f"mkdir rootfs && cp -a {rootfs}/. rootfs && chmod 755 . rootfs")
    runtime = str(programs / "coso-oci")
    with ExitStack() as stack:
        found = {}
        for name, begin in (("podman", engines.podman), ("docker", engines.docker)):
            engines.install(place, *engines.PROGRAMS[name])
            engine = stack.enter_context(begin(place, runtime))
            found[name] = engine.words
            place.ok(f"{programs}/coso save -o image.tar {alpine} && {engine.words} load -i image.tar")
        yield found
        for words in found.values():
            place.sh(f"{words} rm -f $({words} ps -aq)")
