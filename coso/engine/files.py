"""Files of containers: `cp`, `diff`, `export` and `commit`."""

from __future__ import annotations

import os
import posixpath
import stat

from coso import quickjson
from coso.engine import merged
from coso.engine.one_file import MISSING, open_directory
from coso.engine.record import Record
from coso.errors import CosoError, UsageError
from coso.images import archive, blobs, layers, store
from coso.images.instructions import changed
from coso.images.pack import pack, pack_one
from coso.images.reference import parse
from coso.images.unpack import unpack
from coso.kernel.path import open_in_root
from coso.times import now

TYPE_CHECKING = False
if TYPE_CHECKING:
    from typing import IO


def copy_from(one: Record, path: str, target: str, *, keep_owners: bool, follow: bool) -> None:
    """Copy out of a container, to a path of the host as `docker cp` names it, or with `-` as an archive to a stream."""
    whole = path.endswith("/.")
    name = posixpath.basename(posixpath.normpath(path)) or "."
    if target == "-":
        _receive(one, path, name, os.fdopen(os.dup(1), "wb"), None, follow)
        return
    is_directory = _is_directory(one, path)
    target_is_directory = os.path.isdir(target)
    if os.path.exists(target) and not target_is_directory and not os.path.isfile(target):
        raise UsageError(f"{target} is neither a file nor a directory", hint="to look at it: coso exec … cat")
    if not is_directory and target.endswith("/") and not target_is_directory:
        raise UsageError(f"{target} is no directory")
    if is_directory and os.path.lexists(target) and not target_is_directory:
        raise UsageError(f"{target} is a file, and a directory cannot be copied to it")
    if target_is_directory and not (whole and is_directory):
        directory = target
    else:
        directory, name = os.path.split(os.path.abspath(target))
    if not os.path.isdir(directory):
        raise UsageError(f"there is no directory {directory}")
    owner = None if keep_owners else (os.geteuid(), os.getegid())
    _receive(one, path, name, None, (directory, owner), follow)


def _is_directory(one: Record, path: str) -> bool:
    reading, writing = os.pipe2(os.O_CLOEXEC)

    def act() -> None:
        root = merged.enter(one)
        try:
            mode = os.fstat(open_in_root(root, path)).st_mode
        except CosoError:
            raise CosoError(f"{path}: {MISSING}") from None
        os.write(writing, b"d" if stat.S_ISDIR(mode) else b"f")

    look = merged.worker(act)
    os.close(writing)
    look.finish()
    found = os.read(reading, 1)
    os.close(reading)
    return found == b"d"


def _receive(
    one: Record,
    path: str,
    name: str,
    stream: IO[bytes] | None,
    target: tuple[str, tuple[int, int] | None] | None,
    follow: bool,
) -> None:
    """Take an archive of something in the container, called `name`, to a stream or into a directory."""
    reading, writing = os.pipe2(os.O_CLOEXEC)

    def act() -> None:
        os.close(reading)
        root = merged.enter(one)
        with os.fdopen(writing, "wb") as out:
            if posixpath.normpath(path) in ("/", "//", "."):
                pack(root, out, within=name if name != "." else "", whiteouts=False)
                return
            above, base = posixpath.split(posixpath.normpath(f"/{path}"))
            parent = open_directory(root, above)
            if follow:
                parent, base = _followed(root, above, base)
            try:
                os.lstat(base, dir_fd=parent)
            except OSError:
                raise CosoError(f"{path}: {MISSING}") from None
            pack_one(parent, base, out, within=name)

    source = merged.worker(act)
    os.close(writing)
    with os.fdopen(reading, "rb") as incoming:
        if stream:
            while data := incoming.read(1 << 20):
                stream.write(data)
            stream.close()
        elif target:
            try:
                unpack(incoming, target[0], whiteouts=False, owner=target[1])
            except CosoError:
                source.finish()  # What went wrong there is the cause.
                raise
    source.finish()


def _followed(root: int, above: str, base: str) -> tuple[int, str]:
    """The parent and name of what a symbolic link leads to (cp -L)."""
    for _ in range(40):
        parent = open_directory(root, above)
        try:
            link = os.readlink(base, dir_fd=parent)
        except OSError:
            return parent, base
        above, base = posixpath.split(posixpath.normpath(posixpath.join(above, link)))
    raise CosoError(f"{above}/{base}: too many symbolic links")


