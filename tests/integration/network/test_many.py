"""Many members on one network, many at a time."""

from __future__ import annotations

from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

from coso.spawn import find, spawn
from cosonet import member
from tests.integration.conftest import what_is_left
from tests.integration.network.conftest import Box, Cosonet

MANY, AT_A_TIME = 250, 16


def test_many_members_connect_sixteen_at_a_time(box: Callable[[], Box], programs: Path, cosonet: Cosonet) -> None:
    boxes = [box() for _ in range(MANY)]
    with ThreadPoolExecutor(AT_A_TIME) as pool:
        answers = list(pool.map(lambda one: spawn([str(programs / "cosonet"), "-pid", str(one.pid)]), boxes))
    assert [answer for answer in answers if answer != (0, "")] == []
    addresses = [one.address for one in member.everybody()]
    assert len(set(addresses)) == MANY
    # Each has what stands in its record, and speaks.
    for one in boxes[::50]:
        (address,) = one.addresses()
        assert address in addresses and one.reaches(addresses[0])
    # All of them fit into the rules made anew.
    assert spawn([find("nft"), "flush", "ruleset"])[0] == 0 and cosonet("reload")[0] == 0
    assert boxes[-1].reaches(addresses[0])
    for one in boxes:
        one.end()
    assert cosonet("gc")[0] == 0
    assert not what_is_left()
    assert "coso" not in spawn([find("nft"), "list", "ruleset"])[1]
