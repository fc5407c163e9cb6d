"""Seccomp profiles: programs interpreted instruction by instruction, and two asked of the kernel."""

from __future__ import annotations

import ctypes
import json
import mmap
import os
import re
import signal
import struct
from collections.abc import Callable
from pathlib import Path
from random import Random
from typing import Any

import pytest

from coso.errors import SpecError
from coso.kernel import syscalls
from coso.kernel.process import PR_SET_NO_NEW_PRIVS, prctl
from coso.kernel.seccomp import (
    ACTIONS,
    ALLOW,
    AUDIT_ARCH_I386,
    AUDIT_ARCH_X86_64,
    KILL_PROCESS,
    KILL_THREAD,
    LOG,
    NEW_LISTENER,
    NOTIFY,
    TRACE,
    TRAP,
    available_actions,
    deny,
    install,
)
from coso.spec import Seccomp, SeccompArg, SeccompRule, profile, seccomp
from coso.spec.defaults import CAPABILITIES
from coso.spec.seccomp_compiled import PROGRAM

EPERM, ENOSYS = deny(1), deny(38)
X86_64, I386 = AUDIT_ARCH_X86_64, AUDIT_ARCH_I386
X32 = syscalls.X32_BIT
CALLS, CALLS_X32, CALLS_I386 = syscalls.x86_64(), syscalls.x32(), syscalls.i386()
ALL_THREE = ("SCMP_ARCH_X86_64", "SCMP_ARCH_X86", "SCMP_ARCH_X32")
# What engines hand to a runtime, in small.
ENGINE = Seccomp(
    "SCMP_ACT_ERRNO",
    default_errno_ret=1,
    architectures=ALL_THREE,
    syscalls=(
        SeccompRule(
            ("read", "write", "close", "waitpid", "socketcall", "futex_waitv", "no_such_call"), "SCMP_ACT_ALLOW"
        ),
        SeccompRule(("personality",), "SCMP_ACT_ALLOW", args=(SeccompArg(0, 0xFFFFFFFF, "SCMP_CMP_EQ"),)),
        SeccompRule(("personality",), "SCMP_ACT_ALLOW", args=(SeccompArg(0, 8, "SCMP_CMP_EQ"),)),
        SeccompRule(("clone",), "SCMP_ACT_ALLOW", args=(SeccompArg(0, 0x7E020000, "SCMP_CMP_MASKED_EQ"),)),
        SeccompRule(("clone3",), "SCMP_ACT_ERRNO", 38),
    ),
)


def verdict(program: bytes, number: int, *arguments: int, arch: int = X86_64) -> int:
    """Run classic BPF over a struct seccomp_data."""
    padded = [*arguments, 0, 0, 0, 0, 0, 0][:6]
    data = struct.pack("<IIQ6Q", number, arch, 0, *padded)
    code = list(struct.iter_unpack("<HBBI", program))
    at = register = 0
    while True:
        operation, yes, no, k = code[at]
        at += 1
        if operation == 0x20:
            register = struct.unpack_from("<I", data, k)[0]
        elif operation == 0x54:
            register &= k
        elif operation == 0x06:
            return k
        elif operation == 0x05:
            at += k
        else:
            holds = {0x15: register == k, 0x25: register > k, 0x35: register >= k}[operation]
            at += yes if holds else no


def one_rule(*args: SeccompArg, names: tuple[str, ...] = ("personality",), **more: Any) -> bytes:
    """A profile that refuses everything but calls with these arguments."""
    rule = SeccompRule(names, "SCMP_ACT_ALLOW", args=args)
    return profile.program(Seccomp("SCMP_ACT_ERRNO", syscalls=(rule,), **more))


@pytest.fixture(scope="module")
def default() -> bytes:
    return seccomp.program(CAPABILITIES)


def test_every_denied_call_fails_and_its_neighbours_do_not(default: bytes) -> None:
    denied = {name for name, _ in seccomp.DENIED}
    assert denied <= set(CALLS)
    for name in set(CALLS) - seccomp.SPECIAL:
        assert verdict(default, CALLS[name]) == (EPERM if name in denied else ALLOW), name


