"""Docker: an image imported from the directory, on the daemon that answers or on one of our own."""

from __future__ import annotations

import os
import signal
import subprocess
import time
from collections.abc import Iterator
from contextlib import contextmanager

from coso.errors import CosoError
from coso.kernel.capability import NUMBERS, permitted
from coso.spawn import find
from coso.verify.drivers import host
from coso.verify.drivers.model import Driver, Wish, asked, refusal

PASSED = {"memory", "pids-limit", "cpus", "network", "userns", "cap-add", "security-opt", "workdir", "hostname"}
PASSED |= {"pid", "ipc", "uts", "cgroupns"}
KEY = "/etc/docker/key.json"
LINK = "/sys/class/net/docker0"
DIRECTORIES = ("/etc/docker", "/run/docker", "/run/containerd")


def words_of(runtime: str, wish: Wish) -> list[str]:
    """The options of a wish for docker and podman, whose spelling they have."""
    words = []
    for name, text in asked(wish):
        if name in ("interactive", "tty"):
            words.append(f"--{name}")
            continue
        if name not in PASSED:
            raise refusal(runtime, name, text)
        words.append(f"--{name}={text}")
        if (name, text) == ("cap-add", "ALL"):
            # Its runtime fails with what not even root has, in a machine that is itself confined.
            words += [f"--cap-drop={lost}" for lost in NUMBERS if lost not in permitted()]
    return words


def volumes(wish: Wish) -> list[str]:
    """The volumes of a wish for docker and podman."""
    return [f"--volume={path}:{inside}{':ro' if read_only else ''}" for path, inside, read_only in wish.volumes]


def lacking() -> str:
    """Why docker cannot run here."""
    if not find("docker"):
        return "docker is not installed"
    if not os.environ.get("DOCKER_HOST", "unix://").startswith("unix://"):
        return "DOCKER_HOST names another machine"  # Volumes would be its directories.
    if _daemon() or find("dockerd"):
        return ""
    return "no Docker daemon answers, and dockerd is not installed"


def command(wish: Wish, name: str, scratch: str) -> list[str]:
    """Import the root as an image, and the words of `docker run`."""
    words = ["run", "--rm", "--name", name, *words_of("docker", wish), *volumes(wish)]
    _import(wish.rootfs, _image(name))
    return [find("docker"), *words, _image(name), *wish.command]


def remove(name: str, scratch: str) -> None:
    """Remove the container and its image."""
    if find("docker"):
        host.said([find("docker"), "rm", "--force", name])
        host.said([find("docker"), "image", "rm", "--force", _image(name)])


def version() -> str:
    """The daemon's version, or that of the one which would be started."""
    return _daemon() or host.version("dockerd")()


def _image(name: str) -> str:
    return f"coso-verify:{name}"


def _import(rootfs: str, image: str) -> None:
    """Make an image of one layer, owners by number."""
    pack = ["tar", "--directory", rootfs, "--numeric-owner", "--create", "."]
    with subprocess.Popen(pack, stdout=subprocess.PIPE, stderr=subprocess.DEVNULL) as tar:
        done = subprocess.run(
            [find("docker"), "import", "-", image], stdin=tar.stdout, capture_output=True, text=True, check=False
        )
    if done.returncode or tar.returncode:
        raise CosoError(f"docker cannot import {rootfs}", cause=done.stderr.strip())


def _daemon() -> str:
    """The version of the daemon that answers, `""` when none does."""
    if not find("docker"):
        return ""
    return host.first_number(host.said([find("docker"), "version", "--format", "{{.Server.Version}}"]))


@contextmanager
def started(scratch: str) -> Iterator[None]:
    """A daemon that answers: the host's, or one of our own with all it keeps in the scratch directory."""
    if _daemon():
        yield
        return
    before = _outside()
    earlier = os.environ.get("DOCKER_HOST")
    with open(f"{scratch}/dockerd.log", "w") as log, subprocess.Popen(_words(scratch), stdout=log, stderr=log) as own:
        os.environ["DOCKER_HOST"] = _socket(scratch)
        try:
            _await(own, log.name)
            yield
        finally:
            del os.environ["DOCKER_HOST"]
            if earlier is not None:
                os.environ["DOCKER_HOST"] = earlier
            _stop(own)
            host.unmount_below(f"{scratch}/docker")
            _take_back(_outside() - before)


def _socket(scratch: str) -> str:
    return f"unix://{scratch}/docker.sock"


def _words(scratch: str) -> list[str]:
    """A daemon that leaves the firewall and forwarding alone, and ends with this process even if that is killed."""
    places = {"--data-root": "data", "--exec-root": "exec", "--pidfile": "pid"}
    words = [find("setpriv"), "--pdeathsig=TERM", find("dockerd"), f"--host={_socket(scratch)}"]
    words += [f"{option}={scratch}/docker/{name}" for option, name in places.items()]
    return [*words, "--iptables=false", "--ip6tables=false", "--ip-forward=false"]


def _await(daemon: subprocess.Popen[bytes], log: str) -> None:
    end = time.monotonic() + 60
    while not _daemon():
        if daemon.poll() is not None or time.monotonic() > end:
            with open(log) as file:
                last = file.read().strip().splitlines()[-1:]
            raise CosoError("dockerd does not start", cause="".join(last))
        time.sleep(0.1)


def _stop(daemon: subprocess.Popen[bytes]) -> None:
    daemon.send_signal(signal.SIGTERM)
    try:
        daemon.wait(30)
    except subprocess.TimeoutExpired:
        daemon.kill()


def _outside() -> set[str]:
    """What a daemon makes outside its directories and does not take away, as far as it is there."""
    return {path for path in (LINK, KEY, *DIRECTORIES) if os.path.exists(path)}


def _take_back(made: set[str]) -> None:
    if LINK in made and find("ip"):
        host.said([find("ip"), "link", "delete", "docker0"])
    if KEY in made:
        os.unlink(KEY)
    for path in made.intersection(DIRECTORIES):
        host.drop_empty_directories(path)
    host.drop_empty_groups("docker")


DRIVER = Driver("docker", lacking, command, remove, version, by_daemon=True, started=started)
