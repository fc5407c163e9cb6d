"""What `root` and `linux.rootfsPropagation` say (config.md, config-linux.md)."""

from __future__ import annotations

import shutil
from pathlib import Path

import pytest

from tests.integration.oci.bundle import Bundle


def test_the_root_can_be_written_unless_said_otherwise(bundle: Bundle) -> None:
    bundle.output("echo text > /file")
    assert (bundle.rootfs / "file").read_text() == "text\n"


def test_a_read_only_root_cannot_be_written(bundle: Bundle) -> None:
    bundle.config["root"]["readonly"] = True
    done = bundle.grant("CAP_SYS_ADMIN").sh("touch /file").run()
    assert done.status != 0
    assert "Read-only" in done.err
    assert not (bundle.rootfs / "file").exists()


def test_mounts_in_a_read_only_root_can_be_written(bundle: Bundle) -> None:
    bundle.config["root"]["readonly"] = True
    bundle.mount("/tmp", kind="tmpfs")
    bundle.output("touch /tmp/file /dev/shm/file")


def test_a_relative_path_is_below_the_bundle(bundle: Bundle) -> None:
    bundle.config["root"]["path"] = "./rootfs/../rootfs"
    assert bundle.run(cwd=Path("/")).status == 0


def test_an_absolute_path_may_lie_anywhere(bundle: Bundle) -> None:
    elsewhere = bundle.path / "elsewhere"
    shutil.move(bundle.rootfs, elsewhere)
    bundle.config["root"]["path"] = str(elsewhere)
    bundle.output("touch /file")
    assert (elsewhere / "file").exists()


@pytest.mark.parametrize("path", ["nothing", "/no/such/root", "config.json"])
def test_a_root_that_is_no_directory_is_an_error(bundle: Bundle, path: str) -> None:
    bundle.config["root"]["path"] = path
    bundle.refused()


def test_without_a_root_it_is_an_error(bundle: Bundle) -> None:
    del bundle.config["root"]
    bundle.refused()


def test_the_root_of_the_machine_cannot_be_seen(bundle: Bundle) -> None:
    (bundle.path / "beside").touch()
    found = bundle.output("ls / /..; ls -d /var/tmp/oci-*/ 2>/dev/null; cat /proc/self/mountinfo")
    assert "beside" not in found
    points = [line.split()[4] for line in found.splitlines() if line.count(" ") > 7]
    assert not [point for point in points if point.startswith(str(bundle.path))]


@pytest.mark.parametrize(
    ("word", "shared"), [("private", False), ("rprivate", False), ("slave", False), ("rslave", False), ("shared", True)]
)
def test_the_propagation_of_the_root_is_as_said(bundle: Bundle, word: str, shared: bool) -> None:
    bundle.linux["rootfsPropagation"] = word
    lines = [line.split() for line in bundle.output("cat /proc/self/mountinfo").splitlines()]
    root = next(line for line in lines if line[4] == "/")
    optional = root[6 : root.index("-")]
    assert any(word.startswith("shared:") for word in optional) == shared
    assert "private" not in word or not optional


def test_an_unbindable_root_cannot_be_bound(bundle: Bundle) -> None:
    bundle.linux["rootfsPropagation"] = "unbindable"
    assert "unbindable" in bundle.output("cat /proc/self/mountinfo")


def test_an_unknown_propagation_is_refused(bundle: Bundle) -> None:
    bundle.linux["rootfsPropagation"] = "sideways"
    bundle.refused()


def test_a_mount_made_inside_does_not_appear_outside(bundle: Bundle) -> None:
    bundle.grant("CAP_SYS_ADMIN").mount("/mnt", bundle.path, "rbind", "rprivate")
    (bundle.path / "point").mkdir()
    bundle.up("mount -t tmpfs tmpfs /mnt/point && echo done; exec sleep 100")
    assert bundle.prints("done")
    assert f"{bundle.path}/point" not in Path("/proc/self/mountinfo").read_text()
