"""`./dev invoke bench-containers`: containers as people start them, coso's way and podman's and Docker's.

Everything happens in a network namespace and among mounts apart
(coso.verify.lab), each engine with storage of its own and the same image.
First `run --rm IMAGE true`, in turn and in a random order, without a network
and with each engine's own.  Then many containers in the background, one after
the other: the time of each, whether it grows, and the memory of what stays
beside each (PSS of coso's monitors and zygote, of conmon, of containerd-shim).
"""

from __future__ import annotations

import argparse
import os
import random
import re
import statistics
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable, Iterator
from contextlib import ExitStack, contextmanager
from pathlib import Path

SCRATCH = tempfile.mkdtemp(prefix="coso-bench-", dir="/var/tmp")
# Before anything reads where state is kept.
os.environ["COSO_RUN"], os.environ["COSO_LIB"] = f"{SCRATCH}/run", f"{SCRATCH}/lib"

from benchmarks import bundle  # noqa: E402
from benchmarks.__main__ import _hide_hybrid_controllers as hide_hybrid_controllers  # noqa: E402
from coso import launcher  # noqa: E402
from coso.runtime.undo import remove_tree  # noqa: E402
from coso.spawn import find  # noqa: E402
from coso.verify import lab  # noqa: E402
from coso.verify.drivers import host  # noqa: E402
from provisioning.peers import peers  # noqa: E402
from provisioning.resource import Change  # noqa: E402

IMAGE = "bench/alpine:1"
WARM_UP = 2
# Without the right to raise limits podman's million open files fail.
LIMITS = ["--ulimit", "nofile=1024:1024", "--ulimit", "nproc=4096:4096"]
Words = list[str]


def main() -> int:
    """Run both parts and print them."""
    parser = argparse.ArgumentParser(prog="python -m benchmarks.containers", description=__doc__)
    parser.add_argument("--runs", type=int, default=20)
    parser.add_argument("--containers", type=int, default=100)
    parser.add_argument("--rootfs", default="/tmp/coso/rootfs")
    given = parser.parse_args()
    if os.geteuid() != 0:
        print("benchmarks need root", file=sys.stderr)
        return 1
    install()
    lab.enter()
    hide_hybrid_controllers()
    try:
        with ExitStack() as stack:
            engines = {"coso": coso(given.rootfs), "podman": podman(), "docker": stack.enter_context(docker())}
            give_image(engines)
            compare(engines, given.runs)
            grow(engines, given.containers, given.rootfs)
    finally:
        host.unmount_below(SCRATCH)
        remove_tree(SCRATCH)
    return 0


def install(*more: str) -> None:
    """The peers from Debian, where they are not there."""
    wanted = ("podman", "netavark", "docker.io", "docker-cli", "crun", "iptables", *more)
    for package in peers():
        if package.name in wanted and isinstance(plan := package.plan(package.inspect()), Change):
            package.apply(plan)


def coso(rootfs: str) -> Words:
    """The words that begin a command line of coso, which has the image by then."""
    for name in launcher.ENTRIES:
        program = Path(SCRATCH) / name
        program.write_text(launcher.text(name))
        program.chmod(0o755)
    os.environ["COSO_NETWORK"] = f"{SCRATCH}/cosonet"
    packed = subprocess.run(["tar", "-C", rootfs, "-c", "."], capture_output=True, check=True).stdout
    words = [f"{SCRATCH}/coso", "import", "-c", 'CMD ["/bin/sh"]', "-", IMAGE]
    subprocess.run(words, input=packed, check=True, stdout=subprocess.DEVNULL)
    return [f"{SCRATCH}/coso"]


def podman() -> Words:
    """The words that begin one of podman, with storage of its own."""
    places = [f"--{name}={SCRATCH}/podman/{name}" for name in ("root", "runroot", "tmpdir")]
    return [find("podman"), *places, "--runtime=crun"]


@contextmanager
def docker() -> Iterator[Words]:
    """A daemon of its own, which goes with the benchmark."""
    places = {"data-root": "docker", "exec-root": "docker-exec", "pidfile": "docker.pid"}
    options = [f"--{option}={SCRATCH}/{name}" for option, name in places.items()]
    address = f"unix://{SCRATCH}/docker.sock"
    client = [find("docker") or "docker", f"--host={address}"]
    with open(f"{SCRATCH}/docker.log", "wb") as log:
        daemon = subprocess.Popen([find("dockerd"), *options, f"--host={address}"], stdout=log, stderr=log)
        try:
            for _ in range(300):
                if subprocess.run([*client, "version"], capture_output=True, check=False).returncode == 0:
                    break
                time.sleep(0.1)
            yield client
        finally:
            daemon.terminate()
            daemon.wait(30)


