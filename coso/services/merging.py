"""One file laid over another, and a service over the one it extends.

Source: compose-spec, 13-merge.md.
"""

from __future__ import annotations

from coso.services.places import NOWHERE, Map, Seq, Tagged

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Callable

# Where the later one counts alone.
REPLACED = {"command", "entrypoint", "test"}
# Whose names without a value get the value of the environment, whatever they had before.
PASSED_ON = {"environment", "args"}


def _port(one: Map) -> object:
    return (one.get("host_ip"), one.get("published"), one.get("target"), one.get("protocol"))


# Of the items of a list, what there can be one of.
KEYS: dict[str, Callable[..., object]] = {
    "ports": _port,
    "volumes": lambda one: one.get("target"),
    "devices": lambda one: one.get("target") or repr(one),
    "secrets": lambda one: one.get("target") or f"/run/secrets/{one.get('source')}",
    "configs": lambda one: one.get("target") or f"/{one.get('source')}",
    "env_file": lambda one: one.get("path"),
    "config": lambda one: one.get("subnet") or repr(one),
}


def over(below: object, above: object, key: str = "") -> object:
    """`above` laid over `below`; both are in their long form, and neither is changed."""
    if isinstance(above, Tagged):
        return above.content if above.tag == "!override" else above
    if isinstance(below, Tagged):
        return above
    if isinstance(below, Map) and isinstance(above, Map):
        return _maps(below, above, key)
    if isinstance(below, Seq) and isinstance(above, Seq) and key not in REPLACED:
        return distinct(Seq([*below, *above], [*below.places, *above.places]), key)
    return below if above is None and key not in REPLACED else above


def _maps(below: Map, above: Map, key: str) -> Map:
    if key == "logging" and below.get("driver") and above.get("driver") not in (None, below["driver"]):
        return above
    if key == "ulimits":
        return Map({**below, **above}, {**below.places, **above.places})
    found = Map(below, below.places)
    if key in PASSED_ON:
        found.update(above)
        found.places.update(above.places)
        return _without_reset(found)
    for name, content in above.items():
        place = above.places.get(name, NOWHERE)
        if isinstance(content, Tagged) and content.tag == "!reset":
            found.pop(name, None)
        elif name in found:
            found.put(name, over(found[name], content, name), place)
        else:
            found.put(name, untagged(content), place)
    return found


def _without_reset(found: Map) -> Map:
    kept = untagged(found)
    assert isinstance(kept, Map)
    return kept


def distinct(items: Seq, key: str) -> Seq:
    """A list without what is there twice; the later one stands in the place of the earlier."""
    index = KEYS.get(key)
    found = Seq()
    known: dict[object, int] = {}
    for content, place in zip(items, items.places, strict=True):
        try:
            which = index(content) if index and isinstance(content, Map) else content
            at = known.setdefault(which, len(found))
        except TypeError:
            at = len(found)  # What cannot be compared so is kept.
        if at == len(found):
            found.put(content, place)
        else:
            found[at], found.places[at] = content, place
    return found


def untagged(content: object) -> object:
    """The same, once there is nothing below any more that a tag could mean."""
    if isinstance(content, Tagged):
        return untagged(content.content) if content.tag == "!override" else None
    if isinstance(content, Map):
        kept = {
            key: untagged(inner)
            for key, inner in content.items()
            if not (isinstance(inner, Tagged) and inner.tag == "!reset")
        }
        return Map(kept, content.places)
    if isinstance(content, Seq):
        pairs = zip(content, content.places, strict=True)
        kept_items = [(untagged(inner), place) for inner, place in pairs if not _is_reset(inner)]
        return Seq([inner for inner, _ in kept_items], [place for _, place in kept_items])
    return content


def _is_reset(content: object) -> bool:
    return isinstance(content, Tagged) and content.tag == "!reset"
