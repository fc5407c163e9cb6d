"""What a container cannot see or do. Each check has its control: the same look, with that protection off."""

from __future__ import annotations

import os
import subprocess
from pathlib import Path

import pytest

from coso.spawn import find
from tests.integration.conftest import Coso, what_is_left

NAMESPACES = {
    "pid": ["--pid", "host"],
    "uts": ["--uts", "host"],
    "ipc": ["--ipc", "host"],
    "user": ["--userns", "host"],
    "cgroup": ["--cgroupns", "host"],
    "mnt": ["--mountns", "host", "--userns", "host"],
    "net": ["-network", "host"],
}


def of_host(name: str) -> str:
    return os.readlink(f"/proc/self/ns/{name}")


def test_all_seven_namespaces_differ_from_the_hosts(run: Coso) -> None:
    done = run("for n in pid uts ipc user cgroup mnt net; do readlink /proc/1/ns/$n; done")
    inside = done.stdout.split()
    assert len(inside) == 7
    assert not set(inside) & {of_host(name) for name in NAMESPACES}


@pytest.mark.parametrize("name", NAMESPACES)
def test_a_namespace_that_is_shared_is_the_hosts(coso: Coso, rootfs: Path, name: str) -> None:
    network = [] if name == "net" else ["-network", "none"]
    words = ["run", "-rootfs", str(rootfs), *network, *NAMESPACES[name], "--", "readlink", f"/proc/self/ns/{name}"]
    done = coso(*words)
    assert done.stdout.strip() == of_host(name), done.stderr
    assert not what_is_left()


def test_the_time_namespace_shifts_the_clock(run: Coso) -> None:
    host = float(Path("/proc/uptime").read_text().split()[0])
    assert float(run("--boottime", "1000000", "cat /proc/uptime").stdout.split()[0]) > host + 999_000
    assert float(run("cat /proc/uptime").stdout.split()[0]) < host + 1000


def test_the_command_is_process_1_and_sees_no_other(run: Coso) -> None:
    assert run("--", "/bin/sh", "-c", "echo $$; ls -d /proc/[0-9]*; true").stdout.split()[:2] == ["1", "/proc/1"]
    hosts = run("--pid", "host", "ls -d /proc/[0-9]* | wc -l")
    assert int(hosts.stdout) > 5


def test_the_host_name_is_the_containers_own(run: Coso) -> None:
    assert run("--hostname", "ark", "hostname; cat /etc/hostname; echo $HOSTNAME").stdout.split() == ["ark"] * 3
    assert run("--uts", "host", "hostname").stdout.strip() == os.uname().nodename


def test_root_inside_is_nobody_outside(run: Coso, tmp_path: Path) -> None:
    assert int(run("cat /proc/self/uid_map").stdout.split()[1]) >= 0x70000000
    assert run("--userns", "host", "cat /proc/self/uid_map").stdout.split()[1] == "0"


def test_two_containers_have_different_users(start, run: Coso) -> None:  # type: ignore[no-untyped-def]
    one = start("cat /proc/self/uid_map; exec sleep 30")
    first = one.stdout.readline().split()[1]
    assert run("cat /proc/self/uid_map").stdout.split()[1] != first


def test_writes_never_reach_the_lower_layer(run: Coso, rootfs: Path) -> None:
    before = sorted(str(path) for path in rootfs.rglob("*"))
    done = run("echo evil > /etc/passwd && rm -r /home && touch /new && cat /etc/passwd")
    assert (done.returncode, done.stdout) == (0, "evil\n"), done.stderr
    assert sorted(str(path) for path in rootfs.rglob("*")) == before
    assert "root" in (rootfs / "etc/passwd").read_text()
    assert run("cat /etc/passwd; ls /home -d").stdout != "evil\n"


def test_the_owners_of_the_rootfs_are_the_containers(run: Coso, rootfs: Path) -> None:
    assert run("stat -c %u:%g /bin /etc/passwd /root").stdout.split() == ["0:0"] * 3
    assert (rootfs / "etc/passwd").stat().st_uid == 0


