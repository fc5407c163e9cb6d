"""`linux.seccomp` of config.json: the filter of system calls (config-linux.md, Seccomp)."""

from __future__ import annotations

from coso.spec import Seccomp, SeccompArg, SeccompRule
from coso.spec.fields import UINT64, Fields

ACTIONS = tuple(
    f"SCMP_ACT_{name}" for name in "KILL KILL_PROCESS KILL_THREAD TRAP ERRNO TRACE ALLOW LOG NOTIFY".split()
)
# What an action may answer: MAX_ERRNO of the kernel, and SECCOMP_RET_DATA (seccomp(2)).
ERRNO_MOST = {"SCMP_ACT_ERRNO": 4095, "SCMP_ACT_TRACE": 0xFFFF}
NOTIFY = "SCMP_ACT_NOTIFY"
OPERATORS = tuple(f"SCMP_CMP_{name}" for name in "NE LT LE EQ GE GT MASKED_EQ".split())
ARCHITECTURES = tuple(
    f"SCMP_ARCH_{name}"
    for name in (
        "X86 X86_64 X32 ARM AARCH64 MIPS MIPS64 MIPS64N32 MIPSEL MIPSEL64 MIPSEL64N32 PPC PPC64 PPC64LE "
        "S390 S390X PARISC PARISC64 RISCV64 LOONGARCH64 M68K SH SHEB"
    ).split()
)
FLAGS = tuple(f"SECCOMP_FILTER_FLAG_{name}" for name in "TSYNC LOG SPEC_ALLOW WAIT_KILLABLE_RECV".split())


def seccomp(fields: Fields) -> Seccomp:
    """The filter of system calls."""
    action = fields.word("defaultAction", ACTIONS)
    if action == NOTIFY:
        raise fields.wrong("defaultAction", f"{NOTIFY} would hold up the runtime itself, which hands the listener over")
    rules = tuple(_rule(item) for item in fields.parts("syscalls"))
    listener = fields.text_or("listenerPath")
    metadata = fields.text_or("listenerMetadata")
    if metadata and not listener:
        raise fields.wrong("listenerMetadata", "useless without listenerPath")
    if not listener and any(rule.action == NOTIFY for rule in rules):
        raise fields.wrong("listenerPath", f"missing, and a rule has {NOTIFY}")
    return Seccomp(
        default_action=action,
        default_errno_ret=_errno(fields, "defaultErrnoRet", action),
        architectures=tuple(dict.fromkeys(fields.words("architectures", ARCHITECTURES))),
        flags=tuple(dict.fromkeys(fields.words("flags", FLAGS))),
        listener_path=listener,
        listener_metadata=metadata,
        syscalls=rules,
    )


def _rule(fields: Fields) -> SeccompRule:
    names = fields.texts("names")
    if not names:
        raise fields.wrong("names", "missing; one system call at least is wanted")
    if "" in names:
        raise fields.wrong(f"names[{names.index('')}]", "empty; a system call is wanted")
    action = fields.word("action", ACTIONS)
    if action == NOTIFY and "write" in names:
        raise fields.wrong("action", f"{NOTIFY} for write would hold up the runtime itself")
    args = tuple(_arg(item) for item in fields.parts("args"))
    return SeccompRule(names, action, _errno(fields, "errnoRet", action), args)


def _arg(fields: Fields) -> SeccompArg:
    return SeccompArg(
        index=fields.number("index", 0, 5),
        value=fields.number("value", 0, UINT64),
        op=fields.word("op", OPERATORS),
        value_two=fields.number_or("valueTwo", 0, UINT64, 0),
    )


def _errno(fields: Fields, name: str, action: str) -> int | None:
    if fields.get(name) is None:
        return None
    if action not in ERRNO_MOST:
        raise fields.wrong(name, f"{action} answers no errno")
    return fields.number(name, 0, ERRNO_MOST[action])
