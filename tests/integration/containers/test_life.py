"""A container's life as people see it: made, started, looked at, stopped, started again, removed."""

from __future__ import annotations

import json
import os
import re
import subprocess
import time
from pathlib import Path

import pytest

from tests.integration.conftest import Coso, eventually
from tests.integration.containers.conftest import ok

SLEEP = ("--network", "none", "I", "sleep", "100")
SERVE = "while :; do echo served | nc -l -p 80; done"


def test_a_container_in_the_background_is_listed_with_its_output_and_its_end(c: Coso) -> None:
    container = ok(
        c("run", "-d", "--name", "web", "--network", "none", "I", "sh", "-c", "echo hi; echo no >&2; exit 3")
    )
    assert ok(c("wait", "web")) == "3"
    logs = c("logs", "web")
    assert (logs.stdout, logs.stderr) == ("hi\n", "no\n")
    assert ok(c("ps", "-q")) == ""
    assert ok(c("ps", "-aq")) == container
    assert re.match(r"web Exited \(3\) .* ago$", ok(c("ps", "-a", "--format", "{{.Names}} {{.Status}}")))
    assert ok(c("rm", "web")) == "web"
    assert c("inspect", "web").returncode == 1


def test_what_a_container_has_written_is_there_when_it_starts_again(c: Coso) -> None:
    ok(c("create", "--name", "x", "--network", "none", "I", "sh", "-c", "echo line >> /root/file; cat /root/file"))
    for count in (1, 2, 3):
        assert ok(c("start", "-a", "x")) == "\n".join(["line"] * count)


def test_a_container_in_front_keeps_its_status_and_with_rm_leaves_nothing(c: Coso) -> None:
    done = c(
        "run", "--network", "none", "--name", "kept", "I", "sh", "-c", "cat; echo bye >&2; exit 5", input="typed\n"
    )
    assert (done.returncode, done.stdout, done.stderr) == (5, "", "bye\n")
    done = c("run", "-i", "--network", "none", "I", "cat", input="typed\n")
    assert (done.returncode, done.stdout) == (0, "typed\n")
    assert c("run", "--rm", "--network", "none", "I", "false").returncode == 1
    assert c("run", "--rm", "-d", "--name", "gone", "--network", "none", "I", "true").returncode == 0
    assert eventually(lambda: "gone" not in ok(c("ps", "-a", "--format", "{{.Names}}")))


@pytest.mark.parametrize(("command", "status"), [("nosuch", 127), ("/etc", 126)])
def test_a_command_that_cannot_run_is_told_by_its_status(c: Coso, command: str, status: int) -> None:
    for way in ((), ("-d",), ("--rm",), ("--rm", "-d")):
        done = c("run", *way, "--network", "none", "I", command)
        assert done.returncode == status, (way, done.stderr)
        assert command in done.stderr
        assert "Traceback" not in done.stderr
    assert ok(c("ps", "-a", "--format", "{{.Status}}")).split() == ["Created", "Created"]


def test_stop_asks_first_and_kills_after_a_while(c: Coso) -> None:
    ok(
        c(
            "run",
            "-d",
            "--name",
            "kind",
            "--network",
            "none",
            "I",
            "sh",
            "-c",
            "trap 'exit 7' TERM; while :; do sleep 0.05; done",
        )
    )
    ok(c("run", "-d", "--name", "deaf", *SLEEP))
    time.sleep(0.3)
    ok(c("stop", "kind"))
    begun = time.monotonic()
    ok(c("stop", "-t", "1", "deaf"))
    assert 0.9 < time.monotonic() - begun < 4
    states = dict(
        line.split() for line in ok(c("inspect", "-f", "{{.Name}} {{.State.ExitCode}}", "kind", "deaf")).splitlines()
    )
    assert states == {"/kind": "7", "/deaf": "137"}


def test_pause_kill_rename_restart_and_wait(c: Coso) -> None:
    ok(c("run", "-d", "--name", "a", *SLEEP))
    ok(c("pause", "a"))
    assert "(Paused)" in ok(c("ps"))
    assert c("exec", "a", "true").returncode == 125
    ok(c("unpause", "a"))
    ok(c("rename", "a", "b"))
    first = ok(c("inspect", "-f", "{{.State.Pid}}", "b"))
    ok(c("restart", "-t", "0", "b"))
    assert ok(c("inspect", "-f", "{{.State.Pid}}", "b")) != first
    assert c("rm", "b").returncode == 1
    ok(c("kill", "-s", "KILL", "b"))
    assert ok(c("wait", "b")) == "137"
    assert c("kill", "b").returncode == 1


