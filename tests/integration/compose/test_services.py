"""What a service asks for is what its containers have, seen from inside; and what a change of the file leads to."""

from __future__ import annotations

import json
import os
import signal
import subprocess
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest

from tests.integration.compose.conftest import write
from tests.integration.conftest import Completed, Coso, eventually
from tests.integration.containers.conftest import ok

Compose = Callable[..., Completed]
# Keys of one service, a command inside, and what it prints.
KEYS: dict[str, tuple[str, str, str]] = {
    "environment": ("environment: {A: b, UNSET: }", "echo $A ${UNSET-none}", "b none"),
    "user": ("user: '1000:1001'", "echo $(id -u):$(id -g)", "1000:1001"),
    "working_dir": ("working_dir: /var/tmp", "pwd", "/var/tmp"),
    "hostname": ("{hostname: one, domainname: example.test}", "hostname", "one"),
    "read_only": ("read_only: true", "touch /x 2>/dev/null || echo refused", "refused"),
    "cap_drop": ("cap_drop: [ALL]", "grep CapEff /proc/self/status", "CapEff:\t0000000000000000"),
    "cap_add": (
        "{cap_drop: [ALL], cap_add: [NET_ADMIN]}",
        "grep CapEff /proc/self/status",
        "CapEff:\t0000000000001000",
    ),
    "sysctls": ("sysctls: {net.ipv4.ip_default_ttl: 42}", "cat /proc/sys/net/ipv4/ip_default_ttl", "42"),
    "ulimits": ("ulimits: {nofile: {soft: 100, hard: 200}}", "echo $(ulimit -Sn) $(ulimit -Hn)", "100 200"),
    "tmpfs": ("tmpfs: ['/scratch:size=1m']", "grep /scratch /proc/mounts | grep -o size=1024k", "size=1024k"),
    "shm_size": ("shm_size: 2m", "grep /dev/shm /proc/mounts | grep -o size=2048k", "size=2048k"),
    "dns": (
        "{dns: [192.0.2.53], dns_search: [example.test], dns_opt: [ndots:3], network_mode: none}",
        "grep -c -e 192.0.2.53 -e example.test -e ndots:3 /etc/resolv.conf",
        "3",
    ),
    "extra_hosts": ("extra_hosts: [box:192.0.2.7]", "grep box /etc/hosts", "192.0.2.7\tbox"),
    "init": ("init: true", "cat /proc/1/comm | grep -v sleep | wc -l", "1"),
    "group_add": ("group_add: ['77']", "id -G | grep -o 77", "77"),
    "oom_score_adj": ("oom_score_adj: 500", "cat /proc/1/oom_score_adj", "500"),
    "security_opt": (
        "security_opt: ['no-new-privileges:true']",
        "grep NoNewPrivs /proc/self/status",
        "NoNewPrivs:\t1",
    ),
    "entrypoint": (
        "{entrypoint: [sh, -c], command: ['sleep 99; :']}",
        "tr '\\0' ' ' < /proc/1/cmdline",
        "sh -c sleep 99; :",
    ),
    "volume": ("volumes: ['data:/data:ro']", "touch /data/x 2>/dev/null || echo refused", "refused"),
    "volume-long": (
        "volumes: [{type: tmpfs, target: /t, tmpfs: {size: 1m, mode: 0700}}]",
        "stat -c %a /t",
        "700",
    ),
    "bind": ("volumes: ['./made/here:/there']", "test -d /there && echo there", "there"),
    "secret-of-a-file": ("secrets: [file]", "cat /run/secrets/file", "from a file"),
    "secret-of-a-variable": ("secrets: [variable]", "cat /run/secrets/variable", "from the environment"),
    "secret-with-an-owner": (
        "secrets: [{source: file, target: mine, uid: '33', gid: '34', mode: 0400}]",
        "stat -c %u:%g:%a /run/secrets/mine; cat /run/secrets/mine",
        "33:34:400\nfrom a file",
    ),
    "config-inline": ("configs: [{source: inline, target: /etc/inline}]", "cat /etc/inline", "inline value"),
    "config-of-a-file": ("configs: [file]", "cat /file", "from a file"),
    "labels": ("labels: {a.b: c}", "echo fine", "fine"),
    "limits": ("deploy: {resources: {limits: {memory: 64m, pids: 50}}}", "echo fine", "fine"),
}
AROUND = """
volumes: {data: }
secrets: {file: {file: ./file}, variable: {environment: SECRET}}
configs: {file: {file: ./file}, inline: {content: "inline ${WORD}"}}
"""


