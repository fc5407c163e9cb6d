"""What a container is to be: the OCI runtime specification as frozen values.

Names follow https://github.com/opencontainers/runtime-spec (config.md,
config-linux.md) in snake_case.  Two fields are coso's own: `Root.path` is a
lower layer that is never written to, and `Spec.network` names the network
helper.  Nothing here touches the machine.
"""

from __future__ import annotations

from coso.value import value


@value
class User:
    """Who the command runs as: a name or number from the image, `""` for root (process.user)."""

    name: str = ""
    umask: int = 0o022


@value
class Rlimit:
    """One resource limit, soft and hard (process.rlimits, getrlimit(2))."""

    type: str
    soft: int
    hard: int


@value
class Capabilities:
    """The five sets of the command's capabilities, by name (process.capabilities)."""

    bounding: tuple[str, ...]
    effective: tuple[str, ...]
    permitted: tuple[str, ...]
    inheritable: tuple[str, ...] = ()
    ambient: tuple[str, ...] = ()


@value
class Process:
    """The command and the state it starts in (process)."""

    args: tuple[str, ...]
    env: tuple[str, ...]
    capabilities: Capabilities
    cwd: str = ""
    user: User = User()
    terminal: bool = False
    interactive: bool = False
    init: bool = False
    no_new_privileges: bool = True
    rlimits: tuple[Rlimit, ...] = ()


@value
class Root:
    """The root filesystem: `path` is the lower layer of an overlay (root)."""

    path: str
    readonly: bool = False


@value
class Mount:
    """A filesystem of its own kind inside the root (mounts)."""

    destination: str
    type: str
    source: str
    options: tuple[str, ...] = ()


@value
class Volume:
    """A directory or file of the host inside the root (mounts, type bind)."""

    source: str
    destination: str
    readonly: bool = False


@value
class TimeOffsets:
    """Seconds added to the clocks of a time namespace (linux.timeOffsets, time_namespaces(7))."""

    monotonic: int = 0
    boottime: int = 0


@value
class Resources:
    """Limits; None is no limit (linux.resources). Bytes, CPUs as a fraction, processes."""

    memory: int | None = None
    cpus: float | None = None
    pids: int | None = None


NAMESPACES = ("user", "pid", "mount", "uts", "ipc", "network", "cgroup", "time")


@value
class Spec:
    """A container, whole."""

    process: Process
    root: Root
    hostname: str = ""
    mounts: tuple[Mount, ...] = ()
    volumes: tuple[Volume, ...] = ()
    namespaces: tuple[str, ...] = NAMESPACES[:-1]
    time_offsets: TimeOffsets | None = None
    resources: Resources = Resources()
    seccomp: bool = True
    masked_paths: tuple[str, ...] = ()
    readonly_paths: tuple[str, ...] = ()
    network: str = "none"
