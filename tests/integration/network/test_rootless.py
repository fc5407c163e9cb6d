"""An ordinary user's container: the same commands, with pasta or slirp4netns in the place of the bridge."""

from __future__ import annotations

import os
import stat
import subprocess
import sys
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest

from coso import launcher
from coso.kernel import mount
from coso.spawn import find, spawn
from tests.integration.conftest import eventually
from tests.integration.network.conftest import HERE4, OUTER4, Box, beyond
from tests.integration.network.test_firewalls import installed

USER = 65534
AS_USER = ["setpriv", f"--reuid={USER}", f"--regid={USER}", "--clear-groups"]
# Debian 12's pasta may lose what is said at the very beginning or end of a connection; so nobody speaks then.
ASK = f"sleep 1 | nc {OUTER4} 7777"
Run = Callable[..., "subprocess.CompletedProcess[str]"]


@pytest.fixture(autouse=True)
def _everything_a_user_needs(tmp_path: Path) -> Iterator[None]:
    """A /dev/net/tun for everybody, as Debian has it, in this session's own mounts."""
    for package, program in (("passt", "pasta"), ("slirp4netns", "slirp4netns"), ("uidmap", "newuidmap")):
        installed(package, program)
    device = mount.new_mount("tmpfs", {"mode": "755"})
    os.mknod("tun", stat.S_IFCHR | 0o666, os.makedev(10, 200), dir_fd=device)
    os.chmod("tun", 0o666, dir_fd=device)
    os.makedirs("/dev/net", exist_ok=True)
    mount.move_mount(device, "/dev/net")
    yield
    mount.unmount("/dev/net")


@pytest.fixture
def world(box: Callable[[], Box]) -> Iterator[Box]:
    """A host beyond ours, by way of which everything else is."""
    with beyond(box()) as there:
        # Another address than the server's: what comes from a router itself, pasta takes for its own.
        there.ip("addr", "add", "198.51.100.254/24", "dev", "outer0")
        assert spawn([find("ip"), "route", "add", "default", "via", "198.51.100.254"])[0] == 0
        yield there


@pytest.fixture
def home(programs: Path, tmp_path_factory: pytest.TempPathFactory) -> Iterator[Path]:
    """The user's directory, with launchers of their own."""
    place = Path(f"/var/tmp/coso-user-{os.getpid()}")
    place.mkdir(mode=0o755)
    for name in launcher.ENTRIES:
        (place / name).write_text(launcher.text(name))
        (place / name).chmod(0o755)
    (place / "home").mkdir()
    os.chown(place / "home", USER, USER)
    if spawn([find("setpriv"), *AS_USER[1:], str(place / "coso"), "version"])[0]:
        subprocess.run(["rm", "-rf", str(place)], check=True)
        pytest.skip("ordinary users cannot read this tree")
    yield place
    left = sorted(str(path) for path in place.glob("home/.local/share/coso/*/*") if path.name != "containers")
    subprocess.run(["rm", "-rf", str(place)], check=True)
    assert left == []
    assert eventually(lambda: not _programs()), _programs()


ECHO = """
import socket, sys
end = socket.create_connection((sys.argv[1], int(sys.argv[2])), 2)
end.sendall(b"hello")
sys.exit(end.recv(100) != b"hello")
"""


def echoes(where: Box | None, address: str, port: int) -> bool:
    """Whether a server there says what it is told."""
    line = [sys.executable, "-c", ECHO, address, str(port)]
    return (where.run(*line) if where else spawn(line))[0] == 0


def _programs() -> str:
    return spawn([find("sh"), "-c", "ps -eo pid,stat,args | grep -E 'pasta|slirp4netns' | grep -v -E 'grep| Z'"])[1]


def words(home: Path, rootfs: Path, *options: str) -> list[str]:
    clean = [word for name in ("COSO_RUN", "COSO_LIB", "XDG_RUNTIME_DIR") for word in ("-u", name)]
    env = [find("env"), *clean, f"HOME={home}/home", f"COSO_NETWORK={home}/cosonet"]
    return [find("setpriv"), *AS_USER[1:], *env, str(home / "coso"), "run", "-rootfs", str(rootfs), *options]


@pytest.fixture
def user_run(home: Path, rootfs: Path) -> Run:
    """Run a shell line in a container of the user's: options, then the line."""

    def run(*options: str) -> subprocess.CompletedProcess[str]:
        line = words(home, rootfs, *options[:-1], "--", "/bin/sh", "-c", options[-1])
        pipe = subprocess.PIPE
        return subprocess.run(
            line, stdin=subprocess.DEVNULL, stdout=pipe, stderr=pipe, text=True, timeout=30, check=False
        )

    return run


def test_root_inside_is_the_user_outside(user_run: Run) -> None:
    done = user_run("-network", "none", "id -u; cat /proc/self/uid_map; echo $$; touch /written && ls -l /written")
    assert done.returncode == 0, done.stderr
    lines = done.stdout.splitlines()
    assert lines[0] == "0" and lines[1].split() == ["0", str(USER), "1"]
    assert "root     root" in done.stdout


