"""The default seccomp profile, by system call number on x86_64.

The verdicts are those of Docker's default profile for a container without
extra capabilities: calls that configure the whole machine, load code into the
kernel, or make namespaces and mounts fail with EPERM.  clone3 fails with
ENOSYS, because a filter cannot look at its flags and C libraries then use
clone, whose flags it can see.  Programs of another architecture (32-bit) get
ENOSYS for every call.  Typing into the terminal's input (TIOCSTI, TIOCLINUX)
is refused too, as bubblewrap's users do by hand.
"""

from __future__ import annotations

from coso.kernel import seccomp
from coso.kernel.seccomp import ALLOW, Code, deny, if_argument_has, if_argument_is, returns

EPERM, ENOSYS = 1, 38
NEWEST_CALL = 470
AF_ALG, AF_VSOCK = 38, 40
TIOCSTI, TIOCLINUX = 0x5412, 0x541C
NAMESPACE_FLAGS = 0x7E020000
PERSONALITIES = (0x0, 0x8, 0x20000, 0x20008, 0xFFFFFFFF)

# Name, number, and the capability that opens the call again when the container has it.
DENIED = (
    ("acct", 163, "SYS_PACCT"),
    ("add_key", 248, ""),
    ("afs_syscall", 183, ""),
    ("bpf", 321, "BPF"),
    ("clock_settime", 227, "SYS_TIME"),
    ("create_module", 174, ""),
    ("delete_module", 176, "SYS_MODULE"),
    ("epoll_ctl_old", 214, ""),
    ("epoll_wait_old", 215, ""),
    ("fanotify_init", 300, "SYS_ADMIN"),
    ("finit_module", 313, "SYS_MODULE"),
    ("fsconfig", 431, "SYS_ADMIN"),
    ("fsmount", 432, "SYS_ADMIN"),
    ("fsopen", 430, "SYS_ADMIN"),
    ("fspick", 433, "SYS_ADMIN"),
    ("get_kernel_syms", 177, ""),
    ("get_mempolicy", 239, "SYS_NICE"),
    ("getpmsg", 181, ""),
    ("init_module", 175, "SYS_MODULE"),
    ("io_uring_enter", 426, ""),
    ("io_uring_register", 427, ""),
    ("io_uring_setup", 425, ""),
    ("ioperm", 173, "SYS_RAWIO"),
    ("iopl", 172, "SYS_RAWIO"),
    ("kcmp", 312, "SYS_PTRACE"),
    ("kexec_file_load", 320, "SYS_BOOT"),
    ("kexec_load", 246, "SYS_BOOT"),
    ("keyctl", 250, ""),
    ("lookup_dcookie", 212, "SYS_ADMIN"),
    ("mbind", 237, "SYS_NICE"),
    ("migrate_pages", 256, "SYS_NICE"),
    ("mount", 165, "SYS_ADMIN"),
    ("mount_setattr", 442, "SYS_ADMIN"),
    ("move_mount", 429, "SYS_ADMIN"),
    ("move_pages", 279, "SYS_NICE"),
    ("nfsservctl", 180, ""),
    ("open_by_handle_at", 304, "DAC_READ_SEARCH"),
    ("open_tree", 428, "SYS_ADMIN"),
    ("open_tree_attr", 467, "SYS_ADMIN"),
    ("perf_event_open", 298, "PERFMON"),
    ("pidfd_getfd", 438, "SYS_PTRACE"),
    ("pivot_root", 155, ""),
    ("putpmsg", 182, ""),
    ("query_module", 178, ""),
    ("quotactl", 179, "SYS_ADMIN"),
    ("quotactl_fd", 443, "SYS_ADMIN"),
    ("reboot", 169, "SYS_BOOT"),
    ("request_key", 249, ""),
    ("security", 185, ""),
    ("set_mempolicy", 238, "SYS_NICE"),
    ("set_mempolicy_home_node", 450, "SYS_NICE"),
    ("setdomainname", 171, "SYS_ADMIN"),
    ("sethostname", 170, "SYS_ADMIN"),
    ("setns", 308, "SYS_ADMIN"),
    ("settimeofday", 164, "SYS_TIME"),
    ("swapoff", 168, ""),
    ("swapon", 167, ""),
    ("_sysctl", 156, ""),
    ("sysfs", 139, ""),
    ("syslog", 103, "SYSLOG"),
    ("tuxcall", 184, ""),
    ("umount2", 166, "SYS_ADMIN"),
    ("unshare", 272, "SYS_ADMIN"),
    ("uselib", 134, ""),
    ("userfaultfd", 323, ""),
    ("ustat", 136, ""),
    ("vhangup", 153, "SYS_TTY_CONFIG"),
    ("vserver", 236, ""),
)

CLONE, CLONE3, IOCTL, PERSONALITY, SOCKET = 56, 435, 16, 135, 41


def program(capabilities: tuple[str, ...]) -> bytes:
    """The default profile as BPF, for a container whose bounding set is `capabilities`."""
    blocks: dict[int, Code] = {
        number: returns(deny(EPERM))
        for _, number, opened_by in DENIED
        if not opened_by or f"CAP_{opened_by}" not in capabilities
    }
    if "CAP_SYS_ADMIN" not in capabilities:
        blocks[CLONE] = if_argument_has(0, NAMESPACE_FLAGS, deny(EPERM), ALLOW)
        blocks[CLONE3] = returns(deny(ENOSYS))
    blocks[IOCTL] = if_argument_is(1, (TIOCSTI, TIOCLINUX), deny(EPERM), ALLOW)
    blocks[PERSONALITY] = if_argument_is(0, PERSONALITIES, ALLOW, deny(EPERM))
    blocks[SOCKET] = if_argument_is(0, (AF_ALG, AF_VSOCK), deny(EPERM), ALLOW)
    return seccomp.assemble(blocks, NEWEST_CALL, deny(ENOSYS))


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
