"""`create`: a container's directory, from the words of a person to its state `created`; and the Spec it starts by."""

from __future__ import annotations

import os

from coso.engine import logs, record, stored, volumes
from coso.errors import CosoError, UsageError
from coso.kernel.process import is_limited
from coso.runtime import journal, running, user
from coso.runtime.root import fill_layers
from coso.runtime.rootless import as_root
from coso.runtime.undo import remove_link, remove_tree
from coso.spec import IdMapping, Joined, mounts, units
from coso.spec.build import labels, lines_of, spec_from
from coso.spec.network import is_usual
from coso.state import LAYERS, NAMES, make_directories
from coso.times import duration, now
from coso.value import fields_of, replace

TYPE_CHECKING = False
if TYPE_CHECKING:
    from typing import Any

    from coso.engine.record import Record
    from coso.flags import Words
    from coso.images.source import Source
    from coso.runtime.journal import Journal

    Json = dict[str, Any]

# For containers that nobody has named: two words and, when that is taken, a number.
FIRST = (
    "bold brave bright calm clever deft eager fair gentle happy keen kind lively merry neat proud quick ready".split()
)
SECOND = "badger bear crane deer dove eagle falcon finch fox heron ibex lark lynx otter raven seal swift wolf".split()
POLICIES = ("no", "always", "unless-stopped", "on-failure")
DRIVERS = {"json-file": "json-file", "local": "json-file", "k8s-file": "json-file", "none": "none"}
# What is said once, to the command in front of somebody, and is no part of the container.
NOT_KEPT = ("pull", "platform", "quiet", "cidfile", "detach", "detach-keys", "sig-proxy", "attach", "explain")


def create(given: Words, source: Source, command: tuple[str, ...]) -> str:
    """Make a container that is kept; its id. Raises CosoError, and leaves nothing then."""
    from coso.flags import Words as Kept

    check(given)
    options = settled(given, source)
    wanted = Kept(options, ())
    # Until it is written down what it uses, nothing of that may be removed.
    using = volumes.locked(shared=True)
    held = journal.create()
    container, place = held.container, f"{LAYERS}/{held.container}"
    anonymous: list[str] = []
    try:
        make_directories(LAYERS)
        held.record("remove-tree", place)
        os.mkdir(place, 0o711)
        name = _take_name(given.last("name"), held)
        found, anonymous = mounts_of(wanted, source)
        mapping = _range(given, held)
        first = mapping.host_id if mapping else 0
        # Without root, root inside is whoever this is.
        owner, group = (first, first) if os.geteuid() == 0 else (os.geteuid(), os.getegid())
        fill_layers(place, owner, group)
        config: Json = {
            "kept": True,
            "name": name,
            "created": now(),
            "image": source.name,
            "imageId": source.id,
            "manifest": source.manifest,
            "path": source.path,
            "layers": source.layers,
            "settings": source.settings or {},
            # On the default network nobody is told of a name that nobody has chosen.
            "options": options | ({} if is_usual(given) and not given.last("name") else {"name": [name]}),
            "command": command,
            "labels": labels(wanted),
            "mounts": [written(wish) for wish in found],
            "anonymous": anonymous,
            "firstId": mapping.host_id if mapping else None,
            "remove": given.on("rm"),
        }
        one = record.Record(container, config, {"status": "created"})
        config["args"] = stored.spec_of(one, joined=_joined_later(wanted)).process.args
        record.write(container, "config.json", config)
        # From here on it is not undone: with a state it is whole.  Without one yet, gc takes it for a stray.
        held.clear()
        record.write(container, "state.json", {"status": "created", "exitCode": 0, "restarts": 0})
        held.forget()
        return container
    except BaseException:
        held.undo()
        os.close(using)
        using = -1
        for volume in anonymous:
            volumes.remove(volume, force=True)
        raise
    finally:
        if using >= 0:
            os.close(using)


def try_out(given: Words, source: Source, command: tuple[str, ...]) -> None:
    """Raise CosoError for what `create` would refuse; nothing is made."""
    from coso.flags import Words as Kept

    check(given)
    wanted = Kept(settled(given, source), ())
    mounts.wishes(wanted, tuple((source.settings or {}).get("Volumes") or ()))
    spec_from(
        wanted,
        source.path,
        command,
        on_terminal=True,
        joined=_joined_later(wanted),
        settings=source.settings or None,
        layers=tuple(source.layers),
        wanted=[],
    )


def check(given: Words) -> None:
    """Raise UsageError for wishes about a container's life that cannot be met."""
    policy, _, count = given.last("restart", "no").partition(":")
    if policy not in POLICIES or (count and (policy != "on-failure" or not count.isdecimal())):
        raise UsageError(
            f"--restart {given.last('restart')!r} is not known", hint=f"{', '.join(POLICIES)}, on-failure:3"
        )
    if given.on("rm") and policy != "no":
        raise UsageError("--rm and --restart contradict each other")
    if given.last("log-driver", "json-file") not in DRIVERS:
        raise UsageError(f"--log-driver {given.last('log-driver')!r} is not offered", hint="json-file and none are")
    for text in given.all("log-opt"):
        key, _, most = text.partition("=")
        if key == "max-size":
            units.size(most)
        elif not (key == "max-file" and most.isdecimal() and 0 < int(most) < logs.MOST_FILES):
            raise UsageError(f"--log-opt {text!r} is not known", hint="max-size=10m and max-file=3 are")
    for option in ("health-interval", "health-timeout", "health-start-period", "health-start-interval"):
        if option in given.options:
            duration(given.last(option), option)
    if given.options.get("stop-signal"):
        from coso.engine.signals import number_of

        number_of(given.last("stop-signal"))
    for option in ("stop-timeout", "health-retries"):
        if option in given.options and not given.last(option).removeprefix("-").isdecimal():
            raise UsageError(f"--{option} {given.last(option)!r} is not a number")


