"""`linux` of config.json, but for resources and seccomp (config-linux.md)."""

from __future__ import annotations

from itertools import pairwise

from coso.spec import NAMESPACES, Device, IdMapping, Joined, Personality, TimeOffset, sysctl
from coso.spec.fields import HIGHEST_ID, INT64, UINT32, Fields, shown
from coso.spec.read_resources import HIGHEST_MAJOR, HIGHEST_MINOR, interface, resources
from coso.spec.read_seccomp import seccomp

TYPE_CHECKING = False
if TYPE_CHECKING:
    from typing import Any

# user_namespaces(7): the lines of a map
MOST_MAPPINGS = 340
CLOCKS = ("boottime", "monotonic")
PROPAGATION = tuple(r + name for name in ("shared", "slave", "private", "unbindable") for r in ("", "r"))
DOMAINS = ("LINUX", "LINUX32")


def linux(fields: Fields) -> dict[str, Any]:
    """What `linux` says, as the fields of a Spec."""
    new, joined = _namespaces(fields)
    present = {*new, *(item.type for item in joined)}
    if fields.get("intelRdt") is not None:
        raise fields.wrong("intelRdt", "not supported here")
    return {
        "namespaces": new,
        "joined": joined,
        **_user_mappings(fields, new, present),
        "time_offsets": _time_offsets(fields, new),
        "devices": _devices(fields),
        "net_devices": _net_devices(fields, present),
        "cgroups_path": _cgroups_path(fields),
        "resources": resources(fields.part_or("resources")),
        "rootfs_propagation": fields.word_or("rootfsPropagation", PROPAGATION, ""),
        "seccomp": fields.maybe("seccomp", seccomp),
        "sysctl": _sysctl(fields, present),
        "masked_paths": _covered(fields, "maskedPaths", present),
        "readonly_paths": _covered(fields, "readonlyPaths", present),
        "mount_label": fields.text_or("mountLabel"),
        "personality": fields.maybe("personality", _personality),
    }


def mappings(fields: Fields, name: str) -> tuple[IdMapping, ...]:
    """`uidMappings` or `gidMappings`, of the container or of a mount."""
    items = fields.parts(name)
    if len(items) > MOST_MAPPINGS:
        raise fields.wrong(name, f"{len(items)} ranges; the kernel takes {MOST_MAPPINGS}")
    found = tuple(_mapping(item) for item in items)
    for side, first in (("containerID", "container_id"), ("hostID", "host_id")):
        order = sorted(range(len(found)), key=lambda index: int(getattr(found[index], first)))
        for before, after in pairwise(order):
            if getattr(found[before], first) + found[before].size > getattr(found[after], first):
                raise items[after].wrong(side, f"the range overlaps that of {items[before].where}")
    return found


def _mapping(fields: Fields) -> IdMapping:
    mapping = IdMapping(
        fields.number("containerID", 0, HIGHEST_ID),
        fields.number("hostID", 0, HIGHEST_ID),
        fields.number("size", 1, UINT32),
    )
    if max(mapping.container_id, mapping.host_id) + mapping.size > UINT32:
        raise fields.wrong("size", f"{mapping.size} ids from there on lead beyond the last one, {HIGHEST_ID}")
    return mapping


def _namespaces(fields: Fields) -> tuple[tuple[str, ...], tuple[Joined, ...]]:
    new: list[str] = []
    joined: dict[str, Joined] = {}
    for item in fields.parts("namespaces"):
        kind = item.word("type", NAMESPACES)
        if kind in new or kind in joined:
            raise item.wrong("type", f"{kind} is given twice")
        if item.text_or("path"):
            joined[kind] = Joined(kind, item.path("path"))
        else:
            new.append(kind)
    return tuple(kind for kind in NAMESPACES if kind in new), tuple(joined.values())


def _user_mappings(fields: Fields, new: tuple[str, ...], present: set[str]) -> dict[str, tuple[IdMapping, ...]]:
    found = {}
    for name, key in (("uidMappings", "uid_mappings"), ("gidMappings", "gid_mappings")):
        found[key] = mappings(fields, name)
        if found[key] and "user" not in present:
            raise fields.wrong(name, "needs a user namespace, and linux.namespaces has none")
        if not found[key] and "user" in new:
            raise fields.wrong(name, "missing; a new user namespace has no ids without")
    return found


