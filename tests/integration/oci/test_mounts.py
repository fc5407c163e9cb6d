"""What `mounts` says: filesystems, binds, their options, propagation, and where they may not go (config.md)."""

from __future__ import annotations

import os
import socket
import subprocess
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest

from tests.integration.oci import groups
from tests.integration.oci.bundle import FIRST_ID, Bundle, eventually

POINT = "grep ' {} ' /proc/self/mountinfo"


def options(line: str) -> set[str]:
    """The options of a line of /proc/self/mountinfo: those of the mount, and those of its filesystem."""
    before, _, after = line.splitlines()[-1].partition(" - ")
    return {*before.split()[5].split(","), *after.split()[2].split(",")}


@pytest.fixture
def outside(bundle: Bundle) -> Path:
    """A directory of the host with a file and a program."""
    directory = bundle.path / "outside"
    directory.mkdir()
    (directory / "file").write_text("from outside\n")
    (directory / "program").write_text("#!/bin/sh\necho it runs\n")
    (directory / "program").chmod(0o755)
    return directory


@pytest.fixture
def mount_on() -> Iterator[Callable[..., None]]:
    """Mount a tmpfs on a directory of the host, for the test."""
    points: list[Path] = []

    def mount(point: Path, *flags: str) -> None:
        subprocess.run(["mount", "-t", "tmpfs", *flags, "tmpfs", str(point)], check=True)
        points.append(point)

    yield mount
    for point in reversed(points):
        subprocess.run(["umount", "--lazy", str(point)], check=True)


# Filesystems.


@pytest.mark.parametrize(
    ("point", "kind"),
    [("/proc", "proc"), ("/sys", "sysfs"), ("/dev", "tmpfs"), ("/dev/pts", "devpts"), ("/dev/shm", "tmpfs")],
)
def test_the_usual_filesystems_are_mounted(bundle: Bundle, point: str, kind: str) -> None:
    assert f" - {kind} " in bundle.output(POINT.format(point))


def test_proc_is_that_of_the_containers_processes(bundle: Bundle) -> None:
    assert bundle.output("cat /proc/1/cmdline | tr '\\0' ' '").startswith("/bin/sh -c")


def test_size_mode_and_owner_of_a_tmpfs_are_as_said(bundle: Bundle) -> None:
    bundle.mount("/data", "tmpfs", "size=1m", "mode=0751", "uid=1000", "gid=2000", "nosuid", "noatime", kind="tmpfs")
    assert bundle.output("stat -c '%a %u %g' /data") == "751 1000 2000"
    found = options(bundle.output(POINT.format("/data")))
    assert {"size=1024k", "nosuid", "noatime"} <= found
    assert bundle.sh("dd if=/dev/zero of=/data/big bs=1024 count=2000").run().status != 0


def test_a_message_queue_filesystem_is_the_containers_own(bundle: Bundle) -> None:
    bundle.mount("/dev/mqueue", "mqueue", "nosuid", "noexec", "nodev", kind="mqueue")
    assert " - mqueue " in bundle.output(POINT.format("/dev/mqueue"))


def test_a_new_terminal_is_the_first_of_its_own_devpts(bundle: Bundle) -> None:
    assert bundle.output("ls /dev/pts; readlink /dev/ptmx").split()[-1].endswith("pts/ptmx")


def test_control_groups_show_the_containers_own(bundle: Bundle) -> None:
    bundle.namespace("cgroup")
    bundle.mount("/sys/fs/cgroup", "cgroup", "nosuid", "noexec", "nodev", "relatime", "ro", kind="cgroup")
    bundle.up("mkdir /sys/fs/cgroup/x /sys/fs/cgroup/*/x 2>/dev/null && echo written; echo ready; exec sleep 100")
    assert bundle.prints("ready")
    assert "written" not in bundle.printed()
    inside = Path(f"/proc/{bundle.pid}/root/sys/fs/cgroup")
    directory = inside / "pids" if groups.is_v1("pids") else inside
    assert bundle.pid in groups.members(directory)


def test_an_unknown_filesystem_is_an_error_that_names_it(bundle: Bundle) -> None:
    bundle.mount("/data", "x", kind="nosuchfs")
    said = bundle.refused()
    assert "nosuchfs" in said or "data" in said