def copy_to(one: Record, source: str, path: str, *, keep_owners: bool, follow: bool) -> None:
    """Copy into a container, from a path of the host as `docker cp` names it, or with `-` from an archive."""
    if one.switch("read-only"):
        raise CosoError("the container's root is read-only")
    whole = source.endswith("/.")
    if source != "-":
        if not os.path.lexists(source):
            raise UsageError(f"there is no {source}")
        source = os.path.realpath(source) if follow or whole or source.endswith("/") else os.path.abspath(source)
    from_directory = source == "-" or os.path.isdir(source)
    reading, writing = os.pipe2(os.O_CLOEXEC)
    base = os.path.basename(source)
    owner = None if keep_owners or source == "-" else (0, 0)

    def act() -> None:
        os.close(writing)
        root = merged.enter(one)
        directory, rename = _destination(root, path, base, from_directory, whole or source == "-")
        with os.fdopen(reading, "rb") as incoming:
            unpack(
                incoming,
                directory,
                whiteouts=False,
                owner=owner,
                rename=(base, rename) if rename else None,
                limited=True,
            )

    target = merged.worker(act)
    os.close(reading)
    try:
        with os.fdopen(writing, "wb") as out:
            if source == "-":
                while data := os.read(0, 1 << 20):
                    out.write(data)
            elif whole:
                pack(source, out, whiteouts=False)
            else:
                parent = os.open(os.path.dirname(source), os.O_RDONLY | os.O_DIRECTORY | os.O_CLOEXEC)
                pack_one(parent, base, out, within=base)
    except BrokenPipeError:
        pass  # The other side has ended, and says why.
    target.finish()


def _destination(root: int, path: str, base: str, from_directory: bool, whole: bool) -> tuple[int, str]:
    """The directory to unpack into, and another name for what comes."""
    try:
        found = open_in_root(root, path)
        mode = os.fstat(found).st_mode
    except CosoError:
        mode = 0
    if stat.S_ISDIR(mode):
        return open_directory(root, path), ""
    if mode and (from_directory or path.endswith("/")):
        raise CosoError(f"{path} in the container is a file, and a directory cannot be copied to it")
    above, name = posixpath.split(posixpath.normpath(f"/{path}"))
    parent = open_directory(root, above)
    if whole:
        os.mkdir(name, 0o755, dir_fd=parent)
        return open_directory(root, path), ""
    if not mode and path.endswith("/") and not from_directory:
        raise CosoError(f"{path}: there is no such directory in the container")
    return parent, name if name != base else ""


def changes(one: Record) -> list[tuple[str, str]]:
    """What a container has changed: A added, C changed, D removed, and the path (docker diff)."""
    trees = [f"{one.config['path']}/{key}" for key in one.config["layers"] or (".",)]
    found: list[tuple[str, str]] = []
    top = f"{one.directory}/upper"
    for above, directories, names in os.walk(top):
        directories.sort()
        place = above.removeprefix(top)
        for name in sorted([*directories, *names]):
            path = f"{place}/{name}"
            about = os.lstat(f"{above}/{name}")
            if stat.S_ISCHR(about.st_mode) and about.st_rdev == 0:
                found.append(("D", path))
            elif path in OWN and about.st_size == 0:
                continue
            else:
                found.append(("C" if _was_there(trees, path) else "A", path))
    made = {path for path in OWN if os.path.exists(f"{top}{path}")}
    etc_only = made and not any(path.startswith("/etc/") for _, path in found)
    return [(kind, path) for kind, path in sorted(found, key=lambda item: item[1]) if not (etc_only and path == "/etc")]


# Mount points that the runtime makes, and what is under every container.
OWN = ("/etc/hostname", "/etc/hosts", "/etc/resolv.conf")


def _was_there(trees: list[str], path: str) -> bool:
    for tree in trees:
        try:
            about = os.lstat(tree + path)
        except OSError:
            continue
        return not (stat.S_ISCHR(about.st_mode) and about.st_rdev == 0)
    return False


