"""What the command may do: limits, user, capabilities, no_new_privs, seccomp (capabilities(7), seccomp(2)).

The order is the kernel's: a filter needs no_new_privs or CAP_SYS_ADMIN, so it
comes before the capabilities go; the bounding set needs CAP_SETPCAP; leaving
user 0 clears the effective and permitted sets by itself.
"""

from __future__ import annotations

import os

from coso.errors import CosoError, KernelError
from coso.kernel import capability, seccomp
from coso.kernel.process import PR_SET_KEEPCAPS, PR_SET_NO_NEW_PRIVS, PR_SET_PDEATHSIG, prctl
from coso.runtime import user
from coso.runtime.container import Container
from coso.runtime.users import account_of
from coso.spec import Rlimit, Seccomp, Spec
from coso.spec.defaults import CAPABILITIES
from coso.spec.seccomp_compiled import PROGRAM
from coso.steps import Step
from coso.value import replace

SIGKILL = 9
# What the way to the command needs itself; a lower limit is set only at its end.
SPARE = {"RLIMIT_NOFILE": 64, "RLIMIT_AS": 1 << 32, "RLIMIT_DATA": 1 << 30}
INFINITE = 2**64 - 1
# By number, include/uapi/asm-generic/resource.h.
LIMITS = tuple(
    f"RLIMIT_{name}"
    for name in (
        "CPU FSIZE DATA STACK CORE RSS NPROC NOFILE MEMLOCK AS LOCKS SIGPENDING MSGQUEUE NICE RTPRIO RTTIME"
    ).split()
)


def is_scarce(limit: Rlimit) -> bool:
    """Whether a limit leaves less than the way to the command needs."""
    return limit.soft < SPARE.get(limit.type, 0)


def limit_last(container: Container) -> None:
    """Set a limit that nothing but the command can live with; lowering needs no privilege any more."""
    import resource

    for limit in filter(is_scarce, container.spec.process.rlimits):
        number = LIMITS.index(limit.type)
        most = resource.getrlimit(number)[1]
        hard = -1 if limit.hard == INFINITE else limit.hard
        resource.setrlimit(number, (limit.soft, hard if most == -1 else most if hard == -1 else min(hard, most)))


def set_rlimits(container: Container) -> None:
    """Set the resource limits that were asked for."""
    import resource

    for limit in container.spec.process.rlimits:
        if is_scarce(limit):
            if limit.hard < SPARE[limit.type]:
                continue
            limit = replace(limit, soft=SPARE[limit.type])
        number = LIMITS.index(limit.type)
        # What is infinite is -1 to Python, and all bits to the specification.
        soft, hard = (-1 if bound == INFINITE else bound for bound in (limit.soft, limit.hard))
        try:
            resource.setrlimit(number, (soft, hard))
        except (OSError, ValueError, OverflowError) as error:
            most = resource.getrlimit(number)[1]
            if not container.clamps or not isinstance(error, (PermissionError, ValueError)) or most == -1:
                raise CosoError(
                    f"cannot set {limit.type} to {limit.soft}:{limit.hard}: {error}",
                    cause=f"the hard limit is {most}, and only CAP_SYS_RESOURCE may raise it",
                    hint="ask for less, or raise the limit of the calling shell",
                ) from None
            lower = most if soft == -1 else min(soft, most)
            resource.setrlimit(number, (lower, most))
            container.theirs.send("warn", f"{limit.type}: {limit.hard} is out of reach, {lower}:{most} is set instead")


def filter_calls(container: Container) -> None:
    """Set no_new_privs and install the seccomp filter."""
    process = container.spec.process
    if process.no_new_privileges:
        prctl(PR_SET_NO_NEW_PRIVS, 1)
    if container.filter:
        try:
            listener = seccomp.install(container.filter, container.filter_flags)
        except KernelError as error:
            raise KernelError(
                "seccomp",
                error.errno,
                cause="a kernel without CONFIG_SECCOMP_FILTER",
                hint="--security-opt seccomp=unconfined",
            ) from None
        if container.filter_flags & seccomp.NEW_LISTENER:
            container.theirs.send("listener", fds=(listener,))
            os.close(listener)


