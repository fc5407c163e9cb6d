"""`./dev invoke bench-api`: a container from Python: coso, docker-py, testcontainers, and crun beside them.

As in `bench-containers` everything is apart from the machine. First one
container after the other, each way in turn; then as many as two and four
threads can start; then coso once more from a process with a gigabyte in use
and fifty threads. The two libraries come with `COSO_EXTRAS=test,dev,bench`.
"""

from __future__ import annotations

import argparse
import os
import random
import statistics
import subprocess
import sys
import threading
import time
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from contextlib import ExitStack
from pathlib import Path

from benchmarks import bundle
from benchmarks import containers as peers
from benchmarks.__main__ import _hide_hybrid_controllers as hide_hybrid_controllers
from benchmarks.containers import SCRATCH  # First: where state is kept follows from it.
from coso.runtime.undo import remove_tree
from coso.spawn import find
from coso.verify import lab
from coso.verify.drivers import host

WARM_UP = 3
BALLAST = 1 << 30
THREADS = 50
Way = Callable[[], object]


def main() -> int:
    """Run all parts and print them."""
    parser = argparse.ArgumentParser(prog="python -m benchmarks.api", description=__doc__)
    parser.add_argument("--runs", type=int, default=40)
    parser.add_argument("--many", type=int, default=200)
    parser.add_argument("--rootfs", default="/tmp/coso/rootfs")
    given = parser.parse_args()
    if os.geteuid() != 0:
        print("benchmarks need root", file=sys.stderr)
        return 1
    peers.install()
    lab.enter()
    hide_hybrid_controllers()
    try:
        with ExitStack() as stack:
            engines = {"coso": peers.coso(given.rootfs), "docker": stack.enter_context(peers.docker())}
            peers.give_image(engines)
            compare({**_coso(), **_crun(given.rootfs), **_docker()}, given.runs)
            throughput({"coso": _coso()["coso, no network"], **_crun(given.rootfs)}, given.many)
            from_a_large_process(given.runs)
    finally:
        host.unmount_below(SCRATCH)
        remove_tree(SCRATCH)
    return 0


def _coso() -> dict[str, Way]:
    import coso

    return {
        "coso, no network": lambda: coso.run(peers.IMAGE, ["true"], network="none").check(),
        "coso, network": lambda: coso.run(peers.IMAGE, ["true"]).check(),
    }


def _crun(rootfs: str) -> dict[str, Way]:
    directory = Path(SCRATCH) / "bundle"
    directory.mkdir(0o755, exist_ok=True)
    Path(SCRATCH).chmod(0o755)
    bundle.write(directory, Path(rootfs))
    crun, number = find("crun"), iter(range(1 << 30))

    def run() -> None:
        words = [crun, "run", "--bundle", str(directory), f"coso-bench-{next(number)}"]
        subprocess.run(words, check=True, stdin=subprocess.DEVNULL)

    return {"crun": run}


def _docker() -> dict[str, Way]:
    """Docker's libraries, where they are installed."""
    os.environ["DOCKER_HOST"] = address = f"unix://{SCRATCH}/docker.sock"
    # Its helper comes from a registry; without it nothing is cleaned up after a crash.
    os.environ["TESTCONTAINERS_RYUK_DISABLED"] = "true"
    try:
        import docker
        from testcontainers.core.container import DockerContainer
    except ImportError as error:
        print(f"{error.name} is not installed: COSO_EXTRAS=test,dev,bench ./dev invoke bench-api", file=sys.stderr)
        return {}
    client = docker.DockerClient(base_url=address)

    def start_and_stop() -> None:
        with DockerContainer(peers.IMAGE).with_command("sleep 60"):
            pass

    return {
        "docker-py, containers.run": lambda: client.containers.run(peers.IMAGE, "true", remove=True),
        "docker-py, no network": lambda: client.containers.run(peers.IMAGE, "true", remove=True, network_mode="none"),
        "testcontainers, start and stop": start_and_stop,
    }


def _spent(way: Way) -> float:
    begun = time.perf_counter()
    way()
    return (time.perf_counter() - begun) * 1000


def compare(ways: dict[str, Way], runs: int) -> None:
    """One after the other, in turn, in a random order."""
    times: dict[str, list[float]] = {name: [] for name in ways}
    for number in range(runs + WARM_UP):
        for name in random.sample(list(ways), len(ways)):
            spent = _spent(ways[name])
            if number >= WARM_UP:
                times[name].append(spent)
    base = statistics.median(times["coso, no network"])
    print(f"| one container, {runs} runs in turn | median ms | min | max | ÷ coso |\n|---|---|---|---|---|")
    for name, found in times.items():
        median = statistics.median(found)
        print(f"| {name} | {median:.1f} | {min(found):.1f} | {max(found):.1f} | {median / base:.1f} |")
    print("\n| back to back | median ms | min | max |\n|---|---|---|---|")
    for name in [name for name in ways if "coso" in name or "crun" in name]:
        series = [_spent(ways[name]) for _ in range(runs)]
        print(f"| {name} | {statistics.median(series):.1f} | {min(series):.1f} | {max(series):.1f} |", flush=True)


def throughput(ways: dict[str, Way], count: int) -> None:
    """As many as several threads can start."""
    print(f"\n| {count} containers | threads | a second |\n|---|---|---|")
    for name, way in ways.items():
        for threads in (2, 4):
            with ThreadPoolExecutor(threads) as pool:
                spent = _spent(lambda way=way, pool=pool: list(pool.map(lambda _: way(), range(count))))  # type: ignore[misc]
            print(f"| {name} | {threads} | {count / spent * 1000:.0f} |", flush=True)


def from_a_large_process(runs: int) -> None:
    """The same from a process with much memory in use and many threads, whose starter is made only then."""
    import coso

    way = _coso()["coso, no network"]
    small = [_spent(way) for _ in range(runs)]
    ballast = bytearray(os.urandom(1 << 20) * (BALLAST >> 20))
    end = threading.Event()
    threads = [threading.Thread(target=end.wait) for _ in range(THREADS)]
    for thread in threads:
        thread.start()
    with coso.Starter() as starter:
        first = _spent(lambda: coso.run(peers.IMAGE, ["true"], network="none", starter=starter))
        large = [_spent(lambda: coso.run(peers.IMAGE, ["true"], network="none", starter=starter)) for _ in range(runs)]
    end.set()
    for thread in threads:
        thread.join()
    ratio = statistics.median(large) / statistics.median(small)
    print(f"\nfrom a process of {len(ballast) >> 20} MiB and {THREADS} threads: median", end=" ")
    print(f"{statistics.median(large):.1f} ms, {ratio:.2f} times that before; the first {first:.0f} ms")


if __name__ == "__main__":
    sys.exit(main())
