"""`linux.seccomp`: what is answered to system calls (config-linux.md, Seccomp)."""

from __future__ import annotations

import errno
import os
import signal
from collections.abc import Iterator
from typing import Any

import pytest

from tests.integration.oci import program
from tests.integration.oci.agent import Agent
from tests.integration.oci.bundle import Bundle, eventually, fields

ARCHITECTURES = {"x86_64": ["SCMP_ARCH_X86_64", "SCMP_ARCH_X86", "SCMP_ARCH_X32"], "aarch64": ["SCMP_ARCH_AARCH64"]}
MACHINE = os.uname().machine
MKDIR = ["mkdir", "mkdirat"]
KILLED = 128 + signal.SIGSYS
# musl's words.
WORDS = {
    errno.EPERM: "not permitted",
    errno.ENOSYS: "not implemented",
    errno.ENOSPC: "No space",
    errno.EIO: "I/O error",
}


def profile(bundle: Bundle, *rules: dict[str, Any], default: str = "SCMP_ACT_ALLOW", **more: Any) -> Bundle:
    """A filter with these rules; what none is for gets the default."""
    known = list(ARCHITECTURES.get(MACHINE, []))
    bundle.linux["seccomp"] = {"defaultAction": default, "architectures": known, "syscalls": list(rules), **more}
    return bundle


def rule(names: list[str], action: str = "SCMP_ACT_ERRNO", **more: Any) -> dict[str, Any]:
    return {"names": names, "action": action, **more}


def signalled(value: int, op: str = "SCMP_CMP_EQ", second: int = 0) -> dict[str, Any]:
    """A condition on the signal of kill(2)."""
    return {"index": 1, "value": value, "valueTwo": second, "op": op}


def test_a_filter_is_in_force_where_one_is_given(bundle: Bundle) -> None:
    assert fields(bundle.output("cat /proc/self/status"))["Seccomp"] == "0"
    profile(bundle, rule(MKDIR))
    assert fields(bundle.output("cat /proc/self/status"))["Seccomp"] == "2"


def test_the_filter_is_there_without_no_new_privileges(bundle: Bundle) -> None:
    bundle.process["noNewPrivileges"] = False
    profile(bundle, rule(MKDIR))
    assert bundle.sh("mkdir /made").run().status != 0
    assert fields(bundle.output("cat /proc/self/status"))["NoNewPrivs"] == "0"


def test_a_filter_holds_for_an_ordinary_user_in_a_user_namespace(bundle: Bundle) -> None:
    bundle.own_users().process["user"] = {"uid": 1000, "gid": 1000}
    bundle.process["cwd"] = "/tmp"
    profile(bundle, rule(MKDIR, errnoRet=errno.ENOSPC))
    (bundle.rootfs / "tmp").chmod(0o1777)
    assert WORDS[errno.ENOSPC] in bundle.sh("mkdir made").run().err


def test_an_exec_has_the_filter_too(bundle: Bundle) -> None:
    profile(bundle, rule(MKDIR)).up()
    assert bundle.exec("mkdir", "/made").status != 0
    assert not (bundle.rootfs / "made").exists()


# Actions.


def test_a_refused_call_fails_with_eperm(bundle: Bundle) -> None:
    done = profile(bundle, rule(MKDIR)).sh("mkdir /made").run()
    assert done.status != 0
    assert WORDS[errno.EPERM] in done.err
    assert not (bundle.rootfs / "made").exists()


@pytest.mark.parametrize("number", [errno.ENOSYS, errno.ENOSPC, errno.EIO])
def test_the_error_can_be_chosen(bundle: Bundle, number: int) -> None:
    profile(bundle, rule(MKDIR, errnoRet=number))
    assert WORDS[number] in bundle.sh("mkdir /made").run().err


def test_an_error_of_zero_pretends_success(bundle: Bundle) -> None:
    profile(bundle, rule(MKDIR, errnoRet=0))
    bundle.output("mkdir /made")
    assert not (bundle.rootfs / "made").exists()


@pytest.mark.parametrize("action", ["SCMP_ACT_KILL", "SCMP_ACT_KILL_THREAD", "SCMP_ACT_KILL_PROCESS", "SCMP_ACT_TRAP"])
def test_a_forbidden_call_ends_the_process(bundle: Bundle, action: str) -> None:
    profile(bundle, rule(MKDIR, action)).sh("mkdir /made; echo $?")
    assert bundle.run().ok().out == f"{KILLED}\n"
    assert not (bundle.rootfs / "made").exists()


