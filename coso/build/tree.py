"""A layer made by a command, or by copying: what is below mounted, and what is new packed (image-spec layer.md)."""

from __future__ import annotations

import os
import stat

from coso.build.cache import Layer
from coso.engine.merged import inside
from coso.errors import CosoError
from coso.flags import Words
from coso.images import blobs, layers, store
from coso.kernel import mount
from coso.kernel.path import open_in_root
from coso.kernel.process import CLONE_NEWNS, is_limited, unshare
from coso.runtime import journal, start, user
from coso.runtime.root import ETC_FILES, fill_layers
from coso.spec import IdMapping, Mount, Root, Spec
from coso.spec.build import spec_from
from coso.state import IMAGES, LAYERS, TREES, make_directories
from coso.value import replace

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Callable

PLACE, BESIDE = "/tmp", "/run"
# What the runtime makes where the image has it not: mount points, and files that are covered.
MADE = ("/dev", "/proc", "/sys", *(f"/etc/{name}" for name in ETC_FILES))


def empty() -> str:
    """A tree with nothing in it, for what has no layer below."""
    path = f"{TREES}/scratch"
    os.makedirs(path, 0o755, exist_ok=True)
    return path


def _lower(diff_ids: list[str]) -> tuple[str, ...]:
    empty()
    return tuple(dict.fromkeys(store.key_of(diff_id) for diff_id in reversed(diff_ids))) or ("scratch",)


def _show(diff_ids: list[str], where: str, upper: str = "", work: str = "") -> int:
    """Mount layers at a place that nobody else sees; a descriptor of the root of the tree."""
    keys = _lower(diff_ids)
    if not upper and len(keys) == 1:
        return os.open(f"{TREES}/{keys[0]}", os.O_RDONLY | os.O_DIRECTORY | os.O_CLOEXEC)
    os.chdir(TREES)
    options: dict[str, str | None] = {"lowerdir": ":".join(keys)}
    if upper:
        options |= {"upperdir": upper, "workdir": work, "volatile": None}
    if is_limited():
        options["userxattr"] = None
    place = mount.old_mount("overlay", options, where)
    return open_in_root(place, "/", os.O_RDONLY | os.O_DIRECTORY)


def changed(
    diff_ids: list[str], act: Callable[[int, int], None], *, clamp: int | None, beside: list[str] | None = None
) -> Layer:
    """The layer of what `act` changes in a tree.

    It is given descriptors of the tree's root, and of that of the layers
    `beside`, -1 without.  Raises CosoError.
    """
    blobs.make_store()
    place = f"{IMAGES}/:{os.getpid()}-{os.urandom(4).hex()}"
    upper, work = f"{place}/upper", f"{place}/work"
    os.makedirs(upper, 0o755)
    os.mkdir(work)

    def enter() -> None:
        unshare(CLONE_NEWNS)
        mount.set_propagation("/", mount.MS_PRIVATE)
        # First the other one: where the store is may be covered by the second.
        other = -1 if beside is None else _show(beside, BESIDE)
        act(_show(diff_ids, PLACE, upper, work), other)

    try:
        inside(enter)
        if not os.listdir(upper):
            return Layer(None)
        return Layer(*layers.make_from(upper, clamp=clamp))
    finally:
        layers.discard(place)


def copy_out(diff_ids: list[str], path: str, target: str) -> None:
    """Copy what is at a path of a tree, a directory, into an empty directory. Raises CosoError."""
    from coso.images.copy import copy_tree

    def act() -> None:
        destination = os.open(target, os.O_RDONLY | os.O_DIRECTORY | os.O_CLOEXEC)
        unshare(CLONE_NEWNS)
        mount.set_propagation("/", mount.MS_PRIVATE)
        copy_tree(open_in_root(_show(diff_ids, PLACE), path, os.O_RDONLY | os.O_DIRECTORY), destination)

    inside(act)


def run(
    diff_ids: list[str],
    args: tuple[str, ...],
    settings: store.Json,
    options: dict[str, list[str]],
    mounts: tuple[Mount, ...],
    *,
    clamp: int | None,
    quiet: bool,
) -> Layer:
    """The layer of what a command changes, run in a container of its own. Raises CosoError when it fails."""
    make_directories(LAYERS)
    held = journal.create()
    place = f"{LAYERS}/{held.container}"
    try:
        held.record("remove-tree", place)
        os.mkdir(place, 0o711)
        limited = is_limited()
        mapping = None if limited else user.take_range(held.container, held.record)
        first = mapping.host_id if mapping else 0
        fill_layers(place, first, first)
        keys = _lower(diff_ids)
        spec = spec_from(Words(options, ()), TREES, args, on_terminal=False, settings=settings, layers=keys, wanted=[])
        ids: tuple[IdMapping, ...] = (mapping,) if mapping else ()
        root = Root(TREES, False, True, keys, place)
        spec = replace(spec, root=root, uid_mappings=ids, gid_mappings=ids, mounts=spec.mounts + mounts)
        status = start.run(spec) if not quiet else _run_quietly(spec)
        if status:
            raise CosoError(f"the command {' '.join(args)!r} ends with status {status}")
        upper = f"{place}/upper"
        exclude = made_by_runtime(upper, [f"{TREES}/{key}" for key in keys])
        exclude |= {item.destination for item in mounts}
        if not _has_more(upper, exclude):
            return Layer(None)
        return Layer(*layers.make_from(upper, first_id=first, clamp=clamp, exclude=exclude))
    finally:
        held.undo()


def _run_quietly(spec: Spec) -> int:
    """Run a container whose standard output nobody wants: an id is all that comes there."""
    kept = os.dup(1)
    null = os.open("/dev/null", os.O_WRONLY | os.O_CLOEXEC)
    os.dup2(null, 1)
    try:
        return start.run(spec)
    finally:
        os.dup2(kept, 1)
        os.close(kept)
        os.close(null)


def made_by_runtime(upper: str, trees: list[str]) -> set[str]:
    """Paths of a writable layer that are there for the runtime's sake alone."""
    found = set()
    for path in MADE:
        try:
            about = os.lstat(upper + path)
        except OSError:
            continue
        unused = not os.listdir(upper + path) if stat.S_ISDIR(about.st_mode) else about.st_size == 0
        if unused and not any(os.path.lexists(tree + path) for tree in trees):
            found.add(path)
    etc = f"{upper}/etc"
    if found and os.path.isdir(etc) and {f"/etc/{name}" for name in os.listdir(etc)} <= found:
        found.add("/etc")
    return found


def _has_more(upper: str, exclude: set[str]) -> bool:
    """Whether a layer holds anything but what is left out, and the directories above that."""
    for above, directories, names in os.walk(upper):
        place = above.removeprefix(upper)
        directories[:] = [name for name in directories if f"{place}/{name}" not in exclude]
        if any(f"{place}/{name}" not in exclude for name in names):
            return True
        if any(not any(path.startswith(f"{place}/{name}/") for path in exclude) for name in directories):
            return True
    return False
