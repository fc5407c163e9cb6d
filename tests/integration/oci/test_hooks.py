"""The hooks: their order, where they run, what they are told, and what their failure means (config.md, runtime.md)."""

from __future__ import annotations

import json
import os
import time
from pathlib import Path
from typing import Any

import pytest

from tests.integration.oci.bundle import Bundle, alive

KINDS = ("prestart", "createRuntime", "createContainer", "startContainer", "poststart", "poststop")
BEFORE_START = KINDS[:3]
# A hook writes down what it knows. The busybox inside and the shell outside both run it.
SCRIPT = """#!/bin/sh
here=$1 name=$2
echo $name >> $here/order
cat > $here/$name.state
{{ for kind in mnt net pid uts; do readlink /proc/self/ns/$kind; done; }} > $here/$name.namespaces
pwd > $here/$name.directory
env > $here/$name.env
echo "$@" > $here/$name.args
{more}
"""


class Hooks:
    """Hooks of a bundle, and what they have left."""

    def __init__(self, bundle: Bundle) -> None:
        self.bundle = bundle
        self.log = bundle.path / "log"
        self.log.mkdir(mode=0o777)
        self.log.chmod(0o777)
        bundle.config["hooks"] = {}
        bundle.mount("/log", self.log)

    def add(self, kind: str, name: str = "", more: str = "", **fields: Any) -> None:
        """A hook that writes down what it knows."""
        name = name or kind
        inside = kind == "startContainer"
        place = self.bundle.rootfs if inside else self.bundle.path
        script = place / f"hook-{name}"
        script.write_text(SCRIPT.format(more=more))
        script.chmod(0o755)
        path = f"/{script.name}" if inside else str(script)
        log = "/log" if inside else str(self.log)
        entry = {"path": path, "args": [path, log, name], "env": ["PATH=/usr/bin:/bin"], **fields}
        self.bundle.config["hooks"].setdefault(kind, []).append(entry)

    def order(self) -> list[str]:
        """The names of those that ran."""
        place = self.log / "order"
        return place.read_text().split() if place.exists() else []

    def state(self, name: str) -> dict[str, Any]:
        """What one was told."""
        return json.loads((self.log / f"{name}.state").read_text())  # type: ignore[no-any-return]

    def said(self, name: str, what: str) -> list[str]:
        """What one wrote down."""
        return (self.log / f"{name}.{what}").read_text().splitlines()


@pytest.fixture
def hooks(bundle: Bundle) -> Hooks:
    return Hooks(bundle)


def test_hooks_run_in_the_order_of_the_life(bundle: Bundle, hooks: Hooks) -> None:
    for kind in reversed(KINDS):
        hooks.add(kind)
    bundle.sh("echo command >> /log/order; exec sleep 100").create().ok()
    assert hooks.order() == ["prestart", "createRuntime", "createContainer"]
    bundle.start().ok()
    assert hooks.order()[3] == "startContainer"
    # Whether the command or poststart is the quicker one is not said.
    bundle.kill("KILL").ok()
    bundle.ended()
    assert "poststop" not in hooks.order()
    bundle.delete().ok()
    assert hooks.order()[-1] == "poststop"
    assert hooks.order().count("poststart") == 1


def test_poststart_runs_before_start_returns(bundle: Bundle, hooks: Hooks) -> None:
    hooks.add("poststart", more="sleep 0.2; echo late >> $here/order")
    bundle.sh("exec sleep 100").create().ok()
    assert hooks.order() == []
    bundle.start().ok()
    assert hooks.order() == ["poststart", "late"]


def test_hooks_of_one_kind_run_in_their_order(bundle: Bundle, hooks: Hooks) -> None:
    for name in ("one", "two", "three"):
        hooks.add("createRuntime", name, more="sleep 0.02")
    bundle.run().ok()
    assert hooks.order() == ["one", "two", "three"]


def test_run_runs_every_hook(bundle: Bundle, hooks: Hooks) -> None:
    for kind in KINDS:
        hooks.add(kind)
    bundle.sh("sleep 0.1").run().ok()
    assert hooks.order() == list(KINDS)