def _time_offsets(fields: Fields, new: tuple[str, ...]) -> tuple[tuple[str, TimeOffset], ...]:
    offsets = []
    for clock, item in fields.named("timeOffsets"):
        if clock not in CLOCKS:
            raise fields.wrong(f"timeOffsets[{shown(clock)}]", "boottime and monotonic can be set")
        offset = TimeOffset(item.number_or("secs", -INT64 - 1, INT64, 0), item.number_or("nanosecs", 0, 999_999_999, 0))
        offsets.append((clock, offset))
    if offsets and "time" not in new:
        raise fields.wrong("timeOffsets", "needs a new time namespace, and linux.namespaces has none")
    return tuple(offsets)


def _devices(fields: Fields) -> tuple[Device, ...]:
    found: dict[str, Device] = {}
    for item in fields.parts("devices"):
        device = _device(item)
        before = found.get(device.path, device)
        if (before.type, before.major, before.minor) != (device.type, device.major, device.minor):
            raise item.wrong("path", f"{shown(device.path)} is given twice, for different devices")
        found[device.path] = device
    return tuple(found.values())


def _device(fields: Fields) -> Device:
    kind = fields.word("type", ("c", "b", "u", "p"))
    path = fields.path("path")
    if set(path.split("/")) & {"..", "."} or path.endswith("/"):
        raise fields.wrong("path", f"{shown(path)} is not the plain path of a file")
    # A pipe has no numbers; some write zeroes.
    numbers = kind != "p"
    return Device(
        path=path,
        type=kind,
        major=fields.number("major", 0, HIGHEST_MAJOR) if numbers else 0,
        minor=fields.number("minor", 0, HIGHEST_MINOR) if numbers else 0,
        file_mode=fields.number_or("fileMode", 0, UINT32, 0o666) & 0o7777,
        uid=fields.number_or("uid", 0, HIGHEST_ID, 0),
        gid=fields.number_or("gid", 0, HIGHEST_ID, 0),
    )


def _net_devices(fields: Fields, present: set[str]) -> tuple[tuple[str, str], ...]:
    moved: dict[str, str] = {}
    for outside, item in fields.named("netDevices"):
        interface(outside, fields, f"netDevices[{shown(outside)}]")
        inside = interface(item.text_or("name") or outside, item, "name")
        if inside in moved.values():
            raise item.wrong("name", f"{shown(inside)} is given twice")
        moved[outside] = inside
    if moved and "network" not in present:
        raise fields.wrong("netDevices", "needs a network namespace, and linux.namespaces has none")
    return tuple(moved.items())


def _cgroups_path(fields: Fields) -> str:
    path = fields.text_or("cgroupsPath")
    if ".." in path.split("/"):
        raise fields.wrong("cgroupsPath", f"{shown(path)} leads upwards")
    return path


def _sysctl(fields: Fields, present: set[str]) -> tuple[tuple[str, str], ...]:
    found: dict[str, str] = {}
    for given, content in fields.pairs("sysctl"):
        name = sysctl.dotted(given)
        field = f"sysctl[{shown(given)}]"
        needed = sysctl.namespace(name)
        if name == "kernel.hostname":
            raise fields.wrong(field, "use hostname")
        if not sysctl.is_safe(name):
            raise fields.wrong(field, "not the name of a kernel parameter")
        if not needed:
            raise fields.wrong(field, "no namespace keeps it; it would change the host")
        if needed not in present:
            raise fields.wrong(field, f"needs a namespace of type {needed}; it would change the host")
        if name in found:
            raise fields.wrong(field, "given twice")
        found[name] = content
    return tuple(found.items())


def _covered(fields: Fields, name: str, present: set[str]) -> tuple[str, ...]:
    paths = fields.paths(name)
    if paths and "mount" not in present:
        raise fields.wrong(name, "needs a mount namespace; it would cover the host's own")
    return paths


def _personality(fields: Fields) -> Personality:
    domain = fields.word("domain", DOMAINS)
    if fields.texts("flags"):
        raise fields.wrong("flags", "the specification knows none")
    return Personality(domain)