def test_another_process_in_a_container_has_its_words(c: Coso) -> None:
    ok(c("run", "-d", "--name", "a", "-e", "ONE=1", "-w", "/tmp", "--hostname", "inside", *SLEEP))
    assert (
        ok(c("exec", "-e", "TWO=2", "a", "sh", "-c", "echo $ONE $TWO $PWD $(hostname) $(id -u)")) == "1 2 /tmp inside 0"
    )
    assert ok(c("exec", "-u", "nobody", "-w", "/", "a", "sh", "-c", "id -un; pwd")) == "nobody\n/"
    assert c("exec", "a", "sh", "-c", "exit 9").returncode == 9
    assert c("exec", "a", "nosuch").returncode == 127
    assert ok(c("exec", "-i", "a", "cat", input="typed")) == "typed"
    ok(c("exec", "-d", "a", "sh", "-c", "echo later > /later"))
    assert eventually(lambda: c("exec", "a", "cat", "/later").stdout == "later\n")
    assert "sleep 100" in ok(c("top", "a"))


def test_a_terminal_is_joined_and_left_again(c: Coso, programs: Path, alpine: str) -> None:
    ok(c("run", "-dit", "--name", "t", "--network", "none", "I", "sh"))
    line = f"{programs}/coso attach --detach-keys ctrl-x t"
    script = ["script", "-qec", line, "/dev/null"]
    process = subprocess.Popen(script, stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True)
    assert process.stdin
    process.stdin.write("echo $((6*7))\n")
    process.stdin.flush()
    assert eventually(lambda: "42" in c("logs", "t").stdout)
    process.stdin.write("\x18")
    process.stdin.flush()
    assert process.wait(10) == 0
    process.communicate()
    assert ok(c("inspect", "-f", "{{.State.Running}}", "t")) == "true"


def test_files_go_in_and_out_of_a_container_that_runs_and_one_that_does_not(c: Coso, tmp_path: Path) -> None:
    source = tmp_path / "source"
    (source / "sub").mkdir(parents=True)
    (source / "sub" / "file").write_text("content")
    (source / "link").symlink_to("sub/file")
    ok(c("run", "-d", "--name", "a", *SLEEP))
    for state in ("running", "stopped"):
        if state == "stopped":
            ok(c("stop", "-t", "0", "a"))
        ok(c("cp", str(source), f"a:/{state}"))
        ok(c("cp", f"{source}/.", "a:/srv"))
        ok(c("cp", str(source / "sub" / "file"), "a:/srv/renamed"))
        ok(c("cp", f"a:/{state}", str(tmp_path / state)))
        assert (tmp_path / state / "sub" / "file").read_text() == "content"
        assert (tmp_path / state / "link").readlink() == Path("sub/file")
        ok(c("cp", "a:/srv/renamed", str(tmp_path / "back")))
        assert (tmp_path / "back").read_text() == "content"
        archive = c("cp", f"a:/{state}/sub", "-", text=False).stdout
        listed = subprocess.run(["tar", "-t"], input=archive, capture_output=True, check=True).stdout.decode()
        assert listed.split() == ["sub/", "sub/file"]
    assert c("cp", "a:/no/such", str(tmp_path)).returncode != 0
    ok(c("start", "a"))
    assert ok(c("exec", "a", "sh", "-c", "stat -c %u:%g /running/sub/file; cat /stopped/sub/file")) == "0:0\ncontent"


