"""The places and company in which probes run: alone, beside a neighbour, in an image that sets a trap.

A scene takes the ground, the checks that share it and whether their controls
are wanted, and gives what was found, check by check: a result and a reason.
"""

from __future__ import annotations

import json
import os
from collections.abc import Callable, Iterator, Sequence

from coso.errors import UnsupportedError
from coso.kernel import mount
from coso.spawn import find
from coso.verify import ground as stand
from coso.verify.checks import Check
from coso.verify.checks.check import options
from coso.verify.ground import INSIDE, Ground
from coso.verify.probe.network import loopback

Found = tuple[Check, str, str, float]
SKELETON = ("dev", "etc", "proc", "run", "sys", "tmp", "usr", "var", *(place[1:] for place in stand.PLACES))


def verdict(check: Check, reason: str) -> Found:
    """What a check that is seen from the host found."""
    return check, "fail" if reason else "pass", reason, 0.0


def unsupported(checks: Sequence[Check], error: UnsupportedError) -> list[Found]:
    """The runtime cannot make the container that the checks want."""
    return [(check, "skip", error.message, 0.0) for check in checks]


def found(checks: Sequence[Check], lines: list[dict[str, str]], complaint: str) -> list[Found]:
    """What a container's probes found; a check without a line is an error, with what the runtime said."""
    by_id = {line["id"]: line for line in lines}
    results: list[Found] = []
    for check in checks:
        line = by_id.get(check.id)
        if line:
            results.append((check, line["result"], line["reason"], float(line["milliseconds"])))
        else:
            results.append((check, "error", f"no result: {complaint}", 0.0))
    return results


def _words(checks: Sequence[Check]) -> list[str]:
    return [f"{check.id}={check.probe}" for check in checks]


def alone(ground: Ground, checks: Sequence[Check], control: bool) -> Iterator[Found]:
    """One container for all checks that want the same options."""
    for together in stand.group(checks, lambda check: options(check, control=control)):
        chosen = options(together[0], control=control)
        directory = next((word.partition("=")[2] for word in chosen if word.startswith("--workdir=")), "/")
        try:
            started = stand.start(ground, chosen, _words(together), facts={"directory": directory})
        except UnsupportedError as error:
            yield from unsupported(together, error)
            continue
        yield from found(together, *started.finish())


def neighbour(ground: Ground, checks: Sequence[Check], control: bool) -> Iterator[Found]:
    """Two containers with the same options at once: one listens, the other reaches out."""
    for together in stand.group(checks, lambda check: options(check, control=control)):
        chosen = options(together[0], control=control)
        name = f"coso-neighbour-{os.urandom(4).hex()}"
        try:
            other = stand.start(ground, chosen, ["neighbour=neighbour"], facts={"neighbour": name})
        except UnsupportedError as error:
            yield from unsupported(together, error)
            continue
        if not stand.wait_for(f"{other.shared}/neighbour", other):
            yield from found(together, *other.finish())
            continue
        with open(f"{other.shared}/neighbour") as file:
            facts = json.load(file) | {"abstract": name, "neighbour_pid": other.probe_process()}
        yield from _beside(ground, together, chosen, facts)
        open(f"{other.shared}/stop", "w").close()
        other.finish()


def _beside(ground: Ground, checks: list[Check], chosen: tuple[str, ...], facts: dict[str, object]) -> Iterator[Found]:
    outside = [check for check in checks if check.probe.startswith("host:")]
    for check in outside:
        reason = loopback({"port": facts["port"]})
        yield verdict(check, reason and f"port {facts['port']} of the container answers at the host's 127.0.0.1")
    inside = [check for check in checks if check not in outside]
    if inside:
        yield from found(inside, *stand.start(ground, chosen, _words(inside), facts=facts).finish())


