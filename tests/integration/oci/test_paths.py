"""`linux.maskedPaths`, `linux.readonlyPaths` and `linux.sysctl` (config-linux.md)."""

from __future__ import annotations

import os
from pathlib import Path

import pytest

from tests.integration.oci.bundle import Bundle


@pytest.fixture
def secret(bundle: Bundle) -> Path:
    """A directory in the root filesystem with a file."""
    directory = bundle.rootfs / "secret"
    directory.mkdir()
    (directory / "file").write_text("secret\n")
    return directory


def test_a_masked_file_reads_empty(bundle: Bundle, secret: Path) -> None:
    bundle.linux["maskedPaths"] = ["/secret/file", "/proc/timer_list"]
    assert bundle.output("cat /secret/file /proc/timer_list 2>/dev/null; test -e /secret/file && echo there") == "there"


def test_a_masked_directory_is_empty_and_cannot_be_filled(bundle: Bundle, secret: Path) -> None:
    bundle.linux["maskedPaths"] = ["/secret", "/proc/scsi", "/sys/firmware"]
    assert bundle.output("ls -A /secret") == ""
    assert bundle.sh("touch /secret/new").run().status != 0
    assert (secret / "file").exists() and not (secret / "new").exists()


def test_a_masked_path_that_is_not_there_is_left_out(bundle: Bundle) -> None:
    bundle.linux["maskedPaths"] = ["/no/such/path"]
    assert bundle.output("ls /no 2>&1 || true").endswith("No such file or directory")


def test_a_mask_cannot_be_chosen_by_the_image(bundle: Bundle, secret: Path) -> None:
    """CVE-2025-31133: /dev/null replaced by a link would have put something else over the masked file."""
    (bundle.rootfs / "dev").rmdir()
    (bundle.rootfs / "dev").mkdir()
    (bundle.rootfs / "dev" / "null").symlink_to("/etc/passwd")
    bundle.config["mounts"] = [m for m in bundle.config["mounts"] if not m["destination"].startswith("/dev")]
    bundle.linux["maskedPaths"] = ["/secret/file"]
    done = bundle.sh("cat /secret/file").run()
    assert done.status != 0 or done.out == ""


def test_a_read_only_path_can_be_read_and_not_written(bundle: Bundle, secret: Path) -> None:
    bundle.linux["readonlyPaths"] = ["/secret", "/proc/sys"]
    bundle.grant("CAP_SYS_ADMIN")
    assert bundle.output("cat /secret/file") == "secret"
    for script in ("echo x > /secret/file", "touch /secret/new", "echo x > /proc/sys/kernel/hostname"):
        done = bundle.sh(script).run()
        assert done.status != 0
        assert "Read-only" in done.err
    assert (secret / "file").read_text() == "secret\n"


def test_a_read_only_path_that_is_not_there_is_left_out(bundle: Bundle) -> None:
    bundle.linux["readonlyPaths"] = ["/no/such/path"]
    bundle.run().ok()


def test_a_read_only_file_cannot_be_written(bundle: Bundle, secret: Path) -> None:
    bundle.linux["readonlyPaths"] = ["/secret/file"]
    bundle.output("touch /secret/beside")
    assert bundle.sh("echo x > /secret/file").run().status != 0


@pytest.mark.parametrize("field", ["maskedPaths", "readonlyPaths"])
def test_a_relative_path_is_refused(bundle: Bundle, field: str) -> None:
    bundle.linux[field] = ["secret"]
    bundle.refused()


def test_masks_hold_in_a_user_namespace(bundle: Bundle) -> None:
    bundle.own_users().linux.update(maskedPaths=["/proc/timer_list", "/proc/scsi"], readonlyPaths=["/proc/sys"])
    bundle.grant("CAP_SYS_ADMIN")
    assert bundle.output("cat /proc/timer_list") == ""
    assert bundle.sh("umount /proc/timer_list").run().status != 0 or bundle.output("cat /proc/timer_list") == ""


# Kernel parameters.


@pytest.mark.parametrize(
    ("name", "value"),
    [
        ("net.ipv4.ip_forward", "1"),
        ("net.ipv4.ip_unprivileged_port_start", "80"),
        ("kernel.shmmax", "1000000"),
        ("kernel.shm_rmid_forced", "1"),
        ("kernel.sem", "10\t320\t10\t32"),
        ("fs.mqueue.msg_max", "7"),
    ],
)
def test_a_parameter_of_a_namespace_is_set_inside_alone(bundle: Bundle, name: str, value: str) -> None:
    path = f"/proc/sys/{name.replace('.', '/')}"
    before = Path(path).read_text()
    bundle.linux["sysctl"] = {name: value}
    assert bundle.output(f"cat {path}").split() == value.split()
    assert Path(path).read_text() == before


def test_a_parameter_with_slashes_is_the_same(bundle: Bundle) -> None:
    bundle.linux["sysctl"] = {"net/ipv4/ip_forward": "1"}
    assert bundle.output("cat /proc/sys/net/ipv4/ip_forward") == "1"


def test_parameters_are_set_although_proc_is_read_only(bundle: Bundle) -> None:
    bundle.linux.update(sysctl={"net.ipv4.ip_forward": "1"}, readonlyPaths=["/proc/sys"])
    assert bundle.output("cat /proc/sys/net/ipv4/ip_forward") == "1"


@pytest.mark.parametrize("name", ["kernel.panic", "vm.swappiness", "kernel.core_pattern", "net/../kernel/panic"])
def test_a_parameter_of_the_whole_machine_is_refused(bundle: Bundle, name: str) -> None:
    path = Path(os.path.normpath(f"/proc/sys/{name if '/' in name else name.replace('.', '/')}"))
    before = path.read_text()
    bundle.linux["sysctl"] = {name: before.strip()}  # Written nonetheless, it would change nothing.
    bundle.refused()


@pytest.mark.parametrize(
    ("kind", "name"), [("network", "net.ipv4.ip_forward"), ("ipc", "kernel.shmmax"), ("uts", "kernel.domainname")]
)
def test_a_parameter_of_a_namespace_that_is_shared_is_refused(bundle: Bundle, kind: str, name: str) -> None:
    if kind == "uts":
        del bundle.config["hostname"]
    before = Path(f"/proc/sys/{name.replace('.', '/')}").read_text().strip()
    bundle.without(kind).linux["sysctl"] = {name: before}
    bundle.refused()


def test_a_parameter_that_does_not_exist_is_an_error(bundle: Bundle) -> None:
    bundle.linux["sysctl"] = {"net.no_such_parameter": "1"}
    bundle.refused()
