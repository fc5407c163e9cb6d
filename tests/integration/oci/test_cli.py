"""The command line that engines rely on: runc's, where the specification leaves it open."""

from __future__ import annotations

import ctypes
import json
import os
import signal
import socket
import subprocess
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

import pytest

from tests.integration.oci.bundle import Bundle, eventually, fields
from tests.integration.oci.conftest import MakeBundle
from tests.integration.oci.console import received
from tests.integration.oci.runtime import Done, Runtime

OPERATIONS = ("create", "start", "state", "kill", "delete")
OTHERS = ("run", "exec", "list", "ps", "pause", "resume", "update", "spec")


def moment(text: str) -> datetime:
    """A time as RFC 3339 writes it."""
    return datetime.fromisoformat(text)


def refused(done: Done) -> str:
    """What was said of a command line that cannot be carried out: words for people, and no traceback."""
    assert done.status not in (0, -6, -11), done
    assert done.err.strip(), "no word of the cause"
    assert "Traceback" not in done.err and "goroutine" not in done.err
    return done.err


# What it is.


@pytest.mark.parametrize("flag", ["--version", "-v"])
def test_the_version_names_the_program_and_the_specification(runtime: Runtime, flag: str) -> None:
    lines = runtime(flag).ok().out.splitlines()
    assert lines[0].split()[0] == Path(runtime.program).name and " version " in lines[0]
    assert [line for line in lines if line.startswith("spec: 1.")]


def test_help_names_every_command(runtime: Runtime) -> None:
    done = runtime("--help").ok()
    for name in OPERATIONS + OTHERS:
        assert name in done.out.split(), name


@pytest.mark.parametrize("name", OPERATIONS + OTHERS)
def test_a_command_has_help_of_its_own(runtime: Runtime, name: str) -> None:
    assert name in runtime(name, "--help").ok().out


# What it refuses.


@pytest.mark.parametrize(
    "words",
    [
        ["nonsense"],
        ["--nonsense", "list"],
        ["list", "--nonsense"],
        ["list", "--format", "nonsense"],
        ["--log-format", "nonsense", "list"],
        ["list", "--format"],
        ["kill", "nobody", "TERM", "and", "more"],
        ["start", "nobody", "more"],
        ["delete", "nobody", "more"],
        ["create", "--bundle"],
        ["create", "--preserve-fds", "many", "nobody"],
        ["update", "--pids-limit", "many", "nobody"],
        ["exec", "--process", "/no/such/file", "nobody"],
    ],
    ids=" ".join,
)
def test_a_line_that_makes_no_sense_is_refused(runtime: Runtime, words: list[str]) -> None:
    refused(runtime(*words))
    assert not list(runtime.root.iterdir())


def test_checkpoints_are_refused_in_so_many_words(bundle: Bundle) -> None:
    if bundle.runtime.name != "coso":
        pytest.skip("others have CRIU")
    bundle.up()
    for command in ("checkpoint", "restore"):
        assert "not supported" in refused(bundle.runtime(command, bundle.id))
    assert bundle.status() == "running"


# Where errors are written.


def log_of(bundle: Bundle, form: str, *words: str) -> list[str]:
    """The lines that a refused command leaves in the log."""
    place = bundle.path / "log"
    refused(bundle.runtime(*words, options=["--log", str(place), "--log-format", form]))
    return place.read_text().splitlines()


def test_a_log_of_json_has_a_level_a_message_and_a_time(bundle: Bundle) -> None:
    entries = [json.loads(line) for line in log_of(bundle, "json", "state", "nobody")]
    errors = [entry for entry in entries if entry["level"] == "error"]
    assert errors and all(entry["msg"] for entry in errors)
    assert abs((moment(errors[-1]["time"]) - datetime.now(UTC)).total_seconds()) < 60


def test_the_log_names_the_cause_of_a_failed_create(bundle: Bundle) -> None:
    """Engines show their users the message of the last error."""
    bundle.mount("/data", '/no/such/"source"')
    bundle.write()
    last = json.loads(log_of(bundle, "json", "create", "--bundle", str(bundle.path), bundle.id)[-1])
    assert '/no/such/"source"' in last["msg"]


