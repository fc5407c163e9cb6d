"""How an image is built, and what else a build and a service have in common.

Source: compose-spec, build.md, 05-services.md.
"""

from __future__ import annotations

from coso.services.mounts import grant
from coso.services.places import Item, Map, Seq
from coso.services.values import (
    Reader,
    context,
    either,
    fields,
    flag,
    listing,
    mapping,
    mode,
    named,
    resolved,
    said,
    size,
    tagged,
    text,
    whole,
    word,
)

texts = listing(text)


def extra_hosts(item: Item, _: str) -> Map:
    """Names, and the addresses that each leads to."""
    found = Map()
    if isinstance(item.content, Map):
        for name, inner in item.entries():
            found.put(name, tagged(inner, listing(text, single=True), ""), inner.place)
        return found
    for inner in item.items():
        written = text(inner)
        name, mark, address = written.partition("=" if "=" in written else ":")
        if not mark or not name or not address:
            inner.fail(f"{written!r} is not NAME=ADDRESS")
        if name not in found:
            found.put(name, Seq(), inner.place)
        found[name].put(address.removeprefix("[").removesuffix("]"), inner.place)
    return found


def ulimits(item: Item, directory: str) -> Map:
    """Limits by name: a number, or a soft and a hard one."""
    pair = fields({"soft": whole, "hard": whole}, required=("soft", "hard"))

    def single(item: Item, directory: str) -> object:
        return whole(item) or Map({"soft": 0, "hard": 0})

    return named(either(single, pair), empty=False)(item, directory)  # type: ignore[return-value]


def _ssh(item: Item, directory: str) -> Seq:
    found = Seq()
    for key, content in mapping()(item, directory).items():  # type: ignore[attr-defined]
        found.put(key if content is None else f"{key}: {resolved(content, directory)}", item.place)
    return found


def _contexts(item: Item, directory: str) -> Map:
    """More trees of a build: paths, and addresses as they stand."""
    read = mapping("")(item, directory)
    assert isinstance(read, Map)
    found = {
        key: content if content.startswith("service:") else context(Item(content, key, item.place), directory)
        for key, content in read.items()
    }
    return Map(found, read.places)


def _switch_or_words(item: Item, _: str) -> str:
    return said(item.content) if isinstance(item.content, bool) else word(item)


GRANT: dict[str, Reader] = {"source": text, "target": text, "uid": word, "gid": word, "mode": mode}
grants = listing(either(grant, fields(GRANT, required=("source",))))
BUILD: dict[str, Reader] = {
    "context": context,
    "dockerfile": text,
    "dockerfile_inline": text,
    "entitlements": texts,
    "args": mapping(),
    "ssh": _ssh,
    "labels": mapping(""),
    "cache_from": texts,
    "cache_to": texts,
    "no_cache": flag,
    "additional_contexts": _contexts,
    "network": text,
    "provenance": _switch_or_words,
    "sbom": _switch_or_words,
    "pull": flag,
    "target": text,
    "shm_size": size,
    "extra_hosts": extra_hosts,
    "isolation": text,
    "privileged": flag,
    "secrets": grants,
    "tags": texts,
    "ulimits": ulimits,
    "platforms": texts,
}


def build(item: Item, directory: str) -> Map:
    """How an image is built."""
    if isinstance(item.content, str):
        return Map({"context": context(item, directory)}, {"context": item.place})
    found = fields(BUILD)(item, directory)
    assert isinstance(found, Map)
    if "dockerfile" in found and "dockerfile_inline" in found:
        item.fail("dockerfile and dockerfile_inline exclude each other")
    return found