def test_a_forbidden_call_ends_the_first_process_too(bundle: Bundle) -> None:
    """The first process of a pid namespace is spared other signals from inside."""
    profile(bundle, rule(MKDIR, "SCMP_ACT_KILL_PROCESS"))
    bundle.process["args"] = ["mkdir", "/made"]
    assert bundle.run().status == KILLED


def test_a_traced_call_is_not_implemented_where_nobody_traces(bundle: Bundle) -> None:
    profile(bundle, rule(MKDIR, "SCMP_ACT_TRACE", errnoRet=7))
    assert WORDS[errno.ENOSYS] in bundle.sh("mkdir /made").run().err


@pytest.mark.parametrize("action", ["SCMP_ACT_LOG", "SCMP_ACT_ALLOW"])
def test_a_logged_or_allowed_call_works(bundle: Bundle, action: str) -> None:
    profile(bundle, rule(MKDIR, action), default="SCMP_ACT_LOG")
    bundle.output("mkdir /made")
    assert (bundle.rootfs / "made").exists()


# What busybox needs to print a word, and what a runtime may need from the filter to execve(2).
FEW = (
    "access arch_prctl brk clone clone3 close dup2 dup3 epoll_create1 epoll_ctl epoll_pwait eventfd2 execve exit "
    "exit_group fcntl fork fstat fstatfs futex getcwd getdents64 getegid geteuid getgid getpid getppid gettid getuid "
    "ioctl lseek madvise mmap mprotect munmap nanosleep newfstatat open openat pipe2 poll prctl pread64 prlimit64 read "
    "readlink readlinkat recvmsg rt_sigaction rt_sigprocmask rt_sigreturn sched_getaffinity sched_yield sendmsg sendto "
    "set_robust_list set_tid_address sigaltstack stat tgkill uname vfork wait4 write writev"
).split()


def test_the_default_is_for_every_call_that_no_rule_names(bundle: Bundle) -> None:
    """With a list of what is allowed, as engines write it; and its error can be chosen."""
    profile(bundle, rule(FEW, "SCMP_ACT_ALLOW"), default="SCMP_ACT_ERRNO", defaultErrnoRet=errno.ENOSPC)
    done = bundle.sh("echo runs; mkdir /made").run()
    assert done.out == "runs\n"
    assert WORDS[errno.ENOSPC] in done.err


def test_a_default_that_kills_spares_what_is_allowed(bundle: Bundle) -> None:
    profile(bundle, rule(FEW, "SCMP_ACT_ALLOW"), default="SCMP_ACT_KILL_PROCESS")
    assert bundle.output("echo runs; mkdir /made; echo $?").split() == ["runs", str(KILLED)]


SOCKETS = (
    "accept accept4 bind connect getpeername getsockname getsockopt listen recvfrom recvmmsg recvmsg sendmmsg sendmsg "
    "sendto setsockopt shutdown socket socketpair"
).split()


@pytest.fixture(params=[True, False], ids=["no-new-privileges", "privileges"])
def offline(request: pytest.FixtureRequest, bundle: Bundle) -> Bundle:
    """A container that may call nothing that has to do with sockets: its filter comes early with privileges."""
    bundle.process["noNewPrivileges"] = request.param
    return profile(bundle, rule(SOCKETS))


def test_a_filter_may_forbid_every_socket(offline: Bundle) -> None:
    assert offline.output("echo runs") == "runs"


def test_a_container_without_sockets_waits_for_start_and_takes_an_exec(offline: Bundle) -> None:
    offline.up()
    assert offline.exec("echo", "inside").ok().out == "inside\n"


def test_what_goes_wrong_without_sockets_is_said(offline: Bundle) -> None:
    offline.sh("exec sleep 100").create().ok()
    (offline.rootfs / "bin" / "sh").unlink()
    assert "/bin/sh" in offline.start().err


# Conditions.


def test_arguments_decide(bundle: Bundle) -> None:
    profile(bundle, rule(["kill"], args=[signalled(signal.SIGUSR1)]))
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
        # value is the mask, valueTwo what is left under it.
        ("SCMP_CMP_MASKED_EQ", 0b0110, 0b0010, {10}),
    ],
)
def test_each_comparison(bundle: Bundle, op: str, value: int, second: int, refused: set[int]) -> None:
    profile(bundle, rule(["kill"], args=[signalled(value, op, second)]))
    script = "trap : 10 12 15; for n in 10 12 15; do kill -$n $$ 2>/dev/null || echo $n; done"
    assert {int(word) for word in bundle.output(script).split()} == refused