def test_cp_gives_no_directory_a_files_place_nor_a_file_a_directorys(c: Coso, tmp_path: Path) -> None:
    (tmp_path / "dir").mkdir()
    (tmp_path / "dir/sub").mkdir()
    (tmp_path / "sub").write_text("x")
    ok(c("create", "--name", "a", "--network", "none", "I", "true"))
    ok(c("cp", str(tmp_path / "dir"), "a:/srv/"))
    assert c("cp", str(tmp_path / "sub"), "a:/srv/dir").returncode == 125
    assert c("cp", str(tmp_path / "dir"), "a:/etc/passwd").returncode == 125
    assert c("cp", "a:/etc/passwd", "-").returncode == 0
    (tmp_path / "target/passwd").mkdir(parents=True)
    assert c("cp", "a:/etc/passwd", str(tmp_path / "target")).returncode == 125
    assert (tmp_path / "target/passwd").is_dir()


def test_a_container_is_not_started_while_its_files_are_taken(c: Coso, programs: Path) -> None:
    ok(c("create", "--name", "a", "--network", "none", "I", "true"))
    export = subprocess.Popen([str(programs / "coso"), "export", "a"], stdout=subprocess.PIPE)
    time.sleep(0.3)  # It waits for somebody to read.
    done = c("start", "a")
    assert done.returncode == 1
    assert "busy" in done.stderr
    export.communicate()
    assert export.returncode == 0
    ok(c("start", "a"))


def test_input_that_is_not_read_waits_and_nothing_else_does(c: Coso, programs: Path) -> None:
    ok(c("run", "-di", "--name", "a", "--network", "none", "I", "sh", "-c", "read x; echo got $x; exec sleep 100"))
    typing = subprocess.Popen([str(programs / "coso"), "attach", "a"], stdin=subprocess.PIPE)
    assert typing.stdin
    os.set_blocking(typing.stdin.fileno(), False)
    sent = 0
    until = time.monotonic() + 2
    while time.monotonic() < until:
        try:
            sent += os.write(typing.stdin.fileno(), b"line\n" * 1000)
        except BlockingIOError:
            time.sleep(0.05)
    assert 65536 < sent < 4 << 20
    assert eventually(lambda: "got line" in c("logs", "a").stdout)
    begun = time.monotonic()
    ok(c("stop", "-t", "0", "a"))
    assert time.monotonic() - begun < 2
    assert typing.wait(5) == 137
    typing.stdin.close()


def test_much_goes_in_and_comes_out_at_the_same_time(c: Coso) -> None:
    data = bytes(range(256)) * (40 << 10)
    assert c("run", "-i", "--network", "none", "I", "cat", input=data, text=False).stdout == data


def test_a_log_that_is_rotated_is_followed_without_a_gap(c: Coso) -> None:
    loop = "i=0; while [ $i -lt 20000 ]; do i=$((i+1)); echo $i; done"
    options = ("--log-opt", "max-size=20k", "--log-opt", "max-file=500")
    ok(c("run", "-d", "--name", "r", *options, "--network", "none", "I", "sh", "-c", loop))
    assert ok(c("logs", "-f", "r")).split() == [str(number) for number in range(1, 20001)]
    assert ok(c("logs", "r")).split() == [str(number) for number in range(1, 20001)]


def test_a_link_in_a_container_leads_cp_nowhere_outside(c: Coso, tmp_path: Path) -> None:
    ok(c("run", "-d", "--name", "a", *SLEEP))
    ok(c("exec", "a", "sh", "-c", f"ln -s {tmp_path} /out; ln -s /etc/hostname /name"))
    (tmp_path / "file").write_text("of the host")
    c("cp", str(tmp_path / "file"), "a:/out/planted")
    assert not (tmp_path / "planted").exists()
    ok(c("cp", "-L", "a:/name", str(tmp_path / "name")))
    assert (tmp_path / "name").read_text() != Path("/etc/hostname").read_text()


def test_what_has_changed_is_listed_committed_and_exported(c: Coso, coso: Coso) -> None:
    ok(c("run", "--name", "a", "--network", "none", "I", "sh", "-c", "echo x > /new; rm /etc/motd; chmod 700 /srv"))
    assert ok(c("diff", "a")).splitlines() == ["C /etc", "D /etc/motd", "A /new", "C /srv"]
    ok(c("commit", "-m", "note", "-c", "CMD cat /new", "-a", "me", "a", "made:1"))
    assert ok(coso("run", "--rm", "--network", "none", "made:1")) == "x"
    assert coso("run", "--rm", "--network", "none", "made:1", "ls", "/etc/motd").returncode == 1
    assert ok(coso("history", "--format", "{{.Comment}}", "made:1")).splitlines()[0] == "note"
    archive = c("export", "a", text=False).stdout
    names = subprocess.run(["tar", "-t"], input=archive, capture_output=True, check=True).stdout.decode().split()
    assert "new" in names
    assert "etc/motd" not in names
    ok(coso("rmi", "made:1"))


