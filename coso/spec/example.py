"""The config.json that `coso oci spec` writes, to be edited: what `runc spec` offers, in coso's words."""

from __future__ import annotations

import os

from coso.spec import VERSION, defaults

CAPABILITIES = ("CAP_AUDIT_WRITE", "CAP_KILL", "CAP_NET_BIND_SERVICE")
NAMESPACES = ("pid", "network", "ipc", "uts", "mount", "cgroup")


def example(*, rootless: bool) -> dict[str, object]:
    """A config.json for a shell; with `rootless`, one that its caller can start without privileges."""
    return {
        "ociVersion": VERSION,
        "process": _process(),
        "root": {"path": "rootfs", "readonly": True},
        "hostname": "coso",
        "mounts": _mounts(rootless),
        "linux": _linux(rootless),
    }


def _process() -> dict[str, object]:
    return {
        "terminal": True,
        "user": {"uid": 0, "gid": 0},
        "args": ["sh"],
        "env": [f"PATH={defaults.PATH}", "TERM=xterm"],
        "cwd": "/",
        "capabilities": {name: list(CAPABILITIES) for name in ("bounding", "effective", "permitted")},
        "rlimits": [{"type": "RLIMIT_NOFILE", "hard": 1024, "soft": 1024}],
        "noNewPrivileges": True,
    }


def _mounts(rootless: bool) -> list[dict[str, object]]:
    # A map of one group has no group 5, tty; a network namespace of others allows no new sysfs.
    terminals = "newinstance ptmxmode=0666 mode=0620" if rootless else "newinstance ptmxmode=0666 mode=0620 gid=5"
    system = (
        ("none", "/sys", "rbind nosuid noexec nodev ro") if rootless else ("sysfs", "sysfs", "nosuid noexec nodev ro")
    )
    return [
        _mount("/proc", "proc", "proc", ""),
        _mount("/dev", "tmpfs", "tmpfs", "nosuid strictatime mode=755 size=65536k"),
        _mount("/dev/pts", "devpts", "devpts", f"nosuid noexec {terminals}"),
        _mount("/dev/shm", "tmpfs", "shm", "nosuid noexec nodev mode=1777 size=65536k"),
        _mount("/dev/mqueue", "mqueue", "mqueue", "nosuid noexec nodev"),
        _mount("/sys", *system),
        _mount("/sys/fs/cgroup", "cgroup", "cgroup", "nosuid noexec nodev relatime ro"),
    ]


def _mount(destination: str, kind: str, source: str, options: str) -> dict[str, object]:
    mount: dict[str, object] = {"destination": destination, "type": kind, "source": source}
    return mount | {"options": options.split()} if options else mount


def _linux(rootless: bool) -> dict[str, object]:
    paths = {"maskedPaths": list(defaults.MASKED_PATHS), "readonlyPaths": list(defaults.READONLY_PATHS)}
    if not rootless:
        # No device but those that every container gets.
        resources = {"devices": [{"allow": False, "access": "rwm"}]}
        return {"resources": resources, "namespaces": [{"type": name} for name in NAMESPACES], **paths}
    names = [name for name in NAMESPACES if name != "network"]
    return {
        "uidMappings": [{"containerID": 0, "hostID": os.geteuid(), "size": 1}],
        "gidMappings": [{"containerID": 0, "hostID": os.getegid(), "size": 1}],
        "namespaces": [{"type": name} for name in [*names, "user"]],
        **paths,
    }
