"""Properties of the command's process that belong to no namespace: scheduling, labels, kernel parameters.

Labels and parameters go through /proc, which is made sure of first: an image
must not be able to put another file in the way (CVE-2019-16884).
"""

from __future__ import annotations

import errno
import os
from _struct import pack

from coso.errors import CosoError, KernelError
from coso.kernel.call import call
from coso.kernel.path import write_proc
from coso.runtime.container import Container
from coso.spec import sysctl
from coso.steps import Step

# include/uapi/linux/sched.h, sched/types.h, ioprio.h, personality.h
POLICIES = {
    "SCHED_OTHER": 0,
    "SCHED_FIFO": 1,
    "SCHED_RR": 2,
    "SCHED_BATCH": 3,
    "SCHED_ISO": 4,
    "SCHED_IDLE": 5,
    "SCHED_DEADLINE": 6,
}
SCHEDULER_FLAGS = {
    "SCHED_FLAG_RESET_ON_FORK": 0x01,
    "SCHED_FLAG_RECLAIM": 0x02,
    "SCHED_FLAG_DL_OVERRUN": 0x04,
    "SCHED_FLAG_KEEP_POLICY": 0x08,
    "SCHED_FLAG_KEEP_PARAMS": 0x10,
    "SCHED_FLAG_UTIL_CLAMP_MIN": 0x20,
    "SCHED_FLAG_UTIL_CLAMP_MAX": 0x40,
}
IO_CLASSES = {"IOPRIO_CLASS_RT": 1, "IOPRIO_CLASS_BE": 2, "IOPRIO_CLASS_IDLE": 3}
DOMAINS = {"LINUX": 0x0000, "LINUX32": 0x0008}


def set_oom_score(container: Container) -> None:
    """Say how readily the kernel kills the container when memory is short; runs in the parent."""
    write_proc(f"/proc/{container.pid}/oom_score_adj", str(container.spec.process.oom_score_adj))


def schedule(container: Container) -> None:
    """Take the scheduling policy and the priority of input and output."""
    asked = container.spec.process.scheduler
    if asked:
        flags = sum(SCHEDULER_FLAGS[flag] for flag in asked.flags)
        attributes = (asked.nice, asked.priority, asked.runtime, asked.deadline, asked.period)
        call("sched_setattr", 0, pack("IIQiIQQQ", 48, POLICIES[asked.policy], flags, *attributes), 0)
    wanted = container.spec.process.io_priority
    if wanted:
        call("ioprio_set", 1, 0, IO_CLASSES[wanted.class_] << 13 | wanted.priority)


def change_personality(container: Container) -> None:
    """Take the execution domain."""
    if container.spec.personality:
        call("personality", DOMAINS[container.spec.personality.domain])


def set_sysctls(container: Container) -> None:
    """Write the kernel parameters of the container's namespaces; runs in the child, on the host's /proc."""
    for name, text in container.spec.sysctl:
        try:
            write_proc(f"/proc/sys/{sysctl.file(name)}", text)
        except KernelError as error:
            raise CosoError(f"linux.sysctl: {name} cannot be set to {text!r}: {error.message}") from None


def label(container: Container) -> None:
    """Have execve change to the profile and the label that were asked for (apparmor(7), selinux(8))."""
    process = container.spec.process
    check_labels(container)
    # In a container that runs, /proc is what that has made of it: then the host's is at hand by descriptor.
    place = "thread-self/attr" if container.proc >= 0 else "/proc/thread-self/attr"
    if process.apparmor_profile:
        text = f"exec {process.apparmor_profile}"
        try:
            write_proc(f"{place}/apparmor/exec", text, container.proc)
        except KernelError as error:
            if error.errno != errno.ENOENT:
                raise
            write_proc(f"{place}/exec", text, container.proc)  # Linux before 5.8
    if process.selinux_label:
        write_proc(f"{place}/exec", process.selinux_label, container.proc)


def check_labels(container: Container) -> None:
    """Raise CosoError for a label that this kernel has no use for; asked while /sys is the host's."""
    process = container.spec.process
    if container.proc >= 0:
        return
    if process.apparmor_profile and not os.path.isdir("/sys/module/apparmor"):
        raise CosoError(f"process.apparmorProfile {process.apparmor_profile!r}: this kernel has no AppArmor")
    if (process.selinux_label or container.spec.mount_label) and not os.path.isdir("/sys/fs/selinux"):
        field = "process.selinuxLabel" if process.selinux_label else "linux.mountLabel"
        raise CosoError(f"{field}: this kernel has no SELinux")


OOM = Step(
    "set the OOM score",
    "say how readily the kernel kills the container when memory is short",
    "write(/proc/PID/oom_score_adj)",
    "asked for by the specification; the host may lower it, the container may not",
    "proc(5)",
    set_oom_score,
)
SCHEDULE = Step(
    "schedule",
    "take the scheduling policy and the priority of input and output",
    "sched_setattr(), ioprio_set()",
    "asked for by the specification",
    "sched(7), ioprio_set(2)",
    schedule,
)
PERSONALITY = Step(
    "change personality",
    "take the execution domain",
    "personality()",
    "asked for by the specification",
    "personality(2)",
    change_personality,
)
SYSCTL = Step(
    "set kernel parameters",
    "write the kernel parameters of the container's namespaces",
    "write(/proc/sys/…)",
    "a namespace has parameters of its own; those of the host stay as they are",
    "sysctl(2), proc(5)",
    set_sysctls,
)
LABEL = Step(
    "take labels",
    "have execve change to an AppArmor profile or a SELinux label",
    "write(/proc/self/attr/exec)",
    "asked for by the specification",
    "apparmor(7), selinux(8)",
    label,
)
