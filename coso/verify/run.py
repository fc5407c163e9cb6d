"""Starting a container with the probe in it, and gathering what it found."""

from __future__ import annotations

import json
import os
import subprocess
import sys
import sysconfig
import tempfile
from collections.abc import Iterable

from coso import launcher
from coso.errors import CosoError, MissingError
from coso.value import value
from coso.verify import bait, probe
from coso.verify.checks import OPTIONS, Check

# Where the host's Python and the probe are shown inside.
INSIDE = "/coso-verify"


@value
class Result:
    """What a check found: `pass`, `fail`, `skip` or `error`, why, and how long it took."""

    check: Check
    result: str
    reason: str
    milliseconds: float


def verify(
    checks: Iterable[Check], rootfs: str, *, options: tuple[str, ...] = OPTIONS, start: str = ""
) -> list[Result]:
    """Run checks in a container of coso with these options; raise CosoError when there is no result of one.

    `start` is the text of another program to be started in the place of coso's launcher.
    """
    wanted = {check.id: check for check in checks}
    volumes, python = _python()
    with tempfile.TemporaryDirectory(prefix="coso-verify-") as directory, bait.laid() as laid:
        program = f"{directory}/coso"
        with open(program, "w") as file:
            file.write(start or launcher.text("coso"))
        os.chmod(program, 0o755)
        network = () if any(word.startswith("--network") for word in options) else ("--network=none",)
        words = [program, "run", f"--rootfs={rootfs}", *network, *options]
        for source, target in volumes.items():
            words += ["--volume", f"{source}:{target}:ro"]
        words += ["--", *python, json.dumps(laid), *(f"{check.id}={check.probe}" for check in wanted.values())]
        done = subprocess.run(words, input="the caller's input", capture_output=True, text=True, check=False)
    results = [_result(wanted, json.loads(line)) for line in done.stdout.splitlines()]
    if len(results) != len(wanted):
        raise CosoError(
            f"the probe ended after {len(results)} of {len(wanted)} checks, with status {done.returncode}",
            cause=done.stderr.strip(),
            hint=f"see whether `coso run --rootfs {rootfs} --network none -- /bin/true` works",
        )
    return results


def control(check: Check, rootfs: str) -> Result:
    """Run a check where options take its protection away: the result must be `fail`."""
    taken = {word.partition("=")[0] for word in check.control}
    if check.area == "time":
        taken.add("--monotonic")  # It is there where asked, and so taken away by not asking.
    kept = (word for word in OPTIONS if word.partition("=")[0] not in taken)
    return verify([check], rootfs, options=(*kept, *check.control))[0]


def _result(wanted: dict[str, Check], found: dict[str, str]) -> Result:
    return Result(wanted[found["id"]], found["result"], found["reason"], float(found["milliseconds"]))


def _python() -> tuple[dict[str, str], list[str]]:
    """The host's Python as volumes, and the words that run the probe with it, whatever libc the root has."""
    loader = os.path.realpath("/lib64/ld-linux-x86-64.so.2")
    if not loader.startswith("/usr/") or not os.path.exists(loader):
        raise MissingError(
            "the host's loader is not below /usr", hint="checks need an x86_64 system with a merged /usr"
        )
    volumes = {"/usr": f"{INSIDE}/usr", os.path.abspath(probe.__file__): f"{INSIDE}/probe.py"}
    prefix = f"{INSIDE}/usr"
    if sys.base_prefix != "/usr":
        prefix = f"{INSIDE}/python"
        volumes[sys.base_prefix] = prefix
    libraries = f"{INSIDE}/usr/lib/{sysconfig.get_config_var('MULTIARCH') or 'x86_64-linux-gnu'}:{prefix}/lib"
    name = f"python{sys.version_info.major}.{sys.version_info.minor}"
    start = [f"{INSIDE}{loader}", "--library-path", libraries, f"{prefix}/bin/{name}", "-IS"]
    return volumes, [*start, f"{INSIDE}/probe.py"]
