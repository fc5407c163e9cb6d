"""Checks of capabilities, the filter, keys, descriptors and limits."""

from __future__ import annotations

from coso.verify.checks.check import PRIVILEGED, UNFILTERED, Check
from coso.verify.probe.privileges import CALLS


def _call(name: str) -> Check:
    return Check(f"call-{name}", "seccomp", f"{name} is refused", "high", f"{name}(2)", f"call:{name}", PRIVILEGED)


def _passed_on(name: str, which: str, source: str) -> Check:
    return Check(
        f"caps-{name}",
        "capabilities",
        f"no {name} capability of the caller is passed on",
        "medium",
        source,
        f"passed_on:{which}",
        without="become the user",
        given=("--userns=host",),
    )


def _limit(name: str, title: str, probe: str, given: str) -> Check:
    return Check(f"limit-{name}", "limits", title, "medium", "cgroups(7)", probe, given=(given,))


CHECKS: tuple[Check, ...] = (
    Check(
        "caps-bounding",
        "capabilities",
        "no capability that governs the machine can be had",
        "high",
        "capabilities(7)",
        "bounding_set",
        ("--cap-add=ALL",),
    ),
    _passed_on("inheritable", "CapInh", "CVE-2022-29162"),
    _passed_on("ambient", "CapAmb", "capabilities(7)"),
    Check(
        "setuid",
        "privileges",
        "no setuid program raises privileges",
        "high",
        "PR_SET_NO_NEW_PRIVS(2const)",
        "no_new_privileges",
        ("--security-opt=no-new-privileges=false",),
    ),
    Check("seccomp", "seccomp", "system calls are filtered", "high", "seccomp(2)", "filtered", (UNFILTERED,)),
    *map(_call, CALLS),
    Check(
        "keyring",
        "keys",
        "the caller's keys are out of reach, even without the filter",
        "high",
        "keyrings(7), session-keyring(7)",
        "keyring",
        without="leave the keyring",
        given=(UNFILTERED,),
    ),
    Check(
        "input",
        "descriptors",
        "the caller's input cannot be read",
        "medium",
        "null(4)",
        "callers_input",
        ("--interactive",),
    ),
    Check(
        "descriptors",
        "descriptors",
        "no descriptor that the caller left open is passed on",
        "high",
        "open(2), CVE-2024-21626",
        "descriptors",
        without="closing of descriptors",
    ),
    Check(
        "directory",
        "descriptors",
        "the working directory is inside, where it was asked",
        "high",
        "OCI config.md (process.cwd)",
        "directory",
        without="enter the directory",
        given=("--workdir=/coso-verify",),
    ),
    Check(
        "callers-directory",
        "descriptors",
        "a directory that the caller left open cannot be the working directory",
        "high",
        "CVE-2024-21626",
        "callers_directory",
        without="closing of descriptors",
        scene="callers-directory",
    ),
    Check(
        "own-program",
        "descriptors",
        "the runtime's own program cannot be overwritten from inside",
        "high",
        "CVE-2019-5736",
        "own_program",
        without="protection of the interpreter",
        given=("--userns=host",),
        scene="own-program",
    ),
    _limit("memory", "a memory limit bites", "memory_limit", "--memory=256m"),
    _limit("pids", "a limit of processes bites", "process_limit", "--pids-limit=64"),
    _limit("cpu", "a CPU limit bites", "cpu_limit", "--cpus=0.2"),
)
