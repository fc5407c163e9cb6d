"""testinfra, pyinfra and Ansible work in containers; the second time nothing changes."""

from __future__ import annotations

import os
import re
import socket
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path

import pytest
import testinfra
from testinfra.host import Host

import coso
from coso.connectors import testinfra as backend
from coso.connectors.testcontainers import DockerContainer, wait_for_logs

BIN = Path(sys.executable).parent
DEPLOY = """
from pyinfra.operations import files, server
files.directory(name="directory", path="/srv/app", mode="750")
files.put(name="file", src="conf", dest="/srv/app/conf", mode="640")
server.user(name="user", user="app", home="/srv/app")
files.line(name="line", path="/etc/motd", line="hello from pyinfra")
"""
PLAY = """
- hosts: all
  tasks:
    - file: {path: /srv/app, state: directory, mode: "0750"}
    - copy: {content: "conf", dest: /srv/app/conf, mode: "0640"}
    - user: {name: app, home: /srv/app}
    - lineinfile: {path: /etc/motd, line: hello from ansible, create: true}
    - fetch: {src: /srv/app/conf, dest: "{{ playbook_dir }}/fetched", flat: true}
"""


@pytest.fixture(scope="module", autouse=True)
def _registered(_helper: None) -> None:
    backend.register()


@pytest.fixture
def box(debian: str, tmp_path: Path, starter: coso.Starter) -> Iterator[coso.Container]:
    """A Debian whose nginx listens."""
    options: dict[str, object] = {"name": "box", "hostname": "box", "env": {"A": "b"}}
    command = "nginx; exec sleep 999"
    tmpfs, volumes = ["/scratch:size=1m"], {str(tmp_path): "/shown"}
    with coso.container(debian, command, tmpfs=tmpfs, volumes=volumes, starter=starter, **options) as c:  # type: ignore[arg-type]
        yield c.wait_for(port=80)


def test_testinfras_modules_on_alpine(alpine: str, starter: coso.Starter) -> None:
    serve = "adduser -D -u 1234 somebody; nc -lk -p 99 -e true"
    with coso.container(alpine, serve, starter=starter) as c:
        c.wait_for(port=99)
        host: Host = testinfra.get_host(f"coso://{c.id}")
        assert host.file("/etc/passwd").contains("somebody")
        assert host.file("/etc").is_directory
        assert (host.user("somebody").uid, host.user("somebody").shell) == (1234, "/bin/sh")
        assert host.process.filter(comm="nc")
        assert host.run("echo %s", "it's").stdout == "it's\n"
        assert host.run("exit 3").rc == 3
        assert host.mount_point("/proc").filesystem == "proc"
        if host.file("/etc/alpine-release").exists:
            assert host.package("busybox").is_installed
            assert not host.package("nginx").is_installed
            assert host.system_info.distribution == "alpine"
        assert testinfra.get_host(f"coso://nobody@{c.id}").run("id -un").stdout == "nobody\n"


def test_testinfras_modules_on_debian(box: coso.Container) -> None:
    host: Host = testinfra.get_host("coso://box")
    assert host.package("nginx-light").is_installed
    assert host.file("/shown").is_directory
    assert host.process.get(user="root", comm="nginx")
    assert host.socket("tcp://0.0.0.0:80").is_listening
    assert not host.socket("tcp://0.0.0.0:81").is_listening
    assert host.interface("eth0").exists
    assert f"{box.ip}" in host.interface("eth0").addresses
    assert host.mount_point("/scratch").exists
    assert host.mount_point("/scratch").filesystem == "tmpfs"
    assert host.user("www-data").uid == 33
    assert host.group("www-data").gid == 33
    assert host.service("nginx").is_running
    assert host.system_info.distribution == "debian"
    assert host.environment()["A"] == "b"


def test_hosts_on_pytests_command_line(box: coso.Container, tmp_path: Path) -> None:
    (tmp_path / "test_box.py").write_text("def test_it(host):\n    assert host.file('/usr/sbin/nginx').exists\n")
    (tmp_path / "pytest.ini").write_text("[pytest]\n")
    words = [sys.executable, "-m", "pytest", "-v", "-p", "no:cacheprovider", "--hosts=coso://box", str(tmp_path)]
    done = subprocess.run(words, capture_output=True, text=True, check=False, cwd=tmp_path)
    assert "test_it[coso://box] PASSED" in done.stdout, done.stdout


def test_pyinfra_provisions_and_then_changes_nothing(box: coso.Container, tmp_path: Path) -> None:
    (tmp_path / "deploy.py").write_text(DEPLOY)
    (tmp_path / "conf").write_text("conf")
    seen = []
    for _ in range(2):
        words = [str(BIN / "pyinfra"), "-y", "@coso/box", "deploy.py"]
        done = subprocess.run(words, capture_output=True, text=True, check=False, cwd=tmp_path)
        assert done.returncode == 0, done.stdout + done.stderr
        total = re.search(r"Grand total +(\S+) +(\S+) +(\S+) +(\S+)", done.stdout + done.stderr)
        assert total
        seen.append(total.groups())
    assert seen == [("4", "4", "-", "-"), ("4", "-", "-", "4")]
    assert box.exec("stat -c %a /srv/app/conf; id -u app; cat /etc/motd").stdout.startswith("640\n1000\n")
    missing = subprocess.run(
        [str(BIN / "pyinfra"), "-y", "@coso/nobody", "deploy.py"],
        capture_output=True,
        text=True,
        cwd=tmp_path,
        check=False,
    )
    assert "there is no container 'nobody'" in missing.stdout + missing.stderr


def test_ansible_provisions_and_then_changes_nothing(box: coso.Container, tmp_path: Path) -> None:
    (tmp_path / "play.yaml").write_text(PLAY)
    place = subprocess.run(
        [sys.executable, "-m", "coso.connectors.ansible"], capture_output=True, text=True, check=True
    ).stdout.strip()
    environment = {**os.environ, "ANSIBLE_CONNECTION_PLUGINS": place, "ANSIBLE_LOCAL_TEMP": str(tmp_path / "a")}
    environment |= {"ANSIBLE_NOCOLOR": "1", "LC_ALL": "C.UTF-8"}

    def play(host: str) -> str:
        words = [str(BIN / "ansible-playbook"), "-i", f"{host},", "-c", "coso", "play.yaml"]
        return subprocess.run(words, capture_output=True, text=True, check=False, cwd=tmp_path, env=environment).stdout

    first = play("box")
    assert re.search(r"box .*ok=6 +changed=5 .*failed=0", first), first
    again = play("box")
    assert re.search(r"box .*ok=6 +changed=0 .*failed=0", again), again
    assert (tmp_path / "fetched").read_text() == "conf"
    assert "there is no container 'nobody'" in play("nobody")


def test_what_was_written_for_testcontainers(alpine: str) -> None:
    described = (
        DockerContainer(alpine).with_env("A", "b").with_exposed_ports(80).with_command("nc -lk -p 80 -e echo hi")
    )
    with described as c:
        c.get_wrapped_container().wait_for(port=80)
        with socket.create_connection((c.get_container_host_ip(), c.get_exposed_port(80)), 5) as end:
            assert end.recv(9) == b"hi\n"
        assert c.exec("echo $A") == (0, b"b\n")
    with DockerContainer(alpine).with_command(["echo", "ready"]) as c:
        wait_for_logs(c, "ready", timeout=5)
        assert c.get_logs() == (b"ready\n", b"")
    with pytest.raises(coso.UsageError, match="not started"):
        described.__class__(alpine).get_logs()
