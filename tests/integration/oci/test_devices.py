"""The default devices, `linux.devices`, and which of them the control group lets be opened (config-linux.md)."""

from __future__ import annotations

import os
import stat
from pathlib import Path

import pytest

from tests.integration.oci.bundle import Bundle

NUMBERS = {"null": (1, 3), "zero": (1, 5), "full": (1, 7), "random": (1, 8), "urandom": (1, 9), "tty": (5, 0)}
ZERO = {"type": "c", "major": 1, "minor": 5}


def test_the_default_devices_are_there(bundle: Bundle) -> None:
    lines = bundle.output("stat -c '%n %F %t %T %a' /dev/" + " /dev/".join(NUMBERS)).splitlines()
    found = {line.split()[0]: line.split()[-3:] for line in lines}
    assert found == {f"/dev/{name}": [f"{a:x}", f"{b:x}", "666"] for name, (a, b) in NUMBERS.items()}


@pytest.mark.parametrize(
    ("name", "target"),
    [
        ("fd", "/proc/self/fd"),
        ("stdin", "/proc/self/fd/0"),
        ("stdout", "/proc/self/fd/1"),
        ("stderr", "/proc/self/fd/2"),
        ("ptmx", "pts/ptmx"),
    ],
)
def test_the_default_links_are_there(bundle: Bundle, name: str, target: str) -> None:
    assert bundle.output(f"readlink /dev/{name}").removeprefix("/dev/") == target


def test_the_default_devices_can_be_used_by_anybody(bundle: Bundle) -> None:
    bundle.process["user"] = {"uid": 1000, "gid": 1000}
    script = "echo x > /dev/null; head -c 4 /dev/zero | od -An -tx1; head -c 8 /dev/urandom | wc -c; echo x > /dev/full"
    done = bundle.sh(script).run()
    assert done.out.split() == ["00", "00", "00", "00", "8"]
    assert "No space" in done.err


def test_a_terminal_can_be_made_inside(bundle: Bundle) -> None:
    assert bundle.output("script -qc tty /dev/null </dev/null || tty </dev/ptmx || true") is not None
    assert bundle.output("exec 3<>/dev/ptmx && ls /dev/pts | grep -v ptmx") == "0"


@pytest.mark.parametrize("kind", ["c", "b", "u"])
def test_a_device_has_its_number_mode_and_owner(bundle: Bundle, kind: str) -> None:
    bundle.linux["devices"] = [
        {"path": "/dev/mine", "type": kind, "major": 60, "minor": 7, "fileMode": 0o640, "uid": 1000, "gid": 2000}
    ]
    named = "block special file" if kind == "b" else "character special file"
    assert bundle.output("stat -c '%F %t %T %a %u %g' /dev/mine") == f"{named} 3c 7 640 1000 2000"


def test_a_pipe_is_made(bundle: Bundle) -> None:
    bundle.linux["devices"] = [{"path": "/dev/pipe", "type": "p", "fileMode": 0o600}]
    assert bundle.output("stat -c '%F %a' /dev/pipe; (echo through > /dev/pipe &) ; cat /dev/pipe").splitlines() == [
        "fifo 600",
        "through",
    ]


def test_the_umask_does_not_change_a_devices_mode(bundle: Bundle) -> None:
    bundle.linux["devices"] = [{"path": "/dev/mine", **ZERO, "fileMode": 0o666}]
    earlier = os.umask(0o077)
    try:
        assert bundle.output("stat -c %a /dev/mine /dev/null").split() == ["666", "666"]
    finally:
        os.umask(earlier)


def test_a_device_may_lie_in_a_directory_that_is_not_there(bundle: Bundle) -> None:
    bundle.linux["devices"] = [{"path": "/dev/deep/er/mine", **ZERO, "fileMode": 0o666}]
    assert bundle.output("head -c 2 /dev/deep/er/mine | od -An -tx1") == "00 00"


def test_a_device_outside_of_dev_is_made(bundle: Bundle) -> None:
    bundle.linux["devices"] = [{"path": "/opt/mine", **ZERO, "fileMode": 0o666}]
    bundle.output("test -c /opt/mine")


@pytest.mark.parametrize("path", ["/climbing/mine", "/../../../mine"])
def test_a_device_never_lies_outside_of_the_root(bundle: Bundle, path: str) -> None:
    outside = bundle.path / "outside"
    outside.mkdir()
    (bundle.rootfs / "climbing").symlink_to(f"../../../../..{outside}")
    bundle.linux["devices"] = [{"path": path, **ZERO}]
    bundle.run()
    assert not list(outside.iterdir())
    assert not Path("/mine").exists() and not (bundle.path / "mine").exists()


def test_a_file_in_place_of_a_device_is_an_error(bundle: Bundle) -> None:
    (bundle.rootfs / "opt" / "mine").write_text("kept\n")
    bundle.linux["devices"] = [{"path": "/opt/mine", **ZERO}]
    bundle.refused()
    assert (bundle.rootfs / "opt" / "mine").read_text() == "kept\n"


