"""Which devices a group's processes may make and open: one list of rules, and what v1 and v2 make of it.

v1 has files for it (Documentation/admin-guide/cgroup-v1/devices.rst), v2 a BPF
program (cgroup-v2.rst, Device controller).  Without the filter, root without a
user namespace makes a node of the host's disk with CAP_MKNOD, and reads and
writes it.

The last rule that names a device decides, for each of r, w and m by itself;
what no rule names is denied.  A rule for all devices starts the list anew.
"""

from __future__ import annotations

import os
from _struct import pack, unpack_from

from coso.cgroups.files import named
from coso.errors import KernelError, LimitError
from coso.kernel.call import address_of, buffer, call
from coso.spec.defaults import DEVICE_RULES

TYPE_CHECKING = False
if TYPE_CHECKING:
    from coso.spec import DeviceRule

    # Type `b` or `c`, major and minor or None for any.
    Device = tuple[str, int | None, int | None]

# include/uapi/linux/bpf.h
BPF_PROG_LOAD, BPF_PROG_ATTACH, BPF_PROG_DETACH, BPF_PROG_GET_FD_BY_ID, BPF_PROG_QUERY = 5, 8, 9, 13, 16
BPF_PROG_TYPE_CGROUP_DEVICE, BPF_CGROUP_DEVICE, BPF_F_ALLOW_MULTI = 15, 6, 2
ACCESS = {"m": 1, "r": 2, "w": 4}  # BPF_DEVCG_ACC_*
EVERY_ACCESS = 7
DEVICE_TYPES = {"b": 1, "c": 2}  # BPF_DEVCG_DEV_*
LOAD, AND, SHIFT, MOVE, EXIT = 0x61, 0x54, 0x74, 0xBC, 0x95  # ldxw, and32 K, rsh32 K, mov32 X, exit
EQUAL, UNEQUAL, SET = 0x15, 0x55, 0xB7  # jeq K, jne K, mov64 K
MOST_PROGRAMS = 64  # BPF_CGROUP_MAX_PROGS


def complete(rules: tuple[DeviceRule, ...]) -> tuple[DeviceRule, ...]:
    """The rules with those for the default devices at their end, as runc and crun have it: the list of a
    configuration often is a mere "deny all", and the specification promises /dev/null all the same.
    """
    default = DEVICE_RULES[1:]
    return rules if rules[-len(default) :] == default else (*rules, *default)


def flatten(rules: tuple[DeviceRule, ...]) -> tuple[bool, list[tuple[bool, Device, int]]]:
    """Whether devices are allowed by default, and what is different: allowed or not, device, access."""
    default = False
    found: list[tuple[bool, Device, int]] = []
    for rule in rules:
        access = _access(rule.access)
        major, minor = _number(rule.major), _number(rule.minor)
        if rule.type not in ("a", "b", "c", "u"):
            raise LimitError(f"{named('devices')}: {rule.type!r} is no type of device", hint="a, b and c are")
        if rule.type == "a" and major is None and minor is None and access == EVERY_ACCESS:
            default, found = rule.allow, []
            continue
        # `u` is an unbuffered character device, which Linux has no difference for (mknod(1)).
        for kind in ("b", "c") if rule.type == "a" else (rule.type.replace("u", "c"),):
            found.append((rule.allow, (kind, major, minor), access))
    return default, found


def _access(text: str) -> int:
    if not text or set(text) - set(ACCESS):
        raise LimitError(f"{named('devices')}: {text!r} is no access", hint="r, w and m are, alone or together")
    return sum(ACCESS[letter] for letter in set(text))


def _number(given: int | None) -> int | None:
    """A number of a device; -1 is how runc's own configurations write "any"."""
    if given is not None and given >= 1 << 31:
        raise LimitError(f"{named('devices')}: {given} is no number of a device")
    return given if given is None or given >= 0 else None


def v1_rules(rules: tuple[DeviceRule, ...]) -> tuple[tuple[str, str], ...]:
    """The files and texts of v1: the default first, which forgets all else, then what is different.

    The kernel keeps a list of exceptions, and takes back exactly what was
    given: a part of a wider exception it would silently leave as it is.
    """
    default, listed = flatten(rules)
    exceptions: dict[Device, int] = {}
    for allow, device, access in listed:
        if allow != default:
            exceptions[device] = exceptions.get(device, 0) | access
        else:
            _take_back(exceptions, device, access)
    file = "devices.deny" if default else "devices.allow"
    texts = [_text(device, access) for device, access in exceptions.items() if access]
    return (("devices.allow" if default else "devices.deny", "a"), *((file, text) for text in texts))


def _take_back(exceptions: dict[Device, int], device: Device, access: int) -> None:
    for other in exceptions:
        if not exceptions[other] & access or not _overlap(other, device):
            continue
        if not _covers(device, other):
            raise LimitError(
                f"{named('devices')}: cgroup v1 cannot take {_text(device, access)!r} "
                f"out of {_text(other, exceptions[other])!r}",
                hint="list what is meant piece by piece, or use cgroup v2",
            )
        exceptions[other] &= ~access


