"""Debian packages and kernel parameters."""

from __future__ import annotations

import os
import subprocess
from dataclasses import dataclass
from typing import ClassVar

from coso.errors import ProvisionError
from provisioning.resource import Change, Fine, Plan, State

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
    """A Debian package that has to be installed, wanted for one program in it."""

    kind: ClassVar[str] = "package"
    name: str
    program: str

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


def _is_installed(name: str) -> bool:
    done = subprocess.run(
        ["dpkg-query", "-W", "-f", "${db:Status-Status}", name], capture_output=True, text=True, check=False
    )
    return done.stdout == "installed"


def _simulate(name: str) -> list[str]:
    """Which packages apt would install; the lists are fetched where apt has none."""
    words = ("apt-get", "install", "--simulate", "--no-install-recommends", name)
    try:
        said = run(*words)
    except ProvisionError:
        run("apt-get", "update")
        said = run(*words)
    return [line.split()[1] for line in said.splitlines() if line.startswith("Inst ")]


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
