"""The device filter of cgroup version 2, which has no devices files: a BPF program (cgroup-v2.rst, Device controller).

The same rules as v1.DEVICES. Without it, root without a user namespace makes
a node of the host's disk with CAP_MKNOD, and reads and writes it.
"""

from __future__ import annotations

import os
from _struct import pack

from coso.kernel.call import address_of, buffer, call

# include/uapi/linux/bpf.h
BPF_PROG_LOAD, BPF_PROG_ATTACH = 5, 8
BPF_PROG_TYPE_CGROUP_DEVICE, BPF_CGROUP_DEVICE, BPF_F_ALLOW_MULTI = 15, 6, 2
ACC_MKNOD, DEV_CHAR = 1, 2
LOAD, AND, SHIFT, MOVE, EXIT = 0x61, 0x54, 0x74, 0xBC, 0x95  # ldxw, and32 K, rsh32 K, mov32 X, exit
EQUAL, UNEQUAL, JUMP, SET = 0x15, 0x55, 0x05, 0xB7  # jeq K, jne K, ja, mov64 K


def _op(code: int, target: int = 0, source: int = 0, offset: int = 0, number: int = 0) -> bytes:
    return pack("BBhi", code, source << 4 | target, offset, number)


def program() -> bytes:
    """Allow mknod of any node, and the use of character 1:3,5,7,8,9, 5:0-2 and 136:*."""
    head = (
        _op(LOAD, 2, 1, 0)  # r2 = access << 16 | type
        + _op(MOVE, 3, 2)
        + _op(SHIFT, 3, number=16)  # r3 = access
        + _op(AND, 2, number=0xFFFF)  # r2 = type
        + _op(LOAD, 4, 1, 4)  # r4 = major
        + _op(LOAD, 5, 1, 8)  # r5 = minor
    )
    # (code, register, number, destination)
    body: list[tuple[int, int, int, str] | str] = [
        (EQUAL, 3, ACC_MKNOD, "allow"),
        (UNEQUAL, 2, DEV_CHAR, "deny"),
        (EQUAL, 4, 136, "allow"),
        (EQUAL, 4, 1, "one"),
        (UNEQUAL, 4, 5, "deny"),
        *((EQUAL, 5, minor, "allow") for minor in (0, 1, 2)),
        (JUMP, 0, 0, "deny"),
        "one",
        *((EQUAL, 5, minor, "allow") for minor in (3, 5, 7, 8, 9)),
        "deny",
    ]
    places: dict[str, int] = {}
    at = 0
    for item in body:
        if isinstance(item, str):
            places[item] = at
        else:
            at += 1
    places["allow"] = at + 2
    code, at = head, 0
    for item in body:
        if not isinstance(item, str):
            kind, register, number, label = item
            code += _op(kind, register, 0, places[label] - at - 1, number)
            at += 1
    return code + _op(SET, 0, number=0) + _op(EXIT) + _op(SET, 0, number=1) + _op(EXIT)


def filter_devices(group: int) -> None:
    """Attach the filter to the cgroup that `group` is a descriptor of; it goes with the cgroup."""
    code, licence = buffer(bytearray(program())), buffer(bytearray(b"Apache-2.0\0"))
    load = pack("IIQQ", BPF_PROG_TYPE_CGROUP_DEVICE, len(program()) // 8, address_of(code), address_of(licence))
    load += bytes(48)
    fd = call("bpf", BPF_PROG_LOAD, load, len(load))
    try:
        attach = pack("IIII", group, fd, BPF_CGROUP_DEVICE, BPF_F_ALLOW_MULTI)
        call("bpf", BPF_PROG_ATTACH, attach, len(attach))
    finally:
        os.close(fd)
