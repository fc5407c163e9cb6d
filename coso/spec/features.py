"""What coso implements, as runtime callers ask for it (features.md, features-linux.md).

It says what the runtime knows, not what this machine can do.  `netDevices`
is known too, but is of version 1.3, and only what the version it names defines
may stand in it.
"""

from __future__ import annotations

from coso import __version__
from coso.kernel.capability import NUMBERS
from coso.spec import NAMESPACES, VERSION, read, read_seccomp

# config.md, Linux mount options; copy-symlink is crun's
MOUNT_OPTIONS = (
    "async atime bind copy-symlink defaults dev diratime dirsync exec idmap iversion lazytime loud mand noatime nodev "
    "nodiratime noexec noiversion nolazytime nomand norelatime nostrictatime nosuid nosymfollow private ratime rbind "
    "rdev rdiratime relatime remount rexec ridmap rnoatime rnodev rnodiratime rnoexec rnorelatime rnostrictatime "
    "rnosuid rnosymfollow ro rprivate rrelatime rro rrw rshared rslave rstrictatime rsuid rsymfollow runbindable rw "
    "shared silent slave strictatime suid symfollow sync tmpcopyup unbindable"
).split()
# Filters are compiled for x86_64 and the two other ways to call its kernel.
ARCHITECTURES = ("SCMP_ARCH_X32", "SCMP_ARCH_X86", "SCMP_ARCH_X86_64")


def features() -> dict[str, object]:
    """The features document."""
    return {
        "ociVersionMin": "1.0.0",
        "ociVersionMax": VERSION,
        "hooks": list(read.HOOKS),
        "mountOptions": list(MOUNT_OPTIONS),
        "linux": {
            "namespaces": sorted(NAMESPACES),
            "capabilities": list(NUMBERS),
            "cgroup": {"v1": True, "v2": True, "systemd": True, "systemdUser": False, "rdma": True},
            "seccomp": _seccomp(),
            "apparmor": {"enabled": True},
            "selinux": {"enabled": True},
            "intelRdt": {"enabled": False},
            "mountExtensions": {"idmap": {"enabled": True}},
        },
        "annotations": {"coso.version": __version__},
        "potentiallyUnsafeConfigAnnotations": [],
    }


def _seccomp() -> dict[str, object]:
    return {
        "enabled": True,
        "actions": sorted(read_seccomp.ACTIONS),
        "operators": sorted(read_seccomp.OPERATORS),
        "archs": list(ARCHITECTURES),
        "knownFlags": sorted(read_seccomp.FLAGS),
        "supportedFlags": sorted(read_seccomp.FLAGS),
    }
