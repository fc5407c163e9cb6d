"""A container from start to exit, a command in one that runs, and its life in an engine's hands."""

from __future__ import annotations

import subprocess
import sys
from collections.abc import Callable, Iterator
from contextlib import ExitStack
from pathlib import Path

from benchmarks.ground import Ground, Words
from benchmarks.measure import Result, Way, back_to_back, command, in_turn, run, spent_by
from coso.verify.drivers import DRIVERS

SANDBOXES = {"bubblewrap": "bwrap", "systemd-nspawn": "nspawn", "lxc": "lxc"}
RUNTIMES = ("crun", "runc")
ALIKE = (
    "crun and runc have a bundle with the same namespaces, capabilities and filter, and a root that nobody may write "
    "to; the others make a writable layer for each container, lxc and bubblewrap use the root as it is."
)


def results(ground: Ground, runs: int) -> Iterator[Result]:
    """All of them."""
    yield from one_shot(ground, runs)
    yield exec_into(ground, runs)
    yield oci_life(ground, runs)


def one_shot(ground: Ground, runs: int) -> Iterator[Result]:
    """`/bin/true`, without a network and on each engine's bridge."""
    low, engines = _low(ground), _engines(ground, "--network", "none")
    interpreter = Path(ground.engines["coso"][0]).read_text().split()[0].removeprefix("#!")
    alone = {"Python alone (-I -S)": command(interpreter, "-I", "-S", "-c", "pass")}
    yield Result(
        "one-shot-back-to-back",
        "One container, no network, each directly after its own last",
        "ms",
        back_to_back({"coso": engines["coso"], **low, **alone}, runs),
        targets={"crun": 1.3, "runc": 0.6},
        note=ALIKE,
    )
    yield Result(
        "one-shot-spaced",
        "One container, no network, 100 ms after the last",
        "ms",
        in_turn({**engines, **low, **alone}, runs, pause=0.1),
        targets={"crun": 0.8, "runc": 0.6, "podman": 0.1, "docker": 0.06},
        note=ALIKE,
    )
    yield Result(
        "one-shot-bridge",
        "One container on the default network",
        "ms",
        in_turn(_engines(ground), runs),
        targets={"podman": 0.06, "docker": 0.06},
    )


def _engines(ground: Ground, *options: str) -> dict[str, Way]:
    return {name: command(*ground.run(name, "--rm", *options)) for name in ground.engines}


def _low(ground: Ground) -> dict[str, Way]:
    """Those that have no images; one that does not run here is left out, with its reason."""
    directory = str(ground.bundle("/bin/true"))
    ways: dict[str, Way] = {
        name: command(*ground.low(name), "run", "--bundle", directory, f"coso-bench-{name}") for name in RUNTIMES
    }
    for name, driver in SANDBOXES.items():
        if not DRIVERS[driver].lacking():
            ways[name] = command(*ground.driven(DRIVERS[driver], "/bin/true"))
    return {name: way for name, way in ways.items() if _works(name, way)}


def _works(name: str, way: Way) -> bool:
    try:
        way()
    except SystemExit as error:
        print(f"without {name}: {str(error)[-300:]}", file=sys.stderr)
        return False
    return True


def exec_into(ground: Ground, runs: int) -> Result:
    """`exec NAME true` in a container that runs."""
    directory = str(ground.bundle("/bin/sleep", "1000"))
    with ExitStack() as stack:
        ways: dict[str, Way] = {}
        for name, words in ground.engines.items():
            run(ground.run(name, "-d", "--name", "bench", "--network", "none", command=("sleep", "1000")))
            stack.callback(_quietly, [*words, "rm", "-f", "bench"])
            ways[name] = command(*words, "exec", "bench", "true")
        for name in RUNTIMES:
            words = ground.low(name)
            run([*words, "run", "--detach", "--bundle", directory, "coso-bench-exec"])
            stack.callback(_quietly, [*words, "delete", "--force", "coso-bench-exec"])
            ways[name] = command(*words, "exec", "coso-bench-exec", "/bin/true")
        return Result(
            "exec",
            "A command in a container that runs",
            "ms",
            back_to_back(ways, runs),
            targets={"crun": 1.5, "runc": 0.7},
        )


def oci_life(ground: Ground, runs: int) -> Result:
    """Create, start and delete, as an engine does it."""
    directory = str(ground.bundle("/bin/true"))
    programs: dict[str, Words] = {"coso": ground.coso_oci, **{name: ground.low(name) for name in RUNTIMES}}
    ways: dict[str, Way] = {name: _life(words, directory, name) for name, words in programs.items()}
    return Result(
        "oci-life",
        "OCI: create, start, delete",
        "ms",
        in_turn(ways, runs),
        targets={"runc": 0.9},
        note="coso is coso-oci here: three interpreters, one for each command.",
    )


def _life(words: Words, directory: str, name: str) -> Callable[[], float]:
    container = f"coso-bench-{name}"
    steps = [
        [*words, "create", "--bundle", directory, container],
        [*words, "start", container],
        [*words, "delete", "--force", container],
    ]
    return lambda: sum(spent_by(command(*step)) for step in steps)


def _quietly(words: Words) -> None:
    subprocess.run(words, capture_output=True, check=False)
