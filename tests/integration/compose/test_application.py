"""An application of three services, their programs from Debian's packages, from `up --wait` to nothing left."""

from __future__ import annotations

import json
import os
import signal
import subprocess
import time
import urllib.request
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest

from tests.integration.compose.conftest import write
from tests.integration.conftest import Completed, Coso, eventually, what_is_left
from tests.integration.containers.conftest import DEBIAN, ok, remove_all

PORT = 8096
FILES = {
    "compose.yaml": f"""
name: shop
x-life: &life {{restart: unless-stopped, stop_grace_period: 2s}}
services:
  web:
    <<: *life
    build: ./web
    ports: ["127.0.0.1:{PORT}:80"]
    volumes: ["pages:/var/www/html:ro"]
    depends_on: {{worker: {{condition: service_healthy}}}}
    networks: [front]
    labels: {{version: "${{VERSION:-1}}"}}
  worker:
    <<: *life
    build: {{context: ./worker, args: {{BASE: "{DEBIAN}"}}}}
    environment: {{STEP: "${{STEP:-1}}"}}
    volumes: ["pages:/pages"]
    depends_on: {{db: {{condition: service_healthy}}, prepare: {{condition: service_completed_successfully}}}}
    healthcheck: {{test: [CMD, test, -s, /pages/index.html], interval: 200ms, retries: 50}}
    networks: [back]
    secrets: [word]
  prepare:
    image: shop-db
    entrypoint: ["sh", "-c"]
    command: ["redis-cli -h db set count 100"]
    depends_on: {{db: {{condition: service_healthy}}}}
    networks: [back]
  db:
    <<: *life
    build: {{context: ., dockerfile_inline: "FROM {DEBIAN}\\nVOLUME /var/lib/redis\\n"}}
    image: shop-db
    command: redis-server --save '' --bind '*' --protected-mode no --dir /var/lib/redis
    healthcheck: {{test: redis-cli ping | grep PONG, interval: 200ms, retries: 50}}
    networks: [back]
volumes: {{pages: }}
networks: {{front: , back: {{internal: true}}}}
secrets: {{word: {{file: ./word}}}}
""",
    "word": "a secret\n",
    "web/Dockerfile": f"""
FROM {DEBIAN}
RUN ln -sf /dev/stderr /var/log/nginx/error.log && ln -sf /dev/stdout /var/log/nginx/access.log
CMD ["nginx", "-g", "daemon off;"]
""",
    "worker/Dockerfile": 'ARG BASE\nFROM ${BASE}\nCOPY work.py /\nCMD ["python3", "/work.py"]\n',
    "worker/work.py": """
import os, socket, time, redis
word = open("/run/secrets/word").read().strip()
there = redis.Redis("db")
while True:
    count = there.incrby("count", int(os.environ["STEP"]))
    there.sadd("workers", socket.gethostname())
    with open("/pages/new", "w") as file:
        file.write(f"{word} {count} {there.scard('workers')}\\n")
    os.rename("/pages/new", "/pages/index.html")
    print("counted", count, flush=True)
    time.sleep(0.1)
""",
}
Compose = Callable[..., Completed]


@pytest.fixture
def shop(coso: Coso, programs: Path, debian: str, tmp_path: Path) -> Iterator[Compose]:
    directory = write(tmp_path / "shop", FILES)

    def command(*words: str, **variables: str) -> Completed:
        return coso("compose", "-f", str(directory / "compose.yaml"), *words, env=environment(programs, **variables))

    yield command
    command("down", "-v", "-t", "0", "--rmi", "local")
    coso("rmi", "-f", "shop-db")
    remove_all(coso)
    assert not what_is_left()


def environment(programs: Path, **variables: str) -> dict[str, str]:
    return {**os.environ, "COSO_NETWORK": str(programs / "cosonet"), **variables}


def page() -> list[str]:
    """What is read through the published port: the word, the count, how many workers; the server may begin yet."""
    assert eventually(_is_served)
    with urllib.request.urlopen(f"http://127.0.0.1:{PORT}/", timeout=5) as answer:
        return str(answer.read().decode()).rsplit(None, 2)


def _is_served() -> bool:
    try:
        urllib.request.urlopen(f"http://127.0.0.1:{PORT}/", timeout=5).close()
    except OSError:
        return False
    return True


def ids(shop: Compose) -> dict[str, str]:
    return dict(line.split() for line in ok(shop("ps", "-a", "--format", "{{.Name}} {{.ID}}")).splitlines())


