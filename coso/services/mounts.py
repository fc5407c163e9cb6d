"""Mounts of a service: `./html:/srv:ro`, `data:/data`, `/cache`, and the long form.

Source: compose-spec, 05-services.md ("volumes").
"""

from __future__ import annotations

import posixpath

from coso.services.places import Item, Map
from coso.services.values import (
    Reader,
    either,
    fields,
    flag,
    mapping,
    one_of,
    resolved,
    size,
    text,
    word,
)

PROPAGATION = ("rprivate", "private", "rshared", "shared", "rslave", "slave")
KINDS = ("bind", "volume", "tmpfs", "cluster", "npipe", "image")


def _permissions(item: Item, _: str) -> int:
    """Permission bits, as a number."""
    if isinstance(item.content, int):
        return item.content
    try:
        return int(text(item).removeprefix("0o"), 8)
    except ValueError:
        item.fail(f"{item.content!r} is no mode", hint="write it as 0755")


LONG: dict[str, Reader] = {
    "type": one_of(*KINDS),
    "source": text,
    "target": text,
    "read_only": flag,
    "consistency": text,
    "bind": fields(
        {
            "propagation": text,
            "create_host_path": flag,
            "recursive": one_of("enabled", "disabled", "writable", "readonly"),
            "selinux": one_of("z", "Z"),
        }
    ),
    "volume": fields({"labels": mapping(""), "nocopy": flag, "subpath": text}),
    "tmpfs": fields({"size": size, "mode": _permissions}),
    "image": fields({"subpath": text}),
}


def mount(item: Item, directory: str) -> object:
    """One mount, in its long form."""
    found = either(_short, fields(LONG, required=("type",)))(item, directory)
    assert isinstance(found, Map)
    kind = found["type"]
    if kind == "bind" and isinstance(found.get("source"), str):
        found["source"] = resolved(found["source"], directory)
    if kind in ("bind", "image") and not found.get("source"):
        item.fail(f"a mount of the type {kind} needs a source")
    if not found.get("target"):
        item.fail("a mount needs a target")
    return found


def _short(item: Item, directory: str) -> Map:
    written = text(item)
    if not written:
        item.fail("a mount is missing here")
    parts = written.split(":")
    if len(parts) > 3 or not all(parts):
        item.fail(f"{written!r} is no mount", hint="write it as ./here:/there:ro, name:/there or /there")
    if len(parts) == 1:
        return Map({"type": "volume", "target": posixpath.normpath(parts[0]), "volume": Map()})
    source, target, *options = parts
    is_path = source.startswith((".", "/", "~"))
    found = Map({"type": "bind" if is_path else "volume", "source": source, "target": posixpath.normpath(target)})
    more = Map({"create_host_path": True}) if is_path else Map()
    found["bind" if is_path else "volume"] = more
    for option in options[0].split(",") if options else []:
        if option in ("ro", "rw"):
            if option == "ro":
                found["read_only"] = True
        elif option in ("z", "Z"):
            found.setdefault("bind", Map())["selinux"] = option
        elif option in PROPAGATION and is_path:
            more["propagation"] = option
        elif option == "nocopy" and not is_path:
            more["nocopy"] = True
        # Others are of other systems (cached, delegated, consistent): Compose passes over them, whatever they are.
    return found


def device(item: Item, _: str) -> Map:
    """A device: `/dev/a`, `/dev/a:/dev/b:rwm`."""
    source, _, rest = text(item).partition(":")
    target, _, permissions = rest.partition(":")
    if not target:
        return Map({"source": source, "target": source, "permissions": "rwm"})
    return Map({"source": source, "target": target, "permissions": permissions or "rwm"})


def long_device(item: Item, directory: str) -> Map:
    """A device with its parts named."""
    found = fields({"source": text, "target": text, "permissions": text}, required=("source",))(item, directory)
    assert isinstance(found, Map)
    return Map({"target": found["source"], "permissions": "rwm", **found}, found.places)


def grant(item: Item, _: str) -> Map:
    """A secret or a config by its name."""
    return Map({"source": word(item)})