def test_a_missing_source_is_an_error_that_names_it(bundle: Bundle) -> None:
    bundle.mount("/data", "/no/such/source")
    assert "/no/such/source" in bundle.refused()


# Binds.


def test_a_bind_is_the_same_directory(bundle: Bundle, outside: Path) -> None:
    bundle.mount("/data", outside)
    assert bundle.output("cat /data/file; echo changed > /data/new") == "from outside"
    assert (outside / "new").read_text() == "changed\n"


def test_a_relative_source_is_below_the_bundle(bundle: Bundle, outside: Path) -> None:
    bundle.mount("/data", "outside")
    bundle.write()
    done = bundle.sh("cat /data/file").run(cwd=Path("/"))
    assert done.ok().out == (outside / "file").read_text()


def test_a_bind_has_no_need_of_a_type(bundle: Bundle, outside: Path) -> None:
    del bundle.mount("/data", outside)["type"]
    assert bundle.output("cat /data/file") == "from outside"


@pytest.mark.parametrize(
    ("option", "script", "said"),
    [
        ("ro", "touch /data/new", "Read-only"),
        ("noexec", "/data/program", "ermission denied"),
        ("nodev", "cat /data/device", "ermission denied"),
    ],
)
def test_an_option_of_a_bind_is_enforced(bundle: Bundle, outside: Path, option: str, script: str, said: str) -> None:
    os.mknod(outside / "device", 0o020666, os.makedev(1, 3))
    entry = bundle.mount("/data", outside)
    bundle.output(script)
    entry["options"].append(option)
    done = bundle.sh(script).run()
    assert done.status != 0
    assert said in done.err


@pytest.mark.parametrize(
    "option", ["ro", "nosuid", "nodev", "noexec", "noatime", "nodiratime", "relatime", "nosymfollow"]
)
def test_an_option_is_seen_in_the_mount(bundle: Bundle, outside: Path, option: str) -> None:
    bundle.mount("/data", outside, "rbind", option)
    assert option in options(bundle.output(POINT.format("/data")))


def test_what_a_user_namespace_may_not_lift_stays(bundle: Bundle, mount_on: Callable[..., None], outside: Path) -> None:
    """Options of the source are locked there; asking for one more must not fail (mount_namespaces(7))."""
    mount_on(outside, "-o", "nosuid,nodev,noexec")
    bundle.own_users().mount("/data", outside, "rbind", "ro")
    assert {"ro", "nosuid", "nodev", "noexec"} <= options(bundle.output(POINT.format("/data")))


def test_bind_leaves_what_is_mounted_below_out_and_rbind_takes_it(
    bundle: Bundle, outside: Path, mount_on: Callable[..., None]
) -> None:
    (outside / "below").mkdir()
    mount_on(outside / "below")
    (outside / "below" / "deep").touch()
    bundle.mount("/one", outside, "bind")
    bundle.mount("/all", outside, "rbind")
    assert bundle.output("ls /one/below /all/below").split() == ["/all/below:", "deep", "/one/below:"]


@pytest.mark.parametrize("word", ["ro", "nosuid", "nodev", "noexec", "noatime"])
def test_a_recursive_option_holds_below_too(
    bundle: Bundle, outside: Path, mount_on: Callable[..., None], word: str
) -> None:
    (outside / "below").mkdir()
    mount_on(outside / "below")
    entry = bundle.mount("/data", outside, "rbind", word)
    assert word not in options(bundle.output(POINT.format("/data/below")))
    entry["options"][-1] = f"r{word}"
    assert word in options(bundle.output(POINT.format("/data")))
    assert word in options(bundle.output(POINT.format("/data/below")))


def test_a_file_is_bound_over_a_file(bundle: Bundle, outside: Path) -> None:
    bundle.mount("/etc/hostname", outside / "file")
    assert bundle.output("cat /etc/hostname") == "from outside"
    assert (bundle.rootfs / "etc/hostname").read_text() != "from outside\n"


def test_a_socket_is_bound(bundle: Bundle, outside: Path) -> None:
    with socket.socket(socket.AF_UNIX) as server:
        server.bind(str(outside / "socket"))
        bundle.mount("/run/server.sock", outside / "socket")
        bundle.output("test -S /run/server.sock")


# Propagation.