def test_a_restart_policy_is_kept_and_a_stop_ends_it(c: Coso) -> None:
    ok(
        c(
            "run",
            "-d",
            "--name",
            "twice",
            "--restart",
            "on-failure:2",
            "--network",
            "none",
            "I",
            "sh",
            "-c",
            "echo go; exit 1",
        )
    )
    ok(c("run", "-d", "--name", "ever", "--restart", "always", "--network", "none", "I", "sleep", "0.1"))
    assert eventually(lambda: c("logs", "twice").stdout == "go\n" * 3)
    assert eventually(lambda: int(ok(c("inspect", "-f", "{{.RestartCount}}", "ever"))) >= 2)
    ok(c("stop", "ever"))
    count = ok(c("inspect", "-f", "{{.RestartCount}} {{.State.Status}}", "ever"))
    time.sleep(1)
    assert ok(c("inspect", "-f", "{{.RestartCount}} {{.State.Status}}", "ever")) == count
    assert count.endswith("exited")
    assert ok(c("inspect", "-f", "{{.RestartCount}} {{.State.ExitCode}}", "twice")) == "2 1"


def test_health_is_asked_and_told(c: Coso) -> None:
    words = ("--health-cmd", "test -e /well", "--health-interval", "200ms", "--health-retries", "2")
    ok(c("run", "-d", "--name", "h", *words, *SLEEP))
    assert ok(c("inspect", "-f", "{{.State.Health.Status}}", "h")) == "starting"
    assert eventually(lambda: "(unhealthy)" in c("ps").stdout)
    ok(c("exec", "h", "touch", "/well"))
    assert eventually(lambda: "(healthy)" in c("ps", "--filter", "health=healthy").stdout)
    log = json.loads(ok(c("inspect", "-f", "{{json .State.Health.Log}}", "h")))
    assert {entry["ExitCode"] for entry in log} <= {0, 1}


def test_logs_are_rotated_followed_cut_and_dated(c: Coso) -> None:
    loop = "for i in $(seq 400); do echo line $i; done"
    options = ("--log-opt", "max-size=4000", "--log-opt", "max-file=2")
    ok(c("run", "--name", "r", *options, "--network", "none", "I", "sh", "-c", loop))
    lines = ok(c("logs", "r")).splitlines()
    assert lines[-1] == "line 400"
    assert 10 < len(lines) < 200
    assert ok(c("logs", "-n", "2", "r")).splitlines() == ["line 399", "line 400"]
    assert re.match(r"\d{4}-\d\d-\d\dT\S+Z line 400", ok(c("logs", "-t", "--tail", "1", "r")))
    ok(c("run", "-d", "--name", "f", "--network", "none", "I", "sh", "-c", "echo a; sleep 1; printf b"))
    assert c("logs", "-f", "f").stdout == "a\nb"
    assert c("logs", "--since", "1h", "f").stdout == "a\nb"
    assert c("logs", "--until", "1h", "f").stdout == ""
    ok(c("run", "--name", "q", "--log-driver", "none", "--network", "none", "I", "echo", "x"))
    assert c("logs", "q").returncode == 125


def test_limits_are_changed_while_it_runs(c: Coso) -> None:
    ok(c("run", "-d", "--name", "a", "-m", "64m", *SLEEP))
    ok(c("update", "--memory", "96m", "--memory-swap", "96m", "--pids-limit", "50", "a"))
    shown = ok(c("inspect", "-f", "{{.HostConfig.Memory}} {{.HostConfig.PidsLimit}}", "a"))
    assert shown == f"{96 << 20} 50"
    line = "cat /sys/fs/cgroup/pids/pids.max /sys/fs/cgroup/pids.max 2>/dev/null || true"
    assert ok(c("exec", "a", "sh", "-c", line)) == "50"
    row = json.loads(ok(c("stats", "--no-stream", "--format", "json", "a")))
    assert row["MemUsage"].endswith("/ 96MiB")


