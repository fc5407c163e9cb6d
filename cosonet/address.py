"""Addresses and subnets of both families as numbers, without ipaddress (its import costs a start 3 ms)."""

from __future__ import annotations

from _socket import AF_INET, AF_INET6, inet_ntop, inet_pton

from coso.errors import UsageError
from coso.value import value

BITS = {4: 32, 6: 128}
FAMILIES = {4: AF_INET, 6: AF_INET6}


@value
class Address:
    """An address: 4 or 6, and its number."""

    version: int
    number: int

    @property
    def packed(self) -> bytes:
        """The bytes as they go over the wire."""
        return self.number.to_bytes(BITS[self.version] // 8, "big")

    @property
    def text(self) -> str:
        """The usual written form."""
        return inet_ntop(FAMILIES[self.version], self.packed)


@value
class Subnet:
    """A range of addresses with a common prefix."""

    version: int
    base: int
    length: int

    @property
    def size(self) -> int:
        """How many addresses it has."""
        return 1 << BITS[self.version] - self.length

    @property
    def last(self) -> int:
        """Its last address, in version 4 that of broadcasts."""
        return self.base + self.size - 1

    @property
    def text(self) -> str:
        """The usual written form, address/length."""
        return f"{Address(self.version, self.base).text}/{self.length}"

    def at(self, offset: int) -> Address:
        """The address so many after the first."""
        return Address(self.version, self.base + offset)

    def has(self, address: Address) -> bool:
        """Whether an address is in it."""
        return address.version == self.version and self.base <= address.number <= self.last

    def overlaps(self, other: Subnet) -> bool:
        """Whether both have an address in common."""
        return self.version == other.version and self.base <= other.last and other.base <= self.last


def parse(text: str, option: str) -> Address:
    """An address; raises UsageError that names the option it was given to."""
    for version, family in FAMILIES.items():
        try:
            return Address(version, int.from_bytes(inet_pton(family, text), "big"))
        except (OSError, ValueError):
            continue
    raise UsageError(f"{option} {text!r} is not an IP address", hint="write it as 10.88.0.5 or fd00::5")


def parse_subnet(text: str, option: str) -> Subnet:
    """A subnet as ADDRESS/LENGTH; raises UsageError that names the option it was given to."""
    start, slash, length = text.partition("/")
    address = parse(start, option)
    if not slash or not length.isdecimal() or not 0 < int(length) <= BITS[address.version]:
        raise UsageError(f"{option} {text!r} is not ADDRESS/LENGTH", hint="write it as 10.88.0.0/24 or fd00:88::/64")
    size = 1 << BITS[address.version] - int(length)
    subnet = Subnet(address.version, address.number - address.number % size, int(length))
    if subnet.base != address.number:
        raise UsageError(f"{option} {text!r} is an address inside of a subnet", hint=f"did you mean {subnet.text}?")
    return subnet


def number(text: str) -> int:
    """The number of an address that is known to be one."""
    return parse(text, "address").number


def parse_mac(text: str, option: str) -> bytes:
    """An Ethernet address of one station; raises UsageError that names the option it was given to."""
    parts = text.lower().replace("-", ":").split(":")
    good = len(parts) == 6 and all(len(part) == 2 and not set(part) - set("0123456789abcdef") for part in parts)
    raw = bytes.fromhex("".join(parts)) if good else b""
    if not good:
        raise UsageError(f"{option} {text!r} is not an Ethernet address", hint="write it as 02:42:ac:11:00:02")
    if raw[0] & 1 or raw == bytes(6):
        raise UsageError(f"{option} {text!r} is the address of a group or of nobody", hint="make the first byte 02")
    return raw


def mac_text(raw: bytes) -> str:
    """The usual written form of an Ethernet address."""
    return ":".join(f"{byte:02x}" for byte in raw)
