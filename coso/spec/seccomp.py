"""coso's own seccomp profile.

The verdicts are those of Docker's default profile for a container without
extra capabilities: calls that configure the whole machine, load code into the
kernel, or make namespaces and mounts fail with EPERM.  clone3 fails with
ENOSYS, because a filter cannot look at its flags and C libraries then use
clone, whose flags it can see.  So does every call that is newer than this
list, as on an older kernel, and every call of a 32-bit program.  Typing into
the terminal's input (TIOCSTI, TIOCLINUX) is refused too, as bubblewrap's users
do by hand.
"""

from __future__ import annotations

from coso.kernel import syscalls
from coso.kernel.seccomp import deny
from coso.spec import Seccomp, SeccompArg, SeccompRule, profile

EPERM, ENOSYS = 1, 38
AF_ALG, AF_VSOCK = 38, 40
TIOCSTI, TIOCLINUX = 0x5412, 0x541C
NAMESPACE_FLAGS = 0x7E020000
PERSONALITIES = (0x0, 0x8, 0x20000, 0x20008, 0xFFFFFFFF)
# The kernel takes these arguments as int: a comparison of all 64 bits could be passed by with a high one.
INT = 0xFFFFFFFF

# Name, and the capability that opens the call again when the container has it.
DENIED = (
    ("acct", "SYS_PACCT"),
    ("add_key", ""),
    ("afs_syscall", ""),
    ("bpf", "BPF"),
    ("clock_settime", "SYS_TIME"),
    ("create_module", ""),
    ("delete_module", "SYS_MODULE"),
    ("epoll_ctl_old", ""),
    ("epoll_wait_old", ""),
    ("fanotify_init", "SYS_ADMIN"),
    ("finit_module", "SYS_MODULE"),
    ("fsconfig", "SYS_ADMIN"),
    ("fsmount", "SYS_ADMIN"),
    ("fsopen", "SYS_ADMIN"),
    ("fspick", "SYS_ADMIN"),
    ("get_kernel_syms", ""),
    ("get_mempolicy", "SYS_NICE"),
    ("getpmsg", ""),
    ("init_module", "SYS_MODULE"),
    ("io_uring_enter", ""),
    ("io_uring_register", ""),
    ("io_uring_setup", ""),
    ("ioperm", "SYS_RAWIO"),
    ("iopl", "SYS_RAWIO"),
    ("kcmp", "SYS_PTRACE"),
    ("kexec_file_load", "SYS_BOOT"),
    ("kexec_load", "SYS_BOOT"),
    ("keyctl", ""),
    ("lookup_dcookie", "SYS_ADMIN"),
    ("mbind", "SYS_NICE"),
    ("migrate_pages", "SYS_NICE"),
    ("mount", "SYS_ADMIN"),
    ("mount_setattr", "SYS_ADMIN"),
    ("move_mount", "SYS_ADMIN"),
    ("move_pages", "SYS_NICE"),
    ("nfsservctl", ""),
    ("open_by_handle_at", "DAC_READ_SEARCH"),
    ("open_tree", "SYS_ADMIN"),
    ("open_tree_attr", "SYS_ADMIN"),
    ("perf_event_open", "PERFMON"),
    ("pidfd_getfd", "SYS_PTRACE"),
    ("pivot_root", ""),
    ("putpmsg", ""),
    ("query_module", ""),
    ("quotactl", "SYS_ADMIN"),
    ("quotactl_fd", "SYS_ADMIN"),
    ("reboot", "SYS_BOOT"),
    ("request_key", ""),
    ("security", ""),
    ("set_mempolicy", "SYS_NICE"),
    ("set_mempolicy_home_node", "SYS_NICE"),
    ("setdomainname", "SYS_ADMIN"),
    ("sethostname", "SYS_ADMIN"),
    ("setns", "SYS_ADMIN"),
    ("settimeofday", "SYS_TIME"),
    ("swapoff", ""),
    ("swapon", ""),
    ("_sysctl", ""),
    ("sysfs", ""),
    ("syslog", "SYSLOG"),
    ("tuxcall", ""),
    ("umount2", "SYS_ADMIN"),
    ("unshare", "SYS_ADMIN"),
    ("uselib", ""),
    ("userfaultfd", ""),
    ("ustat", ""),
    ("vhangup", "SYS_TTY_CONFIG"),
    ("vserver", ""),
)

# Calls whose arguments decide, and clone3, which is left to the default.
SPECIAL = {"clone", "clone3", "ioctl", "personality", "socket"}


def default_profile(capabilities: tuple[str, ...]) -> Seccomp:
    """Return the profile of a container whose bounding set is `capabilities`."""
    denied = {name for name, opened_by in DENIED if not opened_by or f"CAP_{opened_by}" not in capabilities}
    free = {"clone", "clone3"} if "CAP_SYS_ADMIN" in capabilities else set()
    allowed = set(syscalls.x86_64()) - denied - (SPECIAL - free)
    return Seccomp(
        default_action="SCMP_ACT_ERRNO",
        default_errno_ret=ENOSYS,
        architectures=("SCMP_ARCH_X86_64",),
        syscalls=(
            _allow(*sorted(allowed)),
            _refuse(*sorted(denied)),
            _allow("clone", args=(SeccompArg(0, NAMESPACE_FLAGS, "SCMP_CMP_MASKED_EQ", 0),)),
            _refuse("clone", args=ANY),
            _refuse("ioctl", args=_one_of(1, TIOCSTI, TIOCLINUX)),
            _allow("ioctl", args=ANY),
            _allow("personality", args=_one_of(0, *PERSONALITIES)),
            _refuse("personality", args=ANY),
            _refuse("socket", args=_one_of(0, AF_ALG, AF_VSOCK)),
            _allow("socket", args=ANY),
        ),
    )


# A rule without conditions would win over those with; this condition always holds, so its turn comes last.
ANY = (SeccompArg(0, 0, "SCMP_CMP_GE"),)


def _allow(*names: str, args: tuple[SeccompArg, ...] = ()) -> SeccompRule:
    return SeccompRule(names, "SCMP_ACT_ALLOW", args=args)


def _refuse(*names: str, args: tuple[SeccompArg, ...] = ()) -> SeccompRule:
    return SeccompRule(names, "SCMP_ACT_ERRNO", EPERM, args)


def _one_of(index: int, *values: int) -> tuple[SeccompArg, ...]:
    """Conditions of which any one will do, because all look at one argument."""
    return tuple(SeccompArg(index, INT, "SCMP_CMP_MASKED_EQ", value) for value in values)


def program(capabilities: tuple[str, ...]) -> bytes:
    """The default profile as BPF, for a container whose bounding set is `capabilities`."""
    return profile.program(default_profile(capabilities), foreign=deny(ENOSYS))


def write_compiled() -> None:
    """Write seccomp_compiled.py anew: `./dev python -c 'from coso.spec import seccomp; seccomp.write_compiled()'`."""
    from coso.spec.defaults import CAPABILITIES

    digits = program(CAPABILITIES).hex()
    lines = "".join(f'    "{digits[at : at + 112]}"\n' for at in range(0, len(digits), 112))
    with open(__file__.replace("seccomp.py", "seccomp_compiled.py"), "w") as file:
        file.write(
            '"""The default seccomp profile as BPF: written by coso.spec.seccomp.write_compiled, held by a test."""\n\n'
            f"PROGRAM = bytes.fromhex(\n{lines})\n"
        )