def test_a_log_of_text_has_a_line_for_each_error(bundle: Bundle) -> None:
    lines = log_of(bundle, "text", "state", "nobody")
    assert len(lines) == 1
    assert "exist" in lines[0] or "nobody" in lines[0]


def test_a_log_that_is_there_grows(bundle: Bundle) -> None:
    (bundle.path / "log").write_text('{"level":"info","msg":"mine"}\n')
    lines = log_of(bundle, "json", "state", "nobody")
    assert json.loads(lines[0])["msg"] == "mine"
    assert len(lines) > 1


def test_a_log_that_cannot_be_written_hides_no_error(runtime: Runtime) -> None:
    refused(runtime("state", "nobody", options=["--log", "/no/such/directory/log"]))


def test_what_succeeds_leaves_no_error_in_the_log(bundle: Bundle) -> None:
    bundle.write()
    log = bundle.path / "log"
    options = ["--debug", "--log", str(log), "--log-format", "json"]
    bundle.runtime("run", "--bundle", str(bundle.path), bundle.id, options=options).ok()
    levels = [json.loads(line)["level"] for line in log.read_text().splitlines()] if log.exists() else []
    assert "error" not in levels


# Where states are.


def test_containers_are_known_below_their_root_alone(bundle: Bundle) -> None:
    bundle.up()
    other = Runtime(bundle.runtime.name, bundle.runtime.program, bundle.path / "made" / "for it")
    assert other.ids() == []
    assert other("state", bundle.id).status != 0
    assert other("delete", "--force", bundle.id).status == 0
    assert bundle.status() == "running"


def test_a_container_below_another_root_is_whole(make_bundle: MakeBundle) -> None:
    bundle = make_bundle()
    bundle.runtime = Runtime(bundle.runtime.name, bundle.runtime.program, bundle.path / "made" / "for it")
    bundle.up()
    assert bundle.runtime.ids() == [bundle.id]
    assert bundle.exec("echo", "inside").ok().out == "inside\n"
    bundle.delete("--force").ok()
    assert not bundle.traces()


def test_list_has_what_engines_read(bundle: Bundle) -> None:
    bundle.config["annotations"] = {"key": "value"}
    bundle.up()
    entry = json.loads(bundle.runtime("list", "--format", "json").ok().out)[0]
    assert {"id", "pid", "status", "bundle", "created", "owner"} <= entry.keys()
    assert entry["owner"] == "root"
    assert abs((moment(entry["created"]) - datetime.now(UTC)).total_seconds()) < 60


def test_the_state_has_what_engines_read_besides(bundle: Bundle) -> None:
    state = bundle.up().state()
    assert state["rootfs"] == str(bundle.rootfs)
    assert abs((moment(state["created"]) - datetime.now(UTC)).total_seconds()) < 60


def test_words_after_the_container_are_for_ps(bundle: Bundle) -> None:
    bundle.up("exec sleep 98")
    lines = bundle.runtime("ps", bundle.id, "-o", "pid,args").ok().out.splitlines()
    assert [line.split() for line in lines] == [["PID", "COMMAND"], [str(bundle.pid), "sleep", "98"]]


def test_events_go_on_until_the_container_is_gone(bundle: Bundle) -> None:
    bundle.up()
    out = bundle.path / "events"
    words = bundle.runtime.words("events", "--interval", "100ms", bundle.id)
    with out.open("wb") as file, subprocess.Popen(words, stdout=file, stdin=subprocess.DEVNULL) as process:
        assert eventually(lambda: out.read_text().count("\n") >= 2)
        bundle.delete("--force").ok()
        try:
            process.wait(5)
        finally:
            process.kill()
    assert {json.loads(line)["id"] for line in out.read_text().splitlines()} == {bundle.id}


@pytest.mark.parametrize("text", ["{", '{"pids": {"limit": "many"}}', ""], ids=["half", "word", "empty"])
def test_an_update_that_cannot_be_read_changes_nothing(bundle: Bundle, text: str) -> None:
    bundle.resources["pids"] = {"limit": 50}
    bundle.up()
    before = bundle.proc("cgroup")
    refused(bundle.runtime("update", "--resources", "-", bundle.id, stdin=text))
    assert (bundle.status(), bundle.proc("cgroup")) == ("running", before)


# What create, run and exec take.