def give_image(engines: dict[str, Words]) -> None:
    """The same image for all."""
    archive = f"{SCRATCH}/image.tar"
    _run([*engines["coso"], "save", "-o", archive, IMAGE])
    for name in engines.keys() & {"podman", "docker"}:
        _run([*engines[name], "load", "-i", archive])


def _run(words: Words) -> float:
    """Milliseconds of a command that must succeed."""
    with tempfile.TemporaryFile("w+") as said:
        begun = time.perf_counter()
        done = subprocess.run(words, stdin=subprocess.DEVNULL, stdout=said, stderr=said, check=False)
        spent = (time.perf_counter() - begun) * 1000
        if done.returncode:
            said.seek(0)
            raise SystemExit(f"{' '.join(words)} failed: {said.read()}")
    return spent


def _limits(name: str) -> Words:
    return LIMITS if name == "podman" else []


def compare(engines: dict[str, Words], runs: int) -> None:
    """`run --rm IMAGE true`, in turn."""
    kinds = {"no network": ["--network", "none"], "network": []}
    cases = {
        (name, kind): [*words, "run", "--rm", *_limits(name), *options, IMAGE, "true"]
        for name, words in engines.items()
        for kind, options in kinds.items()
    }
    times: dict[tuple[str, str], list[float]] = {case: [] for case in cases}
    for number in range(runs + WARM_UP):
        for case in random.sample(list(cases), len(cases)):
            spent = _run(cases[case])
            if number >= WARM_UP:
                times[case].append(spent)
    print(f"| `run --rm IMAGE true`, {runs} runs | median ms | min | max | ÷ coso |\n|---|---|---|---|---|")
    for kind in kinds:
        base = statistics.median(times["coso", kind])
        for name in engines:
            found = times[name, kind]
            median = statistics.median(found)
            print(f"| {name}, {kind} | {median:.1f} | {min(found):.1f} | {max(found):.1f} | {median / base:.1f} |")


def grow(engines: dict[str, Words], count: int, rootfs: str) -> None:
    """Many containers in the background."""
    print(
        f"\n| {count} in the background | s | ms, first ten | ms, last ten | KiB beside each |\n|---|---|---|---|---|"
    )
    for name, words in engines.items():
        start = [*words, "run", "-d", *_limits(name), "--network", "none", IMAGE, "sleep", "1000"]
        _series(name, count, lambda _, start=start: _run(start), _beside(name))  # type: ignore[misc]
        ids = subprocess.run([*words, "ps", "-aq"], capture_output=True, text=True, check=True).stdout.split()
        _run([*words, "rm", "-f", *ids])
    directory = Path(SCRATCH) / "bundle"
    directory.mkdir(0o755)
    Path(SCRATCH).chmod(0o755)
    bundle.write(directory, Path(rootfs), ("sleep", "1000"))
    crun = find("crun")
    _series(
        "crun", count, lambda n: _run([crun, "run", "--detach", "--bundle", str(directory), f"coso-bench-{n}"]), None
    )
    for number in range(count):
        subprocess.run([crun, "delete", "--force", f"coso-bench-{number}"], capture_output=True, check=False)


def _series(name: str, count: int, start: Callable[[int], float], beside: re.Pattern[str] | None) -> None:
    times = [start(number) for number in range(count)]
    first, last = statistics.mean(times[:10]), statistics.mean(times[-10:])
    memory = f"{_memory(beside) / count:.0f}" if beside else "0"
    print(f"| {name} | {sum(times) / 1000:.1f} | {first:.0f} | {last:.0f} | {memory} |", flush=True)


def _beside(name: str) -> re.Pattern[str]:
    patterns = {"coso": "coso-zygote", "podman": "conmon", "docker": "containerd-shim"}
    return re.compile(patterns[name])


def _memory(wanted: re.Pattern[str]) -> int:
    """KiB of all processes whose command line fits: each page counted once, shared ones by their share (PSS)."""
    whole = 0
    for pid in filter(str.isdecimal, os.listdir("/proc")):
        try:
            words = Path(f"/proc/{pid}/cmdline").read_bytes().replace(b"\0", b" ").decode(errors="replace")
            if wanted.search(words if "coso" in words else words.split(" ")[0]):
                found = re.search(r"^Pss:\s+(\d+)", Path(f"/proc/{pid}/smaps_rollup").read_text(), re.MULTILINE)
                whole += int(found[1]) if found else 0
        except OSError:
            continue
    return whole


if __name__ == "__main__":
    sys.exit(main())
