"""`linux.seccomp`: what is answered to system calls (config-linux.md)."""

from __future__ import annotations

import ctypes
import errno
import fcntl
import json
import os
import signal
import socket
import threading
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

from tests.integration.oci.bundle import Bundle, fields
from tests.integration.oci.console import received

ARCHITECTURES = {"x86_64": ["SCMP_ARCH_X86_64", "SCMP_ARCH_X86", "SCMP_ARCH_X32"], "aarch64": ["SCMP_ARCH_AARCH64"]}
MKDIR = ["mkdir", "mkdirat"]


def profile(bundle: Bundle, *rules: dict[str, Any], default: str = "SCMP_ACT_ALLOW", **more: Any) -> Bundle:
    """A filter with these rules; every call else is answered by default."""
    known = ARCHITECTURES.get(os.uname().machine, [])
    bundle.linux["seccomp"] = {"defaultAction": default, "architectures": known, "syscalls": list(rules), **more}
    return bundle


def rule(names: list[str], action: str, **more: Any) -> dict[str, Any]:
    return {"names": names, "action": action, **more}


def test_a_filter_is_in_force(bundle: Bundle) -> None:
    assert fields(bundle.output("cat /proc/self/status"))["Seccomp"] == "0"
    profile(bundle, rule(MKDIR, "SCMP_ACT_ERRNO"))
    assert fields(bundle.output("cat /proc/self/status"))["Seccomp"] == "2"


def test_a_refused_call_fails_with_eperm(bundle: Bundle) -> None:
    done = profile(bundle, rule(MKDIR, "SCMP_ACT_ERRNO")).sh("mkdir /made").run()
    assert done.status != 0
    assert os.strerror(errno.EPERM) in done.err
    assert not (bundle.rootfs / "made").exists()


@pytest.mark.parametrize("number", [errno.ENOSYS, errno.ENOSPC, errno.EIO])
def test_the_error_can_be_chosen(bundle: Bundle, number: int) -> None:
    profile(bundle, rule(MKDIR, "SCMP_ACT_ERRNO", errnoRet=number))
    done = bundle.sh("mkdir /made").run()
    words = {errno.ENOSYS: "Function not implemented", errno.ENOSPC: "No space left", errno.EIO: "I/O error"}
    assert words[number] in done.err


def test_the_error_of_the_default_can_be_chosen(bundle: Bundle) -> None:
    """With everything else allowed by name; so does Docker's profile."""
    calls = Path("/usr/include/x86_64-linux-gnu/asm/unistd_64.h")
    if not calls.exists():
        pytest.skip("the list of system calls is not installed")
    names = [line.split()[1][5:] for line in calls.read_text().splitlines() if line.startswith("#define __NR_")]
    rest = [name for name in names if name not in MKDIR]
    profile(bundle, rule(rest, "SCMP_ACT_ALLOW"), default="SCMP_ACT_ERRNO", defaultErrnoRet=errno.ENOSPC)
    done = bundle.sh("echo runs; mkdir /made").run()
    assert done.out == "runs\n"
    assert "No space left" in done.err


@pytest.mark.parametrize("action", ["SCMP_ACT_KILL", "SCMP_ACT_KILL_THREAD", "SCMP_ACT_KILL_PROCESS", "SCMP_ACT_TRAP"])
def test_a_forbidden_call_ends_the_process(bundle: Bundle, action: str) -> None:
    profile(bundle, rule(MKDIR, action)).sh("mkdir /made; echo $?")
    assert bundle.run().ok().out == f"{128 + signal.SIGSYS}\n"
    assert not (bundle.rootfs / "made").exists()


def test_a_logged_call_works(bundle: Bundle) -> None:
    profile(bundle, rule(MKDIR, "SCMP_ACT_LOG"))
    bundle.output("mkdir /made")
    assert (bundle.rootfs / "made").exists()


def test_arguments_decide(bundle: Bundle) -> None:
    """kill(2) with SIGUSR1 only."""
    condition = {"index": 1, "value": signal.SIGUSR1, "op": "SCMP_CMP_EQ"}
    profile(bundle, rule(["kill"], "SCMP_ACT_ERRNO", args=[condition]))
    found = bundle.output("trap : USR1 USR2; kill -USR2 $$ && echo two; kill -USR1 $$ 2>/dev/null || echo not one")
    assert found.splitlines() == ["two", "not one"]


