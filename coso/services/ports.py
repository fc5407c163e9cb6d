"""Published ports: `8080:80`, `127.0.0.1:8000-8002:80-82/udp`, and the long form.

Source: compose-spec, 05-services.md ("ports").
"""

from __future__ import annotations

import re

from coso.services.places import Item, Map, Seq
from coso.services.values import fields, text, whole, word

RANGE = re.compile(r"([0-9]+)(?:-([0-9]+))?")
PROTOCOLS = ("tcp", "udp", "sctp")
MOST = 65535
LONG = fields(
    {
        "name": text,
        "mode": text,
        "host_ip": text,
        "target": whole,
        "published": word,
        "protocol": text,
        "app_protocol": text,
    },
)


def ports(item: Item, directory: str) -> Seq:
    """The ports of a service, each in its long form."""
    found = Seq()
    for inner in item.items():
        if isinstance(inner.content, Map):
            known = {"mode": "ingress", "protocol": "tcp"}
            long = LONG(inner, directory)
            assert isinstance(long, Map)
            if "target" not in long:
                inner.fail("the key target is missing")
            if long.get("published"):
                _published(inner, long["published"])
            found.put(Map({**known, **long}, long.places), inner.place)
            continue
        for one in _short(inner):
            found.put(one, inner.place)
    return found


def _short(item: Item) -> list[Map]:
    written, _, protocol = word(item).partition("/")
    protocol = protocol.lower() or "tcp"
    if protocol not in PROTOCOLS:
        item.fail(f"{protocol!r} is no protocol", hint=f"{', '.join(PROTOCOLS)} are")
    before, _, inside = written.rpartition(":")
    address, colon, outside = before.rpartition(":")
    if not colon:
        address, outside = "", before
    targets = _numbers(item, inside)
    published = _published(item, outside) if outside else []
    if published and len(published) != len(targets) and len(targets) != 1:
        item.fail(f"{len(published)} ports of the host lead to {len(targets)} of the container")
    found = []
    for number, target in enumerate(targets):
        one = Map({"mode": "ingress", "target": target, "protocol": protocol})
        if address:
            one["host_ip"] = address.removeprefix("[").removesuffix("]")
        if len(published) == len(targets):
            one["published"] = str(published[number])
        elif published:
            one["published"] = outside
        found.append(one)
    return found


def _published(item: Item, written: str) -> list[int]:
    """Ports of the host; 0 is one of the host's choice."""
    return [0] if written == "0" else _numbers(item, written)


def _numbers(item: Item, written: str) -> list[int]:
    found = RANGE.fullmatch(written)
    if not found:
        item.fail(f"{written!r} is no port", hint="write it as 8080:80, or 127.0.0.1:8080:80/udp")
    first, last = int(found[1]), int(found[2] or found[1])
    if not 0 < first <= last <= MOST:
        item.fail(f"{written} is no range of ports: they go from 1 to {MOST}")
    return list(range(first, last + 1))
