"""A container's life, command by command: create, start, kill, delete, and what each refuses (runtime.md)."""

from __future__ import annotations

import json
import signal
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import pytest

from tests.integration.oci import groups
from tests.integration.oci.bundle import Bundle, alive, eventually
from tests.integration.oci.conftest import MakeBundle
from tests.integration.oci.runtime import Runtime


def test_a_container_goes_from_created_over_running_to_stopped(bundle: Bundle) -> None:
    bundle.sh("echo started; exec sleep 100").create().ok()
    assert bundle.status() == "created"
    assert bundle.printed() == "", "the command ran before start"
    bundle.start().ok()
    assert bundle.status() == "running"
    assert bundle.prints("started")
    bundle.kill("KILL").ok()
    bundle.ended()
    bundle.delete().ok()
    assert bundle.status() == ""
    assert not bundle.traces()


def test_the_state_has_the_fields_of_the_specification(bundle: Bundle) -> None:
    bundle.config["annotations"] = {"org.example.key": "value", "empty": ""}
    bundle.up()
    state = bundle.state()
    assert state["ociVersion"].startswith("1.")
    assert state["id"] == bundle.id
    assert state["status"] == "running"
    assert state["bundle"] == str(bundle.path)
    assert state["annotations"].items() >= {"org.example.key": "value", "empty": ""}.items()
    assert Path(f"/proc/{state['pid']}/cmdline").read_text().startswith("sleep")


def test_the_state_of_a_created_container_has_its_pid(bundle: Bundle) -> None:
    bundle.create().ok()
    state = bundle.state()
    assert (state["status"], state["bundle"]) == ("created", str(bundle.path))
    assert alive(state["pid"])
    assert Path(f"/proc/{state['pid']}/ns/mnt").readlink() != Path("/proc/self/ns/mnt").readlink()


def test_a_config_of_version_1_2_is_accepted(bundle: Bundle) -> None:
    bundle.config["ociVersion"] = "1.2.0"
    bundle.run().ok()


def test_the_pid_of_a_created_container_is_that_of_the_later_command(bundle: Bundle) -> None:
    bundle.sh("exec sleep 100").create().ok()
    before = bundle.pid
    bundle.start().ok()
    assert bundle.pid == before
    assert eventually(lambda: bundle.proc("cmdline").startswith("sleep"))


def test_a_relative_bundle_path_becomes_absolute(bundle: Bundle) -> None:
    bundle.sh("exec sleep 100").write()
    bundle.runtime("create", "--bundle", ".", bundle.id, cwd=bundle.path, keep=bundle.path / "container").ok()
    assert bundle.state()["bundle"] == str(bundle.path)


def test_the_bundle_is_the_current_directory_by_default(bundle: Bundle) -> None:
    bundle.write()
    bundle.runtime("run", bundle.id, cwd=bundle.path).ok()


def test_a_config_changed_after_create_has_no_effect(bundle: Bundle) -> None:
    bundle.sh("echo earlier").create().ok()
    bundle.sh("echo later").write()
    bundle.start().ok()
    assert bundle.ended().printed() == "earlier\n"


def test_a_second_start_is_refused_and_changes_nothing(bundle: Bundle) -> None:
    pid = bundle.up().pid
    done = bundle.start()
    assert done.status != 0 and done.err
    assert (bundle.status(), bundle.pid) == ("running", pid)


def test_a_stopped_container_cannot_be_started_again(bundle: Bundle) -> None:
    bundle.up("true").ended()
    assert bundle.start().status != 0
    assert bundle.status() == "stopped"


def test_a_running_container_is_not_deleted_without_force(bundle: Bundle) -> None:
    bundle.up()
    done = bundle.delete()
    assert done.status != 0 and done.err
    assert bundle.status() == "running"


def test_a_created_container_is_not_deleted_without_force(bundle: Bundle) -> None:
    bundle.create().ok()
    done = bundle.delete()
    assert done.status != 0 and done.err
    assert bundle.status() == "created"


