"""The engines' command lines behind one: run, start, exec, stop …, on this machine or on another."""

from __future__ import annotations

import shlex
from collections.abc import Callable
from typing import Protocol

from testinfra.backend.base import CommandResult

Shell = Callable[[str], CommandResult]
# An image of Docker's says it; a bare directory does not.
PATH = "--env PATH=/usr/sbin:/usr/bin:/sbin:/bin"
GROUPS = "--mount type=cgroup,src=cgroup,dst=/sys/fs/cgroup,options=ro"
IMAGE = "coso-engines"


class Engine(Protocol):
    """An engine with a runtime.  Options are Docker's words."""

    name: str

    def run(self, options: str, command: str) -> CommandResult:
        """A container that goes with its command."""

    def start(self, name: str, options: str, command: str) -> CommandResult:
        """A container that goes on by itself."""

    def exec(self, name: str, options: str, command: str) -> CommandResult:
        """Another command in a container."""

    def on(self, name: str, verb: str) -> CommandResult:
        """Something that is done with a container: pause, unpause, kill, stop, top, remove."""

    def status(self, name: str) -> str:
        """The word for a container's state."""


class Docker:
    """Docker's command line, which podman has too."""

    VERBS = {"stop": "stop --time=10"}  # noqa: RUF012

    def __init__(self, name: str, words: str, options: str, shell: Shell) -> None:
        self.name, self.words, self.options, self.shell = name, words, options, shell

    def __call__(self, words: str) -> CommandResult:
        """Any command of the engine."""
        return self.shell(f"{self.words} {words}")

    def run(self, options: str, command: str) -> CommandResult:
        network = "" if "--network" in options or "--pod" in options else "--network=none"
        return self(f"run --rm {self.options} {network} {options} {IMAGE} sh -c {shlex.quote(command)}")

    def start(self, name: str, options: str, command: str) -> CommandResult:
        network = "" if "--network" in options or "--pod" in options else "--network=none"
        words = f"run --detach --name={name} {self.options} {network} {options}"
        return self(f"{words} {IMAGE} sh -c {shlex.quote(command)}")

    def exec(self, name: str, options: str, command: str) -> CommandResult:
        return self(f"exec {options} {name} {command}")

    def on(self, name: str, verb: str) -> CommandResult:
        if verb == "remove":
            # podman asks first, and waits ten seconds for an answer.
            return self(f"rm --force {'--time=0' if self.name == 'podman' else ''} {name}")
        return self(f"{self.VERBS.get(verb, verb)} {name}")

    def status(self, name: str) -> str:
        return self(f"inspect --format='{{{{.State.Status}}}}' {name}").stdout.strip()


class Containerd:
    """ctr(8), containerd's own: what it calls otherwise is translated."""

    name = "containerd"
    VERBS = {  # noqa: RUF012
        "pause": "task pause {}",
        "unpause": "task resume {}",
        "kill": "task kill --signal KILL {}",
        "stop": "task kill --signal TERM {}",
        "top": "task ps {}",
        "remove": "task rm --force {}; {words} container rm {}",
    }

    def __init__(self, words: str, options: str, rootfs: str, shell: Shell) -> None:
        self.words, self.options, self.rootfs, self.shell = words, options, rootfs, shell
        self._number = 0

    def run(self, options: str, command: str) -> CommandResult:
        return self._run("--rm", self._name(), options, command)

    def start(self, name: str, options: str, command: str) -> CommandResult:
        return self._run("--detach", name, options, command)

    def exec(self, name: str, options: str, command: str) -> CommandResult:
        return self.shell(f"{self.words} task exec --exec-id {self._name()} {_translated(options)} {name} {command}")

    def on(self, name: str, verb: str) -> CommandResult:
        return self.shell(f"{self.words} {self.VERBS[verb].format(name, name, words=self.words)}")

    def status(self, name: str) -> str:
        lines = self.shell(f"{self.words} task ls").stdout.splitlines()
        (status,) = [line.split()[2].lower() for line in lines if line.split()[0] == name]
        return {"stopped": "exited"}.get(status, status)

    def _run(self, manner: str, name: str, options: str, command: str) -> CommandResult:
        words = (
            f"run {manner} {self.options.format(name)} {_translated(options)} {PATH} {GROUPS} --rootfs {self.rootfs}"
        )
        return self.shell(f"{self.words} {words} {name} sh -c {shlex.quote(command)}")

    def _name(self) -> str:
        self._number += 1
        return f"coso{self._number}"


def _translated(options: str) -> str:
    return " ".join(filter(None, (_in_ctrs_words(*word.partition("=")[::2]) for word in options.split())))


def _in_ctrs_words(option: str, value: str) -> str:
    if option == "--volume":
        source, target, *more = value.split(":")
        return f"--mount type=bind,src={source},dst={target},options={':'.join(['rbind', *more])}"
    if option == "--memory":
        return f"--memory-limit {int(value.removesuffix('m')) << 20}"
    if option == "--cap-drop":
        return " ".join(f"--cap-drop {name}" for name in DEFAULT_CAPABILITIES)
    if option == "--workdir":
        return f"--cwd {value}"
    return f"{option} {value}".strip()


# What containerd gives, and has no word to take away at once.
DEFAULT_CAPABILITIES = [
    f"CAP_{name}"
    for name in (
        "CHOWN DAC_OVERRIDE FSETID FOWNER MKNOD NET_RAW SETGID SETUID SETFCAP SETPCAP NET_BIND_SERVICE SYS_CHROOT KILL "
        "AUDIT_WRITE"
    ).split()
]