def test_the_pid_file_must_be_writable(bundle: Bundle) -> None:
    refused(bundle.create("--pid-file", "/no/such/directory/pid"))
    assert eventually(lambda: not bundle.traces(), 2), bundle.traces()


def test_the_bundle_has_a_short_flag(bundle: Bundle) -> None:
    bundle.write()
    bundle.runtime("run", "-b", str(bundle.path), bundle.id).ok()


@pytest.mark.parametrize("flag", ["--no-pivot", "--no-subreaper", "--no-new-keyring"])
def test_a_flag_of_engines_leaves_the_container_what_it_was(bundle: Bundle, flag: str) -> None:
    (bundle.path / "beside").touch()
    found = bundle.sh("ls /; ls /..; hostname; readlink /proc/self/cwd").run(flag).ok().out.split()
    assert "busybox" in os.listdir(bundle.rootfs / "bin")
    assert "beside" not in found
    assert found[-2:] == ["oci", "/"]


KEYCTL, JOIN_SESSION_KEYRING = {"x86_64": 250, "aarch64": 219}.get(os.uname().machine, -1), 1


def in_a_keyring(name: str, act: Callable[[], Done]) -> Done:
    """Do something with a session keyring of this name; a thread has one of its own (session-keyring(7))."""

    def begin() -> Done:
        assert ctypes.CDLL(None).syscall(KEYCTL, JOIN_SESSION_KEYRING, name.encode()) > 0
        return act()

    with ThreadPoolExecutor(1) as pool:
        return pool.submit(begin).result()


@pytest.mark.parametrize(("flags", "seen"), [([], False), (["--no-new-keyring"], True)])
def test_the_callers_keyring_is_kept_only_if_asked(bundle: Bundle, flags: list[str], seen: bool) -> None:
    if not Path("/proc/keys").exists() or KEYCTL < 0:
        pytest.skip("this kernel has no keys")
    # Another user, who sees no keyring of root's but that which it has been given.
    bundle.process["user"] = {"uid": 1000, "gid": 1000}
    name = f"callers-{bundle.id}"
    done = in_a_keyring(name, lambda: bundle.sh("cat /proc/keys").run(*flags))
    assert (name in done.ok().out) == seen


def test_descriptors_are_kept_for_an_exec_when_asked(bundle: Bundle) -> None:
    reading, writing = os.pipe()
    os.write(writing, b"through three\n")
    os.close(writing)
    bundle.up()
    assert (
        bundle.exec("sh", "-c", "cat <&3", flags=["--preserve-fds", "1"], third=reading).ok().out == "through three\n"
    )
    os.close(reading)


def test_groups_and_privileges_of_an_exec_can_be_said(bundle: Bundle) -> None:
    bundle.process["noNewPrivileges"] = False
    bundle.up()
    flags = ["--additional-gids", "77", "--no-new-privs"]
    found = fields(bundle.exec("cat", "/proc/self/status", flags=flags).ok().out)
    assert "77" in found["Groups"].split()
    assert found["NoNewPrivs"] == "1"


# spec and features.


def written(bundle: Bundle, *flags: str) -> dict[str, Any]:
    """What `spec` writes in a bundle."""
    bundle.runtime("spec", *flags, cwd=bundle.path).ok()
    return json.loads((bundle.path / "config.json").read_text())  # type: ignore[no-any-return]


def test_spec_writes_a_config_and_never_over_one(bundle: Bundle) -> None:
    bundle.config = written(bundle, "--bundle", str(bundle.path))
    before = (bundle.path / "config.json").read_text()
    assert "config.json" in refused(bundle.runtime("spec", cwd=bundle.path))
    assert (bundle.path / "config.json").read_text() == before


@pytest.mark.parametrize("flags", [[], ["--rootless"]], ids=["root", "rootless"])
def test_what_spec_writes_runs(bundle: Bundle, flags: list[str]) -> None:
    bundle.config = written(bundle, *flags)
    assert bundle.config["process"]["terminal"] is True
    bundle.process["terminal"] = False
    kinds = {item["type"] for item in bundle.linux["namespaces"]}
    assert ("user" in kinds) == bool(flags)
    found = bundle.output("id -u; ls /proc/1/cmdline; touch /file 2>&1; cat /proc/self/uid_map")
    assert found.split()[:2] == ["0", "/proc/1/cmdline"]
    assert "Read-only" in found
    assert (found.split()[-1] == "1") == bool(flags), "a rootless one has a single user"


