"""From the words of `coso run`, and what its image says, to a Spec: checked here, before the machine is touched."""

from __future__ import annotations

import os

from coso.errors import UsageError
from coso.spec import (
    NAMESPACES,
    Capabilities,
    Joined,
    Mount,
    Process,
    Root,
    Spec,
    TimeOffset,
    User,
    defaults,
    mounts,
    network,
    units,
)
from coso.spec.resources import devices, oom_score, resources, rlimits

TYPE_CHECKING = False
if TYPE_CHECKING:
    from typing import Any

    from coso.flags import Words

# Option that shares a namespace with the host, and the namespace it names in the specification.
SHARED = {
    "pid": "pid",
    "uts": "uts",
    "ipc": "ipc",
    "userns": "user",
    "cgroupns": "cgroup",
    "mountns": "mount",
}


def spec_from(
    words: Words,
    rootfs: str,
    command: tuple[str, ...],
    *,
    on_terminal: bool,
    joined: tuple[Joined, ...] = (),
    settings: dict[str, Any] | None = None,
    layers: tuple[str, ...] = (),
    wanted: list[mounts.Wish] | None = None,
) -> Spec:
    """The Spec that `coso run` asks for. Raises UsageError.

    `joined` are namespaces to share; `settings` the configuration of the image
    whose `layers` lie below `rootfs`; `wanted` the mounts, where volumes have
    their names by now.
    """
    image = settings or {}
    args = _command(words, command, image)
    # With no word at all it is a shell that somebody wants to sit at.
    shell = not args
    terminal = words.on("tty", shell and on_terminal)
    interactive = words.on("interactive", shell)
    if words.on("tty") and words.on("interactive") and not on_terminal:
        raise UsageError(
            "-t and -i are given, and standard input is not a terminal",
            hint="leave out -t when input comes from a pipe or a file",
        )
    namespaces = _namespaces(words, joined)
    if wanted is None:
        wanted = mounts.wishes(words, tuple(image.get("Volumes") or ()))
    hostname = words.last("hostname")
    if hostname and "uts" not in namespaces:
        raise UsageError("--hostname with --uts=host would rename the host", hint="leave one of the two out")
    privileged = words.on("privileged")
    open_paths = privileged or _security(words, "systempaths", "") == "unconfined"
    return Spec(
        process=Process(
            args=args or (defaults.SHELL,),
            env=_environment(words, terminal, image),
            cwd=_directory(words.last("workdir")) or image.get("WorkingDir") or "",
            user=User(words.last("user") or image.get("User") or "", group_names=tuple(words.all("group-add"))),
            terminal=terminal,
            interactive=interactive,
            init=words.on("init"),
            capabilities=_capabilities(words),
            no_new_privileges=_security(words, "no-new-privileges", "false" if privileged else "true") == "true",
            rlimits=rlimits(words),
            oom_score_adj=oom_score(words),
        ),
        root=Root(rootfs, words.on("read-only"), True, layers),
        hostname=hostname,
        domainname=words.last("domainname"),
        mounts=_mounts(words, privileged) + tuple(mounts.mount_of(wish) for wish in wanted),
        namespaces=namespaces,
        joined=joined,
        time_offsets=_time_offsets(words),
        devices=tuple(device for device, _ in devices(words)),
        cgroups_path=words.last("cgroup-parent"),
        annotations=tuple((name, content) for name, _, content in (t.partition("=") for t in words.all("annotation"))),
        # In a user namespace no device node can be made, and none is there but ours, unless a volume brings one.
        resources=resources(
            words,
            filter_devices=not privileged
            and (
                "user" not in namespaces
                or bool(wanted)
                or bool({"device", "device-cgroup-rule"} & words.options.keys())
            ),
        ),
        sysctl=_sysctls(words, namespaces),
        seccomp=None if privileged else _seccomp(words),
        names=True,
        masked_paths=() if open_paths else defaults.MASKED_PATHS,
        readonly_paths=() if open_paths else defaults.READONLY_PATHS,
        name=words.last("name"),
        resolver=network.resolver(words),
        **network.network(words, any(item.type == "network" for item in joined)),
    )


def _command(words: Words, command: tuple[str, ...], image: dict[str, Any]) -> tuple[str, ...]:
    """What is run: entrypoint and command, the image's where none is given; `()` for a root without an image."""
    entrypoint = tuple(image.get("Entrypoint") or ())
    own = tuple(image.get("Cmd") or ())
    if "entrypoint" in words.options:
        text = words.last("entrypoint")
        entrypoint, own = ((text,) if text else ()), ()
    args = entrypoint + (command or own)
    if image and not args:
        raise UsageError("the image names no command, and none is given", hint="coso run [OPTIONS] IMAGE COMMAND")
    return args


def _namespaces(words: Words, joined: tuple[Joined, ...]) -> tuple[str, ...]:
    shared = {item.type for item in joined}
    for option, namespace in SHARED.items():
        answer = words.last(option, "private")
        if answer not in ("host", "private", "shareable") and namespace not in shared:
            raise UsageError(f"--{option} takes `host` or `private`, not {answer!r}")
        if answer == "host":
            shared.add(namespace)
    if words.last("network") == "host":
        shared.add("network")
    if "mount" in shared and "user" not in shared:
        raise UsageError(
            "--mountns=host needs --userns=host: a user namespace has no right to mount on the host",
            hint="give both, or neither",
        )
    if not ({"monotonic", "boottime"} & words.options.keys()):
        shared.add("time")
    return tuple(name for name in NAMESPACES if name not in shared)


