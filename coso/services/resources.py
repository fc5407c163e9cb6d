"""What stands beside the services: networks, volumes, secrets and configs; and the whole of a file.

Source: compose-spec, 04-version-and-name.md to 09-secrets.md.
"""

from __future__ import annotations

import re

from coso.services.places import Item, Map, Seq
from coso.services.service import SERVICE
from coso.services.values import (
    Reader,
    either,
    fields,
    flag,
    listing,
    mapping,
    named,
    path,
    resolved,
    tagged,
    text,
    unknown,
    whole,
)

NAME = re.compile(r"[a-zA-Z0-9._-]+")


def _external(item: Item, directory: str) -> object:
    """Whether something was made elsewhere; older files give its name here."""
    return either(flag, fields({"name": text}))(item, directory)


POOL: dict[str, Reader] = {
    "subnet": text,
    "ip_range": text,
    "gateway": text,
    "aux_addresses": mapping(""),
}
NETWORK: dict[str, Reader] = {
    "name": text,
    "driver": text,
    "driver_opts": mapping(""),
    "ipam": fields({"driver": text, "config": listing(fields(POOL)), "options": mapping("")}),
    "external": _external,
    "internal": flag,
    "enable_ipv4": flag,
    "enable_ipv6": flag,
    "attachable": flag,
    "labels": mapping(""),
}


def _options(item: Item, directory: str) -> Map:
    """Options of a volume; a directory that is mounted as one is seen from the file."""
    found = mapping("")(item, directory)
    assert isinstance(found, Map)
    if "bind" in str(found.get("o", "")).split(",") and found.get("device"):
        found["device"] = resolved(found["device"], directory)
    return found


VOLUME: dict[str, Reader] = {
    "name": text,
    "driver": text,
    "driver_opts": _options,
    "external": _external,
    "labels": mapping(""),
}
SECRET: dict[str, Reader] = {
    "name": text,
    "environment": text,
    "file": path,
    "external": _external,
    "labels": mapping(""),
    "driver": text,
    "driver_opts": mapping(""),
    "template_driver": text,
}
CONFIG: dict[str, Reader] = {
    "name": text,
    "content": text,
    "environment": text,
    "file": path,
    "external": _external,
    "labels": mapping(""),
    "template_driver": text,
}
MODEL: dict[str, Reader] = {
    "name": text,
    "model": text,
    "context_size": whole,
    "runtime_flags": listing(text),
}


def _services(item: Item, directory: str) -> Map:
    return named(fields(SERVICE))(item, directory)  # type: ignore[return-value]


def _paths(item: Item, directory: str) -> object:
    if isinstance(item.content, Seq) and not item.content:
        item.fail("a path is missing")
    return listing(text, single=True)(item, directory)


INCLUDE: dict[str, Reader] = {
    "path": _paths,
    "env_file": listing(text, single=True),
    "project_directory": text,
}
TOP: dict[str, Reader] = {
    "version": text,
    "name": text,
    "include": listing(
        either(lambda item, _: Map({"path": listing(text, single=True)(item, "")}), fields(INCLUDE, ("path",)))
    ),
    "services": _services,
    "models": named(fields(MODEL)),
    "networks": named(fields(NETWORK)),
    "volumes": named(fields(VOLUME)),
    "secrets": named(fields(SECRET), empty=False),
    "configs": named(fields(CONFIG), empty=False),
}


def read_file(item: Item, directory: str) -> Map:
    """A whole document in its long form; raises ConfigError."""
    found = Map()
    for key, inner in item.entries():
        if key.startswith("x-"):
            found.put(key, inner.content, inner.place)
        elif key not in TOP:
            unknown(inner, key, TOP)
        elif inner.content is not None:
            if isinstance(inner.content, Map):
                _check_names(inner)
            found.put(key, tagged(inner, TOP[key], directory), inner.place)
    return found


def _check_names(item: Item) -> None:
    for name, inner in item.entries():
        if not NAME.fullmatch(name):
            inner.fail(f"{name!r} is no name", hint="letters, digits, and . _ - are allowed in one")
