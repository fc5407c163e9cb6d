"""Containers from Python: `coso.run` beside docker-py, testcontainers and commands; from threads; from much memory."""

from __future__ import annotations

import os
import sys
import threading
import time
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor

from benchmarks.ground import IMAGE, Ground
from benchmarks.measure import Result, Way, back_to_back, command, in_turn, spent_by
from coso.verify.drivers import DRIVERS

BALLAST, THREADS = 1 << 30, 50
WORKERS = (2, 4)
MANY = 200


def results(ground: Ground, runs: int) -> Iterator[Result]:
    """Warm starts, how many in a second, and all that from a large process."""
    import coso

    none: Way = lambda: coso.run(IMAGE, ["true"], network="none").check()  # noqa: E731
    connected: Way = lambda: coso.run(IMAGE, ["true"]).check()  # noqa: E731
    crun = _crun(ground)
    bwrap = {"bubblewrap": command(*ground.driven(DRIVERS["bwrap"], "/bin/true"))}
    libraries = _libraries()
    yield Result(
        "warm",
        "`coso.run` in turn with others, no network",
        "ms",
        in_turn({"coso": none, "crun": crun, **bwrap, **libraries}, runs),
        targets={"crun": 0.4, "bubblewrap": 1, **dict.fromkeys(libraries, 1 / 40)},
    )
    yield Result(
        "warm-back-to-back",
        "`coso.run` directly after the last",
        "ms",
        back_to_back({"coso": none, "crun": crun, **bwrap}, runs),
    )
    yield Result(
        "warm-bridge",
        "`coso.run` on the default network",
        "ms",
        in_turn({"coso": connected, **_libraries(network=True)}, runs),
        targets=dict.fromkeys(libraries, 1 / 40),
    )
    for workers in WORKERS:
        values = {
            name: [_each_second(way, workers) for _ in range(5)] for name, way in (("coso", none), ("crun", crun))
        }
        yield Result(
            f"throughput-{workers}",
            f"Containers in a second, from {workers} threads",
            "a second",
            values,
            more_is_better=True,
            targets={"crun": 2.5} if workers == WORKERS[0] else {},
        )
    yield _from_a_large_process(none, runs)


def _crun(ground: Ground) -> Way:
    directory, number = str(ground.bundle("/bin/true")), iter(range(1 << 30))
    return lambda: command(*ground.low("crun"), "run", "--bundle", directory, f"coso-bench-{next(number)}")()


def _each_second(way: Way, workers: int) -> float:
    with ThreadPoolExecutor(workers) as pool:
        begun = time.perf_counter()
        list(pool.map(lambda _: way(), range(MANY)))
        return MANY / (time.perf_counter() - begun)


def _libraries(*, network: bool = False) -> dict[str, Way]:
    """Docker's libraries, where they are installed."""
    # Its helper comes from a registry; without it nothing is cleaned up after a crash.
    os.environ["TESTCONTAINERS_RYUK_DISABLED"] = "true"
    try:
        import docker
        from testcontainers.core.container import DockerContainer
    except ImportError as error:
        print(f"without {error.name}: COSO_EXTRAS=test,dev,bench ./dev invoke bench", file=sys.stderr)
        return {}
    client = docker.DockerClient(base_url=os.environ["DOCKER_HOST"])
    mode = {} if network else {"network_mode": "none"}

    def start_and_stop() -> None:
        with DockerContainer(IMAGE, **mode).with_command("sleep 60"):
            pass

    return {
        "docker-py, containers.run": lambda: client.containers.run(IMAGE, "true", remove=True, **mode),
        "testcontainers, start and stop": start_and_stop,
    }


def _from_a_large_process(way: Way, runs: int) -> Result:
    """The same from a process with much memory in use and many threads, whose starter is made only then."""
    import coso

    small = [spent_by(way) for _ in range(runs)]
    ballast = bytearray(os.urandom(1 << 20) * (BALLAST >> 20))
    end = threading.Event()
    threads = [threading.Thread(target=end.wait) for _ in range(THREADS)]
    for thread in threads:
        thread.start()
    with coso.Starter() as starter:
        values = [
            spent_by(lambda: coso.run(IMAGE, ["true"], network="none", starter=starter).check()) for _ in range(runs)
        ]
    end.set()
    for thread in threads:
        thread.join()
    title = f"`coso.run` from a process of {len(ballast) >> 20} MiB and {THREADS} threads"
    return Result(
        "large-process", title, "ms", {"coso": values[2:], "small process": small}, targets={"small process": 1.5}
    )