def _environment(words: Words, terminal: bool, image: dict[str, Any]) -> tuple[str, ...]:
    variables = {"PATH": defaults.PATH}
    if terminal:
        variables["TERM"] = os.environ.get("TERM", "xterm")
    variables |= dict(item.partition("=")[::2] for item in image.get("Env") or ())
    for text in [*(line for path in words.all("env-file") for line in lines_of(path)), *words.all("env")]:
        name, equals, content = text.partition("=")
        if not name or "\0" in text:
            raise UsageError(
                f"--env {text!r} has no name", hint="write NAME=value, or NAME to pass the host's value on"
            )
        if equals:
            variables[name] = content
        elif name in os.environ:
            variables[name] = os.environ[name]
        else:
            # As with Docker: a name that the host does not know takes the image's value away.
            variables.pop(name, None)
    return tuple(f"{name}={content}" for name, content in variables.items())


def lines_of(path: str) -> list[str]:
    """The lines of a file of variables or labels, without comments."""
    try:
        with open(path, encoding="utf-8") as file:
            lines = [line.strip("\r\n").lstrip() for line in file]
    except (OSError, UnicodeDecodeError) as error:
        raise UsageError(f"the file {path} cannot be read: {getattr(error, 'strerror', error)}") from None
    return [line for line in lines if line and not line.startswith("#")]


def labels(words: Words) -> dict[str, str]:
    """What --label and --label-file ask for. Raises UsageError."""
    texts = [*(line for path in words.all("label-file") for line in lines_of(path)), *words.all("label")]
    found = dict(text.partition("=")[::2] for text in texts)
    if "" in found:
        raise UsageError("a label has no name", hint="write it as --label NAME=VALUE")
    return found


def _directory(text: str) -> str:
    if text and not text.startswith("/"):
        raise UsageError(f"--workdir {text!r} is not an absolute path")
    return text


def _mounts(words: Words, privileged: bool) -> tuple[Mount, ...]:
    """The usual filesystems, as large and as open as was asked for."""
    found = []
    for item in defaults.MOUNTS:
        options = item.options
        if item.destination == "/dev/shm" and "shm-size" in words.options:
            options = (
                *(o for o in options if not o.startswith("size=")),
                f"size={units.size(words.last('shm-size'))}",
            )
        if privileged and item.destination in ("/sys", "/sys/fs/cgroup"):
            options = tuple(option for option in options if option != "ro")
        found.append(item if options == item.options else Mount(item.destination, item.type, item.source, options))
    return tuple(found)


def _sysctls(words: Words, namespaces: tuple[str, ...]) -> tuple[tuple[str, str], ...]:
    found = dict(defaults.NETWORK_SYSCTLS) if "network" in namespaces else {}
    for text in words.all("sysctl"):
        name, equals, content = text.partition("=")
        if not name or not equals:
            raise UsageError(f"--sysctl {text!r} is not NAME=VALUE", hint="as in net.core.somaxconn=1024")
        if name.startswith("net.") and "network" not in namespaces:
            raise UsageError(f"--sysctl {name} would change the host's network", hint="leave --network out")
        found[name] = content
    return tuple(found.items())


def _capabilities(words: Words) -> Capabilities:
    from coso.kernel.capability import NUMBERS, permitted

    # A user namespace has every capability over itself; the host's root has those that it was left with.
    every = permitted() if words.last("userns") == "host" else tuple(NUMBERS)
    kept = list(every) if words.on("privileged") else list(defaults.CAPABILITIES)
    for option in ("cap-drop", "cap-add"):
        for text in words.all(option):
            name = text.upper() if text.upper().startswith("CAP_") else f"CAP_{text.upper()}"
            if name != "CAP_ALL" and name not in NUMBERS:
                raise UsageError(f"--{option} {text!r} is no capability", hint="see capabilities(7)")
            names = list(every) if name == "CAP_ALL" else [name]
            others = [item for item in kept if item not in names]
            kept = others if option == "cap-drop" else others + names
    asked = {text.upper().removeprefix("CAP_") for text in words.all("cap-add")}
    if words.last("mountns") == "host" and not asked & {"ALL", "SYS_CHROOT"}:
        # There the root is a chroot, which chroot(2) itself leads out of.
        kept = [name for name in kept if name != "CAP_SYS_CHROOT"]
    names_kept = tuple(sorted(kept, key=NUMBERS.__getitem__))
    return Capabilities(bounding=names_kept, effective=names_kept, permitted=names_kept)


def _seccomp(words: Words) -> str | None:
    return "default" if _security(words, "seccomp", "default") == "default" else None


def _security(words: Words, key: str, default: str) -> str:
    answer = default
    allowed = {
        "no-new-privileges": ("true", "false"),
        "seccomp": ("default", "unconfined"),
        "systempaths": ("unconfined",),
        "label": ("disable",),
        "apparmor": ("unconfined",),
    }
    for text in words.all("security-opt"):
        name, _, content = text.replace(":", "=", 1).partition("=")
        if name == "no-new-privileges" and not content:
            content = "true"
        if content not in allowed.get(name, ()):
            raise UsageError(
                f"--security-opt {text!r} is not known here",
                hint="no-new-privileges=true|false, seccomp=default|unconfined and systempaths=unconfined are",
            )
        if name == key:
            answer = content
    return answer


def _time_offsets(words: Words) -> tuple[tuple[str, TimeOffset], ...]:
    offsets = []
    for clock in ("monotonic", "boottime"):
        if clock not in words.options:
            continue
        text = words.last(clock)
        if len(text) > 18 or not text[text[:1] in ("+", "-") :].isdecimal():
            raise UsageError(f"--{clock} {text!r} is not a number of seconds")
        offsets.append((clock, TimeOffset(int(text))))
    return tuple(offsets)