@pytest.mark.parametrize(("word", "seen"), [("rprivate", False), ("rslave", True), ("rshared", True)])
def test_a_mount_made_later_on_the_host_is_seen_as_said(
    bundle: Bundle, outside: Path, mount_on: Callable[..., None], word: str, seen: bool
) -> None:
    mount_on(outside)  # The mount which holds the root filesystem becomes private.
    (outside / "point").mkdir()
    bundle.linux["rootfsPropagation"] = word
    bundle.mount("/data", outside, "rbind", word)
    bundle.up()
    mount_on(outside / "point")
    found = eventually(lambda: "/data/point" in bundle.proc("mountinfo"), 0.5 if seen else 0.1)
    assert found == seen


@pytest.mark.parametrize(("word", "seen"), [("rprivate", False), ("rslave", False), ("rshared", True)])
def test_a_mount_made_inside_is_seen_by_the_host_only_if_shared(
    bundle: Bundle, outside: Path, mount_on: Callable[..., None], word: str, seen: bool
) -> None:
    mount_on(outside)  # The mount which holds the root filesystem becomes private.
    (outside / "point").mkdir()
    bundle.linux["rootfsPropagation"] = word
    bundle.grant("CAP_SYS_ADMIN").mount("/data", outside, "rbind", word)
    bundle.up("mount -t tmpfs tmpfs /data/point && echo done; exec sleep 100")
    assert bundle.prints("done")
    found = f"{outside}/point" in Path("/proc/self/mountinfo").read_text()
    if found:
        subprocess.run(["umount", str(outside / "point")], check=True)
    assert found == seen


# Where they go.


def test_a_missing_directory_is_made(bundle: Bundle, outside: Path) -> None:
    bundle.mount("/not/there/yet", outside)
    assert bundle.output("cat /not/there/yet/file") == "from outside"


def test_a_missing_file_is_made(bundle: Bundle, outside: Path) -> None:
    bundle.mount("/not/there/file", outside / "file")
    assert bundle.output("cat /not/there/file") == "from outside"


def test_mounts_are_made_in_their_order(bundle: Bundle, outside: Path) -> None:
    bundle.mount("/data", kind="tmpfs")
    bundle.mount("/data/inner", outside)
    bundle.mount("/data/inner/file", bundle.rootfs / "etc/passwd")
    assert bundle.output("grep -c . /data/inner/file").isdecimal()
    assert "root:" in bundle.output("cat /data/inner/file")


def test_a_relative_destination_is_below_the_root(bundle: Bundle, outside: Path) -> None:
    """Version 1 asked for an absolute path; since 1.2 a relative one is taken as from the root."""
    bundle.mount("data", outside)
    assert bundle.output("cat /data/file") == "from outside"


def test_a_destination_through_a_link_stays_inside_the_root(bundle: Bundle, outside: Path) -> None:
    target = bundle.path / "target"
    target.mkdir()
    (bundle.rootfs / "absolute").symlink_to(target)
    (bundle.rootfs / "climbing").symlink_to(f"../../../../../..{target}")
    bundle.mount("/absolute", outside)
    bundle.mount("/climbing/deeper", outside)
    found = bundle.output("cat /absolute/file /climbing/deeper/file; readlink /absolute").splitlines()
    assert found == ["from outside", "from outside", str(target)]
    assert not list(target.iterdir())


@pytest.mark.parametrize("destination", ["/../outside", "/usr/../../../outside/deeper"])
def test_a_destination_that_climbs_stays_inside_the_root(bundle: Bundle, outside: Path, destination: str) -> None:
    bundle.mount(destination, kind="tmpfs")
    bundle.run()
    assert sorted(path.name for path in outside.iterdir()) == ["file", "program"]


@pytest.mark.parametrize("point", ["/proc", "/sys"])
def test_a_link_in_place_of_proc_is_refused(bundle: Bundle, point: str) -> None:
    """CVE-2019-16884, CVE-2023-27561: an image could make what is written to /proc go elsewhere."""
    (bundle.rootfs / point[1:]).rmdir()
    (bundle.rootfs / point[1:]).symlink_to("tmp")
    bundle.refused()


@pytest.mark.parametrize("point", ["/proc/self/attr", "/proc/sys", "/proc"])
def test_nothing_but_proc_is_mounted_over_proc(bundle: Bundle, outside: Path, point: str) -> None:
    bundle.mount(point, outside)
    bundle.refused()


