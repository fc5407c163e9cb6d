"""Checks of what a container leaves behind on the host, however it ends."""

from __future__ import annotations

from coso.verify.checks.check import NETWORK, Check

KINDS = {
    "processes": "process",
    "mounts": "mount",
    "links": "network link",
    "cgroups": "control group",
    "rules": "firewall rule",
    "files": "lease, layer or other file of state",
}
# Processes end with their PID namespace, mounts with their mount namespace; to see one left, the control shares it.
CONTROLS = {"processes": ("--pid=host",), "mounts": ("--userns=host", "--mountns=host")}
ENDINGS = {
    "exit": "its normal end",
    "kill": "SIGKILL of its first process",
    "crash": "SIGKILL of the runtime, and its cleaning up",
}


def _check(ending: str, kind: str) -> Check:
    title = f"no {KINDS[kind]} is left after {ENDINGS[ending]}"
    control = CONTROLS.get(kind, ())
    return Check(
        f"left-{ending}-{kind}",
        "leftovers",
        title,
        "medium",
        "pid_namespaces(7)" if kind == "processes" else "OCI runtime.md (delete)",
        f"host:{kind}",
        control,
        without="undoing",
        given=(NETWORK,),
        scene=f"left-{ending}",
    )


CHECKS: tuple[Check, ...] = tuple(_check(ending, kind) for ending in ENDINGS for kind in KINDS)