@pytest.mark.parametrize("set_", ["CapPrm", "CapEff", "CapBnd"])
def test_capabilities_are_dockers_default_less_net_raw(run: Coso, set_: str) -> None:
    assert run(f"grep {set_} /proc/self/status").stdout.split()[1] == "00000000a80405fb"


def test_inheritable_and_ambient_capabilities_are_empty(run: Coso) -> None:
    status = run("grep -E 'CapInh|CapAmb' /proc/self/status").stdout.split()
    assert status[1::2] == ["0" * 16] * 2


def test_capabilities_can_be_added_and_dropped(run: Coso) -> None:
    assert run("--cap-drop", "ALL", "grep CapBnd /proc/self/status").stdout.split()[1] == "0" * 16
    all_ = int(run("--cap-add", "ALL", "grep CapEff /proc/self/status").stdout.split()[1], 16)
    assert all_.bit_count() > 38


def test_another_user_has_no_capability(run: Coso) -> None:
    status = run("--user", "nobody", "id -u; grep -E 'CapPrm|CapEff' /proc/self/status").stdout.split()
    assert status[0] == "65534"
    assert status[2::2] == ["0" * 16] * 2


def test_no_new_privileges_and_a_filter_are_on_unless_switched_off(run: Coso) -> None:
    look = "grep -E '^(NoNewPrivs|Seccomp):' /proc/self/status"
    assert run(look).stdout.split()[1::2] == ["1", "2"]
    off = ("--security-opt", "no-new-privileges=false", "--security-opt", "seccomp=unconfined")
    assert run(*off, look).stdout.split()[1::2] == ["0", "0"]


def test_mounting_is_forbidden_by_filter_and_by_capabilities(run: Coso) -> None:
    mount = "mount -t tmpfs x /mnt"
    assert run(mount).returncode != 0
    assert run("--security-opt", "seccomp=unconfined", mount).returncode != 0
    may = ("--cap-add", "SYS_ADMIN")
    assert run(*may, mount).returncode == 0


def test_new_namespaces_are_forbidden(run: Coso) -> None:
    assert run("unshare -U true").returncode != 0
    assert run("--security-opt", "seccomp=unconfined", "unshare -U true").returncode == 0


def test_no_descriptor_of_the_runtime_is_inherited(run: Coso) -> None:
    with open("/etc/hostname") as leak:
        os.set_inheritable(leak.fileno(), True)
        done = run("ls -l /proc/self/fd", pass_fds=[leak.fileno()])
    fds = {line.split()[-3] for line in done.stdout.splitlines() if "->" in line}
    assert fds <= {"0", "1", "2"}, done.stdout


def test_groups_of_the_host_are_dropped(run: Coso) -> None:
    earlier = os.getgroups()
    os.setgroups([*earlier, 4711])
    try:
        assert "4711" not in run("--user", "nobody", "id -G").stdout.split()
    finally:
        os.setgroups(earlier)


def test_devices_are_few_and_harmless(run: Coso) -> None:
    names = set(run("ls /dev").stdout.split())
    expected = {"fd", "full", "mqueue", "null", "ptmx", "pts", "random", "shm", "stderr", "stdin", "stdout", "tty"}
    assert names == expected | {"urandom", "zero"}
    assert run("echo x > /dev/null; head -c 3 /dev/zero | wc -c; ls /dev/pts").stdout.split() == ["3", "ptmx"]


def test_a_disk_cannot_be_reached(run: Coso) -> None:
    made = "mknod /tmp/disk b 254 0 && head -c 1 /tmp/disk"
    assert run(made).returncode != 0
    assert run("--userns", "host", made).returncode != 0  # By the devices control group.


def test_kernel_interfaces_are_masked_or_read_only(run: Coso) -> None:
    assert run("wc -c < /proc/keys").stdout.strip() == "0"
    assert run("ls /sys/firmware | wc -l").stdout.strip() == "0"
    paths = ("/proc/sys/kernel/hostname", "/proc/sysrq-trigger", "/sys/kernel/mm/ksm/run")
    for path in filter(os.path.exists, paths):
        assert "Read-only" in run(f"echo 1 > {path}").stderr, path
    assert "Read-only" not in run("echo 1 > /tmp/x").stderr