def test_conditions_on_two_arguments_hold_together_and_rules_one_by_one(bundle: Bundle) -> None:
    first_process = {"index": 0, "value": 1, "op": "SCMP_CMP_EQ"}
    profile(
        bundle,
        rule(["kill"], args=[first_process, signalled(10)]),
        rule(["kill"], args=[signalled(12)]),
    )
    script = "sleep 9 & trap : 10 12; kill -10 $! && echo other; kill -10 $$ || echo self; kill -12 $$ || echo two"
    assert bundle.output(f"{{ {script}; }} 2>/dev/null").split() == ["other", "self", "two"]


def test_of_two_conditions_on_one_argument_either_is_enough(bundle: Bundle) -> None:
    """The specification is silent; libseccomp has one comparison for an argument, so runc makes two rules of it."""
    profile(bundle, rule(["kill"], args=[signalled(10), signalled(12)]))
    script = "trap : 10 12 15; for n in 10 12 15; do kill -$n $$ 2>/dev/null || echo $n; done"
    assert bundle.output(script).split() == ["10", "12"]


def test_a_rule_without_conditions_is_for_the_whole_call(bundle: Bundle) -> None:
    profile(bundle, rule(["kill"], errnoRet=errno.EIO, args=[]))
    assert bundle.sh("kill -CONT $$").run().status != 0


def test_each_rule_has_an_answer_of_its_own(bundle: Bundle) -> None:
    profile(bundle, rule(MKDIR, errnoRet=errno.ENOSPC), rule(["rmdir"], errnoRet=errno.EIO))
    said = bundle.sh("mkdir /made; rmdir /opt").run().err
    assert WORDS[errno.ENOSPC] in said and WORDS[errno.EIO] in said


def test_a_call_that_this_kernel_does_not_know_is_left_out(bundle: Bundle) -> None:
    profile(bundle, rule(["no_such_call", *MKDIR]))
    assert bundle.sh("mkdir /made").run().status != 0
    bundle.output("true")


# What the runtime itself needs.


def test_no_call_before_the_users_is_hindered(bundle: Bundle) -> None:
    """The filter comes after all that needs the capabilities of the runtime."""
    bundle.process["noNewPrivileges"] = False
    names = "pivot_root mount umount2 sethostname setns unshare mknod mknodat chroot mount_setattr open_tree move_mount"
    profile(bundle, rule(names.split()))
    assert bundle.output("hostname") == "oci"


def test_no_call_but_the_last_is_hindered_with_no_new_privileges(bundle: Bundle) -> None:
    """Then nothing is lost with the capabilities, and the filter can come last of all (seccomp(2))."""
    names = "setgroups setgid setuid setresuid setresgid capset chdir fchdir umask setsid prlimit64 mount pivot_root"
    profile(bundle, rule(names.split()))
    bundle.process["user"] = {"uid": 1000, "gid": 1000, "additionalGids": [5]}
    assert bundle.output("id -u") == "1000"


# Architectures.


@pytest.mark.parametrize("listed", [[], ["SCMP_ARCH_X86"]])
def test_the_machines_own_architecture_is_filtered_whatever_is_listed(bundle: Bundle, listed: list[str]) -> None:
    profile(bundle, rule(MKDIR))
    bundle.linux["seccomp"]["architectures"] = listed
    assert bundle.sh("mkdir /made").run().status != 0


def _way(bundle: Bundle, way: str) -> int:
    """How the program ends that makes a directory in this way."""
    if MACHINE != "x86_64":
        pytest.skip("the program is one of x86-64")
    program.write(bundle.rootfs / "program", way)
    return int(bundle.output("/program; echo $?"))


@pytest.mark.parametrize("way", program.WAYS)
def test_a_rule_holds_for_each_listed_way_into_the_kernel(bundle: Bundle, way: str) -> None:
    profile(bundle, rule(MKDIR, errnoRet=errno.ENOSPC))
    assert _way(bundle, way) == errno.ENOSPC
    assert not (bundle.rootfs / "made").exists()


@pytest.mark.parametrize("way", ["x32", "i386"])
def test_a_way_into_the_kernel_that_is_not_listed_is_closed(bundle: Bundle, way: str) -> None:
    profile(bundle, rule(["rmdir"]))
    bundle.linux["seccomp"]["architectures"] = ["SCMP_ARCH_X86_64"]
    assert _way(bundle, way) == KILLED
    assert _way(bundle, "x86_64") == 0


