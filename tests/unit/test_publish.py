"""The words of the network: addresses, ports, and the bytes of what they become in the firewall."""

from __future__ import annotations

import struct

import pytest
from pyroute2.netlink.nfnetlink.nftsocket import NFT_MSG_DELSETELEM, NFT_MSG_NEWSETELEM, nft_set_elem_list_msg

from coso.errors import UsageError
from cosonet import elements, firewall
from cosonet.address import Subnet, parse, parse_mac, parse_subnet
from cosonet.definition import Network
from cosonet.elements import Element
from cosonet.member import Member
from cosonet.publish import Publish, parse_publish

MEMBER = Member(
    "7:9",
    "web",
    "eth0",
    "coso-0ac90005",
    "10.201.0.5",
    "fd00::5",
    "02:c0:0a:c9:00:05",
    [("tcp", "127.0.0.1", 8080, 80), ("udp", "", 53, 5353), ("tcp", "::", 8080, 80)],
)


@pytest.mark.parametrize(
    ("text", "expected"),
    [
        ("80", [Publish("tcp", "127.0.0.1", 0, 80)]),
        ("8080:80", [Publish("tcp", "127.0.0.1", 8080, 80)]),
        ("0.0.0.0:53:5353/udp", [Publish("udp", "0.0.0.0", 53, 5353)]),
        ("127.0.0.2::80", [Publish("tcp", "127.0.0.2", 0, 80)]),
        ("127.0.0.2:80", [Publish("tcp", "127.0.0.2", 0, 80)]),
        ("[::]:8080:80", [Publish("tcp", "::", 8080, 80)]),
        ("[fd00::1]::80", [Publish("tcp", "fd00::1", 0, 80)]),
        ("8000-8002:80-82", [Publish("tcp", "127.0.0.1", 8000 + n, 80 + n) for n in range(3)]),
        ("81:80/sctp", [Publish("sctp", "127.0.0.1", 81, 80)]),
        ("[FD00:0::1]:8080:80", [Publish("tcp", "fd00::1", 8080, 80)]),
    ],
)
def test_a_port_is_read(text: str, expected: list[Publish]) -> None:
    assert parse_publish(text) == expected


@pytest.mark.parametrize(
    "text",
    [
        "",
        ":",
        "0",
        "65536",
        "80/icmp",
        "a:80",
        "80:a",
        "1.2.3:80:80",
        "80-79",
        "80-81:80",
        "80:80:80",
        "[::1:80",
        "80/sctp",
    ],
)
def test_a_port_that_makes_no_sense_is_named(text: str) -> None:
    with pytest.raises(UsageError, match="publish"):
        parse_publish(text)


def test_addresses_and_subnets_are_read_and_written() -> None:
    assert parse("10.0.0.5", "").text == "10.0.0.5" and parse("FD00:0::5", "").text == "fd00::5"
    subnet = parse_subnet("10.0.0.0/22", "")
    assert (subnet.size, subnet.last, subnet.text) == (1024, (10 << 24) + 1023, "10.0.0.0/22")
    assert subnet.has(parse("10.0.3.255", "")) and not subnet.has(parse("10.0.4.0", ""))
    assert subnet.overlaps(parse_subnet("10.0.0.0/8", "")) and not subnet.overlaps(Subnet(6, 10 << 24, 22))


@pytest.mark.parametrize("text", ["10.0.0", "10.0.0.256", "", "::g", "10.0.0.1/8", "010.0.0.1"])
def test_what_is_no_address_is_named(text: str) -> None:
    with pytest.raises(UsageError, match="-ip"):
        parse(text, "-ip")


@pytest.mark.parametrize("text", ["02:00:00:00:00", "01:00:00:00:00:00", "x", "02:00:00:00:00:000", "0:0:0:0:0:0"])
def test_what_is_no_ethernet_address_is_named(text: str) -> None:
    with pytest.raises(UsageError, match="-mac"):
        parse_mac(text, "-mac")


