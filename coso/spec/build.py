"""From the words of `coso run` to a Spec: everything is checked here, before the machine is touched."""

from __future__ import annotations

import os

from coso.errors import UsageError
from coso.spec import (
    NAMESPACES,
    Capabilities,
    Cpu,
    Memory,
    Mount,
    Process,
    Resources,
    Rlimit,
    Root,
    Spec,
    TimeOffset,
    User,
    defaults,
    network,
    units,
)

TYPE_CHECKING = False
if TYPE_CHECKING:
    from coso.cli.flags import Words

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
    words: Words, rootfs: str, command: tuple[str, ...], *, on_terminal: bool, joined_network: str = ""
) -> Spec:
    """The Spec that `coso run` asks for; `joined_network` is a namespace to share. Raises UsageError."""
    shell = not command
    terminal = words.on("tty", shell and on_terminal)
    interactive = words.on("interactive", shell)
    if words.on("tty") and words.on("interactive") and not on_terminal:
        raise UsageError(
            "-t and -i are given, and standard input is not a terminal",
            hint="leave out -t when input comes from a pipe or a file",
        )
    if not words.on("rm", True):
        raise UsageError(
            "--rm=false: a container cannot be kept after its end yet", hint="leave --rm out; -v keeps what is written"
        )
    namespaces = _namespaces(words, joined_network)
    volumes = tuple(_volume(text) for text in words.all("volume"))
    hostname = words.last("hostname")
    if hostname and "uts" not in namespaces:
        raise UsageError("--hostname with --uts=host would rename the host", hint="leave one of the two out")
    return Spec(
        process=Process(
            args=command or (defaults.SHELL,),
            env=_environment(words, terminal),
            cwd=_directory(words.last("workdir")),
            user=User(words.last("user")),
            terminal=terminal,
            interactive=interactive,
            init=words.on("init"),
            capabilities=_capabilities(words),
            no_new_privileges=_security(words, "no-new-privileges", "true") == "true",
            rlimits=tuple(_rlimit(text) for text in words.all("ulimit")),
        ),
        root=Root(rootfs, words.on("read-only"), overlay=True),
        hostname=hostname,
        mounts=defaults.MOUNTS + volumes,
        namespaces=namespaces,
        time_offsets=_time_offsets(words),
        # In a user namespace no device node can be made, and none is there but ours, unless a volume brings one.
        resources=_resources(words, filter_devices="user" not in namespaces or bool(volumes)),
        sysctl=defaults.NETWORK_SYSCTLS if "network" in namespaces else (),
        seccomp="default" if _security(words, "seccomp", "default") == "default" else None,
        names=True,
        masked_paths=defaults.MASKED_PATHS,
        readonly_paths=defaults.READONLY_PATHS,
        name=words.last("name"),
        resolver=network.resolver(words),
        **network.network(words, joined_network),
    )


def _namespaces(words: Words, joined_network: str) -> tuple[str, ...]:
    shared = set()
    for option, namespace in SHARED.items():
        answer = words.last(option, "private")
        if answer not in ("host", "private"):
            raise UsageError(f"--{option} takes `host` or `private`, not {answer!r}")
        if answer == "host":
            shared.add(namespace)
    if words.last("network") == "host" or joined_network:
        shared.add("network")
    if "mount" in shared and "user" not in shared:
        raise UsageError(
            "--mountns=host needs --userns=host: a user namespace has no right to mount on the host",
            hint="give both, or neither",
        )
    if not ({"monotonic", "boottime"} & words.options.keys()):
        shared.add("time")
    return tuple(name for name in NAMESPACES if name not in shared)


def _environment(words: Words, terminal: bool) -> tuple[str, ...]:
    variables = {"PATH": defaults.PATH}
    if terminal:
        variables["TERM"] = os.environ.get("TERM", "xterm")
    for text in words.all("env"):
        name, equals, content = text.partition("=")
        if not name or "\0" in text:
            raise UsageError(
                f"--env {text!r} has no name", hint="write NAME=value, or NAME to pass the host's value on"
            )
        if equals:
            variables[name] = content
        elif name in os.environ:
            variables[name] = os.environ[name]
    return tuple(f"{name}={content}" for name, content in variables.items())