def test_events_tell_what_has_happened(c: Coso) -> None:
    ok(c("run", "--name", "eventful", "--network", "none", "I", "true"))
    ok(c("rm", "eventful"))
    told = ok(
        c("events", "--since", "1m", "--until", "0s", "--filter", "container=eventful", "--format", "{{.Action}}")
    )
    assert told.split() == ["create", "start", "die", "destroy"]


def test_containers_are_filtered_counted_and_formatted(c: Coso) -> None:
    for name in ("one", "two", "three"):
        ok(c("create", "--name", name, "--label", f"n={name}", "--network", "none", "I", "true"))
    assert ok(c("ps", "-a", "-n", "2", "--format", "{{.Names}}")).split() == ["three", "two"]
    assert ok(c("ps", "-a", "--filter", "label=n=one", "--format", "{{.Names}}")) == "one"
    assert ok(c("ps", "-a", "--filter", "name=t", "--filter", "since=two", "--format", "{{.Names}}")) == "three"
    assert json.loads(ok(c("ps", "-l", "--format", "json")))["State"] == "created"
    table = ok(c("ps", "-a", "--format", "table {{.Names}}\t{{.Labels}}")).splitlines()
    assert table[0].split() == ["NAMES", "LABELS"]
    assert ok(c("container", "prune", "-f")).count("\n") >= 3


def test_a_port_leads_inside_and_names_resolve(c: Coso, alpine: str) -> None:
    ok(c("run", "-d", "--name", "s", "-p", "8093:80", "I", "sh", "-c", SERVE))
    assert "127.0.0.1:8093->80/tcp" in ok(c("ps"))
    assert ok(c("port", "s")) == "80/tcp -> 127.0.0.1:8093"
    assert ok(c("run", "--rm", "I", "nc", "s", "80")) == "served"
    address = ok(c("inspect", "-f", "{{.NetworkSettings.IPAddress}}", "s"))
    assert re.fullmatch(r"[0-9.]+", address)
    ok(c("rm", "-f", "s"))
    assert c("run", "--rm", "--network", "none", "I", "nc", "-w", "1", address, "80").returncode != 0


def test_a_name_that_nobody_chose_is_told_where_somebody_chose_the_network(c: Coso) -> None:
    ok(c("network", "create", "web"))
    try:
        for network, told in (("bridge", False), ("web", True)):
            one = ok(c("run", "-d", "--network", network, "I", "sleep", "1000"))
            name = ok(c("inspect", "-f", "{{.Name}}", one)).lstrip("/")
            hosts = ok(c("run", "--rm", "--network", network, "I", "cat", "/etc/hosts"))
            assert (name in hosts) == told
            ok(c("rm", "-f", one))
    finally:
        ok(c("network", "rm", "web"))


def test_namespaces_of_another_container_are_shared(c: Coso) -> None:
    ok(c("run", "-d", "--name", "a", *SLEEP))
    assert "sleep 100" in ok(c("run", "--rm", "--pid", "container:a", "--network", "container:a", "I", "ps"))
    assert "sleep 100" not in ok(c("run", "--rm", "--network", "container:a", "I", "ps"))
    ok(c("run", "--name", "b", "--ipc", "container:a", "--network", "none", "I", "true"))


def test_volumes_are_filled_shared_and_removed(c: Coso) -> None:
    ok(
        c(
            "run",
            "--rm",
            "--network",
            "none",
            "-v",
            "data:/etc/apk",
            "I",
            "sh",
            "-c",
            "ls /etc/apk; echo mine > /etc/apk/mine",
        )
    )
    assert "mine" in ok(c("run", "--rm", "--network", "none", "-v", "data:/x:ro", "I", "ls", "/x"))
    assert "keys" in ok(
        c("run", "--rm", "--network", "none", "--mount", "type=volume,src=data,dst=/x", "I", "ls", "/x")
    )
    assert c("run", "--rm", "--network", "none", "-v", "data:/x:ro", "I", "touch", "/x/no").returncode == 1
    ok(c("create", "--name", "a", "-v", "data:/x", "-v", "/nameless", "--network", "none", "I", "true"))
    assert c("volume", "rm", "data").returncode == 1
    assert len(ok(c("volume", "ls", "-q")).split()) == 2
    assert "data" in ok(c("volume", "inspect", "-f", "{{.Mountpoint}}", "data"))
    ok(c("run", "--rm", "--volumes-from", "a", "--network", "none", "I", "ls", "/x/mine"))
    ok(c("rm", "-v", "a"))
    assert ok(c("volume", "ls", "-q")) == "data"
    ok(c("volume", "rm", "data"))