@pytest.fixture
def project(coso: Coso, programs: Path, tmp_path: Path, c: Coso, alpine: str) -> Iterator[Compose]:
    """Write files and run a command on the project; `I` in them stands for the image."""
    directory = tmp_path / "project"
    variables = {**os.environ, "COSO_NETWORK": str(programs / "cosonet"), "SECRET": "from the environment"}

    def command(*words: str, files: dict[str, str] | None = None, **more: str) -> Completed:
        write(directory, {name: text.replace("image: I", f"image: {alpine}") for name, text in (files or {}).items()})
        return coso(
            "compose", "-f", str(directory / "compose.yaml"), *words, env={**variables, "WORD": "value", **more}
        )

    yield command
    command("down", "-v", "-t", "0", "--remove-orphans")


def test_what_a_service_asks_for_its_container_has(project: Compose, coso: Coso) -> None:
    services = ""
    for name, (text, _, __) in KEYS.items():
        keys = text if text.startswith("{") else f"{{{text}}}"
        command = "" if "command" in keys else "\n    command: [sleep, '99']"
        services += f"  {name}:\n    image: I{command}\n    stop_grace_period: 0s\n    <<: {keys}\n"
    files = {"compose.yaml": f"services:\n{services}{AROUND}", "file": "from a file\n"}
    ok(project("up", "-d", files=files))
    seen = {
        name: project("exec", "-T", name, "sh", "-c", inside).stdout.strip() for name, (_, inside, __) in KEYS.items()
    }
    assert seen == {name: wanted for name, (_, __, wanted) in KEYS.items()}
    about = json.loads(ok(coso("inspect", "project-labels-1", "project-limits-1")))
    assert about[0]["Config"]["Labels"]["a.b"] == "c"
    assert about[1]["HostConfig"]["Memory"] == 64 << 20
    assert about[1]["HostConfig"]["PidsLimit"] == 50


NETWORKS = """
services:
  web:
    image: I
    command: sleep 99
    stop_grace_period: 0s
    networks:
      front: {aliases: [www], ipv4_address: 10.211.1.9}
      back: {priority: 10}
    links: ["db:store"]
  db: {image: I, command: sleep 99, stop_grace_period: 0s, networks: [back]}
  other: {image: I, command: sleep 99, stop_grace_period: 0s, networks: [front]}
  beside: {image: I, command: sleep 99, stop_grace_period: 0s, network_mode: "service:web", pid: "service:web"}
networks:
  front: {ipam: {config: [{subnet: 10.211.1.0/24, gateway: 10.211.1.1}]}}
  back: {internal: true}
"""


def test_services_meet_on_their_networks_by_their_names(project: Compose, coso: Coso) -> None:
    ok(project("up", "-d", files={"compose.yaml": NETWORKS}))

    def sees(service: str, name: str) -> bool:
        return project("exec", "-T", service, "ping", "-c1", "-w2", name).returncode == 0

    assert sees("web", "db")
    assert sees("web", "store")
    assert sees("other", "www")
    assert sees("other", "web")
    assert not sees("other", "db")
    assert "10.211.1.9/24" in ok(project("exec", "-T", "web", "ip", "addr"))
    # On the same network as the other, and among its processes.
    assert ok(project("exec", "-T", "beside", "ip", "addr")) == ok(project("exec", "-T", "web", "ip", "addr"))
    assert ok(project("exec", "-T", "beside", "ps")).count("sleep 99") == 2