def test_a_link_of_the_source_is_followed(bundle: Bundle, outside: Path) -> None:
    (outside / "link").symlink_to("file")
    bundle.mount("/data", outside / "link")
    assert bundle.output("cat /data") == "from outside"


def test_a_copied_link_stays_a_link(bundle: Bundle, outside: Path) -> None:
    """crun's option, which is in the features of the specification."""
    (outside / "link").symlink_to("/etc/passwd")
    bundle.mount("/data", outside / "link", "copy-symlink")
    assert bundle.output("readlink /data") == "/etc/passwd"


def test_a_tmpfs_starts_with_a_copy_of_what_was_there(bundle: Bundle) -> None:
    (bundle.rootfs / "data" / "deep").mkdir(parents=True)
    (bundle.rootfs / "data" / "deep" / "file").write_text("kept\n")
    os.chown(bundle.rootfs / "data" / "deep" / "file", 1000, 1000)
    bundle.mount("/data", "tmpfs", "tmpcopyup", kind="tmpfs")
    assert bundle.output("cat /data/deep/file; stat -c %u /data/deep/file; touch /data/new").split() == ["kept", "1000"]
    assert not (bundle.rootfs / "data" / "new").exists()


# Mapped ids.


@pytest.mark.parametrize("recursive", [False, True])
def test_a_mount_with_mappings_shows_other_owners(bundle: Bundle, outside: Path, recursive: bool) -> None:
    os.chown(outside / "file", 10, 20)
    entry = bundle.mount("/data", outside, "ridmap" if recursive else "idmap")
    entry["uidMappings"] = [{"containerID": 0, "hostID": 5000, "size": 100}]
    entry["gidMappings"] = [{"containerID": 0, "hostID": 6000, "size": 100}]
    assert bundle.output("stat -c '%u %g' /data/file") == "5010 6020"


def test_the_mappings_of_the_user_namespace_are_taken_without_own_ones(bundle: Bundle, outside: Path) -> None:
    bundle.own_users()
    bundle.mount("/plain", outside)
    bundle.mount("/mapped", outside, "idmap")
    assert bundle.output("stat -c %u /plain/file /mapped/file").split() == ["65534", "0"]
    assert bundle.output("touch /mapped/new; stat -c %u /mapped/new") == "0"
    assert (outside / "new").stat().st_uid == 0 != FIRST_ID


@pytest.mark.parametrize("missing", ["uidMappings", "gidMappings"])
def test_one_mapping_of_a_mount_without_the_other_is_refused(bundle: Bundle, outside: Path, missing: str) -> None:
    entry = bundle.mount("/data", outside, "idmap")
    entry.update({name: [{"containerID": 0, "hostID": 5000, "size": 100}] for name in ("uidMappings", "gidMappings")})
    del entry[missing]
    bundle.refused()


def test_files_made_in_a_mapped_mount_belong_to_whom_it_says(bundle: Bundle, outside: Path) -> None:
    """Whoever is 5010 inside is 10 in the source."""
    outside.chmod(0o777)
    entry = bundle.mount("/data", outside, "idmap")
    entry.update({name: [{"containerID": 0, "hostID": 5000, "size": 100}] for name in ("uidMappings", "gidMappings")})
    bundle.process["user"] = {"uid": 5010, "gid": 5020}
    bundle.output("touch /data/new")
    made = (outside / "new").stat()
    assert (made.st_uid, made.st_gid) == (10, 20)


def test_a_remount_changes_the_filesystem_too(bundle: Bundle) -> None:
    bundle.mount("/held", "", "size=64k", kind="tmpfs")
    bundle.mount("/held", "", "remount", "size=128k", kind="tmpfs")
    assert "size=128k" in options(bundle.output(POINT.format("/held")))


def test_owners_are_mapped_on_what_is_shown_or_not_at_all(bundle: Bundle) -> None:
    entry = bundle.mount("/held", "", kind="tmpfs")
    entry["uidMappings"] = entry["gidMappings"] = [{"containerID": 0, "hostID": FIRST_ID, "size": 1}]
    done = bundle.sh("stat -c %u /held").run()
    assert done.status != 0 or done.out.strip() == str(FIRST_ID)
