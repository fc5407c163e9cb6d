"""`process` of config.json, and the file of `exec --process`: who runs what, and how (config.md, Process)."""

from __future__ import annotations

from coso.kernel import capability
from coso.spec import Capabilities, CpuAffinity, IoPriority, Process, Rlimit, Scheduler, User, lists
from coso.spec.fields import HIGHEST_ID, INT64, UINT16, UINT64, Fields, shown

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Callable

CAPABILITY_SETS = ("bounding", "effective", "permitted", "inheritable", "ambient")
# getrlimit(2)
RLIMITS = tuple(
    f"RLIMIT_{name}"
    for name in (
        "AS CORE CPU DATA FSIZE LOCKS MEMLOCK MSGQUEUE NICE NOFILE NPROC RSS RTPRIO RTTIME SIGPENDING STACK"
    ).split()
)
# sched(7), sched_setattr(2)
POLICIES = tuple(f"SCHED_{name}" for name in "OTHER FIFO RR BATCH ISO IDLE DEADLINE".split())
REALTIME = ("SCHED_FIFO", "SCHED_RR")
SCHEDULER_FLAGS = tuple(
    f"SCHED_FLAG_{name}"
    for name in "RESET_ON_FORK RECLAIM DL_OVERRUN KEEP_POLICY KEEP_PARAMS UTIL_CLAMP_MIN UTIL_CLAMP_MAX".split()
)
# ioprio_set(2)
IO_CLASSES = ("IOPRIO_CLASS_RT", "IOPRIO_CLASS_BE", "IOPRIO_CLASS_IDLE")


def process(fields: Fields, warn: Callable[[str], None]) -> Process:
    """The command and the state it starts in."""
    terminal = fields.flag_or("terminal", False)
    return Process(
        args=_args(fields),
        env=environment(fields),
        capabilities=_capabilities(fields.part_or("capabilities"), warn),
        cwd=fields.path("cwd"),
        user=_user(fields.part_or("user")),
        terminal=terminal,
        console_size=_console_size(fields, terminal),
        no_new_privileges=fields.flag_or("noNewPrivileges", False),
        rlimits=_rlimits(fields),
        apparmor_profile=fields.text_or("apparmorProfile"),
        selinux_label=fields.text_or("selinuxLabel"),
        oom_score_adj=fields.number_or("oomScoreAdj", -1000, 1000, None),
        scheduler=fields.maybe("scheduler", _scheduler),
        io_priority=fields.maybe("ioPriority", _io_priority),
        exec_cpu_affinity=fields.maybe("execCPUAffinity", _affinity),
    )


def environment(fields: Fields) -> tuple[str, ...]:
    """`env`, each NAME=value (environ(7))."""
    variables = fields.texts("env")
    for index, variable in enumerate(variables):
        name, equals, _ = variable.partition("=")
        if not name or not equals:
            raise fields.wrong(f"env[{index}]", "NAME=value is wanted")
    return variables


def _args(fields: Fields) -> tuple[str, ...]:
    fields.need("args")
    args = fields.texts("args")
    if not args:
        raise fields.wrong("args", "empty; the command is wanted")
    if not args[0]:
        raise fields.wrong("args[0]", "empty; the command is wanted")
    return args


def _user(fields: Fields) -> User:
    # Other runtimes take an id that is missing for 0, and some callers rely on it.
    return User(
        uid=fields.number_or("uid", 0, HIGHEST_ID, 0),
        gid=fields.number_or("gid", 0, HIGHEST_ID, 0),
        additional_gids=fields.numbers("additionalGids", 0, HIGHEST_ID),
        umask=fields.number_or("umask", 0, 0o777, User().umask),
    )


def _console_size(fields: Fields, terminal: bool) -> tuple[int, int] | None:
    # "Runtimes MUST ignore consoleSize if terminal is false or unset."
    if fields.get("consoleSize") is None or not terminal:
        return None
    size = fields.part("consoleSize")
    return size.number("height", 0, UINT16), size.number("width", 0, UINT16)


def _capabilities(fields: Fields, warn: Callable[[str], None]) -> Capabilities:
    return Capabilities(**{name: _capability_set(fields, name, warn) for name in CAPABILITY_SETS})


def _capability_set(fields: Fields, name: str, warn: Callable[[str], None]) -> tuple[str, ...]:
    kept = []
    for index, item in enumerate(fields.texts(name)):
        if item in capability.NUMBERS:
            kept.append(item)
        else:
            # The specification wants a warning, and no failure.
            warn(f"{fields.name(name)}[{index}]: {shown(item)} is no capability that is known here; left out")
    return tuple(dict.fromkeys(kept))


def _rlimits(fields: Fields) -> tuple[Rlimit, ...]:
    limits: dict[str, Rlimit] = {}
    for item in fields.parts("rlimits"):
        limit = Rlimit(item.word("type", RLIMITS), item.number("soft", 0, UINT64), item.number("hard", 0, UINT64))
        if limit.soft > limit.hard:
            raise item.wrong("soft", f"{limit.soft} is above the hard limit, {limit.hard}")
        if limit.type in limits:
            raise item.wrong("type", f"{limit.type} is given twice")
        limits[limit.type] = limit
    return tuple(limits.values())


def _scheduler(fields: Fields) -> Scheduler:
    policy = fields.word("policy", POLICIES)
    scheduler = Scheduler(
        policy=policy,
        nice=fields.number_or("nice", -20, 19, 0),
        priority=fields.number_or("priority", 0, 99, 0),
        flags=fields.words("flags", SCHEDULER_FLAGS),
        runtime=fields.number_or("runtime", 0, INT64, 0),
        deadline=fields.number_or("deadline", 0, INT64, 0),
        period=fields.number_or("period", 0, INT64, 0),
    )
    if scheduler.priority and policy not in REALTIME:
        raise fields.wrong("priority", f"{policy} has none; SCHED_FIFO and SCHED_RR have")
    if policy in REALTIME and not scheduler.priority:
        raise fields.wrong("priority", f"{policy} needs one from 1 to 99")
    for name in ("runtime", "deadline", "period"):
        if getattr(scheduler, name) and policy != "SCHED_DEADLINE":
            raise fields.wrong(name, f"{policy} has none; SCHED_DEADLINE has")
    return scheduler


def _io_priority(fields: Fields) -> IoPriority:
    return IoPriority(fields.word("class", IO_CLASSES), fields.number_or("priority", 0, 7, 0))


def _affinity(fields: Fields) -> CpuAffinity:
    return CpuAffinity(number_list(fields, "initial"), number_list(fields, "final"))


def number_list(fields: Fields, name: str) -> tuple[int, ...]:
    """A list of CPUs or memory nodes, such as `0-3,7`; empty when absent."""
    try:
        return lists.numbers(fields.text_or(name))
    except ValueError as error:
        raise fields.wrong(name, str(error)) from None
