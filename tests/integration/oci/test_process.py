"""What `process` says: command, environment, directory, user, capabilities, limits, descriptors (config.md)."""

from __future__ import annotations

import os
from pathlib import Path

import pytest

from tests.integration.oci.bundle import PATH, SETS, Bundle, fields

STATUS = "cat /proc/self/status"


def capability_set(number: str) -> set[int]:
    return {bit for bit in range(64) if int(number, 16) >> bit & 1}


# The command.


def test_arguments_arrive_as_they_are(bundle: Bundle) -> None:
    words = ["", "a b", "'\"", "$HOME", "-n", "é", "*", "\\", "line\nbreak"]
    bundle.process["args"] = ["sh", "-c", 'for word; do printf "<%s>" "$word"; done', "sh", *words]
    assert bundle.run().ok().out == "".join(f"<{word}>" for word in words)


def test_the_environment_is_what_the_config_says_and_no_more(bundle: Bundle) -> None:
    bundle.process["env"] = [PATH, "A=1", "B=x=y", "EMPTY=", "SPACE=a b"]
    bundle.process["args"] = ["/usr/bin/env"]
    lines = set(bundle.run(env={"FROM_OUTSIDE": "1"}).ok().out.splitlines())
    # runc and crun add HOME when it is not there; a runtime may.
    assert {line for line in lines if not line.startswith("HOME=")} == set(bundle.process["env"])


def test_an_empty_home_is_that_of_the_user(bundle: Bundle) -> None:
    bundle.process["env"].append("HOME=")
    assert bundle.output("echo $HOME") == "/root"


def test_the_command_is_looked_up_in_the_containers_path(bundle: Bundle) -> None:
    place = bundle.rootfs / "opt" / "place"
    place.mkdir(parents=True)
    (place / "tool").write_text("#!/bin/sh\necho found\n")
    (place / "tool").chmod(0o755)
    bundle.process["env"] = ["PATH=/no/such:/opt/place:/bin"]
    bundle.process["args"] = ["tool"]
    assert bundle.run().ok().out == "found\n"


def test_a_name_with_a_slash_is_not_looked_up(bundle: Bundle) -> None:
    bundle.process["args"] = ["./busybox", "true"]
    bundle.process["cwd"] = "/bin"
    bundle.run().ok()


@pytest.mark.parametrize("command", ["nonsense", "/no/such", "/etc/passwd", "/etc"])
def test_a_command_that_cannot_run_is_an_error_that_names_it(bundle: Bundle, command: str) -> None:
    bundle.process["args"] = [command]
    assert command in bundle.refused()


def test_a_command_that_is_not_there_fails_before_start_returns(bundle: Bundle) -> None:
    bundle.process["args"] = ["/no/such"]
    done = bundle.create()
    if done.status == 0:
        done = bundle.start()
    assert done.status != 0
    assert "/no/such" in done.err + (bundle.path / "container.err").read_text()


def test_without_args_it_is_an_error(bundle: Bundle) -> None:
    bundle.process["args"] = []
    bundle.refused()


# The working directory.


def test_the_command_starts_in_its_directory(bundle: Bundle) -> None:
    bundle.process["cwd"] = "/usr/bin"
    assert bundle.output("pwd; readlink /proc/self/cwd") == "/usr/bin\n/usr/bin"


def test_a_missing_directory_is_made(bundle: Bundle) -> None:
    bundle.process["cwd"] = "/made/for/it"
    assert bundle.output("pwd") == "/made/for/it"


def test_a_link_is_followed_inside_the_root(bundle: Bundle) -> None:
    (bundle.rootfs / "link").symlink_to("/usr/bin")
    bundle.process["cwd"] = "/link"
    assert bundle.output("readlink /proc/self/cwd") == "/usr/bin"