def ids(project: Compose) -> dict[str, str]:
    return dict(line.split() for line in ok(project("ps", "-a", "--format", "{{.Service}} {{.ID}}")).splitlines())


def changed(project: Compose, text: str, before: dict[str, str]) -> set[str]:
    """The services that get other containers when the file becomes this."""
    ok(project("up", "-d", "--remove-orphans", files={"compose.yaml": text}))
    after = ids(project)
    return {name for name in {**before, **after} if after.get(name) != before.get(name)}


def test_a_change_makes_anew_what_it_is_about_and_nothing_else(project: Compose, coso: Coso) -> None:
    text = NETWORKS + "configs: {c: {content: one}}\n"
    text = text.replace("db: {image: I,", "db: {image: I, restart: on-failure, configs: [c],")
    ok(project("up", "-d", files={"compose.yaml": text}))
    start = ids(project)
    assert changed(project, text, start) == set()
    assert changed(project, text + "x-more: {}\n", start) == set()
    # An option of life, a config's content, a network's addresses, a service that others share with.
    text = text.replace("restart: on-failure", "restart: always")
    assert changed(project, text, ids(project)) == {"db"}
    text = text.replace("content: one", "content: two")
    assert changed(project, text, ids(project)) == {"db"}
    assert ok(project("exec", "-T", "db", "cat", "/c")) == "two"
    text = text.replace("10.211.1.", "10.211.2.")
    assert "project_front: recreate" in ok(project("up", "--dry-run", files={"compose.yaml": text}))
    refused = project("up", "-d", "other")
    assert refused.returncode == 125
    assert "the service web is on it too" in refused.stderr
    # Who shares web's network gets another container as well.
    assert changed(project, text, ids(project)) == {"web", "other", "beside"}
    assert "10.211.2.9/24" in ok(project("exec", "-T", "web", "ip", "addr"))
    text = text.replace("  other: ", "  another: ")
    assert changed(project, text, ids(project)) == {"other", "another"}


def test_who_depends_with_restart_starts_again(project: Compose, coso: Coso) -> None:
    text = """
services:
  db: {image: I, command: sleep 99, init: true, environment: {STEP: "${STEP:-1}"}}
  web: {image: I, command: sleep 99, init: true, depends_on: {db: {condition: service_started, restart: true}}}
  far: {image: I, command: sleep 99, init: true, depends_on: {db: {condition: service_started}}}
"""
    ok(project("up", "-d", files={"compose.yaml": text}))

    def starts() -> dict[str, str]:
        names = ok(project("ps", "-q")).split()
        shown = ok(coso("inspect", "-f", "{{.Name}} {{.State.StartedAt}}", *names))
        return dict(line.split() for line in shown.splitlines())

    first = starts()
    plan = ok(project("up", "--dry-run", STEP="2"))
    assert "project-web-1: restart, it restarts with db" in plan
    assert "project-far-1: keep" in plan
    ok(project("up", "-d", STEP="2"))
    second = starts()
    assert {name for name in first if first[name] != second[name]} == {"/project-db-1", "/project-web-1"}
    ok(project("restart", "db", STEP="2"))
    third = starts()
    assert {name for name in first if second[name] != third[name]} == {"/project-db-1", "/project-web-1"}


def test_hooks_and_one_off_containers(project: Compose, coso: Coso) -> None:
    text = """
services:
  web:
    image: I
    command: sleep 99
    init: true
    environment: {WHO: service}
    post_start: [{command: [sh, -c, "echo $$WHO $$MORE > /started"], environment: [MORE=more]}]
  tool: {image: I, entrypoint: [echo, told], command: [nothing], profiles: [tools]}
"""
    ok(project("up", "-d", files={"compose.yaml": text}))
    assert ok(project("exec", "-T", "web", "cat", "/started")) == "service more"
    assert list(ids(project)) == ["web"]
    assert ok(project("run", "--rm", "-T", "tool")) == "told nothing"
    assert ok(project("run", "--rm", "-T", "tool", "much")) == "told much"
    assert ok(project("run", "--rm", "-T", "-e", "WHO=me", "web", "sh", "-c", "echo $WHO")) == "me"
    assert project("run", "--rm", "-T", "web", "sh", "-c", "exit 7").returncode == 7
    assert list(ids(project)) == ["web"]
    events = ok(project("events", "--since", "5m", "--until", "0s", "--json"))
    names = {json.loads(line)["Actor"]["Attributes"]["name"] for line in events.splitlines()}
    assert "project-web-1" in names
    assert all(name.startswith("project-") for name in names)


