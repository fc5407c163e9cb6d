"""Limits of a service, as the options of `coso create` have them."""

from __future__ import annotations

from coso.services.places import Map


def limits_of(one: Map) -> dict[str, list[str]]:
    """Resource limits of a service's processes, and what it may ask of disks."""
    found: dict[str, list[str]] = {
        "ulimit": [ulimit(name, limit) for name, limit in (one.get("ulimits") or {}).items()]
    }
    blkio = one.get("blkio_config") or {}
    if "weight" in blkio:
        found["blkio-weight"] = [str(blkio["weight"])]
    for item in blkio.get("weight_device") or ():
        found.setdefault("blkio-weight-device", []).append(f"{item['path']}:{item['weight']}")
    for act in ("read", "write"):
        for what in ("bps", "iops"):
            rates = [f"{item['path']}:{item['rate']}" for item in blkio.get(f"device_{act}_{what}") or ()]
            found |= {f"device-{act}-{what}": rates} if rates else {}
    return found


def ulimit(name: str, limit: Map | int) -> str:
    """A limit as `--ulimit` has it."""
    return f"{name}={limit['soft']}:{limit['hard']}" if isinstance(limit, dict) else f"{name}={limit}"