def settled(given: Words, source: Source) -> dict[str, list[str]]:
    """The options as they stay: what depends on this directory and this environment is looked up now."""
    options = {name: list(texts) for name, texts in given.options.items() if name not in NOT_KEPT}
    for path in options.pop("env-file", []):
        options["env"] = [*lines_of(path), *options.get("env", [])]
    options["env"] = [
        text if "=" in text else f"{text}={os.environ[text]}"
        for text in options.get("env", [])
        if "=" in text or text in os.environ
    ]
    for path in options.pop("label-file", []):
        options["label"] = [*lines_of(path), *options.get("label", [])]
    options["volume"] = [_absolute(text) for text in options.get("volume", [])]
    if options.pop("publish-all", ["false"])[-1] == "true":
        options["publish"] = published(given, source.settings or {})
    if "net" in options:
        options["network"] = options.pop("net")
    if options.get("tty", ["false"])[-1] == "true" and "TERM" in os.environ:
        options["env"] = [f"TERM={os.environ['TERM']}", *options["env"]]
    return {name: texts for name, texts in options.items() if texts}


def _absolute(text: str) -> str:
    source, colon, rest = text.partition(":")
    if colon and "/" in source:
        return f"{os.path.abspath(os.path.expanduser(source) if source.startswith('~/') else source)}:{rest}"
    return text


def published(given: Words, settings: Json) -> list[str]:
    """The words for --publish when every exposed port is to be published."""
    exposed = [*(settings.get("ExposedPorts") or {}), *given.all("expose")]
    return [*given.all("publish"), *(port if "/" in port else f"{port}/tcp" for port in dict.fromkeys(exposed))]


def mounts_of(given: Words, source: Source) -> tuple[list[mounts.Wish], list[str]]:
    """All mounts, their volumes made and filled; and the names of those that nobody has named. Raises CosoError."""
    wishes = mounts.wishes(given, tuple((source.settings or {}).get("Volumes") or ()))
    for text in given.all("volumes-from"):
        wishes = _and_of(text, wishes)
    nameless = [wish.destination for wish in wishes if wish.kind == "volume" and not wish.source]
    found = volumes.settle(wishes, source, None)
    return found, [wish.source for wish in found if wish.destination in nameless]


def _and_of(text: str, wishes: list[mounts.Wish]) -> list[mounts.Wish]:
    """The mounts of another container too, where nothing else is asked for."""
    name, _, mode = text.partition(":")
    if mode not in ("", "ro", "rw"):
        raise UsageError(f"--volumes-from {text!r} is not CONTAINER[:ro|rw]")
    taken = {wish.destination for wish in wishes}
    more = [mounts.Wish(**item) for item in record.find(name).config.get("mounts") or []]
    return wishes + [
        replace(wish, options=tuple(wish.options), readonly=wish.readonly or mode == "ro")
        for wish in more
        if wish.destination not in taken and wish.kind != "tmpfs"
    ]


def written(wish: mounts.Wish) -> Json:
    """Return the JSON of one wished mount."""
    return fields_of(wish)


def _take_name(name: str, held: Journal) -> str:
    if name:
        running.check_name(name)
    for attempt in range(1000):
        chosen = name or _new_name(attempt)
        held.record("remove-link", f"{NAMES}/{chosen}", held.container)
        try:
            running.hold_name(chosen, held.container)
        except CosoError:
            if name:
                raise
            continue
        return chosen
    raise CosoError("no free name was found", hint="give one: --name NAME")


def _new_name(attempt: int) -> str:
    number = int.from_bytes(os.urandom(4), "big")
    words = f"{FIRST[number % len(FIRST)]}_{SECOND[number // 1000 % len(SECOND)]}"
    return words if attempt < 2 else f"{words}{number % (10 ** min(attempt, 6))}"


def _range(given: Words, held: Journal) -> IdMapping | None:
    """The container's own range of ids; None without a user namespace of its own."""
    if given.last("userns") == "host" or is_limited():
        return None
    for option in ("pid", "ipc"):
        kind, colon, name = given.last(option).partition(":")
        if kind == "container" and colon:
            other = record.find(name).config.get("firstId")
            return IdMapping(0, int(other), user.RANGE) if other else None
    return user.take_range(held.container, held.record)


def _joined_later(given: Words) -> tuple[Joined, ...]:
    """Namespaces of other containers, which need not run before this one is started."""
    kinds = [kind for kind in ("network", "pid", "ipc") if given.last(kind).startswith("container:")]
    return tuple(Joined(kind, "") for kind in [*kinds, *(["user"] if set(kinds) - {"network"} else [])])


def remove(one: Record) -> None:
    """Take away all of a container that does not run, whose journal the caller holds."""
    # First what makes it a container: what a crash leaves then is nobody's, and gc removes it.
    for file in ("state.json", "config.json"):
        try:
            os.unlink(f"{one.directory}/{file}")
        except FileNotFoundError:
            continue
    # An ordinary user's container has files of users that are that one's only in a user namespace.
    as_root(lambda: remove_tree(one.directory))
    remove_link(f"{NAMES}/{one.name}", one.id)
    user.forget_range(one.id)