@pytest.mark.parametrize(
    ("kind", "status"),
    [
        ("prestart", "creat"),
        ("createRuntime", "creat"),
        ("createContainer", "creat"),
        ("startContainer", "created"),
        ("poststart", "running"),
        ("poststop", "stopped"),
    ],
)
def test_a_hook_is_told_the_state(bundle: Bundle, hooks: Hooks, kind: str, status: str) -> None:
    bundle.config["annotations"] = {"key": "value"}
    hooks.add(kind)
    bundle.sh("exec sleep 100").create().ok()
    pid = bundle.pid
    bundle.start().ok()
    bundle.delete("--force").ok()
    state = hooks.state(kind)
    assert state["id"] == bundle.id
    assert state["status"].startswith(status)
    assert state["bundle"] == str(bundle.path)
    assert state["annotations"]["key"] == "value"
    assert state["ociVersion"].startswith("1.")
    # Inside of the pid namespace it is 1 that a hook can do something with.
    inside = kind in ("createContainer", "startContainer")
    assert state.get("pid", 0) in ((pid, 1) if inside else (0, pid) if kind == "poststop" else (pid,))


@pytest.mark.parametrize("kind", KINDS)
def test_a_hook_runs_in_the_namespaces_of_its_kind(bundle: Bundle, hooks: Hooks, kind: str) -> None:
    hooks.add(kind)
    bundle.sh("exec sleep 100").create().ok()
    inside = [os.readlink(f"/proc/{bundle.pid}/ns/{name}") for name in ("mnt", "net", "pid", "uts")]
    outside = [os.readlink(f"/proc/self/ns/{name}") for name in ("mnt", "net", "pid", "uts")]
    bundle.start().ok()
    bundle.delete("--force").ok()
    found = hooks.said(kind, "namespaces")
    if kind == "createContainer":
        # In the container's mounts, before its root becomes the root.
        assert found[0] == inside[0]
    else:
        assert found == (inside if kind == "startContainer" else outside)


def test_a_hook_has_its_environment_and_arguments(bundle: Bundle, hooks: Hooks) -> None:
    hooks.add("createRuntime", env=["PATH=/usr/bin:/bin", "MINE=1"])
    bundle.config["hooks"]["createRuntime"][0]["args"] += ["a b", "last"]
    bundle.run(env={"FROM_OUTSIDE": "1"}).ok()
    names = {line.partition("=")[0] for line in hooks.said("createRuntime", "env")}
    assert "MINE" in names
    assert "FROM_OUTSIDE" not in names
    assert hooks.said("createRuntime", "args")[0].endswith("createRuntime a b last")


def test_the_network_namespace_is_there_for_a_create_hook(bundle: Bundle, hooks: Hooks) -> None:
    """What network plugins do: the pid of the state leads to the namespace."""
    more = (
        "pid=$(sed -n 's/.*\"pid\": *\\([0-9]*\\).*/\\1/p' $here/$name.state); readlink /proc/$pid/ns/net > $here/net"
    )
    hooks.add("createRuntime", more=more)
    bundle.sh("exec sleep 100").create().ok()
    assert (hooks.log / "net").read_text().strip() == os.readlink(f"/proc/{bundle.pid}/ns/net")


@pytest.mark.parametrize("kind", BEFORE_START)
def test_a_failure_before_start_ends_the_container(bundle: Bundle, hooks: Hooks, kind: str) -> None:
    hooks.add(kind, more="echo the hook said no >&2; exit 3")
    hooks.add(kind, "second")
    done = bundle.create()
    assert done.status != 0 and done.err
    assert bundle.status() == ""
    assert not bundle.traces()
    assert "second" not in hooks.order()


@pytest.mark.parametrize("kind", ["createRuntime", "createContainer"])
def test_a_failure_runs_the_poststop_hooks(bundle: Bundle, hooks: Hooks, kind: str) -> None:
    """The life goes on at step 12, where the container is destroyed, and 13, these hooks."""
    hooks.add(kind, more="exit 3")
    hooks.add("poststop")
    bundle.refused()
    assert hooks.order() == [kind, "poststop"]


def test_a_failure_of_start_container_ends_the_container(bundle: Bundle, hooks: Hooks) -> None:
    hooks.add("startContainer", more="exit 3")
    bundle.sh("echo command >> /log/order").create().ok()
    assert bundle.start().status != 0
    assert "command" not in hooks.order()
    assert bundle.status() in ("stopped", "")