def test_watch_brings_changes_into_containers(project: Compose, programs: Path, tmp_path: Path) -> None:
    text = """
services:
  web:
    image: I
    command: sh -c 'echo begun; exec sleep 99'
    init: true
    develop:
      watch:
        - {path: ./pages, action: sync, target: /pages, ignore: ["*.tmp"]}
        - {path: ./settings, action: sync+restart, target: /settings}
  built:
    build: .
    command: sleep 99
    init: true
    develop: {watch: [{path: ./built, action: rebuild}]}
"""
    files = {"compose.yaml": text, "pages/index": "one", "settings": "a=1", "built/word": "old"}
    files["Dockerfile"] = "FROM test/alpine:3.20\nCOPY built/word /word\n"
    ok(project("up", "-d", files=files))
    directory = tmp_path / "project"
    environment = {**os.environ, "COSO_NETWORK": str(programs / "cosonet"), "SECRET": "", "WORD": ""}
    words = [str(programs / "coso"), "compose", "-f", str(directory / "compose.yaml"), "watch"]
    watching = subprocess.Popen(words, stderr=subprocess.PIPE, stdout=subprocess.DEVNULL, text=True, env=environment)

    def reads(path: str, wanted: str, service: str = "web") -> Callable[[], bool]:
        return lambda: project("exec", "-T", service, "cat", path).stdout.strip() == wanted

    try:
        assert watching.stderr
        assert any("watching" in line for line in iter(watching.stderr.readline, ""))
        write(directory, {"pages/index": "two", "pages/more": "more", "pages/left.tmp": "no"})
        assert eventually(reads("/pages/index", "two"))
        assert eventually(reads("/pages/more", "more"))
        assert not reads("/pages/left.tmp", "no")()
        (directory / "pages/more").unlink()
        assert eventually(lambda: project("exec", "-T", "web", "test", "-e", "/pages/more").returncode == 1)
        assert ok(project("logs", "web")).count("begun") == 1
        write(directory, {"settings": "a=2"})
        assert eventually(lambda: project("logs", "web").stdout.count("begun") == 2)
        assert reads("/settings", "a=2")()
        write(directory, {"built/word": "new"})
        assert eventually(reads("/word", "new", "built"), 20)
    finally:
        watching.send_signal(signal.SIGINT)
        said = watching.communicate(timeout=10)[1]
        project("down", "--rmi", "local", "-t", "0")
    assert watching.returncode == 130, said


def test_what_others_are_to_have_made_is_looked_for_first(project: Compose, coso: Coso) -> None:
    text = "services: {a: {image: I, command: 'true', networks: [n], volumes: ['v:/v']}}\n"
    text += "networks: {n: {external: true, name: far}}\nvolumes: {v: {external: true, name: store}}\n"
    done = project("up", "-d", files={"compose.yaml": text})
    assert (done.returncode, "there is no network 'far'" in done.stderr) == (125, True)
    ok(coso("network", "create", "far"))
    done = project("up", "-d")
    assert (done.returncode, "there is no volume 'store'" in done.stderr) == (125, True)
    ok(coso("volume", "create", "store"))
    ok(project("up", "-d"))
    # They are not the project's to remove.
    ok(project("down", "-v"))
    assert "far" in ok(coso("network", "ls", "-q"))
    assert "store" in ok(coso("volume", "ls", "-q"))
    ok(coso("network", "rm", "far"))
    ok(coso("volume", "rm", "store"))