def test_a_call_from_the_future_does_not_exist(default: bytes) -> None:
    assert verdict(default, max(CALLS.values()) + 1) == ENOSYS
    assert verdict(default, CALLS["pidfd_send_signal"] - 1) == ENOSYS
    assert verdict(default, 0x40000000 + 39) == ENOSYS  # x32


def test_a_program_of_another_architecture_finds_no_call(default: bytes) -> None:
    assert verdict(default, 20, arch=0x40000003) == ENOSYS


def test_clone_makes_processes_and_no_namespaces(default: bytes) -> None:
    assert verdict(default, CALLS["clone"], 0x11) == ALLOW
    for flag in (0x10000000, 0x20000000, 0x00020000, 0x40000000, 0x04000000, 0x08000000, 0x02000000):
        assert verdict(default, CALLS["clone"], flag | 0x11) == EPERM
    assert verdict(default, CALLS["clone3"]) == ENOSYS


def test_arguments_decide_where_they_must(default: bytes) -> None:
    assert verdict(default, CALLS["ioctl"], 1, 0x5412) == EPERM
    assert verdict(default, CALLS["ioctl"], 1, 0x5413) == ALLOW
    assert verdict(default, CALLS["socket"], 40) == EPERM
    assert verdict(default, CALLS["socket"], 2) == ALLOW
    assert verdict(default, CALLS["personality"], 0xFFFFFFFF) == ALLOW
    assert verdict(default, CALLS["personality"], 0x40000) == EPERM


def test_bits_that_the_kernel_cuts_off_do_not_hide_an_argument(default: bytes) -> None:
    assert verdict(default, CALLS["ioctl"], 1, 1 << 32 | 0x5412) == EPERM
    assert verdict(default, CALLS["socket"], 1 << 63 | 40) == EPERM


def test_the_compiled_profile_is_the_profile(default: bytes) -> None:
    assert default == PROGRAM, "run coso.spec.seccomp.write_compiled()"


def test_a_capability_opens_its_calls() -> None:
    program = seccomp.program((*CAPABILITIES, "CAP_SYS_ADMIN"))
    assert verdict(program, CALLS["mount"]) == ALLOW
    assert verdict(program, CALLS["clone"], 0x10000011) == ALLOW
    assert verdict(program, CALLS["kexec_load"]) == EPERM


def test_the_numbers_are_the_kernels() -> None:
    for name, table in (("64", CALLS), ("32", CALLS_I386), ("x32", CALLS_X32)):
        header = Path(f"/usr/include/x86_64-linux-gnu/asm/unistd_{name}.h")
        if not header.exists():
            pytest.skip(f"no {header} (package linux-libc-dev)")
        found = re.findall(r"#define __NR_(\w+) \(?(__X32_SYSCALL_BIT \+ )?(\d+)", header.read_text())
        known = {call: int(number) + (X32 if bit else 0) for call, bit, number in found}
        assert {call: table.get(call) for call in known} == known


@pytest.mark.parametrize(
    ("operator", "value", "two", "yes", "no"),
    [
        ("EQ", 1 << 32 | 5, 0, [1 << 32 | 5], [5, 1 << 32, 2 << 32 | 5]),
        ("NE", 1 << 32 | 5, 0, [5, 1 << 32, 2 << 32 | 5], [1 << 32 | 5]),
        ("GT", 1 << 32 | 5, 0, [1 << 32 | 6, 2 << 32, 1 << 63], [1 << 32 | 5, 1 << 32 | 4, 7]),
        ("GE", 1 << 32 | 5, 0, [1 << 32 | 5, 2 << 32], [1 << 32 | 4, 0xFFFFFFFF]),
        ("LT", 1 << 32 | 5, 0, [1 << 32 | 4, 0xFFFFFFFF], [1 << 32 | 5, 2 << 32]),
        ("LE", 1 << 32 | 5, 0, [1 << 32 | 5, 7], [1 << 32 | 6, 2 << 32, (1 << 64) - 1]),
        ("GE", 0, 0, [0, (1 << 64) - 1], []),
        ("LT", 0, 0, [], [0, (1 << 64) - 1]),
        ("MASKED_EQ", 0xF000000F0, 0x1000000F0, [0x1000000F0, 0xA100000AF5], [0xF0, 0x100000000]),
        ("MASKED_EQ", 0xF0, 0xFF, [0xF0, 0xFFFF], [0x0F]),
        ("MASKED_EQ", 0, 0, [0, 7], []),
    ],
)
def test_arguments_are_compared_as_unsigned_64_bit_numbers(
    operator: str, value: int, two: int, yes: list[int], no: list[int]
) -> None:
    program = one_rule(SeccompArg(2, value, f"SCMP_CMP_{operator}", two))
    assert [verdict(program, CALLS["personality"], 9, 9, argument) for argument in yes] == [ALLOW] * len(yes)
    assert [verdict(program, CALLS["personality"], 9, 9, argument) for argument in no] == [EPERM] * len(no)