@pytest.mark.parametrize(
    ("op", "value", "second", "refused"),
    [
        ("SCMP_CMP_EQ", 12, 0, {12}),
        ("SCMP_CMP_NE", 12, 0, {10, 15}),
        ("SCMP_CMP_LT", 12, 0, {10}),
        ("SCMP_CMP_LE", 12, 0, {10, 12}),
        ("SCMP_CMP_GT", 12, 0, {15}),
        ("SCMP_CMP_GE", 12, 0, {12, 15}),
        ("SCMP_CMP_MASKED_EQ", 0b1100, 0b1100, {12, 15}),
    ],
)
def test_each_comparison(bundle: Bundle, op: str, value: int, second: int, refused: set[int]) -> None:
    condition = {"index": 1, "value": value, "valueTwo": second, "op": op}
    zero = {"index": 1, "value": 0, "op": "SCMP_CMP_NE"}  # Signal 0 is how the shell looks whether a process is there.
    profile(bundle, rule(["kill"], "SCMP_ACT_ERRNO", args=[condition, zero] if op != "SCMP_CMP_NE" else [condition]))
    script = "trap : 10 12 15; for n in 10 12 15; do kill -$n $$ 2>/dev/null || echo $n; done"
    assert {int(word) for word in bundle.output(script).split()} == refused


def test_conditions_hold_together_and_rules_one_by_one(bundle: Bundle) -> None:
    one = {"index": 0, "value": 1, "op": "SCMP_CMP_EQ"}
    usr1, usr2 = ({"index": 1, "value": number, "op": "SCMP_CMP_EQ"} for number in (10, 12))
    profile(
        bundle,
        rule(["kill"], "SCMP_ACT_ERRNO", args=[one, usr1]),
        rule(["kill"], "SCMP_ACT_ERRNO", args=[usr2]),
    )
    script = "sleep 9 & trap : 10 12; kill -10 $! && echo other; kill -10 $$ || echo self; kill -12 $$ || echo two"
    assert bundle.output(f"{{ {script}; }} 2>/dev/null").split() == ["other", "self", "two"]


def test_a_call_that_this_kernel_does_not_know_is_left_out(bundle: Bundle) -> None:
    profile(bundle, rule(["no_such_call", *MKDIR], "SCMP_ACT_ERRNO"))
    assert bundle.sh("mkdir /made").run().status != 0
    bundle.output("true")


def test_the_filter_is_there_without_no_new_privileges(bundle: Bundle) -> None:
    bundle.process["noNewPrivileges"] = False
    profile(bundle, rule(MKDIR, "SCMP_ACT_ERRNO"))
    assert bundle.sh("mkdir /made").run().status != 0
    assert fields(bundle.output("cat /proc/self/status"))["NoNewPrivs"] == "0"


def test_the_filter_does_not_hinder_the_runtime(bundle: Bundle) -> None:
    """Calls which it needs on the way to the command, and the command does not."""
    names = "setgroups setgid setuid setresuid setresgid capset chdir pivot_root mount umount2 sethostname"
    profile(bundle, rule(names.split(), "SCMP_ACT_ERRNO"))
    bundle.process["user"] = {"uid": 1000, "gid": 1000, "additionalGids": [5]}
    bundle.process["noNewPrivileges"] = False
    assert bundle.output("id -u") == "1000"


def test_an_exec_has_the_filter_too(bundle: Bundle) -> None:
    profile(bundle, rule(MKDIR, "SCMP_ACT_ERRNO")).up()
    assert bundle.exec("mkdir", "/made").status != 0
    assert not (bundle.rootfs / "made").exists()


@pytest.mark.parametrize("name", ["defaultAction", "action", "op", "architecture"])
def test_an_unknown_word_is_refused(bundle: Bundle, name: str) -> None:
    condition = {"index": 1, "value": 1, "op": "WRONG" if name == "op" else "SCMP_CMP_EQ"}
    action = "WRONG" if name == "action" else "SCMP_ACT_ERRNO"
    profile(bundle, rule(["kill"], action, args=[condition]))
    if name == "defaultAction":
        bundle.linux["seccomp"]["defaultAction"] = "WRONG"
    if name == "architecture":
        bundle.linux["seccomp"]["architectures"].append("WRONG")
    bundle.refused()