def test_a_created_container_can_be_killed_and_deleted(bundle: Bundle) -> None:
    bundle.create().ok()
    bundle.kill("KILL").ok()
    bundle.ended()
    bundle.delete().ok()
    assert not bundle.traces()


@pytest.mark.parametrize("command", ["start", "state", "delete", "pause", "resume", "ps"])
def test_a_container_that_does_not_exist_is_an_error(runtime: Runtime, command: str) -> None:
    done = runtime(command, "nobody")
    assert done.status != 0
    assert "exist" in done.err or "nobody" in done.err


@pytest.mark.parametrize("command", ["create", "start", "state", "kill", "delete", "exec"])
def test_a_command_without_a_container_is_an_error(runtime: Runtime, command: str) -> None:
    assert runtime(command).status != 0


def test_an_id_in_use_is_refused_and_the_first_lives_on(make_bundle: MakeBundle) -> None:
    first = make_bundle().up()
    second = make_bundle(first.id)
    done = second.create()
    assert done.status != 0
    assert "exist" in done.err
    assert first.state()["bundle"] == str(first.path)
    assert first.exec("true").status == 0


def test_an_id_is_free_again_after_delete(bundle: Bundle) -> None:
    for _ in range(2):
        bundle.up("true").ended().delete().ok()


@pytest.mark.parametrize(
    "name",
    ["../x", "", ".", "..", "a/b", "a b", "a\nb", "/x"],
    ids=["climbing", "empty", "dot", "dots", "slash", "blank", "newline", "absolute"],
)
def test_an_id_that_is_no_plain_name_is_refused(bundle: Bundle, name: str) -> None:
    bundle.write()
    done = bundle.runtime("create", "--bundle", str(bundle.path), name)
    if done.status == 0:
        bundle.runtime("delete", "--force", name)
    assert done.status != 0 and done.err
    assert not list(bundle.runtime.root.iterdir())
    assert not (bundle.runtime.root.parent / "x").exists() and not Path("/x").exists()
    assert not [group for group in groups.directories() if group.name in ("x", "b", "a b", "a\nb")]


@pytest.mark.parametrize("name", ["a.b", "A_b-c+1", "0"])
def test_letters_digits_and_some_signs_make_an_id(bundle: Bundle, name: str) -> None:
    bundle.id += name
    bundle.run().ok()


@pytest.mark.parametrize("command", ["start", "state", "kill", "delete", "exec"])
def test_an_id_never_leads_out_of_the_state_directory(bundle: Bundle, command: str) -> None:
    """`--force` with an id such as `../x` must not remove what lies there."""
    outside = bundle.path / "outside"
    outside.mkdir()
    (outside / "file").write_text("mine")
    words = {"kill": ("KILL",), "exec": ("true",)}.get(command, ())
    flags = ("--force",) if command == "delete" else ()
    bundle.runtime(command, *flags, f"../{bundle.path.name}/outside", *words)
    assert (outside / "file").read_text() == "mine"


def test_a_failed_create_leaves_nothing(bundle: Bundle) -> None:
    bundle.mount("/data", "/no/such/source")
    done = bundle.create()
    assert done.status != 0 and done.err
    assert bundle.status() == ""
    assert eventually(lambda: not bundle.traces(), 2), bundle.traces()
    del bundle.config["mounts"][-1]
    bundle.run().ok()


def test_a_failed_run_leaves_nothing(bundle: Bundle) -> None:
    bundle.process["args"] = ["/no/such/program"]
    bundle.refused()


@pytest.mark.parametrize("text", ["", "{", "[]", '"text"', "null"])
def test_a_config_that_is_no_object_is_an_error(bundle: Bundle, text: str) -> None:
    (bundle.path / "config.json").write_text(text)
    done = bundle.runtime("create", "--bundle", str(bundle.path), bundle.id)
    assert done.status != 0 and done.err
    assert not bundle.traces()