def test_a_device_that_is_there_already_is_taken(bundle: Bundle) -> None:
    os.mknod(bundle.rootfs / "opt" / "mine", stat.S_IFCHR | 0o600, os.makedev(1, 5))
    bundle.linux["devices"] = [{"path": "/opt/mine", **ZERO}]
    assert bundle.output("stat -c '%t %T' /opt/mine") == "1 5"


def test_a_root_that_has_its_own_dev_gets_the_default_devices_too(bundle: Bundle) -> None:
    bundle.config["mounts"] = [m for m in bundle.config["mounts"] if not m["destination"].startswith("/dev")]
    lines = bundle.output("stat -c '%n %t %T' /dev/" + " /dev/".join(NUMBERS)).splitlines()
    assert lines == [f"/dev/{name} {a:x} {b:x}" for name, (a, b) in NUMBERS.items()]
    assert bundle.output("readlink /dev/fd; readlink /dev/stdout").split() == ["/proc/self/fd", "/proc/self/fd/1"]


def test_a_read_only_dev_is_filled_and_then_closed(bundle: Bundle) -> None:
    next(m for m in bundle.config["mounts"] if m["destination"] == "/dev")["options"].append("ro")
    done = bundle.sh("echo > /dev/null && echo usable; touch /dev/new").run()
    assert done.out == "usable\n"
    assert "Read-only" in done.err


@pytest.mark.parametrize("kind", ["x", ""])
def test_an_unknown_type_is_refused(bundle: Bundle, kind: str) -> None:
    bundle.linux["devices"] = [{"path": "/dev/mine", "type": kind, "major": 1, "minor": 5}]
    bundle.refused()


# The control group.


def test_what_is_not_allowed_cannot_be_opened(bundle: Bundle) -> None:
    _make(bundle)
    bundle.resources["devices"] = [{"allow": False, "access": "rwm"}]
    done = bundle.sh("cat /mine").run()
    assert done.status != 0
    assert "not permitted" in done.err


def _make(bundle: Bundle) -> None:
    """A node in the root filesystem that was not asked for: /dev/loop-control or what is there of the kind."""
    os.mknod(bundle.rootfs / "mine", stat.S_IFCHR | 0o666, os.makedev(1, 11))  # /dev/kmsg


@pytest.mark.parametrize(
    ("access", "script", "works"),
    [
        ("r", "exec 3</mine", True),
        ("r", "exec 3>/mine", False),
        ("w", "exec 3>/mine", True),
        ("w", "exec 3</mine", False),
        ("rw", "exec 3<>/mine", True),
        # To make a node is always allowed by runc and crun, as it takes a capability too.
        ("m", "mknod /other c 1 11", True),
        ("m", "exec 3</mine", False),
    ],
)
def test_what_is_allowed_is_that_access_alone(bundle: Bundle, access: str, script: str, works: bool) -> None:
    _make(bundle)
    bundle.grant("CAP_MKNOD", "CAP_SYS_ADMIN", "CAP_SYSLOG")
    rule = {"allow": True, "type": "c", "major": 1, "minor": 11, "access": access}
    bundle.resources["devices"] = [{"allow": False, "access": "rwm"}, rule]
    assert (bundle.sh(script).run().status == 0) == works


def test_a_later_rule_takes_back_an_earlier_one(bundle: Bundle) -> None:
    """Or the rules are refused: a version 1 group knows no exception to an exception."""
    _make(bundle)
    bundle.grant("CAP_SYSLOG", "CAP_SYS_ADMIN")
    # Without minor every one of the major is meant.
    wide = {"allow": True, "type": "c", "major": 1, "access": "rwm"}
    narrow = {"allow": False, "type": "c", "major": 1, "minor": 11, "access": "rwm"}
    bundle.resources["devices"] = [{"allow": False, "access": "rwm"}, wide]
    bundle.output("exec 3</mine")
    bundle.resources["devices"].append(narrow)
    assert bundle.sh("exec 3</mine").run().status != 0


def test_the_default_devices_work_whatever_the_rules_say(bundle: Bundle) -> None:
    """runc and crun add them to the list; programs would not run otherwise."""
    bundle.resources["devices"] = [{"allow": False, "access": "rwm"}]
    bundle.output("echo > /dev/null && head -c 1 /dev/urandom > /dev/null && exec 3<>/dev/ptmx")


# In a user namespace nodes cannot be made: those of the host are bound.


def test_the_default_devices_work_in_a_user_namespace(bundle: Bundle) -> None:
    bundle.own_users().process["user"] = {"uid": 1000, "gid": 1000}
    bundle.output("echo > /dev/null && head -c 1 /dev/urandom > /dev/null && head -c 1 /dev/zero > /dev/null")


def test_a_device_that_the_host_has_is_given_to_a_user_namespace(bundle: Bundle) -> None:
    full = {"type": "c", "major": 1, "minor": 7}
    bundle.own_users().linux["devices"] = [{"path": "/dev/full", **full}]
    bundle.resources["devices"].append({"allow": True, "access": "rwm", **full})
    assert "No space" in bundle.sh("echo x > /dev/full").run().err