def test_a_link_never_leads_out_of_the_root(bundle: Bundle) -> None:
    outside = bundle.path / "outside"
    (bundle.rootfs / "link").symlink_to(f"{'../' * 20}{str(outside)[1:]}")
    bundle.process["cwd"] = "/link/made"
    bundle.sh("true").run()
    assert not outside.exists()


@pytest.mark.parametrize("descriptor", range(3, 12))
def test_no_descriptor_of_the_host_is_a_working_directory(bundle: Bundle, descriptor: int) -> None:
    """A leaked descriptor as `cwd` was CVE-2024-21626: it must be refused or lie inside the root."""
    bundle.process["cwd"] = f"/proc/self/fd/{descriptor}"
    done = bundle.sh("ls ../../../../../../..").run()
    assert done.status != 0 or "busybox" in done.out or not set(done.out.split()) & set(os.listdir("/work"))


def test_a_relative_directory_is_refused(bundle: Bundle) -> None:
    bundle.process["cwd"] = "usr"
    bundle.refused()


def test_the_directory_of_another_user_needs_no_capability(bundle: Bundle) -> None:
    home = bundle.rootfs / "home" / "user"
    home.mkdir(mode=0o700)
    os.chown(home, 1000, 1000)
    bundle.process.update(cwd="/home/user", user={"uid": 1000, "gid": 1000})
    assert bundle.output("pwd") == "/home/user"


# The user.


def test_user_and_groups_are_set(bundle: Bundle) -> None:
    bundle.process["user"] = {"uid": 1000, "gid": 2000, "additionalGids": [3000, 4000]}
    found = fields(bundle.output(STATUS))
    assert found["Uid"].split() == ["1000"] * 4
    assert found["Gid"].split() == ["2000"] * 4
    assert set(found["Groups"].split()) - {"2000"} == {"3000", "4000"}


def test_no_group_of_the_caller_is_left(bundle: Bundle) -> None:
    groups = os.getgroups()
    os.setgroups([7777])
    try:
        found = fields(bundle.output(STATUS))
    finally:
        os.setgroups(groups)
    assert set(found["Groups"].split()) <= {"0"}


@pytest.mark.parametrize(("umask", "shown"), [(0o027, "0027"), (0, "0000"), (0o777, "0777")])
def test_the_umask_is_set(bundle: Bundle, umask: int, shown: str) -> None:
    bundle.process["user"]["umask"] = umask
    assert fields(bundle.output(STATUS))["Umask"] == shown


def test_the_umask_of_the_caller_is_not_inherited(bundle: Bundle) -> None:
    earlier = os.umask(0o077)
    try:
        found = bundle.output("umask")
    finally:
        os.umask(earlier)
    assert found == "0022"


# Privileges.


def test_each_capability_set_is_what_was_said(bundle: Bundle) -> None:
    bundle.process["capabilities"] = {
        "bounding": ["CAP_CHOWN", "CAP_KILL", "CAP_NET_RAW", "CAP_SYS_CHROOT"],
        "permitted": ["CAP_CHOWN", "CAP_KILL", "CAP_NET_RAW"],
        "effective": ["CAP_CHOWN", "CAP_KILL"],
        "inheritable": ["CAP_KILL", "CAP_NET_RAW"],
        "ambient": ["CAP_KILL"],
    }
    bundle.process["user"] = {"uid": 1000, "gid": 1000}
    bundle.process["args"] = ["/bin/cat", "/proc/self/status"]
    found = fields(bundle.run().ok().out)
    # execve(2) of an ordinary user makes permitted and effective out of the ambient set.
    assert capability_set(found["CapBnd"]) == {0, 5, 13, 18}
    assert capability_set(found["CapInh"]) == {5, 13}
    assert capability_set(found["CapAmb"]) == {5}
    assert capability_set(found["CapPrm"]) == {5}
    assert capability_set(found["CapEff"]) == {5}


