"""What a container gets when nobody says otherwise.

Mounts, masked and read-only paths are those of the OCI runtime specification's
own example and of Docker's daemon (docker/oci/defaults.go); capabilities are
Docker's default set less NET_RAW, as podman has it: with it a container can
forge frames and packets on the bridge.  ping works without (icmp(7),
ping_group_range).
"""

from __future__ import annotations

import os

from coso.spec import DeviceRule, Mount

ROOTFS = "/tmp/coso/rootfs"
# COSO_NETWORK: another place for the helper, as tests and packages need it.
NETWORK = os.environ.get("COSO_NETWORK", "/usr/local/bin/cosonet")
PATH = "/usr/local/sbin:/usr/local/bin:/usr/sbin:/usr/bin:/sbin:/bin"
SHELL = "/bin/sh"

CAPABILITIES = tuple(
    f"CAP_{name}"
    for name in (
        "CHOWN DAC_OVERRIDE FOWNER FSETID KILL SETGID SETUID SETPCAP NET_BIND_SERVICE "
        "SYS_CHROOT MKNOD AUDIT_WRITE SETFCAP"
    ).split()
)

MOUNTS = (
    Mount("/proc", "proc", "proc", ("nosuid", "noexec", "nodev")),
    Mount("/sys", "sysfs", "sysfs", ("nosuid", "noexec", "nodev", "ro")),
    Mount("/sys/fs/cgroup", "cgroup", "cgroup", ("nosuid", "noexec", "nodev", "ro")),
    Mount("/dev", "tmpfs", "dev", ("nosuid", "noexec", "mode=755", "size=65536k")),
    Mount("/dev/pts", "devpts", "devpts", ("nosuid", "noexec", "newinstance", "ptmxmode=0666", "mode=0620", "gid=5")),
    Mount("/dev/shm", "tmpfs", "shm", ("nosuid", "noexec", "nodev", "mode=1777", "size=65536k")),
    Mount("/dev/mqueue", "mqueue", "mqueue", ("nosuid", "noexec", "nodev")),
)

MASKED_PATHS = (
    "/proc/acpi",
    "/proc/asound",
    "/proc/interrupts",
    "/proc/kcore",
    "/proc/keys",
    "/proc/latency_stats",
    "/proc/sched_debug",
    "/proc/scsi",
    "/proc/timer_list",
    "/proc/timer_stats",
    "/sys/devices/virtual/powercap",
    "/sys/firmware",
)

READONLY_PATHS = ("/proc/bus", "/proc/fs", "/proc/irq", "/proc/sys", "/proc/sysrq-trigger")

# Ports below 1024 and ping need no capability inside, as with Docker.
NETWORK_SYSCTLS = (("net.ipv4.ip_unprivileged_port_start", "0"), ("net.ipv4.ping_group_range", "0 65535"))

CPU_PERIOD = 100_000

# config-linux.md, "Default Devices"; any node may be made, since making one opens nothing.
DEVICE_RULES = (
    DeviceRule(False),
    DeviceRule(True, "c", access="m"),
    DeviceRule(True, "b", access="m"),
    *(DeviceRule(True, "c", 1, minor) for minor in (3, 5, 7, 8, 9)),
    *(DeviceRule(True, "c", 5, minor) for minor in (0, 1, 2)),
    DeviceRule(True, "c", 136),
)