def test_a_32_bit_program_is_compared_by_32_bits() -> None:
    program = one_rule(SeccompArg(0, (1 << 64) - 1, "SCMP_CMP_EQ"), architectures=ALL_THREE)
    assert verdict(program, CALLS_I386["personality"], 0xFFFFFFFF, arch=I386) == ALLOW
    assert verdict(program, CALLS_X32["personality"], 0xFFFFFFFF) == ALLOW
    assert verdict(program, CALLS["personality"], 0xFFFFFFFF) == EPERM


def test_conditions_of_a_rule_all_hold_or_any_where_they_share_an_argument() -> None:
    both = one_rule(SeccompArg(0, 1, "SCMP_CMP_EQ"), SeccompArg(1, 2, "SCMP_CMP_EQ"))
    assert [verdict(both, CALLS["personality"], *given) for given in ((1, 2), (1, 0), (0, 2))] == [ALLOW, EPERM, EPERM]
    any_ = one_rule(SeccompArg(0, 1, "SCMP_CMP_EQ"), SeccompArg(0, 2, "SCMP_CMP_EQ"), SeccompArg(1, 3, "SCMP_CMP_EQ"))
    assert [verdict(any_, CALLS["personality"], *given) for given in ((1,), (2,), (0, 3), (0,))] == [ALLOW] * 3 + [
        EPERM
    ]


def test_a_rule_without_conditions_wins_and_the_others_are_tried_in_order() -> None:
    def ask(*rules: tuple[str, tuple[SeccompArg, ...]], argument: int) -> int:
        listed = tuple(SeccompRule(("read",), action, args=args) for action, args in rules)
        return verdict(profile.program(Seccomp("SCMP_ACT_ERRNO", syscalls=listed)), CALLS["read"], argument)

    one, any_ = (SeccompArg(0, 1, "SCMP_CMP_EQ"),), (SeccompArg(0, 0, "SCMP_CMP_GE"),)
    assert ask(("SCMP_ACT_LOG", one), ("SCMP_ACT_ALLOW", ()), argument=1) == ALLOW
    assert ask(("SCMP_ACT_LOG", one), ("SCMP_ACT_ALLOW", any_), argument=1) == LOG
    assert ask(("SCMP_ACT_LOG", one), ("SCMP_ACT_ALLOW", any_), argument=0) == ALLOW
    assert ask(("SCMP_ACT_ALLOW", ()), ("SCMP_ACT_LOG", ()), argument=0) == ALLOW
    assert ask(("SCMP_ACT_ERRNO", ()), ("SCMP_ACT_ALLOW", one), argument=1) == ALLOW  # The default is left out.


@pytest.mark.parametrize(
    ("action", "number", "expected"),
    [
        ("KILL", None, KILL_THREAD),
        ("KILL_THREAD", None, KILL_THREAD),
        ("KILL_PROCESS", None, KILL_PROCESS),
        ("TRAP", None, TRAP),
        ("ERRNO", None, EPERM),
        ("ERRNO", 0, deny(0)),
        ("ERRNO", 4095, deny(4095)),
        ("TRACE", None, TRACE | 1),
        ("TRACE", 7, TRACE | 7),
        ("LOG", None, LOG),
        ("NOTIFY", None, NOTIFY),
    ],
)
def test_an_action_is_the_kernels(action: str, number: int | None, expected: int) -> None:
    rule = SeccompRule(("read",), f"SCMP_ACT_{action}", number)
    assert verdict(profile.program(Seccomp("SCMP_ACT_ALLOW", syscalls=(rule,))), 0) == expected
    assert verdict(profile.program(Seccomp(rule.action, number)), 0) == expected