def test_it_comes_up_is_reached_scaled_changed_and_goes(shop: Compose, coso: Coso) -> None:
    said = ok(shop("up", "-d", "--wait")) or ""
    assert "Traceback" not in said
    first = page()
    assert first[0] == "a secret"
    assert int(first[1]) > 100
    assert eventually(lambda: int(page()[1]) > int(first[1]))
    states = ok(shop("ps", "-a", "--format", "{{.Service}} {{.State}} {{.Health}} {{.ExitCode}}")).splitlines()
    assert [line.split() for line in states] == [
        ["db", "running", "healthy", "0"],
        ["prepare", "exited", "0"],
        ["web", "running", "0"],
        ["worker", "running", "healthy", "0"],
    ]
    # Again: nothing is done.
    before = ids(shop)
    ok(shop("up", "-d", "--wait"))
    assert ids(shop) == before
    # Scaled.
    ok(shop("up", "-d", "--wait", "--scale", "worker=3"))
    assert {name for name in ids(shop) if "worker" in name} == {f"shop-worker-{number}" for number in (1, 2, 3)}
    assert eventually(lambda: int(page()[2]) == 3)
    # Changed: what has changed is made anew, and nothing else.
    plan = ok(shop("--dry-run", "up", VERSION="2"))
    assert "shop-web-1: recreate, its service has changed" in plan
    assert "shop-db-1: keep" in plan
    ok(shop("up", "-d", "--wait", "--scale", "worker=3", VERSION="2"))
    after = ids(shop)
    assert {name for name in after if after[name] != before.get(name, after[name])} == {"shop-web-1"}
    assert page()[0] == "a secret"
    ok(shop("up", "-d", "--wait", VERSION="2"))
    assert sorted(name for name in ids(shop) if "worker" in name) == ["shop-worker-1"]
    # Gone.
    ok(shop("down", "-v"))
    assert ok(coso("ps", "-aq")) == ""
    assert "shop" not in coso("network", "ls").stdout + coso("volume", "ls").stdout


def test_commands_of_services(shop: Compose, coso: Coso) -> None:
    ok(shop("up", "-d", "--wait"))
    assert ok(shop("exec", "-T", "worker", "cat", "/run/secrets/word")) == "a secret"
    assert shop("exec", "-T", "worker", "sh", "-c", "exit 3").returncode == 3
    assert ok(shop("run", "--rm", "--no-deps", "-T", "db", "echo", "alone")) == "alone"
    assert ok(shop("port", "web", "80")) == f"127.0.0.1:{PORT}"
    logs = ok(shop("logs", "-n", "5", "worker"))
    assert all(line.startswith("shop-worker-1  | counted") for line in logs.splitlines())
    assert "redis-server" in ok(shop("top", "db"))
    assert ok(shop("ls", "-q")) == "shop"
    assert json.loads(ok(shop("ls", "--format", "json")))[0]["Status"] == "exited(1), running(3)"
    ok(shop("stop", "web", "worker"))
    assert "exited" in ok(shop("ps", "-a", "--format", "{{.Service}} {{.State}}")).split("web ")[1]
    ok(shop("start", "--wait", "worker", "web"))
    assert page()[0] == "a secret"
    ok(shop("kill", "-s", "KILL", "worker"))
    ok(shop("restart", "web"))
    ok(shop("pause", "db"))
    assert "paused" in ok(shop("ps", "--format", "{{.State}}"))
    ok(shop("unpause", "db"))
    ok(shop("rm", "-f", "-s", "web"))
    assert "web" not in ok(shop("ps", "-a", "--format", "{{.Service}}"))
    assert shop("exec", "web", "true").returncode == 125


def test_up_in_front_shows_output_and_ends_in_order(shop: Compose, coso: Coso, programs: Path, tmp_path: Path) -> None:
    ok(shop("build", "-q"))
    words = [str(programs / "coso"), "compose", "-f", str(tmp_path / "shop/compose.yaml"), "up"]
    front = subprocess.Popen(
        words, stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True, env=environment(programs)
    )
    assert eventually(lambda: "worker" in coso("ps", "--format", "{{.Names}}").stdout, 30)
    time.sleep(1)
    front.send_signal(signal.SIGINT)
    out, err = front.communicate(timeout=30)
    assert front.returncode == 130, err
    assert "shop-worker-1" in out
    assert "counted" in out
    stopped = [line.split()[1] for line in err.splitlines() if line.endswith("Stopped")]
    assert stopped.index("shop-web-1") < stopped.index("shop-worker-1") < stopped.index("shop-db-1")
    assert ok(coso("ps", "-q")) == ""


def test_an_up_that_is_killed_is_finished_by_the_next(
    shop: Compose, coso: Coso, programs: Path, tmp_path: Path
) -> None:
    ok(shop("build", "-q"))
    words = [str(programs / "coso"), "compose", "-f", str(tmp_path / "shop/compose.yaml"), "up", "-d"]
    for delay in (0.1, 0.3, 0.6):
        front = subprocess.Popen(words, stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL, env=environment(programs))
        time.sleep(delay)
        front.kill()
        front.wait()
    assert eventually(lambda: shop("up", "-d", "--wait").returncode == 0, 20)
    assert page()[0] == "a secret"


def test_who_waits_for_what_never_comes_is_told_why(shop: Compose, coso: Coso, tmp_path: Path) -> None:
    above = tmp_path / "above.yaml"
    above.write_text("services: {db: {healthcheck: {test: exit 1, interval: 100ms, retries: 2}}}\n")
    done = coso("compose", "-f", str(tmp_path / "shop/compose.yaml"), "-f", str(above), "up", "-d")
    assert done.returncode == 125
    assert "shop-db-1 is unhealthy" in done.stderr
    assert "waits for db" in done.stderr
    assert "shop-web-1" not in coso("ps", "-a", "--format", "{{.Names}}").stdout
