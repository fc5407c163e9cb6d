"""From `linux.seccomp` of the OCI runtime specification to BPF, as runc and libseccomp read it (config-linux.md).

- The host's own architecture is filtered always, whatever is listed; calls of
  an architecture that is not listed kill the thread.
- A rule that answers like the default is left out; a rule without conditions
  wins over those with, which are tried in the order given.
- Conditions of one rule must all hold, but where two look at one argument,
  any one will do.  Those of 32-bit architectures see 32 bits.
- Calls newer than any the profile names get ENOSYS and not a strict default,
  so that a C library falls back to an older call (runc's libcontainer/seccomp/patchbpf).
- On i386 a rule for a call of socketcall(2) or ipc(2) holds for that way in as
  well; arguments are in memory there, so its conditions are not looked at.
"""

from __future__ import annotations

import os

from coso.errors import SpecError
from coso.kernel import bpf, syscalls
from coso.kernel.bpf import Code, Condition, Line, returns
from coso.kernel.seccomp import (
    ACTIONS,
    AUDIT_ARCH_I386,
    AUDIT_ARCH_X86_64,
    KILL_THREAD,
    NEW_LISTENER,
    deny,
)
from coso.spec import Seccomp, SeccompArg, SeccompRule

EPERM, ENOSYS = 1, 38
# The largest number that an action can carry (MAX_ERRNO, SECCOMP_RET_DATA).
DATA = {"SCMP_ACT_ERRNO": 4095, "SCMP_ACT_TRACE": 0xFFFF}
# A default that lets calls through, or somebody outside decide, is asked about new calls too.
LENIENT = ("SCMP_ACT_ALLOW", "SCMP_ACT_LOG", "SCMP_ACT_TRACE", "SCMP_ACT_NOTIFY")
ARCHITECTURES = frozenset(
    f"SCMP_ARCH_{name}"
    for name in (
        "X86 X86_64 X32 ARM AARCH64 LOONGARCH64 M68K MIPS MIPS64 MIPS64N32 MIPSEL MIPSEL64 MIPSEL64N32 "
        "PARISC PARISC64 PPC PPC64 PPC64LE RISCV64 S390 S390X SH SHEB"
    ).split()
)
# include/uapi/linux/seccomp.h, SECCOMP_FILTER_FLAG_*
FLAGS = {
    "TSYNC": 1,
    "LOG": 2,
    "SPEC_ALLOW": 4,
    "NEW_LISTENER": NEW_LISTENER,
    "TSYNC_ESRCH": 16,
    "WAIT_KILLABLE_RECV": 32,
}

# Some calls, the ways in which conditions can hold, and the verdict then.
Rules = list[tuple[tuple[str, ...], tuple[tuple[Condition, ...], ...], int]]
# By name, the call that can be made instead, and the condition on its arguments that says so.
Shared = dict[str, tuple[int, Condition]]
ALWAYS: tuple[tuple[Condition, ...], ...] = ((),)


def program(seccomp: Seccomp, *, foreign: int = KILL_THREAD) -> bytes:
    """Compile a profile; a call of an architecture that is not listed gets the verdict `foreign`."""
    _check_architectures(seccomp.architectures)
    default = _verdict(seccomp.default_action, seccomp.default_errno_ret)
    rules = _rules(seccomp, default)
    named = {name for rule in seccomp.syscalls for name in rule.names}
    beyond = default if seccomp.default_action in LENIENT else deny(ENOSYS)

    def line(table: dict[str, int], shared: Shared, *, wide: bool) -> Line:
        numbers = [table[name] for name in named if name in table] + [
            shared[name][0] for name in named if name in shared
        ]
        newest = max(numbers, default=0)
        leaves = _leaves(rules, table, shared, default, wide)
        return bpf.number_line(leaves, returns(default), newest, returns(beyond if newest else default))

    x32 = [(0, returns(foreign))]
    if "SCMP_ARCH_X32" in seccomp.architectures:
        x32 = line(syscalls.x32(), {}, wide=False)
    native = bpf.join(line(syscalls.x86_64(), {}, wide=True), syscalls.X32_BIT, x32)
    # Number -1 is a call that a tracer has taken away (ptrace(2)), and no call of x32.
    lines = {AUDIT_ARCH_X86_64: bpf.join(native, bpf.WORD, [(0, returns(default))])}
    if "SCMP_ARCH_X86" in seccomp.architectures:
        table = syscalls.i386()
        lines = {AUDIT_ARCH_I386: line(table, _shared(table), wide=False), **lines}
    return bpf.assemble(lines, returns(foreign))


def unknown_calls(seccomp: Seccomp) -> list[str]:
    """Return the names in a profile that are no call of this machine's architectures, and are passed over."""
    known = {*syscalls.x86_64(), *syscalls.x32(), *syscalls.i386(), *syscalls.socketcalls(), *syscalls.ipc_calls()}
    return sorted({name for rule in seccomp.syscalls for name in rule.names} - known)