def test_shared_memory_and_queues_are_the_containers_own(run: Coso) -> None:
    with open("/dev/shm/coso-test", "w"):
        pass
    try:
        assert run("ls /dev/shm").stdout == ""
        assert "coso-test" in run("--ipc", "host", "ls /dev/shm").stdout
    finally:
        os.unlink("/dev/shm/coso-test")


def test_the_cgroup_namespace_hides_the_hosts_groups(run: Coso) -> None:
    paths = {line.rpartition(":")[2] for line in run("cat /proc/self/cgroup").stdout.split()}
    assert paths == {"/"}
    shared = {line.rpartition(":")[2] for line in run("--cgroupns", "host", "cat /proc/self/cgroup").stdout.split()}
    assert all("coso-" in path for path in shared)


def test_limits_can_be_read_inside(run: Coso) -> None:
    look = "cat /sys/fs/cgroup/pids/pids.max /sys/fs/cgroup/pids.max 2>/dev/null"
    assert run("--pids-limit", "77", look).stdout.strip() == "77"


def test_a_read_only_root_refuses_writes(run: Coso) -> None:
    assert "Read-only" in run("--read-only", "touch /x").stderr
    assert run("touch /x").returncode == 0


def test_nothing_mounted_inside_appears_outside(run: Coso) -> None:
    before = Path("/proc/self/mountinfo").read_text()
    run("--cap-add", "SYS_ADMIN", "mount -t tmpfs x /mnt")
    assert Path("/proc/self/mountinfo").read_text() == before


def test_an_image_whose_proc_is_a_link_is_refused(coso: Coso, rootfs: Path, tmp_path: Path) -> None:
    image = tmp_path / "image"
    image.mkdir(mode=0o755)
    (image / "bin").mkdir()
    (image / "elsewhere").mkdir()
    (image / "proc").symlink_to("/elsewhere")
    done = coso("run", "-rootfs", str(image), "-network", "none", "--", "/bin/sh")
    assert done.returncode == 125
    assert "symbolic link" in done.stderr


def test_the_runtimes_own_binary_is_read_only_without_a_user_namespace(run: Coso) -> None:
    write = "exec 3>>/proc/1/exe"
    done = run("--userns", "host", "--init", "--cap-add", "ALL", "--security-opt", "seccomp=unconfined", write)
    assert done.returncode != 0
    assert "Read-only" in done.stderr or "Permission" in done.stderr or "busy" in done.stderr


@pytest.mark.parametrize("options", [[], ["--userns", "host"]])
def test_where_the_hosts_mounts_are_shared_nothing_comes_back_to_it(
    programs: Path, rootfs: Path, tmp_path: Path, options: list[str]
) -> None:
    """As systemd leaves them: what is mounted inside, in a volume above all, must not appear outside."""
    tmp_path.chmod(0o755)
    inside = "mount -t tmpfs x /data && mount -t tmpfs y /mnt && echo mounted; read line"
    command = [str(programs / "coso"), "run", "-rootfs", str(rootfs), "-network", "none", "--cap-add", "SYS_ADMIN"]
    command += [*options, "-i", "-v", f"{tmp_path}:/data", "--", "/bin/sh", "-c", inside]
    # The shell stands for the host: it shows its mounts while the container has its own.
    host = 'mkfifo $0/ask; { cat $0/ask | "$@" > $0/said; } & exec 3> $0/ask; '
    host += "until grep -q . $0/said; do sleep 0.05; done; cat $0/said; cat /proc/self/mountinfo; echo >&3"
    shared = [find("unshare"), "-m", "--propagation", "shared", "/bin/sh", "-c", host, str(tmp_path), *command]
    done = subprocess.run(shared, capture_output=True, text=True, check=False, timeout=30)
    assert done.stdout.startswith("mounted\n"), done.stderr
    assert str(tmp_path) not in done.stdout
    assert not what_is_left()


def test_sharing_the_cgroup_namespace_leaves_the_hosts_mounts_as_they_are(run: Coso) -> None:
    before = [line for line in Path("/proc/self/mounts").read_text().splitlines() if "cgroup" in line]
    run("--userns", "host", "--cgroupns", "host", "true")
    assert [line for line in Path("/proc/self/mounts").read_text().splitlines() if "cgroup" in line] == before
