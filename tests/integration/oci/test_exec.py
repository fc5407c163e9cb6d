"""`exec`: another process in a running container (runc's command line)."""

from __future__ import annotations

import json
import os
import signal
import subprocess
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import pytest

from tests.integration.oci import groups
from tests.integration.oci.bundle import PATH, Bundle, alive, eventually, fields
from tests.integration.oci.console import Console

NAMESPACES = ("mnt", "net", "pid", "ipc", "uts", "user", "cgroup")


@pytest.fixture
def console(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Console]:
    found = Console(tmp_path_factory.mktemp("c") / "s")
    yield found
    found.close()


def test_a_command_runs_beside_the_first(bundle: Bundle) -> None:
    bundle.up()
    done = bundle.exec("sh", "-c", "echo out; echo err >&2; cat; echo $$", stdin="in\n").ok()
    assert done.out.splitlines()[:2] == ["out", "in"]
    assert done.out.splitlines()[2] != "1"
    assert "err\n" in done.err


def test_arguments_arrive_as_they_are(bundle: Bundle) -> None:
    words = ["", "a b", "-x", "--help", "$HOME", "é"]
    bundle.up()
    done = bundle.exec("sh", "-c", 'for word; do printf "<%s>" "$word"; done', "sh", *words).ok()
    assert done.out == "".join(f"<{word}>" for word in words)


def test_namespaces_and_groups_are_the_containers(bundle: Bundle) -> None:
    bundle.up().exec("sleep", "77", flags=["--detach", "--pid-file", str(bundle.path / "pid")]).ok()
    pid = int((bundle.path / "pid").read_text())
    for name in NAMESPACES:
        assert os.readlink(f"/proc/{pid}/ns/{name}") == os.readlink(f"/proc/{bundle.pid}/ns/{name}")
    assert groups.paths(pid) == groups.paths(bundle.pid)
    assert os.stat(f"/proc/{pid}/root/").st_ino == os.stat(f"/proc/{bundle.pid}/root/").st_ino


def test_a_user_namespace_is_joined_too(bundle: Bundle) -> None:
    bundle.own_users().up()
    done = bundle.exec("sh", "-c", "readlink /proc/self/ns/user; id -u").ok()
    assert done.out.split() == [os.readlink(f"/proc/{bundle.pid}/ns/user"), "0"]


def test_defaults_are_those_of_the_containers_process(bundle: Bundle) -> None:
    bundle.process.update(user={"uid": 1000, "gid": 2000}, cwd="/usr", env=[PATH, "FROM=config"])
    bundle.up()
    done = bundle.exec("sh", "-c", "pwd; echo $FROM; cat /proc/self/status").ok()
    assert done.out.splitlines()[:2] == ["/usr", "config"]
    found = fields(done.out)
    assert found["Uid"].split()[0] == "1000" and found["Gid"].split()[0] == "2000"
    assert found["NoNewPrivs"] == "1"
    mine = fields(bundle.proc("status"))
    assert found["CapBnd"] == mine["CapBnd"]
    assert found["Seccomp"] == mine["Seccomp"]


def test_flags_change_environment_directory_and_user(bundle: Bundle) -> None:
    bundle.up()
    flags = ["--env", "A=1", "--env", "B=two words", "--cwd", "/tmp", "--user", "1000:2000"]
    done = bundle.exec("sh", "-c", "echo $A $B; pwd; id -u; id -g", flags=flags).ok()
    assert done.out.splitlines() == ["1 two words", "/tmp", "1000", "2000"]


def test_a_user_alone_keeps_the_group(bundle: Bundle) -> None:
    assert bundle.up().exec("id", "-u", flags=["-u", "1000"]).ok().out == "1000\n"


def test_a_capability_is_added(bundle: Bundle) -> None:
    bundle.up()
    before = fields(bundle.exec("cat", "/proc/self/status").ok().out)
    found = fields(bundle.exec("cat", "/proc/self/status", flags=["--cap", "CAP_NET_RAW"]).ok().out)
    for name in ("CapBnd", "CapPrm", "CapEff"):
        assert int(found[name], 16) == int(before[name], 16) | 1 << 13