# Words and flags.


@pytest.mark.parametrize("name", ["defaultAction", "action", "op", "architecture", "flag"])
def test_an_unknown_word_is_refused(bundle: Bundle, name: str) -> None:
    action = "WRONG" if name == "action" else "SCMP_ACT_ERRNO"
    profile(bundle, rule(["kill"], action, args=[signalled(1, "WRONG" if name == "op" else "SCMP_CMP_EQ")]))
    if name == "defaultAction":
        bundle.linux["seccomp"]["defaultAction"] = "WRONG"
    if name == "architecture":
        bundle.linux["seccomp"]["architectures"].append("SCMP_ARCH_WRONG")
    if name == "flag":
        bundle.linux["seccomp"]["flags"] = ["SECCOMP_FILTER_FLAG_WRONG"]
    bundle.refused()


@pytest.mark.parametrize("missing", ["defaultAction", "names", "action", "index", "value", "op"])
def test_a_part_that_is_required_is_missed(bundle: Bundle, missing: str) -> None:
    profile(bundle, rule(["kill"], args=[signalled(1)]))
    seccomp = bundle.linux["seccomp"]
    for part in (seccomp, seccomp["syscalls"][0], seccomp["syscalls"][0]["args"][0]):
        part.pop(missing, None)
    bundle.refused()


@pytest.mark.parametrize("flag", ["TSYNC", "LOG", "SPEC_ALLOW", "WAIT_KILLABLE_RECV"])
def test_a_flag_is_accepted(bundle: Bundle, flag: str) -> None:
    profile(bundle, rule(MKDIR), flags=[f"SECCOMP_FILTER_FLAG_{flag}"])
    assert bundle.sh("mkdir /made").run().status != 0
    bundle.output("true")


# Somebody outside who answers.


@pytest.fixture
def agent(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Agent]:
    found = Agent(tmp_path_factory.mktemp("a") / "s")
    yield found
    found.close()


def test_an_agent_is_given_the_descriptor_and_answers(bundle: Bundle, agent: Agent) -> None:
    profile(bundle, rule(MKDIR, "SCMP_ACT_NOTIFY"), listenerPath=agent.path, listenerMetadata="for the agent")
    assert WORDS[errno.ENOSPC] in bundle.sh("mkdir /made").run().err
    assert agent.descriptors == [1]
    assert agent.states[0]["fds"] == ["seccompFd"]
    assert agent.states[0]["metadata"] == "for the agent"


def test_an_agent_is_told_whose_calls_it_answers(bundle: Bundle, agent: Agent) -> None:
    profile(bundle, rule(MKDIR, "SCMP_ACT_NOTIFY"), listenerPath=agent.path)
    bundle.config["annotations"] = {"key": "value"}
    bundle.up("mkdir /made; exec sleep 100")
    assert eventually(lambda: agent.states)
    told = agent.states[0]
    assert told["ociVersion"].startswith("1.")
    assert told["pid"] == told["state"]["pid"] == bundle.pid
    assert told["state"]["id"] == bundle.id
    assert told["state"]["bundle"] == str(bundle.path)
    assert told["state"]["status"] in ("creating", "created")
    assert told["state"]["annotations"]["key"] == "value"
    bundle.delete("--force").ok()


def test_an_agent_is_given_the_descriptor_of_an_exec_too(bundle: Bundle, agent: Agent) -> None:
    profile(bundle, rule(MKDIR, "SCMP_ACT_NOTIFY"), listenerPath=agent.path).up()
    assert WORDS[errno.ENOSPC] in bundle.exec("mkdir", "/made").err
    assert len(agent.states) == 2
    assert agent.states[1]["state"]["status"] == "running"
    assert agent.states[1]["pid"] != agent.states[1]["state"]["pid"] == bundle.pid
    assert agent.states[1]["state"]["bundle"] == str(bundle.path)
    bundle.delete("--force").ok()


def test_without_a_listener_notify_is_refused(bundle: Bundle) -> None:
    profile(bundle, rule(MKDIR, "SCMP_ACT_NOTIFY"))
    bundle.refused()


def test_an_agent_that_is_not_there_is_an_error(bundle: Bundle) -> None:
    profile(bundle, rule(MKDIR, "SCMP_ACT_NOTIFY"), listenerPath=str(bundle.path / "nobody"))
    bundle.refused()
