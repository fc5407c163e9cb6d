"""Seccomp filters: a small assembler of classic BPF, and their installation (seccomp(2)).

A profile is a table from system call number to verdict; everything else is
allowed up to the newest call this table knows, and answered with ENOSYS above,
so that a C library falls back to an older call as it would on an older kernel.
"""

from __future__ import annotations

from _struct import pack

from coso.kernel.call import address_of, buffer, call

# include/uapi/linux/seccomp.h, audit.h, bpf_common.h
AUDIT_ARCH_X86_64 = 0xC000003E
SECCOMP_SET_MODE_FILTER = 1
ALLOW = 0x7FFF0000
ERRNO = 0x00050000

LOAD, JUMP_EQ, JUMP_GE, JUMP_SET, AND, RETURN = 0x20, 0x15, 0x35, 0x45, 0x54, 0x06
NUMBER_AT, ARCH_AT, ARGUMENT_AT = 0, 4, 16

Code = list[tuple[int, int, int, int]]


def deny(number: int) -> int:
    """The verdict that fails a call with an errno."""
    return ERRNO | number


def returns(verdict: int) -> Code:
    """A block that ends with a verdict."""
    return [(RETURN, 0, 0, verdict)]


def if_argument_has(index: int, bits: int, then: int, otherwise: int) -> Code:
    """A block: verdict `then` when any of `bits` is set in the low word of an argument."""
    return [
        (LOAD, 0, 0, ARGUMENT_AT + 8 * index),
        (JUMP_SET, 0, 1, bits),
        (RETURN, 0, 0, then),
        (RETURN, 0, 0, otherwise),
    ]


def if_argument_is(index: int, values: tuple[int, ...], then: int, otherwise: int) -> Code:
    """A block: verdict `then` when the low word of an argument is one of `values`."""
    block: Code = [(LOAD, 0, 0, ARGUMENT_AT + 8 * index)]
    count = len(values)
    block += [(JUMP_EQ, count - place, 0, item) for place, item in enumerate(values)]
    return [*block, (RETURN, 0, 0, otherwise), (RETURN, 0, 0, then)]


def assemble(blocks: dict[int, Code], newest: int, beyond: int) -> bytes:
    """The BPF program for a table of blocks by system call number, as a binary search."""
    ranges: list[tuple[int, Code]] = []
    following = 0
    for number in sorted(blocks):
        if number > following:
            ranges.append((following, returns(ALLOW)))
        ranges.append((number, blocks[number]))
        following = number + 1
    ranges += [(following, returns(ALLOW)), (newest + 1, returns(beyond))]
    program = [
        (LOAD, 0, 0, ARCH_AT),
        (JUMP_EQ, 1, 0, AUDIT_ARCH_X86_64),
        (RETURN, 0, 0, beyond),
        (LOAD, 0, 0, NUMBER_AT),
        *_search(ranges),
    ]
    return b"".join(pack("HBBI", *instruction) for instruction in program)


def _search(ranges: list[tuple[int, Code]]) -> Code:
    """Binary search by number; the jump over the lower half is an instruction of its own, as BPF's reach is 255."""
    if len(ranges) == 1:
        return ranges[0][1]
    middle = len(ranges) // 2
    lower, upper = _search(ranges[:middle]), _search(ranges[middle:])
    if len(lower) < 256:
        return [(JUMP_GE, len(lower), 0, ranges[middle][0]), *lower, *upper]
    always = 0x05
    return [(JUMP_GE, 0, 1, ranges[middle][0]), (always, 0, 0, len(lower)), *lower, *upper]


def install(program: bytes) -> None:
    """Put a filter on the caller; it needs no_new_privs or CAP_SYS_ADMIN."""
    view = buffer(bytearray(program))
    call("seccomp", SECCOMP_SET_MODE_FILTER, 0, pack("HxxxxxxQ", len(program) // 8, address_of(view)))