@pytest.mark.parametrize(
    "wrong",
    [
        Seccomp("ALLOW"),
        Seccomp("SCMP_ACT_NEVER"),
        Seccomp("SCMP_ACT_ALLOW", 1),
        Seccomp("SCMP_ACT_ERRNO", 4096),
        Seccomp("SCMP_ACT_ERRNO", -1),
        Seccomp("SCMP_ACT_ALLOW", architectures=("SCMP_ARCH_VAX",)),
        Seccomp("SCMP_ACT_ALLOW", syscalls=(SeccompRule(("read",), "SCMP_ACT_KILL", 1),)),
        Seccomp(
            "SCMP_ACT_ALLOW",
            syscalls=(SeccompRule(("read",), "SCMP_ACT_KILL", args=(SeccompArg(6, 0, "SCMP_CMP_EQ"),)),),
        ),
        Seccomp(
            "SCMP_ACT_ALLOW",
            syscalls=(SeccompRule(("read",), "SCMP_ACT_KILL", args=(SeccompArg(0, 0, "SCMP_CMP_IS"),)),),
        ),
        Seccomp(
            "SCMP_ACT_ALLOW",
            syscalls=(SeccompRule(("read",), "SCMP_ACT_KILL", args=(SeccompArg(0, 1 << 64, "SCMP_CMP_EQ"),)),),
        ),
    ],
)
def test_what_the_specification_does_not_know_is_refused(wrong: Seccomp) -> None:
    with pytest.raises(SpecError):
        profile.program(wrong)


def test_a_program_that_the_kernel_would_not_load_is_refused() -> None:
    conditions = tuple(SeccompArg(0, number << 33 | 5, "SCMP_CMP_EQ") for number in range(60))
    rules = tuple(SeccompRule((name,), "SCMP_ACT_KILL", args=conditions) for name in list(CALLS)[:60:2])
    with pytest.raises(SpecError, match="instructions, and the kernel loads 4096"):
        profile.program(Seccomp("SCMP_ACT_ALLOW", syscalls=rules))


def test_a_jump_may_be_longer_than_bpf_reaches() -> None:
    for count in range(110, 140):
        args = tuple(SeccompArg(0, 0xFFFFFFFF, "SCMP_CMP_MASKED_EQ", number) for number in range(count))
        rules = (SeccompRule(("read",), "SCMP_ACT_TRAP", args=args), SeccompRule(("close",), "SCMP_ACT_ALLOW"))
        program = profile.program(Seccomp("SCMP_ACT_ERRNO", syscalls=rules))
        asked = ((0, count - 1), (0, count), (1, 0), (3, 0), (4, 0))
        assert [verdict(program, *call) for call in asked] == [TRAP, EPERM, EPERM, ALLOW, ENOSYS]


def test_each_listed_architecture_has_its_own_numbers() -> None:
    program = profile.program(ENGINE)
    assert verdict(program, CALLS["read"]) == ALLOW
    assert verdict(program, CALLS_I386["read"], arch=I386) == ALLOW
    assert verdict(program, CALLS_I386["waitpid"], arch=I386) == ALLOW
    assert verdict(program, CALLS_I386["waitpid"]) == EPERM
    assert verdict(program, CALLS_X32["read"]) == ALLOW
    assert verdict(program, CALLS_X32["open"]) == EPERM
    assert verdict(program, CALLS_X32["rt_sigaction"]) == ENOSYS  # 512: after futex_waitv
    assert verdict(program, CALLS["read"], arch=0xC00000B7) == KILL_THREAD


def test_an_architecture_that_is_not_listed_is_killed_and_the_hosts_own_is_always_there() -> None:
    for listed in ((), ("SCMP_ARCH_X86_64",), ("SCMP_ARCH_ARM", "SCMP_ARCH_AARCH64")):
        program = one_rule(names=("read", "write"), architectures=listed)
        assert verdict(program, CALLS["write"]) == ALLOW
        assert verdict(program, CALLS_X32["write"]) == KILL_THREAD
        assert verdict(program, CALLS_I386["write"], arch=I386) == KILL_THREAD
        assert verdict(program, 0xFFFFFFFF) == EPERM  # A tracer took the call away.


