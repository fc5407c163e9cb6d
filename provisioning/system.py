"""Debian packages and kernel parameters."""

from __future__ import annotations

import os
import subprocess
from collections.abc import Iterator
from contextlib import contextmanager, nullcontext
from dataclasses import dataclass
from typing import ClassVar

from coso.errors import ProvisionError
from provisioning.resource import Change, Fine, Plan, State

POLICY = "/usr/sbin/policy-rc.d"
DENIAL = "#!/bin/sh\n# Here for the time of an installation by coso's set-up: its packages start no daemon.\nexit 101\n"
APT = {"DEBIAN_FRONTEND": "noninteractive", "LC_ALL": "C.UTF-8"}


def run(*words: str) -> str:
    """Run a program and return its output; raise ProvisionError with its last words."""
    try:
        done = subprocess.run(words, capture_output=True, text=True, env=os.environ | APT, check=False)
    except FileNotFoundError:
        raise ProvisionError(f"{words[0]} is not installed", cause="this is no Debian or a derivative of it") from None
    if done.returncode:
        last = (done.stderr or done.stdout).strip().splitlines()[-1:]
        raise ProvisionError(f"`{' '.join(words)}` failed: {''.join(last) or done.returncode}")
    return done.stdout


@dataclass(frozen=True)
class Package:
    """A Debian package that has to be installed, wanted for one program in it; `idle`: its daemons are not started."""

    kind: ClassVar[str] = "package"
    name: str
    program: str
    idle: bool = False

    @property
    def label(self) -> str:
        """The package's name."""
        return self.name

    def inspect(self) -> State:
        """Whether it is installed, or the program is there from elsewhere."""
        from coso.spawn import find

        if _is_installed(self.name):
            return {"installed": True}
        return {"installed": False, "program": find(self.program)}

    def plan(self, found: State) -> Plan:
        """Install it, and what it needs, unless its program is there already."""
        if found["installed"]:
            return Fine()
        if found["program"]:
            return Fine(f"{found['program']} is there without it")
        news = _simulate(self.name)
        return Change(found, {"installed": True, "new": news}, f"install {', '.join(news)}")

    def apply(self, change: Change) -> None:
        """Install it without recommended packages."""
        with _no_daemons() if self.idle else nullcontext():
            run("apt-get", "install", "-y", "--no-install-recommends", self.name)

    def undo(self, change: Change) -> str:
        """Purge what the installation brought."""
        news = [name for name in change.after["new"] if _is_installed(name)]
        if not news:
            return ""
        said = run("apt-get", "purge", "--simulate", *news)
        gone = {line.split()[1] for line in said.splitlines() if line.startswith(("Purg ", "Remv "))}
        if others := sorted(gone - set(news)):
            return f"left in place: {', '.join(others)} need it now"
        run("apt-get", "purge", "-y", *news)
        return f"purged {', '.join(news)}"


@contextmanager
def _no_daemons() -> Iterator[None]:
    """Have maintainer scripts start nothing (policy-rc.d), unless the machine has a policy of its own."""
    if os.path.exists(POLICY):
        with open(POLICY, errors="replace") as file:
            theirs = file.read() != DENIAL
        if theirs:
            yield
            return
    with open(POLICY, "w") as file:
        file.write(DENIAL)
    os.chmod(POLICY, 0o755)
    try:
        yield
    finally:
        os.unlink(POLICY)


def _is_installed(name: str) -> bool:
    done = subprocess.run(
        ["dpkg-query", "-W", "-f", "${db:Status-Status}", name], capture_output=True, text=True, check=False
    )
    return done.stdout == "installed"


def is_offered(name: str) -> bool:
    """Whether apt knows a package of this name."""
    try:
        return bool(run("apt-cache", "show", "--no-all-versions", name))
    except ProvisionError:
        return False


def _simulate(name: str) -> list[str]:
    """Which packages apt would add; the lists are fetched where apt has none.

    A package that is only upgraded (its line has the present version in brackets) was there
    before, and must not be purged.
    """
    words = ("apt-get", "install", "--simulate", "--no-install-recommends", name)
    try:
        said = run(*words)
    except ProvisionError:
        run("apt-get", "update")
        said = run(*words)
    lines = (line.split() for line in said.splitlines() if line.startswith("Inst "))
    return [name for _, name, version, *_ in lines if not version.startswith("[")]


@dataclass(frozen=True)
class Sysctl:
    """A kernel parameter, until the next boot (sysctl(8))."""

    kind: ClassVar[str] = "sysctl"
    key: str
    text: str

    @property
    def label(self) -> str:
        """The key in dotted form."""
        return self.key

    @property
    def path(self) -> str:
        """The file below /proc/sys."""
        return "/proc/sys/" + self.key.replace(".", "/")

    def inspect(self) -> State:
        """Its value."""
        with open(self.path) as file:
            return {"value": file.read().strip()}

    def plan(self, found: State) -> Plan:
        """Set it where it differs."""
        if found["value"] == self.text:
            return Fine()
        return Change(found, {"value": self.text}, f"set it from {found['value']} to {self.text}")

    def apply(self, change: Change) -> None:
        """Write the wanted value."""
        self._write(change.after["value"])

    def undo(self, change: Change) -> str:
        """Write the earlier value, unless somebody has set another one since."""
        now = self.inspect()
        if now == change.before:
            return ""
        if now != change.after:
            return f"left at {now['value']}: somebody has changed it since"
        self._write(change.before["value"])
        return f"{change.before['value']} again"

    def _write(self, text: str) -> None:
        with open(self.path, "w") as file:
            file.write(text)
