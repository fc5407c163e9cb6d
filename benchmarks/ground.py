"""Where it is measured: apart from the machine, on storage as machines have it, with every program at hand.

A network namespace and mounts of our own (coso.verify.lab), a journalling
ext4 of its own for what programs keep, and a tmpfs for what is theirs while they
run: /var/lib and /run of most machines.  All programs have the same of each.
"""

from __future__ import annotations

import os
import subprocess
import sys
import tempfile
import time
from collections.abc import Iterator
from contextlib import ExitStack, contextmanager
from dataclasses import dataclass
from pathlib import Path

SCRATCH = tempfile.mkdtemp(prefix="coso-bench-", dir="/var/tmp")
# Before anything reads where state is kept.
os.environ["COSO_RUN"], os.environ["COSO_LIB"] = f"{SCRATCH}/run/coso", f"{SCRATCH}/lib/coso"
os.environ["COSO_NETWORK"] = f"{SCRATCH}/cosonet"

from benchmarks import bundle  # noqa: E402
from benchmarks.measure import run  # noqa: E402
from coso import launcher  # noqa: E402
from coso.kernel import mount  # noqa: E402
from coso.runtime.undo import remove_tree  # noqa: E402
from coso.spawn import find  # noqa: E402
from coso.verify import lab  # noqa: E402
from coso.verify.drivers import host  # noqa: E402
from coso.verify.drivers.model import Driver, Wish  # noqa: E402
from provisioning.peers import peers  # noqa: E402
from provisioning.resource import Change  # noqa: E402
from provisioning.system import Package  # noqa: E402

IMAGE = "bench/alpine:1"
# Sparse: it takes what is written to it.
STORAGE_GIB = 24
CONTROLLERS = "/sys/fs/cgroup/unified/cgroup.controllers"
# Without the right to raise limits podman's million open files fail.
PODMAN_LIMITS = ["--ulimit", "nofile=1024:1024", "--ulimit", "nproc=4096:4096"]
MORE = (Package("docker-registry", "docker-registry"), Package("podman-compose", "podman-compose"))
Words = list[str]


@dataclass(frozen=True)
class Ground:
    """The root filesystem that all use, a directory of ours, and the words that begin a command line of each engine."""

    rootfs: str
    directory: Path
    engines: dict[str, Words]

    def low(self, name: str) -> Words:
        """The words that begin one of an OCI runtime, with its state in the tmpfs."""
        return [find(name), "--root", f"{SCRATCH}/run/{name}"]

    @property
    def coso_oci(self) -> Words:
        """The words that begin one of coso-oci."""
        return [f"{SCRATCH}/coso-oci"]

    def run(self, engine: str, *options: str, command: tuple[str, ...] = ("true",)) -> Words:
        """`run` with options, of the image that all have."""
        more = PODMAN_LIMITS if engine == "podman" else []
        return [*self.engines[engine], "run", *more, *options, IMAGE, *command]

    def bundle(self, *args: str) -> Path:
        """An OCI bundle for a command on the root filesystem."""
        directory = Path(tempfile.mkdtemp(dir=self.directory))
        directory.chmod(0o755)
        bundle.write(directory, Path(self.rootfs), args)
        return directory

    def driven(self, driver: Driver, *command: str) -> Words:
        """A command line of a program that has no images, on the root filesystem."""
        return driver.command(Wish(self.rootfs, command, options=("--network=none",)), "coso-bench", SCRATCH)


@contextmanager
def ground(rootfs: str) -> Iterator[Ground]:
    """Have all that is measured, for a while."""
    _install()
    lab.enter()
    _hide_hybrid_controllers()
    try:
        with ExitStack() as stack:
            _make_storage()
            directory = Path(f"{SCRATCH}/lib/ours")
            directory.mkdir(0o755, parents=True)
            inside = f"{SCRATCH}/lib/rootfs"
            subprocess.run(["cp", "-a", rootfs, inside], check=True)
            engines = {"coso": _coso(inside), "podman": _podman()}
            if find("dockerd"):
                engines["docker"] = stack.enter_context(_docker())
            _give_image(engines)
            yield Ground(inside, directory, engines)
    finally:
        host.unmount_below(SCRATCH)
        remove_tree(SCRATCH)


def _install() -> None:
    """The programs from Debian, where they are not there."""
    for package in (*peers(), *MORE):
        plan = package.plan(package.inspect())
        if isinstance(plan, Change):
            try:
                package.apply(plan)
            except Exception as error:
                print(f"without {package.name}: {error}", file=sys.stderr)


def _make_storage() -> None:
    os.chmod(SCRATCH, 0o755)
    disk = f"{SCRATCH}/disk"
    with open(disk, "wb") as file:
        file.truncate(STORAGE_GIB << 30)
    for name in ("lib", "run"):
        os.mkdir(f"{SCRATCH}/{name}", 0o755)
    subprocess.run([find("mkfs.ext4"), "-q", "-F", disk], check=True)
    subprocess.run([find("mount"), "-o", "loop", disk, f"{SCRATCH}/lib"], check=True)
    mount.move_mount(mount.new_mount("tmpfs", {"mode": "755"}), f"{SCRATCH}/run")


def _hide_hybrid_controllers() -> None:
    """Show crun no v2 controller: it refuses a hybrid machine that has any."""
    if os.path.exists(CONTROLLERS):
        with tempfile.NamedTemporaryFile(prefix="coso-empty-") as empty:
            mount.move_mount(mount.open_tree(empty.name), CONTROLLERS)


def _coso(rootfs: str) -> Words:
    """Install coso's programs, and make an image of the root filesystem."""
    for name in launcher.ENTRIES:
        program = Path(SCRATCH) / name
        program.write_text(launcher.text(name))
        program.chmod(0o755)
    packed = subprocess.run(["tar", "-C", rootfs, "-c", "."], capture_output=True, check=True).stdout
    words = [f"{SCRATCH}/coso", "import", "-c", 'CMD ["/bin/sh"]', "-", IMAGE]
    subprocess.run(words, input=packed, check=True, stdout=subprocess.DEVNULL)
    return [f"{SCRATCH}/coso"]


def _podman() -> Words:
    places = {"root": "lib/podman", "runroot": "run/podman", "tmpdir": "run/libpod"}
    return [find("podman"), *(f"--{name}={SCRATCH}/{place}" for name, place in places.items()), "--runtime=crun"]


@contextmanager
def _docker() -> Iterator[Words]:
    """A daemon of its own, which goes with the benchmark."""
    places = {"data-root": "lib/docker", "exec-root": "run/docker", "pidfile": "run/docker.pid"}
    options = [f"--{option}={SCRATCH}/{name}" for option, name in places.items()]
    address = f"unix://{SCRATCH}/run/docker.sock"
    client = [find("docker") or "docker", f"--host={address}"]
    os.environ["DOCKER_HOST"] = address
    with open(f"{SCRATCH}/docker.log", "wb") as log:
        daemon = subprocess.Popen([find("dockerd"), *options, f"--host={address}"], stdout=log, stderr=log)
        try:
            for _ in range(300):
                if subprocess.run([*client, "version"], capture_output=True, check=False).returncode == 0:
                    break
                time.sleep(0.1)
            yield client
        finally:
            daemon.terminate()
            daemon.wait(30)


def _give_image(engines: dict[str, Words]) -> None:
    """The same image for all."""
    archive = f"{SCRATCH}/image.tar"
    run([*engines["coso"], "save", "-o", archive, IMAGE])
    for name in engines.keys() - {"coso"}:
        run([*engines[name], "load", "-i", archive])
    os.unlink(archive)
