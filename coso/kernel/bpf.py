"""Classic BPF for seccomp: tests of a call's number and arguments, put together into one program (seccomp(2)).

A filter reads a struct seccomp_data (include/uapi/linux/seccomp.h) one 32-bit
word at a time, compares, jumps forward by at most 255 instructions, and
returns a verdict.  A *leaf* is the code for one call, a *line* says from which
number on which leaf answers, and a program is a binary search over the line of
the caller's architecture.
"""

from __future__ import annotations

from _struct import pack

from coso.errors import SpecError

# include/uapi/linux/bpf_common.h: load from a fixed place; jump, mask and return with a constant.
LOAD, ALWAYS, EQ, GT, GE, AND, RETURN = 0x20, 0x05, 0x15, 0x25, 0x35, 0x54, 0x06
NUMBER_AT, ARCH_AT, ARGUMENTS_AT = 0, 4, 16
LONGEST = 4096  # BPF_MAXINSNS
REACH = 255
WORD = 0xFFFFFFFF
# Where a test that fails jumps to, until its rule is whole and the distance known.
FAIL = -1

Code = tuple[tuple[int, int, int, int], ...]
Line = list[tuple[int, Code]]
# An argument's index, an operator as in SCMP_CMP_EQ, and what it is compared with: value and valueTwo.
Condition = tuple[int, str, int, int]
# The verdict when all conditions hold.
Rule = tuple[tuple[Condition, ...], int]

# Of a 64-bit comparison: what the high words decide, and what the low words do when the high ones are equal.
# A jump of 2 or 3 goes behind the low words: the condition holds.
_HIGH = {
    "EQ": ((EQ, 0, FAIL),),
    "NE": ((EQ, 0, 2),),
    "GT": ((GT, 3, 0), (EQ, 0, FAIL)),
    "GE": ((GT, 3, 0), (EQ, 0, FAIL)),
    "LT": ((GT, FAIL, 0), (EQ, 0, 2)),
    "LE": ((GT, FAIL, 0), (EQ, 0, 2)),
}
_LOW = {
    "EQ": (EQ, 0, FAIL),
    "NE": (EQ, FAIL, 0),
    "GT": (GT, 0, FAIL),
    "GE": (GE, 0, FAIL),
    "LT": (GE, FAIL, 0),
    "LE": (GT, FAIL, 0),
}
OPERATORS = (*_LOW, "MASKED_EQ")


def returns(verdict: int) -> Code:
    """Return a leaf that is nothing but a verdict."""
    return ((RETURN, 0, 0, verdict),)


def first_match(rules: tuple[Rule, ...], otherwise: int, *, wide: bool) -> Code:
    """Return a leaf that answers with the first rule that holds; not `wide`, it looks at the low words only."""
    leaf: Code = ()
    held: tuple[int, int, int, int] | None = None
    for conditions, verdict in rules:
        code = _rule(conditions, verdict, wide)
        if len(code) == 1:
            return leaf + code
        # After a rule that loaded one word and left it as it was, that word need not be loaded again.
        leaf += code[1:] if code[0] == held else code
        loads = [item for item in code if item[0] in (LOAD, AND)]
        held = loads[0] if len(loads) == 1 else None
    return leaf + returns(otherwise)


def _rule(conditions: tuple[Condition, ...], verdict: int, wide: bool) -> Code:
    code = [item for condition in conditions for item in _test(condition, wide)]
    code += returns(verdict)
    end = len(code)
    return tuple(
        (operation, _resolve(yes, end - at), _resolve(no, end - at), constant)
        for at, (operation, yes, no, constant) in enumerate(code, 1)
    )


def _resolve(jump: int, distance: int) -> int:
    return distance if jump == FAIL else jump


def _test(condition: Condition, wide: bool) -> Code:
    """Go on behind it when a condition on an argument holds; nothing at all when it always does."""
    index, operator, value, value_two = condition
    low = ARGUMENTS_AT + 8 * index
    if operator == "MASKED_EQ":
        test = _masked(low, value & WORD, value_two & WORD)
        return _masked(low + 4, value >> 32, value_two >> 32) + test if wide else test
    test = ((LOAD, 0, 0, low), (*_LOW[operator], value & WORD))
    if wide:
        high = tuple((*decision, value >> 32) for decision in _HIGH[operator])
        test = ((LOAD, 0, 0, low + 4), *high, *test)
    return () if (operator, value) == ("GE", 0) else test


def _masked(at: int, mask: int, value: int) -> Code:
    if mask == 0:
        return ()
    cut = ((AND, 0, 0, mask),) if mask != WORD else ()
    return ((LOAD, 0, 0, at), *cut, (EQ, 0, FAIL, value & mask))


def number_line(leaves: dict[int, Code], otherwise: Code, newest: int, beyond: Code) -> Line:
    """Return the line with these leaves by number, `otherwise` between them, and `beyond` above `newest`.

    No leaf is above `newest`.
    """
    line: Line = []
    following = 0
    for number in sorted(leaves):
        if number > following:
            _add(line, following, otherwise)
        _add(line, number, leaves[number])
        following = number + 1
    if following <= newest:
        _add(line, following, otherwise)
    _add(line, newest + 1, beyond)
    return line


def _add(line: Line, start: int, leaf: Code) -> None:
    """Add a leaf to the end of a line, unless the one before is the same."""
    if not line or line[-1][1] != leaf:
        line.append((start, leaf))


def join(below: Line, number: int, above: Line) -> Line:
    """Return the line that is `below` up to a number and `above` from that number on."""
    line = [(start, leaf) for start, leaf in below if start < number]
    for place, (start, leaf) in enumerate(above):
        if place + 1 == len(above) or above[place + 1][0] > number:
            _add(line, max(start, number), leaf)
    return line


def assemble(lines: dict[int, Line], foreign: Code) -> bytes:
    """Return the program for lines by AUDIT_ARCH_; a call of another architecture meets the leaf `foreign`."""
    code = foreign
    for arch, line in lines.items():
        code = _either(EQ, arch, ((LOAD, 0, 0, NUMBER_AT), *_search(line)), code)
    return _to_bytes(((LOAD, 0, 0, ARCH_AT), *code))


def _search(line: Line) -> Code:
    if len(line) == 1:
        return line[0][1]
    middle = len(line) // 2
    return _either(GE, line[middle][0], _search(line[middle:]), _search(line[:middle]))


def _either(jump: int, constant: int, yes: Code, no: Code) -> Code:
    """Two ways; a jump over more than BPF's reach is an instruction of its own."""
    if len(no) <= REACH:
        return ((jump, len(no), 0, constant), *no, *yes)
    return ((jump, 0, 1, constant), (ALWAYS, 0, 0, len(no)), *no, *yes)


def _to_bytes(code: Code) -> bytes:
    if len(code) > LONGEST:
        raise SpecError(
            f"the seccomp profile takes {len(code)} instructions, and the kernel loads {LONGEST} at most",
            cause="many rules with conditions on arguments",
            hint="name calls without conditions where that will do",
        )
    return b"".join(pack("HBBI", *instruction) for instruction in code)