def test_output_can_be_opened_anew_by_whoever_runs_inside(c: Coso) -> None:
    line = "echo one > /dev/stdout; echo two > /dev/stderr; ln -s /dev/stdout /tmp/log; echo three >> /tmp/log"
    for user in ("0", "1234"):
        ok(c("run", "-d", "--name", f"u{user}", "-u", user, "--network", "none", "I", "sh", "-c", line))
        assert ok(c("wait", f"u{user}")) == "0"
        done = c("logs", f"u{user}")
        assert (done.stdout.split(), done.stderr.split()) == (["one", "three"], ["two"])


def test_a_tmpfs_and_shared_memory_have_the_size_that_was_asked_for(c: Coso) -> None:
    line = "df -k /t /dev/shm | awk 'NR>1{print $2}'"
    words = ("--tmpfs", "/t:size=1m", "--shm-size", "2m", "--network", "none")
    assert ok(c("run", "--rm", *words, "I", "sh", "-c", line)).split() == ["1024", "2048"]


def test_the_words_of_an_image_are_its_containers_defaults(c: Coso, coso: Coso) -> None:
    changes = ['ENTRYPOINT ["echo", "-n"]', 'CMD ["own"]', "ENV WORD=w", "WORKDIR /srv", "USER nobody", "VOLUME /v"]
    ok(c("create", "--name", "base", "--network", "none", "I"))
    ok(c("commit", *(word for change in changes for word in ("-c", change)), "base", "worded"))
    run = ("run", "--rm", "--network", "none")
    assert coso(*run, "worded").stdout == "own"
    assert coso(*run, "worded", "given").stdout == "given"
    line = "echo $WORD $PWD $(id -un); stat -c %F /v"
    assert ok(coso(*run, "--entrypoint", "sh", "worded", "-c", line)) == "w /srv nobody\ndirectory"
    ok(coso("rmi", "worded"))


def test_the_machines_own_tree_is_a_root_only_when_asked_for(c: Coso) -> None:
    assert ok(c("run", "--rm", "--network", "none", "host", "cat", "/etc/hostname")) != ""
    done = c("run", "--rm", "--network", "none", "host", "sh", "-c", "echo x > /coso-was-here && cat /coso-was-here")
    assert ok(done) == "x"
    assert not Path("/coso-was-here").exists()
    assert c("run", "--rm", "--network", "none", "scratch", "/bin/sh").returncode == 127


def test_nonsense_is_refused_in_a_sentence(c: Coso) -> None:
    ok(c("create", "--network", "none", "I"))
    for words in (
        ("run", "--restart", "sometimes", "I"),
        ("run", "-d", "--rm", "--restart", "always", "I"),
        ("run", "-d", "--log-driver", "syslog", "I"),
        ("run", "--mount", "type=magic,dst=/x", "I"),
        ("ps", "--filter", "colour=red"),
        ("ps", "--format", "{{.Nothing}}", "-a"),
        ("logs", "nobody"),
        ("stop",),
        ("pss",),
        ("volume", "lss"),
        ("run", "--nam", "x", "I"),
        ("cp", "/a", "/b"),
        ("tag", "test/alpine:3.20", "UPPER"),
    ):
        done = c(*words)
        assert done.returncode in (1, 125), words
        assert done.stderr.startswith("coso: "), (words, done.stderr)
        assert "Traceback" not in done.stderr
    assert "did you mean `coso ps`" in c("pss").stderr


def test_a_container_that_was_made_is_removed_with_its_name_while_names_are_unique(c: Coso) -> None:
    ok(c("create", "--name", "n", "--network", "none", "I"))
    assert "is that of the container" in c("create", "--name", "n", "--network", "none", "I").stderr
    ok(c("rm", "n"))
    ok(c("create", "--name", "n", "--network", "none", "I"))