def test_a_process_may_come_from_a_file(bundle: Bundle) -> None:
    process = {
        "args": ["sh", "-c", "pwd; id -u; echo $A; umask"],
        "cwd": "/tmp",
        "env": [PATH, "A=1"],
        "user": {"uid": 7, "gid": 8, "umask": 0o077},
    }
    (bundle.path / "process.json").write_text(json.dumps(process))
    done = bundle.up().exec(flags=["--process", str(bundle.path / "process.json")]).ok()
    assert done.out.split() == ["/tmp", "7", "1", "0077"]


def test_limits_and_score_are_the_processes(bundle: Bundle) -> None:
    bundle.process.update(rlimits=[{"type": "RLIMIT_NOFILE", "soft": 123, "hard": 456}], oomScoreAdj=500)
    done = bundle.up().exec("sh", "-c", "ulimit -n; cat /proc/self/oom_score_adj").ok()
    assert done.out.split() == ["123", "500"]


def test_the_cpus_of_a_process_can_be_said(bundle: Bundle) -> None:
    """execCPUAffinity, of version 1.2.1: in the container's own process, or in the file of --process."""
    if len(os.sched_getaffinity(0)) < 2:
        pytest.skip("there is one CPU only")
    bundle.process["execCPUAffinity"] = {"final": "1"}
    bundle.up()
    assert fields(bundle.exec("cat", "/proc/self/status").ok().out)["Cpus_allowed_list"] == "1"
    assert fields(bundle.proc("status"))["Cpus_allowed_list"] != "1", "it is for exec alone"


def test_the_environment_of_the_caller_is_not_passed_on(bundle: Bundle) -> None:
    lines = bundle.up().exec("env", env={"FROM_OUTSIDE": "1"}).ok().out.splitlines()
    assert PATH in lines
    assert not [line for line in lines if line.startswith("FROM_OUTSIDE")]


@pytest.mark.parametrize(("script", "status"), [("exit 0", 0), ("exit 7", 7), ("exit 255", 255), ("kill -9 $$", 137)])
def test_the_status_is_the_commands(bundle: Bundle, script: str, status: int) -> None:
    assert bundle.up().exec("sh", "-c", script).status == status


@pytest.mark.parametrize("command", ["nonsense", "/no/such", "/etc/passwd"])
def test_a_command_that_cannot_run_is_an_error_that_names_it(bundle: Bundle, command: str) -> None:
    done = bundle.up().exec(command)
    assert done.status in (1, 126, 127, 255)
    assert command in done.err
    assert bundle.status() == "running"


def test_a_detached_command_goes_on(bundle: Bundle) -> None:
    bundle.up()
    flags = ["--detach", "--pid-file", str(bundle.path / "pid")]
    bundle.exec("sh", "-c", "sleep 0.1; touch /done; exec sleep 100", flags=flags, keep=bundle.path / "exec").ok()
    assert eventually(lambda: (bundle.rootfs / "done").exists())
    assert alive(int((bundle.path / "pid").read_text()))
    bundle.delete("--force").ok()
    assert eventually(lambda: not alive(int((bundle.path / "pid").read_text())))


def test_a_terminal_of_its_own(bundle: Bundle, console: Console) -> None:
    bundle.up()
    flags = ["--tty", "--detach", "--console-socket", console.path]
    bundle.exec("sh", "-c", "tty; read word; echo got $word; sleep 1", flags=flags).ok()
    console.receive().type("hello\n")
    said = console.read_until("got hello")
    assert "/dev/pts/" in said and "got hello" in said


def test_a_detached_terminal_needs_a_console_socket(bundle: Bundle) -> None:
    assert bundle.up().exec("true", flags=["--tty", "--detach"]).status != 0


def test_a_signal_to_the_runtime_reaches_the_command(bundle: Bundle) -> None:
    """What stands in the foreground is the runtime; Ctrl-C goes there."""
    bundle.up()
    words = bundle.runtime.words(
        "exec", bundle.id, "sh", "-c", "trap 'touch /seen; exit 5' TERM; touch /up; sleep 9 >/dev/null 2>&1 & wait"
    )
    with subprocess.Popen(words, stdin=subprocess.DEVNULL) as process:
        assert eventually(lambda: (bundle.rootfs / "up").exists())
        process.send_signal(signal.SIGTERM)
        assert process.wait(5) == 5
    assert (bundle.rootfs / "seen").exists()


# Where it is refused.