def test_a_call_newer_than_the_profile_does_not_exist_unless_the_default_is_lenient() -> None:
    program = profile.program(ENGINE)
    newest = CALLS["futex_waitv"]
    assert [verdict(program, newest + above) for above in (-1, 0, 1)] == [EPERM, ALLOW, ENOSYS]
    assert [verdict(program, newest + above, arch=I386) for above in (-1, 0, 1)] == [EPERM, ALLOW, ENOSYS]
    assert [verdict(program, (newest + above) | X32) for above in (-1, 0, 1)] == [EPERM, ALLOW, ENOSYS]
    rules = (SeccompRule(("read", "write"), "SCMP_ACT_ERRNO", 5),)
    for action, answer in (("ALLOW", ALLOW), ("LOG", LOG), ("TRACE", TRACE | 1), ("NOTIFY", NOTIFY), ("TRAP", ENOSYS)):
        program = profile.program(Seccomp(f"SCMP_ACT_{action}", syscalls=rules))
        assert verdict(program, CALLS["listns"]) == answer


def test_a_socket_of_an_i386_program_meets_its_rule_on_both_ways() -> None:
    rules = (SeccompRule(("socket", "semop"), "SCMP_ACT_ERRNO", 5),)
    program = profile.program(Seccomp("SCMP_ACT_ALLOW", architectures=ALL_THREE, syscalls=rules))
    assert verdict(program, CALLS_I386["socket"], arch=I386) == deny(5)
    assert [verdict(program, CALLS_I386["socketcall"], n, arch=I386) for n in (1, 2)] == [deny(5), ALLOW]
    assert [verdict(program, CALLS_I386["ipc"], n, arch=I386) for n in (1, 1 << 16 | 1, 2)] == [deny(5), deny(5), ALLOW]


def test_a_call_that_i386_makes_through_another_one_only_is_known_all_the_same() -> None:
    program = one_rule(names=("semop",), architectures=ALL_THREE)
    ipc = CALLS_I386["ipc"]
    assert [verdict(program, ipc, n, arch=I386) for n in (1, 2)] == [ALLOW, EPERM]
    assert [verdict(program, ipc + n, arch=I386) for n in (-1, 1)] == [EPERM, ENOSYS]


def test_names_that_are_no_calls_are_passed_over_and_listed() -> None:
    assert profile.unknown_calls(ENGINE) == ["no_such_call"]


def test_flags_are_added_up_for_the_kernel() -> None:
    names = tuple(f"SECCOMP_FILTER_FLAG_{name}" for name in ("LOG", "SPEC_ALLOW", "WAIT_KILLABLE_RECV"))
    assert profile.filter_flags(()) == 0
    assert profile.filter_flags(names) == 2 | 4
    assert profile.filter_flags(names, listener=True) == 2 | 4 | 8 | 32
    assert profile.filter_flags(("SECCOMP_FILTER_FLAG_TSYNC",), listener=True) == 1 | 8 | 16
    with pytest.raises(SpecError, match="not a flag"):
        profile.filter_flags(("LOG",))


def test_a_profile_says_whether_it_needs_an_agent() -> None:
    assert not profile.notifies(ENGINE)
    assert profile.notifies(Seccomp("SCMP_ACT_ALLOW", syscalls=(SeccompRule(("mount",), "SCMP_ACT_NOTIFY"),)))


# A profile read without a compiler.

NAMES = tuple(
    "read write open personality clone ioctl socket bind sendto accept semop shmget ipc socketcall waitpid "
    "rt_sigaction execve recvmmsg uretprobe clone3 futex_waitv listns no_such_call".split()
)
NUMBERS = (0, 1, 5, 0xFF, 0xFFFF, 0x10001, 0xFFFFFFFF, 1 << 32, 1 << 32 | 1, 5 << 32 | 5, 1 << 63, (1 << 64) - 1)
ACTION_NAMES = ("ALLOW", "ERRNO", "KILL", "KILL_PROCESS", "TRAP", "LOG", "TRACE", "NOTIFY")