def become_user(container: Container) -> None:
    """Take the user, groups, umask and the five capability sets of the command."""
    process = container.spec.process
    account = account_of(container)
    os.umask(process.user.umask)
    sets = process.capabilities
    capability.limit_bounding(capability.mask(sets.bounding))
    # Those of the image's /etc/group are nobody's wish, and where one user alone is mapped there are none.
    wished = bool(process.user.additional_gids) or not container.spec.limited or _may_set_groups()
    _set_groups(account.groups if wished else [])
    os.setresgid(account.gid, account.gid, account.gid)
    if account.uid != 0:
        prctl(PR_SET_KEEPCAPS, 1)
    os.setresuid(account.uid, account.uid, account.uid)
    masks = [capability.mask(names) for names in (sets.effective, sets.permitted, sets.inheritable)]
    granted = _grant(container, *masks)
    # The kernel raises only what is permitted and inheritable; of others the reader of the configuration is warned.
    capability.set_ambient(capability.mask(sets.ambient) & masks[1] & masks[2] & granted)
    container.home = account.home
    if container.gate is None and not container.outlives:
        # After the change of user, which clears it: the container ends with its runtime, however that ends.
        prctl(PR_SET_PDEATHSIG, SIGKILL)


def _may_set_groups() -> bool:
    """By the container's own /proc: the host's descriptors are closed by now. Untrue words cost nobody but itself."""
    try:
        return user.may_set_groups(-1)
    except OSError:
        return False


def _grant(container: Container, effective: int, permitted: int, inheritable: int) -> int:
    """Set three of the sets; the capabilities that there are.

    What the runtime itself lacks is left out for an engine, and said (OCI
    config.md "Linux Process", capabilities); a person gets an error.
    """
    try:
        capability.capset(effective, permitted, inheritable)
        return permitted
    except KernelError as error:
        own = capability.permitted_mask()
        lacking = ", ".join(capability.names((effective | permitted | inheritable) & ~own))
        if not lacking or not container.clamps:
            cause = f"the caller itself lacks {lacking}" if lacking else ""
            raise KernelError("capset", error.errno, cause=cause, hint="leave these out of --cap-add") from None
    capability.capset(effective & own, permitted & own, inheritable & own)
    container.theirs.send("warn", f"process.capabilities: {lacking} cannot be granted: the runtime itself lacks them")
    return permitted & own


def _set_groups(groups: list[int]) -> None:
    try:
        os.setgroups(groups)
    except OSError:
        if groups:
            raise


def filter_for(spec: Spec) -> tuple[bytes, int]:
    """The seccomp program of a container and its flags; the default one is at hand compiled, which saves 2 ms."""
    if not spec.seccomp:
        return b"", 0
    if not isinstance(spec.seccomp, str):
        from coso.spec import profile

        flags = profile.filter_flags(spec.seccomp.flags, listener=profile.notifies(spec.seccomp))
        return profile.program(spec.seccomp), flags
    if has_default_filter(spec):
        return PROGRAM, 0
    from coso.spec.seccomp import program

    return program(spec.process.capabilities.bounding), 0


def has_default_filter(spec: Spec) -> bool:
    """Whether a container's filter is the one that is at hand compiled."""
    return isinstance(spec.seccomp, str) and spec.seccomp != "" and spec.process.capabilities.bounding == CAPABILITIES


def notifies(spec: Spec) -> bool:
    """Whether a supervisor outside answers some calls (SCMP_ACT_NOTIFY)."""
    return isinstance(spec.seccomp, Seccomp) and bool(spec.seccomp.listener_path)


RLIMITS = Step(
    "set resource limits",
    "set the limits asked for by --ulimit",
    "setrlimit()",
    "they are inherited by everything the command starts",
    "getrlimit(2)",
    set_rlimits,
)
LAST_LIMITS = Step(
    "set the tightest limits",
    "allow as few open files and as little memory as were asked for",
    "setrlimit(RLIMIT_NOFILE, RLIMIT_AS, RLIMIT_DATA)",
    "the way up to here needs some itself",
    "getrlimit(2)",
    limit_last,
)
FILTER = Step(
    "filter system calls",
    "forbid new privileges and install the seccomp filter",
    "prctl(PR_SET_NO_NEW_PRIVS), seccomp(SECCOMP_SET_MODE_FILTER)",
    "most holes of the kernel are in calls that a container never needs",
    "seccomp(2)",
    filter_calls,
)
USER = Step(
    "become the user",
    "take the command's user, groups and capabilities",
    "setgroups(), setresgid(), setresuid(), capset(), prctl(PR_CAPBSET_DROP)",
    "root with few capabilities is much less than root",
    "capabilities(7), credentials(7)",
    become_user,
)