def test_a_bundle_without_config_is_an_error(bundle: Bundle) -> None:
    done = bundle.runtime("create", "--bundle", str(bundle.path), bundle.id)
    assert done.status != 0
    assert "config.json" in done.err
    assert bundle.runtime("create", "--bundle", "/no/such/bundle", bundle.id).status != 0


def test_the_pid_file_has_the_pid_and_nothing_else(bundle: Bundle) -> None:
    bundle.sh("exec sleep 100").create("--pid-file", str(bundle.path / "pid")).ok()
    assert (bundle.path / "pid").read_text() == str(bundle.pid)


@pytest.mark.parametrize(
    ("script", "status"), [("exit 0", 0), ("exit 7", 7), ("kill -9 $$", 0), ("exec sh -c 'exit 255'", 255)]
)
def test_run_ends_with_the_commands_status(bundle: Bundle, script: str, status: int) -> None:
    # The first process of a pid namespace is spared its own signals.
    assert bundle.sh(script).run().status == status


def test_run_ends_with_128_and_the_signal_that_killed_the_command(bundle: Bundle) -> None:
    bundle.without("pid").sh("kill -KILL $$")
    assert bundle.run().status == 128 + signal.SIGKILL


def test_run_deletes_the_container_at_its_end(bundle: Bundle) -> None:
    bundle.run().ok()
    assert not bundle.traces()


def test_run_keeps_the_container_when_asked(bundle: Bundle) -> None:
    bundle.sh("exit 3")
    assert bundle.run("--keep").status == 3
    assert bundle.status() == "stopped"
    bundle.delete().ok()


def test_a_detached_container_goes_on_without_the_runtime(bundle: Bundle) -> None:
    bundle.sh("echo up; exec sleep 100").detach("--pid-file", str(bundle.path / "pid")).ok()
    assert bundle.status() == "running"
    assert bundle.prints("up")
    assert (bundle.path / "pid").read_text() == str(bundle.pid)


@pytest.mark.parametrize("words", ["created", "running", "paused", "stopped"])
def test_delete_with_force_ends_a_container_in_any_state(bundle: Bundle, words: str) -> None:
    bundle.sh("true" if words == "stopped" else "exec sleep 100").create().ok()
    pid = bundle.pid
    if words != "created":
        bundle.start().ok()
    if words == "paused":
        bundle.runtime("pause", bundle.id).ok()
    if words == "stopped":
        bundle.ended()
    bundle.delete("--force").ok()
    assert not bundle.traces()
    assert eventually(lambda: not alive(pid), 2)


def test_delete_with_force_of_what_does_not_exist_is_no_error(runtime: Runtime) -> None:
    assert runtime("delete", "--force", "nobody").status == 0


def test_delete_ends_every_process_of_the_container(bundle: Bundle) -> None:
    bundle.up("sleep 99 & sleep 98 & exec sleep 97")
    pids = groups.members(groups.of(bundle.pid, "pids"))
    assert len(pids) == 3
    bundle.delete("--force").ok()
    assert eventually(lambda: not any(map(alive, pids)), 2)


def test_a_stopped_container_has_no_pid_of_somebody_else(bundle: Bundle) -> None:
    bundle.up("true").ended()
    assert bundle.state().get("pid", 0) == 0


def test_list_is_a_table_json_or_ids(make_bundle: MakeBundle) -> None:
    running, stopped = make_bundle().up(), make_bundle().up("true").ended()
    runtime = running.runtime
    assert sorted(runtime.ids()) == sorted([running.id, stopped.id])
    lines = runtime("list").ok().out.splitlines()
    heading = lines[0].split()
    assert {"PID", "STATUS"} <= set(heading)
    row = next(line.split() for line in lines if running.id in line)
    assert row[heading.index("PID")] == str(running.pid)
    entries = {entry["id"]: entry for entry in json.loads(runtime("list", "--format", "json").ok().out)}
    assert entries[running.id]["status"] == "running"
    assert entries[running.id]["bundle"] == str(running.path)
    assert entries[running.id]["pid"] == running.pid
    assert entries[stopped.id]["status"] == "stopped"