def random_profile(random: Random) -> Seccomp:
    def action() -> tuple[str, int | None]:
        name = random.choice(ACTION_NAMES)
        return f"SCMP_ACT_{name}", random.choice([None, 2, 38]) if name in ("ERRNO", "TRACE") else None

    def arg() -> SeccompArg:
        operator = random.choice(("NE", "LT", "LE", "EQ", "GE", "GT", "MASKED_EQ"))
        return SeccompArg(random.randrange(4), random.choice(NUMBERS), f"SCMP_CMP_{operator}", random.choice(NUMBERS))

    def rule() -> SeccompRule:
        names = tuple(random.sample(NAMES, random.randint(1, 5)))
        return SeccompRule(names, *action(), tuple(arg() for _ in range(random.choice([0, 0, 1, 2, 3]))))

    architectures = tuple(random.sample(ALL_THREE, random.randint(0, 3)))
    return Seccomp(*action(), architectures, syscalls=tuple(rule() for _ in range(random.choice([0, 1, 2, 5, 12]))))


def holds(arg: SeccompArg, arguments: list[int], cut: int) -> bool:
    given, value, two = arguments[arg.index] & cut, arg.value & cut, arg.value_two & cut
    return {
        "SCMP_CMP_NE": given != value,
        "SCMP_CMP_LT": given < value,
        "SCMP_CMP_LE": given <= value,
        "SCMP_CMP_EQ": given == value,
        "SCMP_CMP_GE": given >= value,
        "SCMP_CMP_GT": given > value,
        "SCMP_CMP_MASKED_EQ": given & value == two & value,
    }[arg.op]


def meaning(action: str, number: int | None) -> int:
    name = {"SCMP_ACT_KILL": "KILL_THREAD"}.get(action, action.removeprefix("SCMP_ACT_"))
    return ACTIONS[name] | ((1 if number is None else number) if name in ("ERRNO", "TRACE") else 0)


def expected(given: Seccomp, arch: int, number: int, arguments: list[int]) -> int:
    default = meaning(given.default_action, given.default_errno_ret)
    kind, table, cut = "X86_64", CALLS, (1 << 64) - 1
    if arch == I386:
        kind, table, cut = "X86", CALLS_I386, 0xFFFFFFFF
    elif number == 0xFFFFFFFF:
        return default
    elif number >= X32:
        kind, table, cut = "X32", CALLS_X32, 0xFFFFFFFF
    if kind != "X86_64" and f"SCMP_ARCH_{kind}" not in given.architectures:
        return KILL_THREAD
    named = [table[name] for rule in given.syscalls for name in rule.names if name in table]
    if arch == I386:
        ways = {"socketcall": syscalls.socketcalls(), "ipc": syscalls.ipc_calls()}
        named += [table[way] for way, calls in ways.items() for rule in given.syscalls if {*calls} & {*rule.names}]
    lenient = given.default_action.removeprefix("SCMP_ACT_") in ("ALLOW", "LOG", "TRACE", "NOTIFY")
    if max(named, default=0) and number > max(named) and not lenient:
        return ENOSYS
    # The selectors of socketcall and ipc, where the call is one of those.
    selected: set[str] = set()
    if arch == I386 and number == table["socketcall"]:
        selected = {name for name, n in syscalls.socketcalls().items() if n == arguments[0] & cut}
    if arch == I386 and number == table["ipc"]:
        selected = {name for name, n in syscalls.ipc_calls().items() if n == arguments[0] & 0xFFFF}
    answers = []
    for rule in given.syscalls:
        answer = meaning(rule.action, rule.errno_ret)
        if answer == default:
            continue
        for name in rule.names:
            if table.get(name) == number:
                if not rule.args:
                    answers.append((0, answer))
                indices = [arg.index for arg in rule.args]
                how = any if len(set(indices)) < len(indices) else all
                if rule.args and how(holds(arg, arguments, cut) for arg in rule.args):
                    answers.append((1, answer))
            if name in selected:
                answers.append((1, answer))
    return min(answers, key=lambda item: item[0])[1] if answers else default


@pytest.mark.parametrize("seed", range(8))
def test_a_program_answers_as_its_profile_reads(seed: int) -> None:
    random = Random(seed)
    for _ in range(40):
        given = random_profile(random)
        program = profile.program(given)
        for _ in range(60):
            arch, table = random.choice([(X86_64, CALLS), (X86_64, CALLS_X32), (I386, CALLS_I386)])
            number = random.choice([*(table[name] for name in NAMES if name in table), *range(500), X32, 0xFFFFFFFF])
            arguments = [random.choice(NUMBERS) for _ in range(6)]
            answer = verdict(program, number, *arguments, arch=arch)
            assert answer == expected(given, arch, number, arguments), (given, arch, number, arguments)