def by_pyroute2(kind: int, element: Element, key: bytes, data: bytes) -> bytes:
    """The message as pyroute2 encodes it: key and data are given, for it knows no types."""
    message = nft_set_elem_list_msg()
    message["nfgen_family"] = 7 if element.family == "bridge" else 1
    parts = [("NFTA_SET_ELEM_KEY", {"attrs": [("NFTA_DATA_VALUE", key)]})]
    if data:
        parts.append(("NFTA_SET_ELEM_DATA", {"attrs": [("NFTA_DATA_VALUE", data)]}))
    message["attrs"] = [
        ("NFTA_SET_ELEM_LIST_TABLE", "coso"),
        ("NFTA_SET_ELEM_LIST_SET", element.set),
        ("NFTA_SET_ELEM_LIST_ELEMENTS", [{"attrs": parts}]),
    ]
    message["header"]["type"] = 10 << 8 | kind
    message["header"]["flags"] = elements.NLM_F_REQUEST | elements.NLM_F_ACK
    if kind == NFT_MSG_NEWSETELEM:
        message["header"]["flags"] |= elements.NLM_F_CREATE
    message["header"]["sequence_number"] = 7
    message["header"]["pid"] = 0
    message.encode()
    return bytes(message.data)


MAC = bytes.fromhex("02c00ac90005") + bytes(2)
LINK = b"coso-0ac90005".ljust(16, b"\0")
IP4, IP6 = bytes([10, 201, 0, 5]), bytes.fromhex("fd000000000000000000000000000005")
EXPECTED = {
    "members": (LINK + MAC, b""),
    "members4": (LINK + MAC + IP4, b""),
    "members6": (LINK + MAC + IP6, b""),
    "neighbours": (LINK + MAC + IP6, b""),
    "published4": (b"\6\0\0\0" + bytes([127, 0, 0, 1]) + struct.pack(">HH", 8080, 0), IP4 + struct.pack(">HH", 80, 0)),
    "open4": (b"\x11\0\0\0" + struct.pack(">HH", 53, 0), IP4 + struct.pack(">HH", 5353, 0)),
    "open6": (b"\6\0\0\0" + struct.pack(">HH", 8080, 0), IP6 + struct.pack(">HH", 80, 0)),
}


def test_the_elements_of_a_member_are_those() -> None:
    assert [element.set for element in elements.of_member(MEMBER)] == list(EXPECTED)


@pytest.mark.parametrize("number", range(len(EXPECTED)))
@pytest.mark.parametrize("kind", [NFT_MSG_NEWSETELEM, NFT_MSG_DELSETELEM])
def test_an_element_is_encoded_as_pyroute2_does(number: int, kind: int) -> None:
    element = elements.of_member(MEMBER)[number]
    key, data = EXPECTED[element.set]
    data = data if kind == NFT_MSG_NEWSETELEM else b""
    ours, theirs = elements.encode(kind, element, 7), by_pyroute2(kind, element, key, data)
    # As nft does, ours says of each item of the list that it is nested (NLA_F_NESTED); pyroute2 does not.
    assert len(ours) == len(theirs)
    assert {a ^ b for a, b in zip(ours, theirs, strict=True)} == {0, 0x80}


def test_rules_made_anew_have_every_member() -> None:
    network = Network("web", bridge="coso1", subnet="10.201.0.0/22", subnet6="fd00::/64")
    text = firewall.rules([network], [MEMBER])
    for word in (
        '"coso-0ac90005" . 02:c0:0a:c9:00:05 . 10.201.0.5',
        "tcp . 127.0.0.1 . 8080 : 10.201.0.5 . 80",
        "udp . 53 : 10.201.0.5 . 5353",
        "tcp . 8080 : fd00::5 . 80",
        "0xfd000000000000000000000000000005",
    ):
        assert word in text
    assert firewall.rules([], [MEMBER]).count("\n") == 4  # Nothing but the end of both tables.