def notifies(seccomp: Seccomp) -> bool:
    """Whether calls are put to an agent outside, which then needs the filter's listener (seccomp_unotify(2))."""
    actions = {seccomp.default_action, *(rule.action for rule in seccomp.syscalls)}
    return "SCMP_ACT_NOTIFY" in actions


def filter_flags(names: tuple[str, ...], *, listener: bool = False) -> int:
    """Return the flags of seccomp(2) by name, for a filter with or without a listener."""
    flags = NEW_LISTENER if listener else 0
    for name in names:
        short = name.removeprefix("SECCOMP_FILTER_FLAG_")
        if short == name or short not in FLAGS:
            raise SpecError(f"linux.seccomp.flags: {name!r} is not a flag of seccomp(2)")
        flags |= FLAGS[short]
    # The kernel refuses these combinations: both listener and TSYNC say something with the call's result.
    if flags & NEW_LISTENER and flags & FLAGS["TSYNC"]:
        flags |= FLAGS["TSYNC_ESRCH"]
    if not flags & NEW_LISTENER:
        flags &= ~FLAGS["WAIT_KILLABLE_RECV"]
    return flags


def _check_architectures(names: tuple[str, ...]) -> None:
    machine = os.uname().machine
    if machine != "x86_64":
        raise SpecError(
            f"a seccomp profile cannot be compiled for {machine}",
            cause="coso knows the system calls of x86_64, x32 and i386 only",
            hint="leave linux.seccomp out",
        )
    if wrong := sorted(set(names) - ARCHITECTURES):
        raise SpecError(f"linux.seccomp.architectures: {wrong[0]!r} is not an architecture")


def _verdict(action: str, errno_ret: int | None) -> int:
    """Return the kernel's word for an action; KILL is the old name of KILL_THREAD."""
    kind = "KILL_THREAD" if action == "SCMP_ACT_KILL" else action.removeprefix("SCMP_ACT_")
    if kind == action or kind not in ACTIONS:
        raise SpecError(f"linux.seccomp: {action!r} is not an action")
    if action not in DATA:
        if errno_ret is not None:
            raise SpecError(f"linux.seccomp: {action} takes no errnoRet")
        return ACTIONS[kind]
    number = EPERM if errno_ret is None else errno_ret
    if not 0 <= number <= DATA[action]:
        raise SpecError(f"linux.seccomp: errnoRet {number} of {action} is not between 0 and {DATA[action]}")
    return ACTIONS[kind] | number


def _rules(seccomp: Seccomp, default: int) -> Rules:
    """Return the rules that differ from the default, checked."""
    rules = [(rule.names, _ways(rule), _verdict(rule.action, rule.errno_ret)) for rule in seccomp.syscalls]
    return [rule for rule in rules if rule[2] != default]


def _ways(rule: SeccompRule) -> tuple[tuple[Condition, ...], ...]:
    """Return the conjunctions of which one must hold."""
    conditions = tuple(_condition(arg) for arg in rule.args)
    if len({index for index, *_ in conditions}) == len(conditions):
        return (conditions,)
    return tuple((condition,) for condition in conditions)


def _condition(arg: SeccompArg) -> Condition:
    operator = arg.op.removeprefix("SCMP_CMP_")
    if operator == arg.op or operator not in bpf.OPERATORS:
        raise SpecError(f"linux.seccomp.syscalls.args: {arg.op!r} is not an operator")
    if not 0 <= arg.index <= 5:
        raise SpecError(f"linux.seccomp.syscalls.args: index {arg.index} is not between 0 and 5")
    for number in (arg.value, arg.value_two):
        if not 0 <= number < 1 << 64:
            raise SpecError(f"linux.seccomp.syscalls.args: {number} is not an unsigned 64-bit number")
    return arg.index, operator, arg.value, arg.value_two


def _leaves(rules: Rules, table: dict[str, int], shared: Shared, default: int, wide: bool) -> dict[int, Code]:
    """Return what becomes of the calls that rules name, by number."""
    leaves: dict[int, Code] = {}
    conditional: dict[int, list[bpf.Rule]] = {}
    for names, ways, verdict in rules:
        leaf = returns(verdict)
        for name in names:
            number = table.get(name)
            if number is not None and ways == ALWAYS:
                leaves.setdefault(number, leaf)
            elif number is not None:
                conditional.setdefault(number, []).extend((way, verdict) for way in ways)
            if name in shared:
                number, selected = shared[name]
                conditional.setdefault(number, []).append(((selected,), verdict))
    for number, tried in conditional.items():
        if number not in leaves:
            leaves[number] = bpf.first_match(tuple(tried), default, wide=wide)
    return leaves


def _shared(table: dict[str, int]) -> Shared:
    """Return the calls that i386 can make through another one, with that one and how its first argument selects them.

    The upper half of ipc's is a version (ipc/syscall.c).
    """
    sockets: Shared = {
        name: (table["socketcall"], (0, "EQ", number, 0)) for name, number in syscalls.socketcalls().items()
    }
    return sockets | {
        name: (table["ipc"], (0, "MASKED_EQ", 0xFFFF, number)) for name, number in syscalls.ipc_calls().items()
    }