def test_a_created_container_takes_no_exec_or_runs_it(bundle: Bundle) -> None:
    """runc allows it; whoever refuses says so. The container stays as it was."""
    bundle.create().ok()
    done = bundle.exec("true")
    assert done.status == 0 or done.err
    assert bundle.status() == "created"


def test_a_stopped_container_takes_no_exec(bundle: Bundle) -> None:
    bundle.up("true").ended()
    done = bundle.exec("true")
    assert done.status != 0 and done.err


def test_a_container_that_does_not_exist_takes_no_exec(bundle: Bundle) -> None:
    assert bundle.exec("true").status != 0


def test_a_paused_container_takes_no_exec(bundle: Bundle) -> None:
    bundle.up()
    bundle.runtime("pause", bundle.id).ok()
    done = bundle.exec("true", timeout=5)
    assert done.status != 0
    assert "paused" in done.err


def test_a_paused_container_takes_an_exec_when_asked(bundle: Bundle) -> None:
    bundle.up()
    bundle.runtime("pause", bundle.id).ok()
    flags = ["--ignore-paused", "--detach", "--pid-file", str(bundle.path / "pid")]
    words = bundle.runtime.words("exec", *flags, bundle.id, "touch", "/done")
    with subprocess.Popen(words, stdin=subprocess.DEVNULL, stderr=subprocess.PIPE) as process:
        # It may wait for the container to go on; it may not refuse.
        assert not eventually(lambda: process.poll() not in (None, 0), 0.5)
        bundle.runtime("resume", bundle.id).ok()
        assert process.wait(5) == 0
    assert eventually(lambda: (bundle.rootfs / "done").exists())


def test_without_a_command_it_is_an_error(bundle: Bundle) -> None:
    assert bundle.up().exec().status != 0


# What it keeps to itself.


def test_no_descriptor_of_the_runtime_reaches_the_command(bundle: Bundle) -> None:
    descriptor = os.open("/etc/passwd", os.O_RDONLY)
    os.set_inheritable(descriptor, True)
    bundle.up()
    flags = ["--detach", "--pid-file", str(bundle.path / "pid")]
    bundle.exec("sleep", "77", flags=flags, pass_fds=[descriptor], keep=bundle.path / "exec").ok()
    os.close(descriptor)
    pid = (bundle.path / "pid").read_text()
    assert sorted(os.listdir(f"/proc/{pid}/fd")) == ["0", "1", "2"]


@pytest.mark.parametrize("descriptor", range(3, 10))
def test_no_descriptor_of_the_host_is_a_working_directory(bundle: Bundle, descriptor: int) -> None:
    """CVE-2024-21626, through exec --cwd."""
    done = bundle.up().exec("ls", "../../../../../../..", flags=["--cwd", f"/proc/self/fd/{descriptor}"])
    assert done.status != 0 or not {"work", Path(bundle.path).name} & set(done.out.split())


def test_a_large_output_arrives_whole(bundle: Bundle) -> None:
    done = bundle.up().exec("sh", "-c", "seq 1 50000").ok()
    assert done.out.splitlines()[-1] == "50000"


def test_many_at_once(bundle: Bundle) -> None:
    bundle.up()
    with ThreadPoolExecutor(4) as pool:
        done = list(pool.map(lambda number: bundle.exec("echo", str(number)), range(8)))
    assert [each.ok().out for each in done] == [f"{number}\n" for number in range(8)]


def test_a_process_file_without_capabilities_takes_those_of_the_container(bundle: Bundle) -> None:
    bundle.up()
    file = bundle.path / "process.json"
    file.write_text(json.dumps({"args": ["cat", "/proc/self/status"], "cwd": "/", "env": [PATH], "user": {}}))
    inside = fields(bundle.runtime("exec", "--process", str(file), bundle.id).ok().out)
    assert inside["CapEff"] == fields(bundle.proc("status"))["CapEff"]


def test_a_user_namespace_without_proc_can_be_entered(bundle: Bundle) -> None:
    bundle.own_users()
    bundle.config["mounts"] = [item for item in bundle.config["mounts"] if item["destination"] != "/proc"]
    bundle.up()
    assert bundle.exec("id", "-u").ok().out.strip() == "0"


def test_a_group_outside_of_the_container_is_refused(bundle: Bundle) -> None:
    bundle.up()
    assert bundle.exec("true", flags=["--cgroup", "../../.."]).status != 0