def export(one: Record, stream: IO[bytes]) -> None:
    """Write a container's whole tree as an archive."""
    if stat.S_ISCHR(os.fstat(stream.fileno()).st_mode) and os.isatty(stream.fileno()):
        raise UsageError("an archive would go to the terminal", hint="give -o FILE, or let it go to a pipe")
    # Mounts are no part of the tree: it is looked at as that of a container that does not run.
    still = Record(one.id, one.config, {**one.state, "status": "exited", "pid": 0})
    if one.is_alive:
        raise_if_foreground(one)
        _export_running(one, stream)
        return

    def act() -> None:
        root = merged.enter(still)
        with os.fdopen(os.dup(stream.fileno()), "wb") as out:
            pack(root, out, whiteouts=False)

    merged.inside(act)


def raise_if_foreground(one: Record) -> None:
    """Raise CosoError for a container that is not kept."""
    if not one.is_kept:
        raise CosoError("the container runs in the foreground, and is not kept")


def _export_running(one: Record, stream: IO[bytes]) -> None:
    """Of a container that runs: its root filesystem without what is mounted on it (mount_namespaces(7))."""

    def act() -> None:
        from coso.kernel import mount
        from coso.kernel.process import CLONE_NEWNS, unshare

        merged.enter(one)
        unshare(CLONE_NEWNS)
        mount.set_propagation("/", mount.MS_PRIVATE)
        alone = mount.open_tree("/")  # Not recursive: the root mount alone.
        root = open_in_root(alone, "/", os.O_RDONLY | os.O_DIRECTORY)
        with os.fdopen(os.dup(stream.fileno()), "wb") as out:
            pack(root, out, whiteouts=False)

    merged.inside(act)


def commit(one: Record, name: str, *, author: str, message: str, instructions: list[str], pause: bool) -> str:
    """Make an image of a container's image and what it has changed; its id. Raises CosoError."""
    raise_if_foreground(one)
    if not one.config.get("manifest") and one.config["layers"]:
        raise CosoError("the image of the container is not in the store")
    frozen = pause and one.status == "running" and bool(one.state.get("cgroup"))
    if frozen:
        from coso.engine import control

        control.pause(one)
    lock = blobs.locked("use", shared=True)
    try:
        return _commit(one, name, author, message, instructions)
    finally:
        os.close(lock)
        if frozen:
            from coso.cgroups import hierarchies, members

            members.thaw(str(one.state["cgroup"]), hierarchies())


def _commit(one: Record, name: str, author: str, message: str, instructions: list[str]) -> str:
    below = store.load(str(one.config["manifest"])) if one.config.get("manifest") else None
    first = int(one.config.get("firstId") or 0)
    described, diff_id = layers.make_from(f"{one.directory}/upper", first_id=first)
    config: store.Json = dict(below.config) if below else {"architecture": "amd64", "os": "linux", "history": []}
    created = now()
    settings = changed(_settings_of(one), instructions)
    config |= {"created": created, "config": settings, **({"author": author} if author else {})}
    diff_ids = [*(below.diff_ids if below else []), diff_id]
    config["rootfs"] = {"type": "layers", "diff_ids": diff_ids}
    command = " ".join(one.config.get("args") or ())
    entry = {"created": created, "created_by": command, **({"author": author} if author else {})}
    config["history"] = [*(config.get("history") or []), {**entry, **({"comment": message} if message else {})}]
    digest = blobs.add_blob(quickjson.dumps(config).encode())
    manifest = archive.add_manifest(digest, [*(below.manifest["layers"] if below else []), described])
    store.tag(store.OCI_MANIFEST, manifest, parse(name).whole if name else "")
    return digest


def _settings_of(one: Record) -> store.Json:
    """The image's settings as the container's options have changed them."""
    settings = dict(one.settings)
    if one.config["command"]:
        settings["Cmd"] = list(one.config["command"])
    if "entrypoint" in one.options:
        settings["Entrypoint"] = [one.option("entrypoint")] if one.option("entrypoint") else None
    variables = dict(item.partition("=")[::2] for item in settings.get("Env") or ())
    variables |= dict(item.partition("=")[::2] for item in one.options.get("env", []))
    settings["Env"] = [f"{key}={text}" for key, text in variables.items()]
    for option, key in (("user", "User"), ("workdir", "WorkingDir")):
        if one.option(option):
            settings[key] = one.option(option)
    if one.config.get("labels"):
        settings["Labels"] = one.labels
    return settings