# libseccomp, where it is installed, on the profile that podman ships.

SHIPPED = Path("/usr/share/containers/seccomp.json")


class Comparison(ctypes.Structure):
    """struct scmp_arg_cmp (seccomp_rule_add(3))."""

    _fields_ = (("arg", ctypes.c_uint), ("op", ctypes.c_int), ("a", ctypes.c_uint64), ("b", ctypes.c_uint64))


def shipped() -> Seccomp:
    """The profile as an engine hands it on for a container without capabilities."""
    read = json.loads(SHIPPED.read_text())
    rules = []
    for item in read["syscalls"]:
        wanted, unwanted = item.get("includes", {}), item.get("excludes", {})
        if (
            wanted.get("caps")
            or "amd64" not in wanted.get("arches", ["amd64"])
            or "amd64" in unwanted.get("arches", ())
        ):
            continue
        args = tuple(SeccompArg(a["index"], a["value"], a["op"], a.get("valueTwo", 0)) for a in item.get("args") or ())
        rules.append(SeccompRule(tuple(item["names"]), item["action"], item.get("errnoRet"), args))
    return Seccomp(read["defaultAction"], read.get("defaultErrnoRet"), ALL_THREE, syscalls=tuple(rules))


def by_libseccomp(library: ctypes.CDLL, given: Seccomp) -> bytes:
    library.seccomp_init.restype = ctypes.c_void_p
    default = meaning(given.default_action, given.default_errno_ret)
    context = ctypes.c_void_p(library.seccomp_init(ctypes.c_uint32(default)))
    for token in (I386, 0x4000003E):
        assert library.seccomp_arch_add(context, ctypes.c_uint32(token)) == 0
    operators = ("", "NE", "LT", "LE", "EQ", "GE", "GT", "MASKED_EQ")
    for rule in given.syscalls:
        answer = meaning(rule.action, rule.errno_ret)
        for name in rule.names:
            number = library.seccomp_syscall_resolve_name(name.encode())
            if answer == default or number == -1:
                continue
            args = [(a.index, operators.index(a.op.removeprefix("SCMP_CMP_")), a.value, a.value_two) for a in rule.args]
            array = (Comparison * len(args))(*args)
            library.seccomp_rule_add_array(context, ctypes.c_uint32(answer), number, len(args), array)
    descriptor = os.memfd_create("filter")
    library.seccomp_export_bpf(context, descriptor)
    library.seccomp_release(context)
    with open(descriptor, "rb") as file:
        file.seek(0)
        return file.read()


def test_an_engines_profile_means_what_libseccomp_makes_of_it() -> None:
    try:
        library = ctypes.CDLL("libseccomp.so.2")
    except OSError:
        pytest.skip("no libseccomp")
    if not SHIPPED.exists():
        pytest.skip(f"no {SHIPPED}")
    given, random = shipped(), Random(0)
    ours, theirs = profile.program(given), by_libseccomp(library, given)
    named = {name for rule in given.syscalls for name in rule.names}
    for arch, token, table in ((X86_64, X86_64, CALLS), (X86_64, 0x4000003E, CALLS_X32), (I386, I386, CALLS_I386)):
        newest = max(table[name] for name in named if name in table)
        for name, number in table.items():
            known = library.seccomp_syscall_resolve_name_arch(ctypes.c_uint32(token), name.encode()) == number
            if not known or number > newest:
                continue  # Older than the call, or without the answer ENOSYS for what is newer than the profile.
            for _ in range(5):
                arguments = [random.choice((*NUMBERS, 8, 0x20008, 16, 40)) & (0xFFFFFFFF if arch == I386 else -1)] * 6
                assert verdict(ours, number, *arguments, arch=arch) == verdict(theirs, number, *arguments, arch=arch), (
                    name
                )


# The kernel itself.

INT_0X80 = bytes.fromhex("53 89f8 89f3 cd80 5b c3")  # push %rbx; mov %edi,%eax; mov %esi,%ebx; int $0x80; pop; ret


