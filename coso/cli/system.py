"""`coso info` and `coso system …`: this machine, and what coso keeps on it."""

from __future__ import annotations

import os
import sys

from coso import __version__
from coso.cli import table
from coso.cli.containers import FORCE, prune_ended, remove_unused_volumes
from coso.cli.select import Filters
from coso.engine import record, volumes
from coso.engine.adopt import adopt
from coso.engine.record import size_of
from coso.errors import UsageError
from coso.flags import Option, read_words
from coso.images import registries, store, tidy
from coso.spec.mounts import volume_path
from coso.state import LIB, RUN

TYPE_CHECKING = False
if TYPE_CHECKING:
    from typing import Any


def info(words: list[str]) -> int:
    """`coso info`."""
    given = read_words(
        (Option("format", "f", "TEMPLATE", "json, or a Go template"),), words, "coso info [OPTIONS]", most=0
    )
    if given is None:
        return 0
    adopt()
    found = _about()
    if given.last("format"):
        table.details([found], given.last("format"))
        return 0
    for name, text in found.items():
        shown = ", ".join(text) if isinstance(text, list) else text
        sys.stdout.write(f"{name}: {shown}\n")
    return 0


def _about() -> dict[str, Any]:
    from coso.cgroups import hierarchies

    containers = record.every()
    here = hierarchies()
    versions = sorted({item.version for item in here})
    system = os.uname()
    return {
        "ServerVersion": __version__,
        "Containers": len(containers),
        "ContainersRunning": sum(one.status == "running" for one in containers),
        "ContainersPaused": sum(one.status == "paused" for one in containers),
        "ContainersStopped": sum(not one.is_alive for one in containers),
        "Images": len(store.images()),
        "Driver": "overlay",
        "CgroupVersion": "hybrid" if len(versions) > 1 else str(versions[0] if versions else "none"),
        "CgroupControllers": sorted({name for item in here for name in item.controllers}),
        "Runtime": "coso",
        "KernelVersion": system.release,
        "OperatingSystem": _system(),
        "OSType": "linux",
        "Architecture": system.machine,
        "NCPU": os.cpu_count(),
        "MemTotal": os.sysconf("SC_PAGE_SIZE") * os.sysconf("SC_PHYS_PAGES"),
        "Name": system.nodename,
        "RootDir": LIB,
        "RunDir": RUN,
        "Rootless": os.geteuid() != 0,
        "SearchRegistries": [str(name) for name in registries.settings().get("unqualified-search-registries") or []]
        or ["docker.io"],
    }


def _system() -> str:
    from coso.images.rootfs import os_release

    return os_release("/").get("PRETTY_NAME", "Linux")


def df(words: list[str]) -> int:
    """`coso system df`."""
    options = (
        Option("format", "", "TEMPLATE", "table, json, or a Go template"),
        Option("verbose", "v", "", "each item"),
    )
    given = read_words(options, words, "coso system df [OPTIONS]", most=0)
    if given is None:
        return 0
    if given.on("verbose"):
        raise UsageError("--verbose is not offered", hint="coso ps -as; coso images; coso volume ls")
    adopt()
    images, containers = store.images(), record.every()
    used = tidy.in_use()
    sizes = {one.id: size_of(one) for one in containers}
    layers = {diff_id for image in images for diff_id in image.diff_ids}
    needed = {diff_id for image in images if image.digest in used for diff_id in image.diff_ids}
    whole, free = _sizes(layers), _sizes(layers - needed)
    known = {item["name"]: _tree_size(volume_path(item["name"])) for item in volumes.every()}
    users = volumes.users()
    idle = sum(size for name, size in known.items() if name not in users)
    still = sum(sizes[one.id] for one in containers if not one.is_alive)
    rows = [
        _row("Images", len(images), sum(image.digest in used for image in images), whole, free),
        _row("Containers", len(containers), sum(one.is_alive for one in containers), sum(sizes.values()), still),
        _row("Local Volumes", len(known), sum(name in users for name in known), sum(known.values()), idle),
        _row("Build Cache", 0, 0, 0, 0),
    ]
    columns = {
        "Type": "TYPE",
        "TotalCount": "TOTAL",
        "Active": "ACTIVE",
        "Size": "SIZE",
        "Reclaimable": "RECLAIMABLE",
    }
    table.show(rows, columns, given.last("format"))
    return 0


def _sizes(diff_ids: set[str]) -> int:
    return sum(store.layer_size(diff_id) for diff_id in diff_ids)


def _tree_size(path: str) -> int:
    return sum(os.lstat(os.path.join(above, name)).st_size for above, _, names in os.walk(path) for name in names)


def _row(kind: str, count: int, active: int, size: int, free: int) -> dict[str, Any]:
    share = f" ({100 * free // size}%)" if size else ""
    return {
        "Type": kind,
        "TotalCount": str(count),
        "Active": str(active),
        "Size": table.size(size),
        "Reclaimable": f"{table.size(free)}{share}",
    }


def prune(words: list[str]) -> int:
    """`coso system prune`."""
    options = (
        Option("all", "a", "", "all images that no container uses, not only nameless ones"),
        FORCE,
        Option("volumes", "", "", "nameless volumes that no container uses too"),
        Option("filter", "", "until=SPAN|label=NAME", "of containers only what fits", repeated=True),
    )
    given = read_words(options, words, "coso system prune [OPTIONS]", most=0)
    if given is None:
        return 0
    which = "all images without at least one container" if given.on("all") else "all dangling images"
    more = ", anonymous volumes not used by at least one container" if given.on("volumes") else ""
    if not table.ask(
        f"This will remove all stopped containers, unused networks{more} and {which}.", force=given.on("force")
    ):
        return 0
    gone, freed = prune_ended(Filters(given.all("filter"), ("until", "label")))
    if gone:
        sys.stdout.write("Deleted Containers:\n" + "".join(f"{name}\n" for name in gone) + "\n")
    if os.geteuid() == 0:
        from cosonet import manage

        if networks := manage.prune():
            sys.stdout.write("Deleted Networks:\n" + "".join(f"{name}\n" for name in networks) + "\n")
    if given.on("volumes") and (names := remove_unused_volumes(every=False)):
        sys.stdout.write("Deleted Volumes:\n" + "".join(f"{name}\n" for name in names) + "\n")
    images, more_freed = tidy.prune(every=given.on("all"))
    if images:
        sys.stdout.write("Deleted Images:\n" + "".join(f"deleted: sha256:{image.id}\n" for image in images) + "\n")
    sys.stdout.write(f"Total reclaimed space: {table.size(freed + more_freed)}\n")
    return 0


def check(words: list[str]) -> int:
    """`coso system check`."""
    options = (Option("repair", "", "", "take away what is damaged, so that a pull brings it again"),)
    given = read_words(options, words, "coso system check [OPTIONS]", most=0)
    if given is None:
        return 0
    faults = tidy.check(repair=given.on("repair"))
    for fault in faults:
        sys.stdout.write(f"{fault}\n")
    if not faults:
        sys.stdout.write(f"the store is whole: {len(store.images())} images\n")
    elif given.on("repair"):
        left = tidy.check()
        sys.stdout.write("repaired\n" if not left else f"{len(left)} faults are left\n")
        return 1 if left else 0
    return 1 if faults else 0
