"""An OCI bundle that asks the peers for what coso does by default, as far as both can."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

from coso.spec import seccomp
from coso.spec.defaults import CAPABILITIES, MASKED_PATHS, MOUNTS, PATH, READONLY_PATHS

DEV = {
    "destination": "/dev",
    "type": "tmpfs",
    "source": "tmpfs",
    "options": ["nosuid", "strictatime", "mode=755", "size=65536k"],
}
MAPPING = {"containerID": 0, "hostID": 0x70000000, "size": 65536}
DENIED = [name for name, opened_by in seccomp.DENIED if f"CAP_{opened_by}" not in CAPABILITIES]


def write(directory: Path, rootfs: Path, args: tuple[str, ...] = ("/bin/true",)) -> None:
    """Write config.json for a command on a rootfs, in seven namespaces, with Docker's capabilities and a filter."""
    sets = ("bounding", "effective", "permitted")
    config: dict[str, Any] = {
        "ociVersion": "1.0.2",
        "process": {
            "user": {"uid": 0, "gid": 0},
            "args": list(args),
            "env": [f"PATH={PATH}"],
            "cwd": "/",
            "capabilities": {name: list(CAPABILITIES) for name in sets},
            "noNewPrivileges": True,
        },
        "root": {"path": str(rootfs), "readonly": True},
        "hostname": "bench",
        "mounts": [
            DEV if item.destination == "/dev" else _mount(item.destination, item.type, item.source, item.options)
            for item in sorted(MOUNTS, key=lambda item: item.destination)
        ],
        "linux": {
            "namespaces": [{"type": kind} for kind in ("user", "pid", "network", "ipc", "uts", "mount", "cgroup")],
            "uidMappings": [MAPPING],
            "gidMappings": [MAPPING],
            "seccomp": {
                "defaultAction": "SCMP_ACT_ALLOW",
                "architectures": ["SCMP_ARCH_X86_64"],
                "syscalls": [{"names": DENIED, "action": "SCMP_ACT_ERRNO", "errnoRet": 1}],
            },
            "maskedPaths": list(MASKED_PATHS),
            "readonlyPaths": list(READONLY_PATHS),
        },
    }
    (directory / "config.json").write_text(json.dumps(config))


def _mount(destination: str, kind: str, source: str, options: tuple[str, ...]) -> dict[str, Any]:
    return {"destination": destination, "type": kind, "source": source, "options": list(options)}
