"""An ordinary user's containers: no rights over the machine, root in a user namespace."""

from __future__ import annotations

import os
import subprocess
from collections.abc import Iterator
from dataclasses import replace
from pathlib import Path

import pytest

from tests.integration.conftest import machines_network
from tests.integration.oci.bundle import Bundle, fields
from tests.integration.oci.runtime import Runtime, find

USER = 65534
# Numbers that the user may map besides its own.
FIRST, COUNT = 300_000, 1000


@pytest.fixture(scope="module")
def users_runtime(runtime: Runtime, place: Path) -> Runtime:
    """The runtime, called by an ordinary user with a place of its own for state."""
    program = place / "as-user"
    program.write_text(
        f'#!/bin/sh\nexec setpriv --reuid={USER} --regid={USER} --clear-groups env HOME=/ {runtime.program} "$@"\n'
    )
    program.chmod(0o755)
    if subprocess.run([str(program), "--version"], capture_output=True, check=False).returncode:
        pytest.skip("ordinary users cannot read this tree")
    root = place / "users-state"
    root.mkdir()
    os.chown(root, USER, USER)
    return replace(runtime, program=str(program), root=root)


@pytest.fixture
def bundle(users_runtime: Runtime, place: Path, template: Path, request: pytest.FixtureRequest) -> Iterator[Bundle]:
    """A bundle of the user's own, in which only that user is mapped."""
    made = Bundle(users_runtime, place / f"users-{request.node.name}", template, f"users-{os.getpid()}")
    for directory, _, _ in os.walk(made.path):
        os.chown(directory, USER, USER)
    made.namespace("user")
    mapped(made, [{"containerID": 0, "hostID": USER, "size": 1}])
    del made.linux["resources"]
    for mount in made.config["mounts"]:
        mount["options"] = [option for option in mount.get("options", []) if not option.startswith("gid=")]
    yield made
    made.clean()
    assert not made.traces()


def mapped(bundle: Bundle, mappings: list[dict[str, int]]) -> Bundle:
    bundle.linux.update(uidMappings=mappings, gidMappings=list(mappings))
    return bundle


def test_root_inside_is_the_user_outside(bundle: Bundle) -> None:
    found = bundle.output("id -u; id -g; cat /proc/self/uid_map; echo $$")
    assert found.split() == ["0", "0", "0", str(USER), "1", "1"]


def test_files_are_made_as_the_user(bundle: Bundle) -> None:
    bundle.output("touch /made")
    assert (bundle.rootfs / "made").stat().st_uid == USER


def test_the_hosts_devices_are_shown(bundle: Bundle) -> None:
    assert bundle.output("cat /dev/null; head -c 3 /dev/zero | wc -c; test -c /dev/tty && echo tty").split() == [
        "3",
        "tty",
    ]


def test_dev_can_be_read_only(bundle: Bundle) -> None:
    next(mount for mount in bundle.config["mounts"] if mount["destination"] == "/dev")["options"].append("ro")
    assert bundle.output("echo x > /dev/null; touch /dev/new 2>/dev/null || echo read-only") == "read-only"


def test_a_terminal(bundle: Bundle) -> None:
    """By way of `script`, which gives the runtime a terminal to pass on."""
    bundle.process["terminal"] = True
    bundle.sh("tty").write()
    words = " ".join(bundle.runtime.words("run", "--bundle", str(bundle.path), bundle.id))
    done = subprocess.run(
        ["script", "-qec", words, "/dev/null"], capture_output=True, text=True, check=False, timeout=20
    )
    assert "/dev/pts/0" in done.stdout, done.stdout


def test_a_whole_life(bundle: Bundle) -> None:
    bundle.up()
    assert bundle.status() == "running"
    assert fields(bundle.exec("cat", "/proc/self/status").ok().out)["Uid"].split() == ["0"] * 4
    assert fields(bundle.proc("status"))["Uid"].split() == [str(USER)] * 4
    bundle.kill("KILL").ok()
    bundle.ended().delete().ok()


def test_a_limit_without_a_group_to_set_it_in_is_refused(bundle: Bundle) -> None:
    bundle.linux["resources"] = {"pids": {"limit": 5}}
    bundle.refused()


def test_without_a_user_namespace_the_need_of_one_is_said(bundle: Bundle) -> None:
    bundle.without("user")
    del bundle.linux["uidMappings"], bundle.linux["gidMappings"]
    assert "user" in bundle.refused().lower()


def test_the_example_runs(bundle: Bundle) -> None:
    bundle.runtime("spec", "--rootless", cwd=bundle.path).ok()
    config = bundle.path / "config.json"
    text = config.read_text().replace('"terminal": true', '"terminal": false').replace('"sh"', '"id"')
    config.write_text(text)
    assert "uid=0(root)" in bundle.runtime("run", "--bundle", str(bundle.path), bundle.id).ok().out


@pytest.fixture
def subordinates(place: Path) -> Iterator[None]:
    """Numbers for the user to map, in this test's mounts only."""
    if not find("newuidmap"):
        from provisioning.system import Package

        with machines_network():
            package = Package("uidmap", "newuidmap")
            package.apply(package.plan(package.inspect()))  # type: ignore[arg-type]
    ranges = place / "ranges"
    ranges.write_text(f"nobody:{FIRST}:{COUNT}\n")
    for path in ("/etc/subuid", "/etc/subgid"):
        if not os.path.exists(path):
            pytest.skip(f"{path} is not there")
        subprocess.run(["mount", "--bind", str(ranges), path], check=True)
    yield
    for path in ("/etc/subuid", "/etc/subgid"):
        subprocess.run(["umount", path], check=True)


@pytest.mark.usefixtures("subordinates")
def test_more_ids_are_mapped_by_newuidmap(bundle: Bundle) -> None:
    own = {"containerID": 0, "hostID": USER, "size": 1}
    mapped(bundle, [own, {"containerID": 1, "hostID": FIRST, "size": COUNT}]).grant("CAP_CHOWN")
    found = bundle.output("touch /made && chown 5:6 /made && stat -c '%u %g' /made")
    assert found == "5 6"
    assert (bundle.rootfs / "made").stat().st_uid == FIRST + 4


@pytest.mark.usefixtures("subordinates")
def test_ids_of_others_are_refused(bundle: Bundle) -> None:
    own = {"containerID": 0, "hostID": USER, "size": 1}
    mapped(bundle, [own, {"containerID": 1, "hostID": FIRST, "size": COUNT + 1}])
    bundle.refused()
