"""Mistakes of a caller, and tricks of an image, that must not reach the machine."""

from __future__ import annotations

import os
import subprocess
from pathlib import Path

from tests.integration.oci.bundle import Bundle, eventually, fields
from tests.integration.oci.conftest import MakeBundle


def test_descriptors_to_be_kept_must_be_open(bundle: Bundle) -> None:
    """A file of the runtime's own would take the number, and come to be the container's."""
    assert "3" in bundle.refused("--preserve-fds", "1")


def test_sockets_for_another_process_are_not_passed_on(bundle: Bundle) -> None:
    """LISTEN_FDS without a LISTEN_PID of ours is left over from somebody else (sd_listen_fds(3))."""
    bundle.sh("ls /proc/self/fd")
    done = bundle.run(env={"LISTEN_FDS": "1", "LISTEN_PID": "1"}).ok()
    assert len(done.out.split()) == 4  # 0, 1, 2, and the one by which ls reads.


def test_a_signal_without_a_group_reaches_nobody_else(bundle: Bundle) -> None:
    if bundle.runtime.name != "coso":
        return  # The name of a manager that makes no groups is coso's and crun's.
    with subprocess.Popen(["sleep", "100"]) as bystander:
        bundle.sh("trap '' USR1; exec sleep 100").write()
        options = ("--cgroup-manager", "disabled")
        bundle.without("pid")
        bundle.write()
        keep = bundle.path / "container"
        words = ("run", "--detach", "--bundle", str(bundle.path), bundle.id)
        bundle.runtime(*words, options=options, keep=keep).ok()
        bundle.runtime("kill", "--all", bundle.id, "KILL").ok()
        assert eventually(lambda: bundle.status() == "stopped")
        assert bystander.poll() is None
        bystander.kill()


def test_a_bundle_may_be_named_from_where_one_is(bundle: Bundle) -> None:
    bundle.write()
    place = bundle.path.parent
    bundle.runtime("create", "--bundle", bundle.path.name, bundle.id, cwd=place, keep=bundle.path / "container").ok()
    assert bundle.state()["bundle"] == str(bundle.path)
    assert bundle.start().status == 0


def test_two_equal_mounts_are_made(bundle: Bundle) -> None:
    for _ in range(2):
        bundle.mount("/mnt/file", "/etc/hostname")
    assert bundle.output("grep -c /mnt/file /proc/self/mountinfo") == "2"


def test_what_a_hook_is_told_may_be_long(bundle: Bundle) -> None:
    bundle.config["annotations"] = {f"key{number}": "x" * 1000 for number in range(200)}
    told = bundle.path / "told"
    bundle.config["hooks"] = {"createRuntime": [{"path": "/bin/sh", "args": ["sh", "-c", f"cat > {told}"]}]}
    bundle.run().ok()
    assert told.stat().st_size > 200_000


def test_an_ordinary_users_command_opens_its_output_anew(bundle: Bundle) -> None:
    bundle.process["user"] = {"uid": 1000, "gid": 1000}
    bundle.sh("echo anew > /dev/stdout").write()
    line = bundle.runtime.words("run", "--bundle", str(bundle.path), bundle.id)
    done = subprocess.run(line, stdin=subprocess.DEVNULL, capture_output=True, text=True, timeout=20, check=False)
    assert done.stdout == "anew\n", done.stderr


def test_a_paused_container_is_killed(bundle: Bundle) -> None:
    bundle.up()
    bundle.runtime("pause", bundle.id).ok()
    bundle.kill("KILL").ok()
    assert eventually(lambda: bundle.status() == "stopped")


def test_a_missing_directory_is_made_before_the_root_is_read_only(bundle: Bundle) -> None:
    bundle.config["root"]["readonly"] = True
    bundle.process["cwd"] = "/made/for/it"
    assert bundle.output("pwd") == "/made/for/it"


def test_an_exec_does_not_make_its_directory(bundle: Bundle) -> None:
    bundle.up()
    assert bundle.exec("true", flags=("--cwd", "/nosuch")).status != 0
    assert not (bundle.rootfs / "nosuch").exists()


def test_a_label_that_an_exec_cannot_have_is_an_error(bundle: Bundle) -> None:
    bundle.up()
    if not Path("/sys/module/apparmor").exists():
        assert bundle.exec("true", flags=("--apparmor", "nosuch")).status != 0


def test_a_neighbour_in_its_pid_namespace_cannot_trace_the_runtime(make_bundle: MakeBundle) -> None:
    one = make_bundle().up()
    other = make_bundle()
    other.namespace("pid", f"/proc/{one.pid}/ns/pid").create().ok()
    assert one.exec("sh", "-c", "readlink /proc/2/exe").status != 0


def test_a_pipe_in_place_of_passwd_keeps_nobody_waiting(bundle: Bundle) -> None:
    (bundle.rootfs / "etc/passwd").unlink()
    os.mkfifo(bundle.rootfs / "etc/passwd")
    assert bundle.output("echo runs") == "runs"


def test_few_open_files_are_for_the_command_to_live_with(bundle: Bundle) -> None:
    bundle.process["rlimits"] = [{"type": "RLIMIT_NOFILE", "soft": 4, "hard": 4}]
    bundle.up()
    assert "Max open files            4                    4" in bundle.proc("limits")
    assert fields(bundle.proc("status"))["State"].startswith("S")