def test_root_has_the_permitted_and_effective_ones(bundle: Bundle) -> None:
    bundle.process["capabilities"] = {kind: ["CAP_CHOWN", "CAP_KILL"] for kind in SETS[:3]}
    found = fields(bundle.output(STATUS))
    for name in ("CapBnd", "CapPrm", "CapEff"):
        assert capability_set(found[name]) == {0, 5}
    assert capability_set(found["CapInh"]) == capability_set(found["CapAmb"]) == set()


def test_without_capabilities_there_are_none(bundle: Bundle) -> None:
    bundle.process["capabilities"] = {kind: [] for kind in SETS}
    found = fields(bundle.output(STATUS))
    assert {int(found[f"Cap{name}"], 16) for name in ("Bnd", "Prm", "Eff", "Inh", "Amb")} == {0}


def test_a_capability_nobody_knows_is_left_out(bundle: Bundle) -> None:
    """The specification 1.1 and later: what cannot be granted is ignored, with a warning."""
    for kind in ("bounding", "permitted", "effective"):
        bundle.process["capabilities"][kind].append("CAP_NO_SUCH")
    bundle.run().ok()


@pytest.mark.parametrize("wanted", [True, False])
def test_no_new_privileges_is_as_said(bundle: Bundle, wanted: bool) -> None:
    bundle.process["noNewPrivileges"] = wanted
    assert fields(bundle.output(STATUS))["NoNewPrivs"] == str(int(wanted))


def test_limits_are_set(bundle: Bundle) -> None:
    bundle.process["rlimits"] = [
        {"type": "RLIMIT_NOFILE", "soft": 100, "hard": 200},
        {"type": "RLIMIT_CORE", "soft": 0, "hard": 0},
        {"type": "RLIMIT_FSIZE", "soft": 1 << 20, "hard": 1 << 21},
    ]
    limits = bundle.output("cat /proc/self/limits").splitlines()
    rows = {line[:26].strip(): line[26:].split()[:2] for line in limits}
    assert rows["Max open files"] == ["100", "200"]
    assert rows["Max core file size"] == ["0", "0"]
    assert rows["Max file size"] == [str(1 << 20), str(1 << 21)]


def test_an_unknown_limit_is_refused(bundle: Bundle) -> None:
    bundle.process["rlimits"] = [{"type": "RLIMIT_NOTHING", "soft": 1, "hard": 1}]
    bundle.refused()


def test_a_limit_said_twice_is_refused(bundle: Bundle) -> None:
    bundle.process["rlimits"] = [{"type": "RLIMIT_CORE", "soft": 0, "hard": 0}] * 2
    bundle.refused()


def test_a_soft_limit_above_the_hard_one_is_refused(bundle: Bundle) -> None:
    bundle.process["rlimits"] = [{"type": "RLIMIT_NOFILE", "soft": 200, "hard": 100}]
    bundle.refused()


@pytest.mark.parametrize("score", [0, 500, 1000])
def test_the_oom_score_is_set(bundle: Bundle, score: int) -> None:
    bundle.process["oomScoreAdj"] = score
    assert bundle.output("cat /proc/self/oom_score_adj") == str(score)


def test_without_a_score_it_is_the_callers(bundle: Bundle) -> None:
    own = Path("/proc/self/oom_score_adj")
    before = own.read_text()
    own.write_text("77")
    try:
        assert bundle.output("cat /proc/self/oom_score_adj") == "77"
    finally:
        own.write_text(before)


# Scheduling.


@pytest.mark.parametrize("nice", [5, 19])
def test_the_scheduler_is_set(bundle: Bundle, nice: int) -> None:
    bundle.process["scheduler"] = {"policy": "SCHED_BATCH", "nice": nice}
    bundle.up()
    assert os.sched_getscheduler(bundle.pid) == os.SCHED_BATCH
    assert os.getpriority(os.PRIO_PROCESS, bundle.pid) == nice


def test_an_unknown_scheduler_is_refused(bundle: Bundle) -> None:
    bundle.process["scheduler"] = {"policy": "SCHED_NOTHING"}
    bundle.refused()