def under(program: bytes, deed: Callable[[int], object], flags: int = 0) -> tuple[int, str]:
    """Fork, install a filter, do something with what the installation returned: the exit status and what was said."""
    reader, writer = os.pipe()
    pid = os.fork()
    if pid == 0:
        try:
            prctl(PR_SET_NO_NEW_PRIVS, 1)
            os.write(writer, repr(deed(install(program, flags))).encode())
        finally:
            os._exit(0)
    os.close(writer)
    with open(reader, "rb") as file:
        said = file.read().decode()
    return os.waitstatus_to_exitcode(os.waitpid(pid, 0)[1]), said


def errno_of(number: int, *arguments: int) -> int:
    libc = ctypes.CDLL(None, use_errno=True)
    words = [ctypes.c_ulong(argument) for argument in arguments]
    return ctypes.get_errno() if libc.syscall(ctypes.c_long(number), *words) == -1 else 0


def by_int_0x80(number: int) -> int:
    """Make a call as an i386 program does, from this 64-bit one."""
    page = mmap.mmap(-1, mmap.PAGESIZE, prot=mmap.PROT_READ | mmap.PROT_WRITE | mmap.PROT_EXEC)
    page.write(INT_0X80)
    enter = ctypes.CFUNCTYPE(ctypes.c_int, ctypes.c_int, ctypes.c_int)
    return enter(ctypes.addressof(ctypes.c_char.from_buffer(page)))(number, 0)


LENIENT_RULES = (
    SeccompRule(("sync", "getppid"), "SCMP_ACT_ERRNO", 77),
    SeccompRule(("personality",), "SCMP_ACT_ERRNO", 78, (SeccompArg(0, 0xFFFFFFFF, "SCMP_CMP_GT"),)),
    SeccompRule(("personality",), "SCMP_ACT_ERRNO", 79, (SeccompArg(0, 0xF0, "SCMP_CMP_MASKED_EQ", 0x30),)),
)


def test_the_kernel_answers_as_the_profile_says() -> None:
    def ask(_: int) -> list[int]:
        personality = CALLS["personality"]
        return [errno_of(CALLS["sync"]), *(errno_of(personality, n) for n in (1 << 32, 0x1F35, 0xFFFFFFFF))]

    program = profile.program(Seccomp("SCMP_ACT_ALLOW", syscalls=LENIENT_RULES))
    assert under(program, ask) == (0, "[77, 78, 79, 0]")


def test_the_kernel_knows_a_32_bit_call_by_its_own_number() -> None:
    status, _ = under(profile.program(Seccomp("SCMP_ACT_ALLOW", architectures=ALL_THREE)), lambda _: by_int_0x80(20))
    if status == -signal.SIGSEGV:
        pytest.skip("a kernel without CONFIG_IA32_EMULATION")
    listed = profile.program(Seccomp("SCMP_ACT_ALLOW", architectures=ALL_THREE, syscalls=LENIENT_RULES))
    assert under(listed, lambda _: by_int_0x80(CALLS_I386["getppid"])) == (0, "-77")
    alone = profile.program(Seccomp("SCMP_ACT_ALLOW", syscalls=LENIENT_RULES))
    assert under(alone, lambda _: by_int_0x80(CALLS_I386["getpid"])) == (-signal.SIGSYS, "")


def test_the_kernel_loads_the_default_profile_and_an_engines() -> None:
    handle = CALLS["open_by_handle_at"]
    assert under(PROGRAM, lambda _: (errno_of(handle), errno_of(5000), by_int_0x80(20))) == (0, "(1, 38, -38)")
    if SHIPPED.exists():
        assert under(profile.program(shipped()), lambda _: (errno_of(handle), errno_of(5000))) == (0, "(1, 38)")


def test_a_listener_is_closed_by_execve() -> None:
    rule = SeccompRule(("sync",), "SCMP_ACT_NOTIFY")
    program = profile.program(Seccomp("SCMP_ACT_ALLOW", syscalls=(rule,)))

    said = under(program, lambda listener: (listener > 2, os.get_inheritable(listener)), NEW_LISTENER)
    assert said == (0, "(True, False)")


def test_the_kernel_says_which_actions_it_has() -> None:
    assert set(available_actions()) <= set(ACTIONS)
    assert "KILL_THREAD" in available_actions()