def test_subordinate_ids_are_the_others_inside(user_run: Run, tmp_path: Path) -> None:
    for name in ("subuid", "subgid"):
        (tmp_path / name).write_text("nobody:300000:1000\n")
        if not Path(f"/etc/{name}").exists():
            Path(f"/etc/{name}").touch()
        mount.move_mount(mount.open_tree(str(tmp_path / name)), f"/etc/{name}")
    try:
        done = user_run("-network", "none", "cat /proc/self/uid_map; touch /x; chown 33:33 /x; ls -ln /x; id -G")
        assert done.returncode == 0, done.stderr
        assert [line.split() for line in done.stdout.splitlines()[:2]] == [
            ["0", str(USER), "1"],
            ["1", "300000", "1000"],
        ]
        assert " 33 " in done.stdout.splitlines()[2]
    finally:
        for name in ("subuid", "subgid"):
            mount.unmount(f"/etc/{name}")


def test_a_server_outside_is_reached(user_run: Run, world: Box) -> None:
    """The control is a container without a network."""
    done = user_run(ASK)
    assert done.stdout == f"{HERE4}\n", done.stderr
    assert user_run("-network", "none", f"nc -w 1 {OUTER4} 7777").returncode != 0


@pytest.mark.parametrize("way", ["pasta", "slirp4netns"])
def test_a_port_is_published(home: Path, rootfs: Path, user_run: Run, world: Box, way: str) -> None:
    hidden = [] if way == "pasta" else [find("pasta")]
    for path in hidden:
        mount.move_mount(mount.open_tree("/dev/null"), path)
    try:
        script = f"{ASK}; echo up; exec nc -lk -p 7 -e cat"
        line = words(home, rootfs, "-p", "8080:7", "-p", "0.0.0.0:8081:7", "--", "/bin/sh", "-c", script)
        process = subprocess.Popen([find("timeout"), "30", *line], stdin=-3, stdout=subprocess.PIPE, text=True)
        assert process.stdout
        assert [process.stdout.readline() for _ in range(2)] == [f"{HERE4}\n", "up\n"]
        assert way in _programs()
        assert eventually(lambda: echoes(None, "127.0.0.1", 8080), 5)
        assert echoes(world, HERE4, 8081)
        assert not echoes(world, HERE4, 8080)
        for _ in range(3):
            process.send_signal(2)
        process.communicate(timeout=15)
        assert not echoes(None, "127.0.0.1", 8080)
    finally:
        for path in hidden:
            mount.unmount(path)


def test_services_on_the_hosts_loopback_are_not_reached(user_run: Run, world: Box) -> None:
    import socket

    with socket.create_server(("127.0.0.1", 7070)):
        done = user_run(f"for there in 127.0.0.1 {OUTER4}; do nc -w 1 $there 7070 && echo reached; done; true")
    assert done.returncode == 0 and "reached" not in done.stdout


def test_a_port_that_is_taken_is_said_before_anything_is_done(user_run: Run, world: Box) -> None:
    import socket

    with socket.create_server(("127.0.0.1", 8080)):
        done = user_run("-p", "8080:80", "true")
    assert done.returncode == 125 and "port 8080/tcp of 127.0.0.1 is taken" in done.stderr


@pytest.mark.parametrize(
    ("options", "said"),
    [
        (["--network", "web"], "needs root"),
        (["--ip", "10.0.0.5"], "needs root"),
        (["--userns", "host", "-network", "none"], "--userns=host needs root"),
        (["--network", "host", "-p", "80"], "--publish needs a network"),
    ],
)
def test_what_takes_root_is_said(user_run: Run, options: list[str], said: str) -> None:
    done = user_run(*options, "true")
    assert done.returncode == 125 and said in done.stderr, done.stderr


def test_a_limit_that_takes_a_group_is_refused(user_run: Run) -> None:
    done = user_run("-network", "none", "--memory", "64m", "true")
    assert done.returncode == 125 and "Traceback" not in done.stderr and done.stderr


def test_a_device_that_is_closed_to_users_is_named(user_run: Run) -> None:
    os.chmod("/dev/net/tun", 0o600)
    done = user_run("true")
    assert done.returncode == 125 and "/dev/net/tun cannot be opened" in done.stderr and "chmod 666" in done.stderr


def test_a_killed_runtime_leaves_nothing_after_the_users_gc(home: Path, rootfs: Path, world: Box) -> None:
    line = words(home, rootfs, "--", "/bin/sh", "-c", "echo up; exec sleep 60")
    process = subprocess.Popen(line, stdin=subprocess.DEVNULL, stdout=subprocess.PIPE, text=True)
    assert process.stdout and process.stdout.readline() == "up\n"
    process.kill()
    process.communicate()
    collect = [*line[: line.index("run")], "gc"]
    status, said = spawn(collect)
    assert status == 0 and "removed" in said, said