def _overlap(one: Device, other: Device) -> bool:
    return one[0] == other[0] and all(a is None or b is None or a == b for a, b in zip(one[1:], other[1:], strict=True))


def _covers(wide: Device, narrow: Device) -> bool:
    return all(a is None or a == b for a, b in zip(wide[1:], narrow[1:], strict=True))


def _text(device: Device, access: int) -> str:
    kind, *numbers = device
    major, minor = ("*" if number is None else number for number in numbers)
    return f"{kind} {major}:{minor} {''.join(letter for letter in 'rwm' if ACCESS[letter] & access)}"


def _op(code: int, target: int = 0, source: int = 0, offset: int = 0, number: int = 0) -> bytes:
    return pack("BBhi", code, source << 4 | target, offset, number)


def program(rules: tuple[DeviceRule, ...]) -> bytes:
    """The BPF program of a list of rules, which goes through them from the last one to the first.

    Allowed access is struck off what is asked for, until none is left; denied
    access that is still asked for ends it.
    """
    default, listed = flatten(rules)
    code = (
        _op(LOAD, 2, 1, 0)  # r2 = access << 16 | type
        + _op(MOVE, 3, 2)
        + _op(SHIFT, 3, number=16)  # r3 = access
        + _op(AND, 2, number=0xFFFF)  # r2 = type
        + _op(LOAD, 4, 1, 4)  # r4 = major
        + _op(LOAD, 5, 1, 8)  # r5 = minor
    )
    for allow, (kind, major, minor), access in reversed(listed):
        conditions = [
            (2, DEVICE_TYPES[kind]),
            *((4, major),) * (major is not None),
            *((5, minor),) * (minor is not None),
        ]
        deed = _allow(access) if allow else _deny(access)
        for at, (register, number) in enumerate(conditions):
            # A jump counts from the instruction after it.
            beyond = len(conditions) - at - 1 + len(deed) // 8
            code += _op(UNEQUAL, register, 0, beyond, number or 0)
        code += deed
    return code + _answer(default)


def _answer(allow: bool) -> bytes:
    return _op(SET, 0, number=int(allow)) + _op(EXIT)


def _allow(access: int) -> bytes:
    return _op(AND, 3, number=EVERY_ACCESS & ~access) + _op(UNEQUAL, 3, 0, 2, 0) + _answer(True)


def _deny(access: int) -> bytes:
    return _op(MOVE, 1, 3) + _op(AND, 1, number=access) + _op(EQUAL, 1, 0, 2, 0) + _answer(False)


def filter_devices(group: int, rules: tuple[DeviceRule, ...]) -> None:
    """Attach the filter to the v2 group that `group` is a descriptor of, in place of earlier ones; raise KernelError.

    The new one comes first: with both attached, both have to agree, so there is
    no moment without a filter.  It goes with the group.
    """
    text = program(rules)
    old = attached(group)
    code, licence = buffer(bytearray(text)), buffer(bytearray(b"Apache-2.0\0"))
    load = pack("IIQQ", BPF_PROG_TYPE_CGROUP_DEVICE, len(text) // 8, address_of(code), address_of(licence)) + bytes(48)
    fd = call("bpf", BPF_PROG_LOAD, load, len(load))
    try:
        attach = pack("IIII", group, fd, BPF_CGROUP_DEVICE, BPF_F_ALLOW_MULTI)
        call("bpf", BPF_PROG_ATTACH, attach, len(attach))
    finally:
        os.close(fd)
    for number in old:
        _detach(group, number)


def attached(group: int) -> list[int]:
    """The numbers of the device programs attached to a v2 group itself (bpf(2), BPF_PROG_QUERY)."""
    numbers = bytearray(4 * MOST_PROGRAMS)
    place = buffer(numbers)
    # struct { target_fd, attach_type, query_flags, attach_flags, prog_ids, prog_cnt }, which the kernel fills in.
    query = bytearray(pack("IIIIQII", group, BPF_CGROUP_DEVICE, 0, 0, address_of(place), MOST_PROGRAMS, 0))
    call("bpf", BPF_PROG_QUERY, buffer(query), len(query))
    count: int = unpack_from("I", query, 24)[0]
    return list(unpack_from(f"{count}I", numbers))


def _detach(group: int, number: int) -> None:
    wanted = pack("III", number, 0, 0)
    try:
        fd = call("bpf", BPF_PROG_GET_FD_BY_ID, wanted, len(wanted))
    except KernelError:
        return  # Gone meanwhile, or a security module keeps it: it can only restrict further.
    try:
        detach = pack("IIII", group, fd, BPF_CGROUP_DEVICE, 0)
        call("bpf", BPF_PROG_DETACH, detach, len(detach))
    finally:
        os.close(fd)
