"""The small encoder against pyroute2's, byte for byte."""

from __future__ import annotations

import pytest
from pyroute2.netlink import rtnl
from pyroute2.netlink.rtnl.ifaddrmsg import ifaddrmsg
from pyroute2.netlink.rtnl.ifinfmsg import ifinfmsg
from pyroute2.netlink.rtnl.rtmsg import rtmsg

from cosonet import netlink

MAC = b"\x02\xc0\x0a\xc9\x00\x05"
MAC_TEXT = "02:c0:0a:c9:00:05"
CREATE = netlink.CREATE
CHANGE = netlink.CHANGE
UP = {"flags": 1, "change": 1}


def encoded(message: object, kind: int, flags: int, fields: dict[str, object], attributes: list[object]) -> bytes:
    for name, content in fields.items():
        message[name] = content  # type: ignore[index]
    message["attrs"] = attributes  # type: ignore[index]
    message["header"]["type"] = kind  # type: ignore[index]
    message["header"]["flags"] = flags  # type: ignore[index]
    message["header"]["sequence_number"] = 7  # type: ignore[index]
    message["header"]["pid"] = 0  # type: ignore[index]
    message.encode()  # type: ignore[attr-defined]
    return bytes(message.data)  # type: ignore[attr-defined]


def test_a_veth_pair_is_the_same() -> None:
    peer = ifinfmsg()
    peer["attrs"] = [("IFLA_IFNAME", "eth0"), ("IFLA_ADDRESS", MAC_TEXT), ("IFLA_MTU", 1400), ("IFLA_NET_NS_FD", 9)]
    expected = encoded(
        ifinfmsg(),
        rtnl.RTM_NEWLINK,
        CREATE,
        UP,
        [
            ("IFLA_IFNAME", "coso-1"),
            ("IFLA_MTU", 1400),
            ("IFLA_MASTER", 5),
            (
                "IFLA_LINKINFO",
                {"attrs": [("IFLA_INFO_KIND", "veth"), ("IFLA_INFO_DATA", {"attrs": [("VETH_INFO_PEER", peer)]})]},
            ),
        ],
    )
    assert netlink.new_veth("coso-1", 5, 1400, "eth0", MAC, 9).encode(7) == expected


def test_a_bridge_is_the_same() -> None:
    expected = encoded(
        ifinfmsg(),
        rtnl.RTM_NEWLINK,
        CREATE,
        {},
        [
            ("IFLA_IFNAME", "coso0"),
            ("IFLA_ADDRESS", MAC_TEXT),
            ("IFLA_MTU", 1500),
            ("IFLA_LINKINFO", {"attrs": [("IFLA_INFO_KIND", "bridge")]}),
        ],
    )
    assert netlink.new_bridge("coso0", 1500, MAC).encode(7) == expected


def test_a_link_that_takes_no_link_local_address_is_the_same() -> None:
    family = {"attrs": [("AF_INET6", {"attrs": [("IFLA_INET6_ADDR_GEN_MODE", 1)]})]}
    expected = encoded(ifinfmsg(), rtnl.RTM_NEWLINK, CHANGE, {"index": 12}, [("IFLA_AF_SPEC", family)])
    assert netlink.no_link_local(12).encode(7) == expected


def test_bringing_up_and_removing_a_link_are_the_same() -> None:
    up = encoded(ifinfmsg(), rtnl.RTM_NEWLINK, CHANGE, {"index": 12, **UP}, [])
    assert netlink.link_up(12).encode(7) == up
    gone = encoded(ifinfmsg(), rtnl.RTM_DELLINK, CHANGE, {}, [("IFLA_IFNAME", "coso-1")])
    assert netlink.delete_link("coso-1").encode(7) == gone


def test_an_address_is_the_same() -> None:
    expected = encoded(
        ifaddrmsg(),
        rtnl.RTM_NEWADDR,
        CREATE,
        {"family": 2, "prefixlen": 22, "index": 12},
        [("IFA_BROADCAST", "10.201.3.255"), ("IFA_LOCAL", "10.201.0.5"), ("IFA_ADDRESS", "10.201.0.5")],
    )
    assert netlink.new_address(12, bytes([10, 201, 0, 5]), 22).encode(7) == expected


def test_a_default_route_is_the_same() -> None:
    expected = encoded(
        rtmsg(),
        rtnl.RTM_NEWROUTE,
        CREATE,
        {"family": 2, "table": 254, "proto": 4, "scope": 0, "type": 1},
        [("RTA_GATEWAY", "10.201.0.1")],
    )
    assert netlink.new_default_route(bytes([10, 201, 0, 1])).encode(7) == expected


def test_attributes_are_found_by_kind_and_damage_ends_the_search() -> None:
    data = netlink.attribute(1, b"abc") + netlink.attribute(0x8000 | 2, b"\x03")
    assert netlink.find_attribute(data, 2) == b"\x03"
    assert netlink.find_attribute(data, 9) == b""
    assert netlink.find_attribute(b"\x00\x00\x01\x00", 1) == b""


@pytest.mark.parametrize(("name", "expected"), [("lo", 1), ("nothing0", 0)])
def test_an_index_is_zero_for_no_interface(name: str, expected: int) -> None:
    with netlink.control() as end:
        assert netlink.index_of(end, name) == expected
