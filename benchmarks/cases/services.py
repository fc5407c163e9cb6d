"""Ten services with health checks, from nothing to all healthy: coso, Docker Compose, podman-compose.

podman's checks are a timer's of systemd; without one they are called here, one
after another and again until each has passed.
"""

from __future__ import annotations

import subprocess
import time
from collections.abc import Callable, Iterator
from importlib.util import find_spec
from pathlib import Path

from benchmarks.ground import IMAGE, Ground, Words
from benchmarks.measure import Result, Way, in_turn, run
from coso.spawn import find

SERVICES = 10
SERVICE = """
  s{number}:
    image: {image}
    command: ["sh", "-c", "touch /ready; exec sleep 1000"]
    stop_grace_period: 0s
    healthcheck: {{test: ["CMD", "test", "-e", "/ready"], interval: 200ms, timeout: 5s, retries: 100}}
    ulimits: {{nofile: 1024, nproc: 4096}}
"""


def results(ground: Ground, runs: int) -> Iterator[Result]:
    """One case, few times."""
    file = ground.directory / "project/compose.yaml"
    file.parent.mkdir()
    services = "".join(SERVICE.format(number=number, image=IMAGE) for number in range(SERVICES))
    file.write_text(f"services:{services}")
    ways: dict[str, Way] = {name: _up_and_down(*words) for name, words in _cases(ground, file).items()}
    times = in_turn(ways, max(3, runs // 6), warm_up=1)
    yield Result("services", f"{SERVICES} services of a compose file until all are healthy", "ms", times)


def _up_and_down(up: Words, down: Words) -> Callable[[], float]:
    def way() -> float:
        spent = run(up)
        if subprocess.run(down, capture_output=True, check=False).returncode:
            time.sleep(1)  # Docker's networks have "active endpoints" for a moment, now and then.
            run(down)
        return spent

    return way


def _cases(ground: Ground, file: Path) -> dict[str, tuple[Words, Words]]:
    """For each: the words until all are healthy, and those that take all away."""
    coso = [*ground.engines["coso"], "compose", "-f", str(file)]
    cases = {"coso": ([*coso, "up", "-d", "--wait"], [*coso, "down"])}
    found = find_spec("compose")
    if found and found.origin:
        compose = [str(Path(found.origin).parent / "docker-compose"), "-f", str(file)]
        cases["docker compose"] = ([*compose, "up", "-d", "--wait"], [*compose, "down"])
    program = find("podman-compose")
    if program:
        wrapper = ground.directory / "podman-wrapped"
        wrapper.write_text(f'#!/bin/sh\nexec {" ".join(ground.engines["podman"])} "$@"\n')
        wrapper.chmod(0o755)
        line = f"{program} --podman-path {wrapper} -f {file}"
        check = f"until {wrapper} healthcheck run $id >/dev/null 2>&1; do sleep 0.1; done"
        wait = f"for id in $({wrapper} ps -q); do {check}; done"
        cases["podman-compose"] = (["sh", "-c", f"{line} up -d && {wait}"], ["sh", "-c", f"{line} down -t 0"])
    return cases