@pytest.mark.parametrize("flag", ["SECCOMP_FILTER_FLAG_LOG", "SECCOMP_FILTER_FLAG_SPEC_ALLOW"])
def test_a_flag_is_accepted(bundle: Bundle, flag: str) -> None:
    profile(bundle, rule(MKDIR, "SCMP_ACT_ERRNO"), flags=[flag])
    assert bundle.sh("mkdir /made").run().status != 0
    bundle.output("true")


# Another program that answers.

# From <linux/seccomp.h>: sizes of the structures are 80 and 24 bytes.
SECCOMP_IOCTL_NOTIF_RECV, SECCOMP_IOCTL_NOTIF_SEND = 0xC0502100, 0xC0182101


class Notification(ctypes.Structure):
    """struct seccomp_notif."""

    _fields_ = (
        ("id", ctypes.c_uint64),
        ("pid", ctypes.c_uint32),
        ("flags", ctypes.c_uint32),
        ("nr", ctypes.c_int32),
        ("arch", ctypes.c_uint32),
        ("ip", ctypes.c_uint64),
        ("args", ctypes.c_uint64 * 6),
    )


class Answer(ctypes.Structure):
    """struct seccomp_notif_resp."""

    _fields_ = (("id", ctypes.c_uint64), ("val", ctypes.c_int64), ("error", ctypes.c_int32), ("flags", ctypes.c_uint32))


class Agent:
    """Takes the descriptor of one container and answers its first call with an error."""

    def __init__(self, path: Path) -> None:
        self.state: dict[str, Any] = {}
        self.fds = 0
        self._server = socket.socket(socket.AF_UNIX)
        self._server.bind(str(path))
        self._server.listen(1)
        self._server.settimeout(10)
        self._thread = threading.Thread(target=self._serve, daemon=True)
        self._thread.start()

    def _serve(self) -> None:
        try:
            connection, _ = self._server.accept()
        except OSError:
            return
        with connection:
            data, fds = received(connection)
            while chunk := connection.recv(65536):
                data += chunk
        self.state, self.fds = json.loads(data), len(fds)
        seen = Notification()
        fcntl.ioctl(fds[0], SECCOMP_IOCTL_NOTIF_RECV, seen)
        fcntl.ioctl(fds[0], SECCOMP_IOCTL_NOTIF_SEND, Answer(seen.id, 0, -errno.ENOSPC, 0))
        for fd in fds:
            os.close(fd)

    def close(self) -> None:
        """Stop."""
        self._thread.join(5)
        self._server.close()


@pytest.fixture
def agent(tmp_path_factory: pytest.TempPathFactory) -> Iterator[tuple[Agent, str]]:
    path = tmp_path_factory.mktemp("a") / "s"
    found = Agent(path)
    yield found, str(path)
    found.close()


def test_an_agent_is_given_the_descriptor_and_answers(bundle: Bundle, agent: tuple[Agent, str]) -> None:
    listener, path = agent
    profile(bundle, rule(MKDIR, "SCMP_ACT_NOTIFY"), listenerPath=path, listenerMetadata="for the agent")
    bundle.config["annotations"] = {"key": "value"}
    done = bundle.sh("mkdir /made").run()
    assert "No space left" in done.err
    state = listener.state
    assert state["fds"] == ["seccompFd"] and listener.fds == 1
    assert state["metadata"] == "for the agent"
    assert state["pid"] > 0
    assert state["ociVersion"].startswith("1.")
    assert state["state"]["id"] == bundle.id
    assert state["state"]["bundle"] == str(bundle.path)
    assert state["state"]["annotations"]["key"] == "value"
    assert state["state"]["pid"] == state["pid"]


def test_without_a_listener_notify_is_refused(bundle: Bundle) -> None:
    profile(bundle, rule(MKDIR, "SCMP_ACT_NOTIFY"))
    bundle.refused()


def test_an_agent_that_is_not_there_is_an_error(bundle: Bundle) -> None:
    profile(bundle, rule(MKDIR, "SCMP_ACT_NOTIFY"), listenerPath=str(bundle.path / "nobody"))
    bundle.refused()