@pytest.fixture
def features(runtime: Runtime) -> dict[str, Any]:
    done = runtime("features")
    if done.status != 0 and "unknown command" in done.err:
        pytest.skip("this runtime has no features")
    return json.loads(done.ok().out)  # type: ignore[no-any-return]


HOOKS = ["prestart", "createRuntime", "createContainer", "startContainer", "poststart", "poststop"]
# What version 1.2 of features.md and features-linux.md defines.
KNOWN = {"ociVersionMin", "ociVersionMax", "hooks", "mountOptions", "linux", "annotations"} | {
    "potentiallyUnsafeConfigAnnotations"
}
KNOWN_LINUX = {"namespaces", "capabilities", "cgroup", "seccomp", "apparmor", "selinux", "intelRdt", "mountExtensions"}


def test_features_have_the_properties_of_the_specification_and_no_others(features: dict[str, Any]) -> None:
    assert features["ociVersionMin"].startswith("1.")
    assert features["hooks"] == HOOKS
    assert {"bind", "ro", "rro", "tmpcopyup"} <= set(features["mountOptions"])
    assert not features.keys() - KNOWN
    linux = features["linux"]
    assert not linux.keys() - KNOWN_LINUX
    assert {"mount", "pid", "network", "user", "uts", "ipc", "cgroup"} <= set(linux["namespaces"])
    assert {"CAP_CHOWN", "CAP_SYS_ADMIN", "CAP_BPF"} <= set(linux["capabilities"])
    assert {linux["cgroup"][name] for name in ("v1", "v2", "systemd")} <= {True, False}
    assert linux["seccomp"]["enabled"] is True
    assert "SCMP_ACT_NOTIFY" in linux["seccomp"]["actions"]
    assert "SCMP_CMP_MASKED_EQ" in linux["seccomp"]["operators"]


@pytest.mark.parametrize("name", ["ociVersionMin", "ociVersionMax"])
def test_the_versions_of_the_features_are_accepted(bundle: Bundle, features: dict[str, Any], name: str) -> None:
    bundle.config["ociVersion"] = features[name]
    bundle.run().ok()


def test_the_mount_options_of_the_features_are_known(bundle: Bundle, features: dict[str, Any]) -> None:
    """One that were not would go to the filesystem, and tmpfs knows none of them."""
    others = {"bind", "rbind", "idmap", "ridmap", "remount", "copy-symlink"}
    names = sorted(set(features["mountOptions"]) - others)
    for number, name in enumerate(names):
        bundle.mount(f"/mnt/{number}", "tmpfs", name, kind="tmpfs")
    assert bundle.output("grep -c ' /mnt/' /proc/self/mountinfo") == str(len(names))


def test_flags_may_follow_the_container(bundle: Bundle) -> None:
    # runc's command line lets them, and scripts make use of it.
    bundle.up()
    bundle.runtime("kill", bundle.id, "KILL", "--all").ok()
    bundle.ended()
    bundle.runtime("delete", bundle.id, "--force").ok()
    assert not bundle.traces()


def test_the_time_between_events_may_be_minutes(bundle: Bundle) -> None:
    bundle.up()
    bundle.runtime("events", "--interval", "1m30s", "--stats", bundle.id).ok()


def test_whoever_asks_is_given_the_process_itself(bundle: Bundle, tmp_path_factory: pytest.TempPathFactory) -> None:
    path = tmp_path_factory.mktemp("p") / "s"
    with socket.socket(socket.AF_UNIX, socket.SOCK_STREAM) as listener:
        listener.bind(str(path))
        listener.listen(1)
        bundle.sh("exec sleep 100").create("--pidfd-socket", str(path)).ok()
        connection, _ = listener.accept()
        with connection:
            pidfd = received(connection)[1][0]
    try:
        assert f"Pid:\t{bundle.pid}\n" in Path(f"/proc/self/fdinfo/{pidfd}").read_text()
        signal.pidfd_send_signal(pidfd, signal.SIGKILL)
        bundle.ended()
    finally:
        os.close(pidfd)
