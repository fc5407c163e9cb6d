"""Images: unpack a small one and a large one, pull from a registry, build."""

from __future__ import annotations

import os
import random
import subprocess
import tarfile
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from io import BytesIO
from pathlib import Path

from benchmarks.ground import IMAGE, SCRATCH, Ground, Words
from benchmarks.measure import Result, Way, in_turn, run
from coso.spawn import find

LARGE = "bench/large:1"
FILES, SIZE = 25_000, 500 << 20
PORT = 5070
REGISTRY = """
version: 0.1
storage: {{filesystem: {{rootdirectory: {place}}}}}
http: {{addr: "127.0.0.1:{port}"}}
log: {{level: error}}
"""
DOCKERFILE = f"""
FROM {IMAGE}
RUN echo one > /one
COPY context /context
RUN ls /context | wc -l > /count
ENV A=1
CMD ["true"]
"""
CONTEXT = 500


def results(ground: Ground, runs: int) -> Iterator[Result]:
    """All of them; a large image few times."""
    few = max(3, runs // 5)
    small, large = f"{SCRATCH}/lib/small.tar", f"{SCRATCH}/lib/large.tar"
    run([*ground.engines["coso"], "save", "-o", small, IMAGE])
    yield Result("unpack-small", "Load the Alpine image", "ms", in_turn(_loads(ground, small, IMAGE), few, warm_up=1))
    _make_large(ground, large)
    yield Result(
        "unpack-large",
        f"Load an image of {SIZE >> 20} MiB in {FILES} files",
        "ms",
        in_turn(_loads(ground, large, LARGE), few, warm_up=1),
        targets={"podman": 1, "docker": 1},
    )
    with _registry() as host:
        yield Result("pull", "Pull the Alpine image from a registry on loopback", "ms", _pulls(ground, host, few))
    yield Result("build", "Build five steps, nothing from the cache", "ms", in_turn(_builds(ground), few, warm_up=1))


def _loads(ground: Ground, archive: str, image: str) -> dict[str, Way]:
    """Each takes the image away first, which is not counted, and has what it has written on the disk before it is."""
    return {name: _without(words, image, [*words, "load", "-i", archive]) for name, words in ground.engines.items()}


def _without(words: Words, image: str, wanted: Words) -> Callable[[], float]:
    def way() -> float:
        subprocess.run([*words, "rmi", "-f", image], capture_output=True, check=False)
        os.sync()
        return run(wanted)

    return way


def _make_large(ground: Ground, archive: str) -> None:
    """Files of all sizes, half of whose bytes repeat: as well packed as programs are."""
    chance, layer = random.Random(1), f"{SCRATCH}/lib/layer.tar"
    sizes = [chance.expovariate(1) for _ in range(FILES)]
    scale = SIZE / sum(sizes)
    with tarfile.open(layer, "w") as packed:
        for number, size in enumerate(sizes):
            length = int(size * scale)
            entry = tarfile.TarInfo(f"usr/share/{number // 1000}/{number // 50}/file-{number}")
            entry.size, entry.mode, entry.mtime = length, 0o644, 1_700_000_000
            half = chance.randbytes(length // 2 + 1)
            packed.addfile(entry, BytesIO((half + half)[:length]))
    coso = ground.engines["coso"]
    run([*coso, "import", layer, LARGE])
    run([*coso, "save", "-o", archive, LARGE])
    os.unlink(layer)


@contextmanager
def _registry() -> Iterator[str]:
    place = Path(f"{SCRATCH}/lib/registry")
    place.mkdir()
    (place / "config.yml").write_text(REGISTRY.format(place=place / "data", port=PORT))
    with open(f"{SCRATCH}/registry.log", "wb") as log:
        words = [find("docker-registry"), "serve", str(place / "config.yml")]
        server = subprocess.Popen(words, stdout=log, stderr=log)
        try:
            time.sleep(1)
            yield f"127.0.0.1:{PORT}"
        finally:
            server.terminate()
            server.wait(10)


def _pulls(ground: Ground, host: str, runs: int) -> dict[str, list[float]]:
    image, coso = f"{host}/bench/alpine:1", ground.engines["coso"]
    run([*coso, "tag", IMAGE, image])
    run([*coso, "push", image])
    for words in ground.engines.values():
        # Else there is nothing to unpack: its layer is that of the image that all have.
        subprocess.run([*words, "rmi", "-f", IMAGE], capture_output=True, check=False)
    more = {"podman": ["--tls-verify=false"]}
    ways: dict[str, Way] = {
        name: _without(words, image, [*words, "pull", *more.get(name, []), image])
        for name, words in ground.engines.items()
    }
    times = in_turn(ways, runs, warm_up=1)
    for words in ground.engines.values():
        run([*words, "tag", image, IMAGE])
    return times


def _builds(ground: Ground) -> dict[str, Way]:
    directory = ground.directory / "build"
    (directory / "context").mkdir(parents=True)
    (directory / "Dockerfile").write_text(DOCKERFILE)
    for number in range(CONTEXT):
        (directory / f"context/{number}").write_bytes(os.urandom(4096))
    more = {"podman": ["--ulimit", "nofile=1024:1024", "--ulimit", "nproc=4096:4096", "--network", "none"]}
    rest = ["--no-cache", "-t", "bench/built:1", str(directory)]
    return {
        name: command_of(words, [*more.get(name, ["--network", "none"] if name == "docker" else []), *rest])
        for name, words in ground.engines.items()
    }


def command_of(words: Words, rest: Words) -> Way:
    """A build by one engine."""
    return lambda: run([*words, "build", *rest])
