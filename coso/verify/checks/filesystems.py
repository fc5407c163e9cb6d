"""Checks of mounts, paths, devices, and images that set traps."""

from __future__ import annotations

from coso.spec.defaults import MASKED_PATHS, READONLY_PATHS
from coso.verify.checks.check import PRIVILEGED, UNFILTERED, Check
from coso.verify.probe.filesystems import LEVERS


def _masked(path: str) -> Check:
    name = f"masked-{path.rpartition('/')[2]}"
    source = "OCI config-linux.md (maskedPaths)"
    return Check(name, "paths", f"{path} is covered", "medium", source, f"masked:{path}", without="mask paths")


def _read_only(path: str) -> Check:
    name = f"readonly-{path.rpartition('/')[2]}"
    source = "OCI config-linux.md (readonlyPaths)"
    return Check(name, "paths", f"{path} is read-only", "high", source, f"read_only:{path}", without="protect paths")


def _lever(path: str) -> Check:
    name = f"write-{path.rpartition('/')[2].replace('_', '-')}"
    return Check(
        name, "paths", f"{path} cannot be written", "high", "proc_sys(5), core(5)", f"lever:{path}", PRIVILEGED
    )


def _mount(name: str, title: str, source: str, probe: str, control: tuple[str, ...] = PRIVILEGED) -> Check:
    return Check(f"mnt-{name}", "mnt", title, "high", source, probe, control)


def _trap(name: str, title: str, source: str, without: str, given: tuple[str, ...] = ()) -> Check:
    probe, scene = f"trap:{name}", f"image-{name}"
    return Check(scene, "image", title, "high", source, probe, without=without, given=given, scene=scene)


TERMINAL = ("--tty", "--interactive")
_TOGETHER = (*PRIVILEGED, "--cgroupns=host")
CHECKS: tuple[Check, ...] = (
    *map(_masked, MASKED_PATHS),
    *map(_read_only, READONLY_PATHS),
    *map(_lever, LEVERS),
    _mount(
        "host-root",
        "the host's root is mounted nowhere",
        "pivot_root(2), LTP mountns02",
        "hosts_root",
        ("--volume=/:/mnt",),
    ),
    _mount(
        "chroot",
        "a second chroot does not lead out of the root",
        "chroot(2)",
        "chroot",
        ("--userns=host", "--mountns=host", "--cap-add=SYS_CHROOT"),
    ),
    _mount("remount", "a read-only mount cannot be made writable", "mount_namespaces(7)", "remount"),
    _mount("unmask", "masks cannot be taken off", "umount(2)", "unmask"),
    _mount("proc", "no /proc without masks can be mounted", "proc(5)", "fresh_proc"),
    Check(
        "mnt-propagation-in",
        "mnt",
        "a mount made on the host afterwards does not appear in a volume",
        "medium",
        "mount_namespaces(7), LTP mountns03",
        "propagation",
        without="private copies",
        scene="propagation",
    ),
    Check(
        "mnt-propagation-out",
        "mnt",
        "a mount made in a volume does not appear on the host",
        "high",
        "mount_namespaces(7), LTP mountns02",
        "propagation",
        without="private copies",
        given=("--cap-add=SYS_ADMIN", UNFILTERED),
        scene="propagation",
    ),
    Check(
        "mnt-start",
        "mnt",
        "nothing that is mounted for a container appears on the host, where mounts are shared",
        "low",
        "mount_namespaces(7)",
        "host:mounts",
        without="cut propagation",
        given=("--userns=host",),
        scene="start",
    ),
    Check(
        "cgroup-limits",
        "cgroup",
        "limits cannot be lifted from inside",
        "high",
        "cgroups(7)",
        "lifted_limit",
        PRIVILEGED,
        given=("--memory=256m",),
    ),
    Check(
        "cgroup-release-agent",
        "cgroup",
        "no release_agent can be set",
        "high",
        "CVE-2022-0492, cgroups(7)",
        "release_agent",
        _TOGETHER,
    ),
    Check(
        "dev-list",
        "devices",
        "/dev holds only harmless devices",
        "high",
        "OCI config-linux.md (default devices)",
        "device_list",
        ("--userns=host", "--volume=/dev:/dev"),
    ),
    Check("dev-mknod", "devices", "no device node can be made", "high", "mknod(2)", "device_node", ("--userns=host",)),
    Check(
        "dev-open",
        "devices",
        "no device of the machine opens, even where nodes can be made",
        "high",
        "Documentation/admin-guide/cgroup-v1/devices.rst",
        "device_open",
        without="device filter",
        given=("--userns=host", "--cap-add=MKNOD"),
    ),
    _trap(
        "proc",
        "an image whose /proc is a link does not choose where masks lie",
        "CVE-2019-19921, CVE-2025-52881",
        "refusal of links",
    ),
    _trap(
        "dev",
        "an image whose /dev is a link does not lead to the host",
        "openat2(2), CVE-2023-27561",
        "resolution in the root",
    ),
    _trap("sys", "an image whose /sys is a link does not lead to the host", "CVE-2019-19921", "refusal of links"),
    _trap(
        "etc",
        "an image whose /etc is a link to the host has nothing written there",
        "openat2(2), CVE-2021-30465",
        "resolution in the root",
    ),
    _trap("null", "an image whose /dev/null is a link does not take the masks away", "CVE-2025-31133", "own /dev/null"),
    _trap(
        "console",
        "an image whose /dev/console is a link does not choose where the terminal is mounted",
        "CVE-2025-52565",
        "own /dev",
        TERMINAL,
    ),
)