def test_a_failure_of_poststart_is_only_a_warning(bundle: Bundle, hooks: Hooks) -> None:
    """As 1.2.0 has it; 1.2.1 and later want an error and the container stopped."""
    hooks.add("poststart", "one", more="exit 3")
    hooks.add("poststart", "two")
    bundle.sh("exec sleep 100").create().ok()
    bundle.start().ok()
    assert bundle.status() == "running"
    assert hooks.order() == ["one", "two"]


def test_a_failure_of_poststop_is_only_a_warning(bundle: Bundle, hooks: Hooks) -> None:
    hooks.add("poststop", "one", more="exit 3")
    hooks.add("poststop", "two")
    bundle.up("true").ended()
    bundle.delete().ok()
    assert hooks.order() == ["one", "two"]
    assert not bundle.traces()


@pytest.mark.parametrize("kind", BEFORE_START)
def test_a_hook_that_takes_too_long_is_killed(bundle: Bundle, hooks: Hooks, kind: str) -> None:
    hooks.add(kind, more="echo $$ > $here/pid; exec sleep 50", timeout=1)
    started = time.monotonic()
    bundle.refused()
    assert 0.9 < time.monotonic() - started < 5
    if kind != "createContainer":  # There the number is one inside.
        assert not alive(int((hooks.log / "pid").read_text()))


def test_a_hook_without_timeout_may_take_its_time(bundle: Bundle, hooks: Hooks) -> None:
    hooks.add("createRuntime", more="sleep 1")
    bundle.run().ok()


def test_a_hook_that_does_not_read_its_input_does_no_harm(bundle: Bundle) -> None:
    bundle.config["annotations"] = {"long": "x" * 100_000}  # More than a pipe holds.
    bundle.config["hooks"] = {"createRuntime": [{"path": "/bin/true"}]}
    bundle.run().ok()


@pytest.mark.parametrize("path", ["/no/such/hook", "/etc/passwd"])
def test_a_hook_that_cannot_run_is_an_error(bundle: Bundle, path: str) -> None:
    bundle.config["hooks"] = {"createRuntime": [{"path": path}]}
    bundle.refused()


def test_a_hook_with_a_relative_path_is_refused(bundle: Bundle) -> None:
    bundle.config["hooks"] = {"createRuntime": [{"path": "bin/true"}]}
    bundle.refused()


@pytest.mark.parametrize("seconds", [0, -1])
def test_a_timeout_is_more_than_nothing(bundle: Bundle, seconds: int) -> None:
    bundle.config["hooks"] = {"createRuntime": [{"path": "/bin/true", "timeout": seconds}]}
    bundle.refused()


def test_a_hook_has_no_descriptor_of_the_runtime(bundle: Bundle, hooks: Hooks) -> None:
    hooks.add("createRuntime", more="ls -l /proc/self/fd > $here/fds")
    bundle.run().ok()
    lines = [line.partition("-> ")[2] for line in (hooks.log / "fds").read_text().splitlines() if "->" in line]
    assert not [target for target in lines[3:] if not target.startswith("/proc/")], lines


def test_delete_with_force_runs_poststop(bundle: Bundle, hooks: Hooks) -> None:
    hooks.add("poststop")
    bundle.up().delete("--force").ok()
    assert hooks.order() == ["poststop"]
    assert Path(hooks.log / "poststop.state").exists()


@pytest.mark.parametrize("kind", ["prestart", "createRuntime", "createContainer"])
def test_what_a_hook_mounts_in_the_root_is_seen_inside(bundle: Bundle, hooks: Hooks, kind: str) -> None:
    # As the hooks do that bring a graphics card's libraries: they enter the container's mounts, and look for root.path.
    (bundle.rootfs / "shown").mkdir()
    (bundle.path / "hidden").mkdir()
    (bundle.path / "hidden" / "file").write_text("seen")
    # Told on standard input, which the script has put away.
    enter = (
        "" if kind == "createContainer" else f"nsenter -t $(sed 's/.*\"pid\": *//; s/[^0-9].*//' $here/{kind}.state) -m"
    )
    hooks.add(kind, more=f"{enter} mount --bind {bundle.path}/hidden {bundle.rootfs}/shown")
    assert bundle.output("cat /shown/file") == "seen"
    assert not (bundle.rootfs / "shown" / "file").exists(), "it was mounted on the host"