def image(ground: Ground, checks: Sequence[Check], control: bool) -> Iterator[Found]:
    """An image in which a directory that the runtime mounts on is a link to a directory of the host."""
    for check in checks:
        name = check.scene.partition("-")[2]
        root = skeleton(ground, f"image-{name}-{os.urandom(2).hex()}")
        witness = f"{root}-outside"
        os.mkdir(witness)
        os.chmod(witness, 0o777)
        open(f"{witness}/outside", "w").close()
        _set_trap(root, name, witness)
        chosen = options(check, control=control)
        facts: dict[str, object] = {"outside": f"{witness}/outside"}
        try:
            lines, complaint = stand.start(ground, chosen, _words([check]), rootfs=root, facts=facts).finish()
        except UnsupportedError as error:
            yield from unsupported([check], error)
            continue
        written = sorted(set(os.listdir(witness)) - {"outside"})
        if written:
            yield verdict(check, f"the runtime made {', '.join(written)} in a directory of the host")
        elif lines:
            yield from found([check], lines, complaint)
        else:
            yield refused(ground, check, complaint, skeleton(ground, f"{name}-{os.urandom(2).hex()}"))


def refused(ground: Ground, check: Check, complaint: str, rootfs: str = "") -> Found:
    """The runtime did not start the container: that is as well, if it does start one that sets no trap."""
    lines, other = stand.start(ground, check.given, ["first=first_process"], rootfs=rootfs).finish()
    if not lines:
        return check, "error", f"no result: {other}", 0.0
    return check, "pass", f"refused: {complaint.splitlines()[0]}", 0.0


def skeleton(ground: Ground, name: str) -> str:
    """A root with nothing but mount points."""
    root = f"{ground.scratch}/{name}"
    for place in SKELETON:
        os.makedirs(f"{root}/{place}")
    for name in ("lib", "lib64", "bin"):
        os.symlink(f"usr/{name}", f"{root}/{name}")
    return root


def _set_trap(root: str, name: str, outside: str) -> None:
    if name == "null":
        os.symlink("/proc/sys/kernel/core_pattern", f"{root}/dev/null")
        return
    if name == "console":
        open(f"{root}/tmp/fake", "w").close()
        os.symlink("/tmp/fake", f"{root}/dev/console")
        return
    os.rmdir(f"{root}/{name}")
    os.symlink("/tmp/fake" if name == "proc" else outside, f"{root}/{name}")
    if name == "proc":
        os.mkdir(f"{root}/tmp/fake")


def callers_directory(ground: Ground, checks: Sequence[Check], control: bool) -> Iterator[Found]:
    """The working directory is said to be a descriptor that the caller, or perhaps the runtime, has open."""
    for check in checks:
        for number in (ground.bait["leak"], 7, 8):
            chosen = (*options(check, control=control), f"--workdir=/proc/self/fd/{number}")
            try:
                lines, complaint = stand.start(ground, chosen, _words([check])).finish()
            except UnsupportedError as error:
                yield from unsupported([check], error)
                break
            result = found([check], lines, complaint)[0] if lines else refused(ground, check, complaint)
            if result[1] != "pass":
                yield result
                break
        else:
            yield result


def own_program(ground: Ground, checks: Sequence[Check], control: bool) -> Iterator[Found]:
    """The command is a script whose interpreter is /proc/self/exe: at that moment the runtime's own program."""
    if ground.driver.name != "coso":
        reason = f"{ground.driver.name} is no Python program, which alone could run the probe"
        yield from ((check, "skip", reason, 0.0) for check in checks)
        return
    script = f"{ground.scratch}/entry"
    with open(script, "w") as file:
        file.write(f"#!/proc/self/exe\n{stand.START}\n")
    os.chmod(script, 0o755)
    volumes = [(script, "/run/entry", True), ("/usr", "/usr", True)]
    for check in checks:
        root = skeleton(ground, f"own-program-{os.urandom(2).hex()}")
        open(f"{root}/run/entry", "w").close()
        chosen = options(check, control=control)
        started = stand.start(ground, chosen, _words([check]), rootfs=root, program=["/run/entry"], volumes=volumes)
        yield from found([check], *started.finish())