def test_an_empty_list_is_still_json(runtime: Runtime) -> None:
    assert json.loads(runtime("list", "--format", "json").ok().out) in ([], None)
    assert runtime("list", "-q").ok().out == ""


def test_ps_shows_the_processes_outside_ids(bundle: Bundle) -> None:
    bundle.up("sleep 99 & exec sleep 98")
    pids = json.loads(bundle.runtime("ps", "--format", "json", bundle.id).ok().out)
    assert sorted(pids) == sorted(groups.members(groups.of(bundle.pid, "pids")))
    table = bundle.runtime("ps", bundle.id).ok().out
    assert "PID" in table.splitlines()[0]
    assert str(bundle.pid) in table


def test_a_paused_container_stands_still_until_it_is_resumed(bundle: Bundle) -> None:
    bundle.up("i=0; while :; do i=$((i+1)); echo $i; sleep 0.02; done")
    assert bundle.prints("3")
    bundle.runtime("pause", bundle.id).ok()
    assert bundle.status() == "paused"
    before = bundle.printed()
    assert not eventually(lambda: bundle.printed() != before, 0.2)
    bundle.runtime("resume", bundle.id).ok()
    assert bundle.status() == "running"
    assert eventually(lambda: bundle.printed() != before)


def test_only_a_running_container_is_paused_and_a_paused_one_resumed(bundle: Bundle) -> None:
    bundle.up()
    assert bundle.runtime("resume", bundle.id).status != 0
    bundle.kill("KILL").ok()
    bundle.ended()
    assert bundle.runtime("pause", bundle.id).status != 0


def test_concurrent_deletes_do_no_harm(bundle: Bundle) -> None:
    bundle.up()
    with ThreadPoolExecutor(4) as pool:
        done = list(pool.map(lambda _: bundle.delete("--force"), range(4)))
    assert any(each.status == 0 for each in done)
    assert eventually(lambda: not bundle.traces(), 2), bundle.traces()


def test_concurrent_creates_of_one_id_make_one_container(make_bundle: MakeBundle) -> None:
    first = make_bundle()
    bundles = [first, *(make_bundle(first.id) for _ in range(3))]
    with ThreadPoolExecutor(4) as pool:
        done = list(pool.map(lambda bundle: bundle.create(), bundles))
    assert [each.status == 0 for each in done].count(True) == 1
    assert first.status() == "created"


def test_many_containers_start_at_once(make_bundle: MakeBundle) -> None:
    bundles = [make_bundle() for _ in range(8)]
    with ThreadPoolExecutor(8) as pool:
        done = list(pool.map(lambda bundle: bundle.sh("echo $$").run(), bundles))
    assert [each.ok().out for each in done] == ["1\n"] * 8


def test_state_written_by_half_does_not_hide_the_others(make_bundle: MakeBundle) -> None:
    """A runtime that was killed in create leaves a directory without, or with a broken, state file."""
    whole, broken = make_bundle().up(), make_bundle()
    (whole.runtime.root / broken.id).mkdir()
    assert whole.id in whole.runtime("list", "-q").out
    assert broken.delete("--force").status == 0
    assert not broken.traces()
    broken.run().ok()


def test_a_container_without_a_process_can_be_made_but_not_started(bundle: Bundle) -> None:
    # "process … REQUIRED when start is called" (config.md); a refused start changes nothing (runtime.md).
    del bundle.config["process"]
    bundle.create().ok()
    done = bundle.start()
    assert done.status != 0 and "process" in done.err
    assert bundle.status() == "created"
    bundle.kill("KILL").ok()
    bundle.ended()
    bundle.delete().ok()


def test_signal_0_asks_whether_it_is_there(bundle: Bundle) -> None:
    bundle.up()
    bundle.kill("0").ok()
    assert bundle.status() == "running"
    bundle.kill("KILL").ok()
    bundle.ended()
    assert bundle.kill("0").status != 0