@pytest.mark.parametrize(
    ("name", "level", "shown"),
    [("IOPRIO_CLASS_BE", 7, "best-effort: prio 7"), ("IOPRIO_CLASS_IDLE", 0, "idle")],
)
def test_the_io_priority_is_set(bundle: Bundle, name: str, level: int, shown: str) -> None:
    bundle.process["ioPriority"] = {"class": name, "priority": level}
    assert bundle.output("ionice -p $$") == shown


@pytest.mark.parametrize(("domain", "machine"), [("LINUX", "x86_64"), ("LINUX32", "i686")])
def test_the_personality_is_set(bundle: Bundle, domain: str, machine: str) -> None:
    if os.uname().machine != "x86_64":
        pytest.skip("the names of machines are those of x86-64")
    bundle.linux["personality"] = {"domain": domain}
    assert bundle.output("uname -m") == machine


def test_an_unknown_personality_is_refused(bundle: Bundle) -> None:
    bundle.linux["personality"] = {"domain": "OTHER"}
    bundle.refused()


# Descriptors.


def test_input_output_and_errors_are_the_callers(bundle: Bundle) -> None:
    bundle.sh("cat; echo wrong >&2")
    done = bundle.run(stdin="from outside\n").ok()
    assert done.out == "from outside\n"
    assert "wrong\n" in done.err


def test_a_pipe_of_the_caller_can_be_opened_again(bundle: Bundle) -> None:
    """Programs write to /dev/stdout and /dev/stderr, also as another user."""
    bundle.process["user"] = {"uid": 1000, "gid": 1000}
    reading, writing = os.pipe()
    os.close(writing)
    assert bundle.output("echo out; echo err >&2; ls /proc/self/fd", stdin=reading)
    os.close(reading)


def test_no_other_descriptor_reaches_the_command(bundle: Bundle) -> None:
    descriptor = os.open("/etc/passwd", os.O_RDONLY)
    os.set_inheritable(descriptor, True)
    bundle.process["args"] = ["sleep", "100"]
    bundle.detach(pass_fds=[descriptor]).ok()
    os.close(descriptor)
    found = {name: os.readlink(f"/proc/{bundle.pid}/fd/{name}") for name in os.listdir(f"/proc/{bundle.pid}/fd")}
    assert sorted(found) == ["0", "1", "2"], found


def pipe_with(text: str) -> int:
    """The reading end of a pipe that holds a text."""
    reading, writing = os.pipe()
    os.write(writing, text.encode())
    os.close(writing)
    return reading


def test_descriptors_are_kept_when_asked(bundle: Bundle) -> None:
    third = pipe_with("through three\n")
    assert bundle.sh("cat <&3").run("--preserve-fds", "1", third=third).ok().out == "through three\n"
    os.close(third)


def test_listen_fds_are_passed_on(bundle: Bundle) -> None:
    """Socket activation: sd_listen_fds(3)."""
    third = pipe_with("activated\n")
    bundle.sh("cat <&3; echo $LISTEN_FDS $LISTEN_PID")
    assert bundle.run(env={"LISTEN_FDS": "1"}, third=third).ok().out == "activated\n1 1\n"
    os.close(third)


def test_the_command_has_no_signal_blocked_or_ignored(bundle: Bundle) -> None:
    bundle.process["args"] = ["/bin/cat", "/proc/self/status"]
    found = fields(bundle.run().ok().out)
    assert int(found["SigBlk"], 16) == 0
    assert int(found["SigIgn"], 16) == 0


def test_the_runtime_binary_cannot_be_reached_from_inside(bundle: Bundle) -> None:
    """CVE-2019-5736: /proc/self/exe of a runtime that has entered the container must not be its own file."""
    bundle.process["args"] = ["/proc/self/exe", "--version"]
    bundle.run()
    assert Path(bundle.runtime.program).read_bytes()[:2] in (b"\x7fE", b"#!")