def propagation(ground: Ground, checks: Sequence[Check], control: bool) -> Iterator[Found]:
    """A volume on a shared mount; both sides mount something below it."""
    for check in checks:
        if ground.driver.by_daemon:
            yield check, "skip", f"containers of {ground.driver.name} are in the mounts of its daemon", 0.0
            continue
        place = f"{ground.scratch}/propagation-{os.urandom(2).hex()}"
        os.mkdir(place)
        os.chmod(place, 0o777)
        # Of the directory itself: a tmpfs can be mapped to a container's ids only since kernel 6.3.
        mount.move_mount(mount.open_tree(place), place)
        mount.set_propagation(place, mount.MS_SHARED)
        try:
            yield _both_ways(ground, check, options(check, control=control), place)
        except UnsupportedError as error:
            yield from unsupported([check], error)
        finally:
            for path in (f"{place}/in", f"{place}/out", place):
                if os.path.ismount(path):
                    mount.unmount(path)


def _both_ways(ground: Ground, check: Check, chosen: tuple[str, ...], place: str) -> Found:
    volumes = [(place, f"{INSIDE}/shared", False)]
    os.mkdir(f"{place}/in")
    started = stand.start(ground, chosen, _words([check]), volumes=volumes)
    if not stand.wait_for(f"{place}/ready", started):
        return found([check], *started.finish())[0]
    came_out = os.path.exists(f"{place}/out/seen")
    mount.move_mount(mount.new_mount("tmpfs"), f"{place}/in")
    open(f"{place}/in/seen", "w").close()
    open(f"{place}/mounted", "w").close()
    lines, complaint = started.finish()
    if check.id.endswith("-out"):
        return verdict(check, "a mount that the container made is seen on the host" if came_out else "")
    return found([check], lines, complaint)[0]


def start(ground: Ground, checks: Sequence[Check], control: bool) -> Iterator[Found]:
    """A start in a mount namespace whose mounts are all shared, compared before, meanwhile and after."""
    for check in checks:
        if ground.driver.by_daemon:
            yield check, "skip", f"containers of {ground.driver.name} are in the mounts of its daemon", 0.0
            continue
        files = f"{ground.scratch}/start-{os.urandom(2).hex()}"
        os.mkdir(files)
        # Cut off first: as peers of the outer mounts these would receive what other scenes mount meanwhile.
        script = (
            f"mount --make-rshared / && cat /proc/self/mountinfo >{files}/before; "
            f'"$@"; cat /proc/self/mountinfo >{files}/after'
        )
        outer = [find("unshare"), "--mount", "--propagation", "private", "/bin/sh", "-c", script, "sh"]
        try:
            started = stand.start(
                ground,
                options(check, control=control),
                ["neighbour=neighbour"],
                facts={"neighbour": "coso-start"},
                around=lambda words: [*outer, *words],  # noqa: B023  # used at once
            )
        except UnsupportedError as error:
            yield from unsupported([check], error)
            continue
        runs = stand.wait_for(f"{started.shared}/neighbour", started)
        meanwhile = _points(f"/proc/{started.process.pid}/mountinfo") if runs else set()
        open(f"{started.shared}/stop", "w").close()
        _, complaint = started.finish()
        before = _points(f"{files}/before")
        more = (meanwhile | _points(f"{files}/after")) - before
        if more:
            yield verdict(check, f"{len(more)} mounts appear on the host, at {min(more)}")
        elif not runs:
            yield check, "error", f"no result: {complaint}", 0.0
        else:
            yield verdict(check, "")


def _points(path: str) -> set[str]:
    with open(path) as file:
        return {line.split()[4] for line in file}


SCENES: dict[str, Callable[[Ground, Sequence[Check], bool], Iterator[Found]]] = {
    "alone": alone,
    "neighbour": neighbour,
    "image": image,
    "callers-directory": callers_directory,
    "own-program": own_program,
    "propagation": propagation,
    "start": start,
}
