"""Mounts in words: --volume, --mount, --tmpfs, and the volumes that an image asks for."""

from __future__ import annotations

import os

from coso.errors import UsageError
from coso.spec import Mount, units
from coso.state import VOLUMES
from coso.value import value

TYPE_CHECKING = False
if TYPE_CHECKING:
    from coso.flags import Words

NAME_CHARACTERS = frozenset("abcdefghijklmnopqrstuvwxyzABCDEFGHIJKLMNOPQRSTUVWXYZ0123456789_.-")
PROPAGATIONS = ("private", "rprivate", "shared", "rshared", "slave", "rslave")
# What is said of SELinux labels has no effect on a machine without; owners are mapped, not changed.
IGNORED = ("z", "Z", "consistent", "cached", "delegated")
HINT = "write it as /srv/data:/data, ./here:/there:ro, or NAME:/data for a named volume"


@value
class Wish:
    """A mount as it was asked for: `bind` with a path, `volume` with a name (`""`: a new one), or `tmpfs`."""

    kind: str
    destination: str
    source: str = ""
    readonly: bool = False
    options: tuple[str, ...] = ()
    copy: bool = True


def wishes(words: Words, of_image: tuple[str, ...] = ()) -> list[Wish]:
    """Every mount that words and image ask for, one for each place inside. Raises UsageError."""
    asked = [
        *(_volume(text) for text in words.all("volume")),
        *(_mount(text) for text in words.all("mount")),
        *(_tmpfs(text) for text in words.all("tmpfs")),
    ]
    places = [wish.destination for wish in asked]
    for place in places:
        if places.count(place) > 1:
            raise UsageError(f"two mounts are asked for at {place}")
    of_image = tuple(place for place in of_image if os.path.normpath(place) not in places)
    return asked + [Wish("volume", os.path.normpath(place)) for place in of_image]


def _destination(text: str, option: str) -> str:
    if not text.startswith("/") or os.path.normpath(text) == "/":
        raise UsageError(f"{option}: {text!r} is no place inside", hint="an absolute path other than /")
    return os.path.normpath(text)


def _volume(text: str) -> Wish:
    parts = text.split(":")
    if len(parts) == 1:
        return Wish("volume", _destination(text, f"--volume {text!r}"))
    source, place = parts[:2]
    modes = parts[2].split(",") if len(parts) == 3 else []
    if len(parts) > 3 or not source or not place.startswith("/"):
        raise UsageError(f"--volume {text!r} is not HOST:CONTAINER[:ro|rw]", hint=HINT)
    options = []
    copy = True
    for mode in modes:
        if mode in PROPAGATIONS:
            options.append(mode)
        elif mode == "nocopy":
            copy = False
        elif mode not in ("ro", "rw", *IGNORED):
            raise UsageError(f"--volume {text!r} is not HOST:CONTAINER[:ro|rw]: {mode!r} is not known", hint=HINT)
    place = _destination(place, f"--volume {text!r}")
    if "/" not in source:
        check_name(source, f"--volume {text!r}")
        return Wish("volume", place, source, "ro" in modes, tuple(options), copy)
    return Wish("bind", place, _host_path(source, f"--volume {text!r}"), "ro" in modes, tuple(options))


def check_name(name: str, what: str) -> None:
    """Raise UsageError for what cannot be the name of a volume."""
    if set(name) - NAME_CHARACTERS or name[:1] in ("", ".", "-", "_"):
        raise UsageError(f"{what}: {name!r} is no name of a volume", hint="letters, digits and _ . -")


def _host_path(source: str, what: str) -> str:
    source = os.path.abspath(os.path.expanduser(source) if source.startswith("~/") else source)
    if not os.path.exists(source):
        raise UsageError(f"{what}: {source} does not exist on the host", hint=f"make it: mkdir -p {source}")
    return source


def _mount(text: str) -> Wish:
    """`type=bind,source=…,target=…,readonly` (docker run --mount)."""
    what = f"--mount {text!r}"
    fields: dict[str, str] = {}
    for part in text.split(","):
        key, equals, content = part.partition("=")
        key = {"src": "source", "dst": "target", "destination": "target", "ro": "readonly"}.get(key, key)
        fields[key] = content if equals else "true"
    kind = fields.pop("type", "volume")
    target = _destination(fields.pop("target", ""), what)
    source = fields.pop("source", "")
    readonly = fields.pop("readonly", "false") in ("true", "1")
    if kind == "tmpfs":
        options = []
        if size := fields.pop("tmpfs-size", ""):
            options.append(f"size={units.size(size)}")
        if mode := fields.pop("tmpfs-mode", ""):
            options.append(f"mode={mode}")
        wish = Wish("tmpfs", target, "", readonly, tuple(options))
    elif kind == "bind":
        if not source:
            raise UsageError(f"{what}: a bind mount needs source=PATH")
        kept = tuple(filter(None, [fields.pop("bind-propagation", "")]))
        wish = Wish("bind", target, _host_path(source, what), readonly, kept)
    elif kind == "volume":
        if source:
            check_name(source, what)
        wish = Wish("volume", target, source, readonly, copy=fields.pop("volume-nocopy", "false") not in ("true", "1"))
    else:
        raise UsageError(f"{what}: type={kind} is not known", hint="there are bind, volume and tmpfs")
    if fields:
        raise UsageError(f"{what}: {', '.join(fields)} is not known for type={kind}")
    return wish


def _tmpfs(text: str) -> Wish:
    place, _, options = text.partition(":")
    kept = tuple(filter(None, options.split(",")))
    return Wish(
        "tmpfs", _destination(place, f"--tmpfs {text!r}"), "", "ro" in kept, tuple(o for o in kept if o != "ro")
    )


def mount_of(wish: Wish) -> Mount:
    """The mount for a wish whose volume, if it is one, has a name and is there."""
    if wish.kind == "tmpfs":
        usual = ("nosuid", "nodev", "noexec") if not set(wish.options) & {"exec", "suid", "dev"} else ()
        return Mount(wish.destination, "tmpfs", "tmpfs", (*usual, *wish.options, *(("ro",) if wish.readonly else ())))
    source = wish.source if wish.kind == "bind" else volume_path(wish.source)
    # Recursive where propagation is asked for: what appears below on the host is meant then.
    kind = ("rbind", "ridmap") if wish.options else ("bind", "idmap")
    return Mount(wish.destination, "bind", source, (*kind, *wish.options, *(("rro",) if wish.readonly else ())))


def volume_path(name: str) -> str:
    """Where a volume's files are."""
    return f"{VOLUMES}/{name}/_data"
