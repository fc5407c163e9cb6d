"""`./dev invoke bench-compose`: ten services with health checks up and down: coso, Docker Compose, podman-compose.

As in `bench-containers` everything is apart from the machine, and each has
its own storage and the same image.  The time is that until all are healthy.
podman's checks are a timer's of systemd; without one they are called here,
one after another and again until each has passed.
"""

from __future__ import annotations

import argparse
import os
import statistics
import subprocess
import sys
import time
from contextlib import ExitStack
from importlib.util import find_spec
from pathlib import Path

from benchmarks import containers as engines
from benchmarks.__main__ import _hide_hybrid_controllers as hide_hybrid_controllers
from coso.runtime.undo import remove_tree
from coso.spawn import find
from coso.verify import lab
from coso.verify.drivers import host
from provisioning.resource import Change
from provisioning.system import Package

SERVICES = 10
SERVICE = """
  s{number}:
    image: {image}
    command: ["sh", "-c", "touch /ready; exec sleep 1000"]
    stop_grace_period: 0s
    healthcheck: {{test: ["CMD", "test", "-e", "/ready"], interval: 200ms, timeout: 5s, retries: 100}}
    ulimits: {{nofile: 1024, nproc: 4096}}
"""
Words = list[str]


def main() -> int:
    """Compare and print."""
    parser = argparse.ArgumentParser(prog="python -m benchmarks.compose", description=__doc__)
    parser.add_argument("--runs", type=int, default=5)
    parser.add_argument("--rootfs", default="/tmp/coso/rootfs")
    given = parser.parse_args()
    if os.geteuid() != 0:
        print("benchmarks need root", file=sys.stderr)
        return 1
    engines.install("podman-compose")
    package = Package("podman-compose", "podman-compose")
    if isinstance(plan := package.plan(package.inspect()), Change):
        package.apply(plan)
    lab.enter()
    hide_hybrid_controllers()
    directory = Path(engines.SCRATCH)
    file = directory / "project/compose.yaml"
    file.parent.mkdir()
    services = "".join(SERVICE.format(number=number, image=engines.IMAGE) for number in range(SERVICES))
    file.write_text(f"services:{services}")
    try:
        with ExitStack() as stack:
            known = {
                "coso": engines.coso(given.rootfs),
                "podman": engines.podman(),
                "docker": stack.enter_context(engines.docker()),
            }
            engines.give_image(known)
            cases = _cases(known, file, directory)
            times: dict[str, list[float]] = {name: [] for name in cases}
            for _ in range(given.runs + 1):
                for name, (up, down) in cases.items():
                    times[name].append(_run(up))
                    try:
                        _run(down)
                    except SystemExit:
                        time.sleep(1)  # Docker's networks have "active endpoints" for a moment, now and then.
                        _run(down)
            print(f"| {SERVICES} services, {given.runs} runs | median s until healthy | min | max | ÷ coso |")
            print("|---|---|---|---|---|")
            base = statistics.median(times["coso"][1:])
            for name, all_ in times.items():
                found = all_[1:]
                middle = statistics.median(found)
                print(f"| {name} | {middle:.2f} | {min(found):.2f} | {max(found):.2f} | {middle / base:.1f} |")
    finally:
        host.unmount_below(engines.SCRATCH)
        remove_tree(engines.SCRATCH)
    return 0


def _cases(known: dict[str, Words], file: Path, directory: Path) -> dict[str, tuple[Words, Words]]:
    """For each: the words until all are healthy, and those that take all away."""
    coso = [*known["coso"], "compose", "-f", str(file)]
    cases = {"coso": ([*coso, "up", "-d", "--wait"], [*coso, "down"])}
    found = find_spec("compose")
    if found and found.origin:
        address = next(word for word in known["docker"] if word.startswith("--host=")).removeprefix("--host=")
        os.environ["DOCKER_HOST"] = address
        compose = [str(Path(found.origin).parent / "docker-compose"), "-f", str(file)]
        cases["docker compose"] = ([*compose, "up", "-d", "--wait"], [*compose, "down"])
    program = find("podman-compose")
    if program:
        wrapper = directory / "podman-wrapped"
        wrapper.write_text(f'#!/bin/sh\nexec {" ".join(known["podman"])} "$@"\n')
        wrapper.chmod(0o755)
        compose = [program, "--podman-path", str(wrapper), "-f", str(file)]
        check = f"until {wrapper} healthcheck run $id >/dev/null 2>&1; do sleep 0.1; done"
        wait = f"for id in $({wrapper} ps -q); do {check}; done"
        cases["podman-compose"] = (
            ["sh", "-c", f"{' '.join(compose)} up -d && {wait}"],
            ["sh", "-c", f"{' '.join(compose)} down -t 0"],
        )
    return cases


def _run(words: Words) -> float:
    """Seconds of a command that must succeed."""
    begun = time.perf_counter()
    done = subprocess.run(words, capture_output=True, text=True, stdin=subprocess.DEVNULL, check=False)
    if done.returncode:
        raise SystemExit(f"{' '.join(words)} failed: {done.stdout[-500:]}{done.stderr[-1500:]}")
    return time.perf_counter() - begun


if __name__ == "__main__":
    sys.exit(main())