def _directory(text: str) -> str:
    if text and not text.startswith("/"):
        raise UsageError(f"--workdir {text!r} is not an absolute path")
    return text


def _capabilities(words: Words) -> Capabilities:
    from coso.kernel.capability import NUMBERS, permitted

    # A user namespace has every capability over itself; the host's root has those that it was left with.
    every = permitted() if words.last("userns") == "host" else tuple(NUMBERS)
    kept = list(defaults.CAPABILITIES)
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


def _security(words: Words, key: str, default: str) -> str:
    answer = default
    allowed = {"no-new-privileges": ("true", "false"), "seccomp": ("default", "unconfined")}
    for text in words.all("security-opt"):
        name, _, content = text.replace(":", "=", 1).partition("=")
        if name == "no-new-privileges" and not content:
            content = "true"
        if content not in allowed.get(name, ()):
            raise UsageError(
                f"--security-opt {text!r} is not known here",
                hint="no-new-privileges=true|false and seccomp=default|unconfined are",
            )
        if name == key:
            answer = content
    return answer


def _rlimit(text: str) -> Rlimit:
    from resource import RLIM_INFINITY

    name, _, limits = text.partition("=")
    soft, _, hard = limits.partition(":")
    numbers = []
    for item in (soft, hard or soft):
        if item not in ("unlimited", "-1") and not item.isdecimal():
            raise UsageError(f"--ulimit {text!r} is not NAME=SOFT[:HARD]", hint="write it as nofile=1024:4096")
        numbers.append(RLIM_INFINITY if item in ("unlimited", "-1") else int(item))
    import resource

    if not hasattr(resource, f"RLIMIT_{name.upper()}"):
        raise UsageError(f"--ulimit {name!r} is no resource limit", hint="see getrlimit(2): nofile, nproc, core, …")
    return Rlimit(f"RLIMIT_{name.upper()}", numbers[0], numbers[1])


def _volume(text: str) -> Mount:
    source, _, rest = text.partition(":")
    destination, _, mode = rest.partition(":")
    if not source or not destination.startswith("/") or mode not in ("", "ro", "rw"):
        raise UsageError(
            f"--volume {text!r} is not HOST:CONTAINER[:ro|rw]", hint="write it as /srv/data:/data or ./here:/there:ro"
        )
    if "/" not in source:
        raise UsageError(
            f"--volume {text!r}: named volumes are not available yet",
            hint=f"give a path: ./{source} for a directory here, or /somewhere/{source}",
        )
    source = os.path.abspath(source)
    if not os.path.exists(source):
        raise UsageError(f"--volume {text!r}: {source} does not exist on the host", hint=f"make it: mkdir -p {source}")
    return Mount(destination, "bind", source, ("bind", "idmap", *(("rro",) if mode == "ro" else ())))


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


def _resources(words: Words, *, filter_devices: bool) -> Resources:
    given = words.options
    most = os.cpu_count() or 1
    if "cpus" in given and units.cpus(words.last("cpus")) > most:
        raise UsageError(f"--cpus {words.last('cpus')}: this machine has {most}", hint="ask for as many or fewer")
    # Swap is the sum of both: without it a container on a machine with swap would go on past its limit.
    memory = units.memory(words.last("memory")) if "memory" in given else None
    quota = int(units.cpus(words.last("cpus")) * defaults.CPU_PERIOD) if "cpus" in given else None
    return Resources(
        devices=defaults.DEVICE_RULES if filter_devices else (),
        memory=Memory(limit=memory, swap=memory),
        cpu=Cpu(quota=quota, period=defaults.CPU_PERIOD if quota else None),
        pids=units.count(words.last("pids-limit"), "number of processes") if "pids-limit" in given else None,
    )
