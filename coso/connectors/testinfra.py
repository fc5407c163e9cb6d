"""testinfra's backend `coso://NAME`: `pytest --hosts=coso://web`, or `testinfra.get_host("coso://web")`.

Each command is a process of the container, made by entering its namespaces;
no program of the host is started for it.
"""

from __future__ import annotations

from typing import Any

import testinfra.backend
from testinfra.backend import base

import coso

NAME = "coso"


class CosoBackend(base.BaseBackend):  # type: ignore[misc]  # testinfra's types are not published
    """Runs commands in a container that is there."""

    NAME = NAME

    def __init__(self, name: str, *args: Any, **kwargs: Any) -> None:
        self.name, self.user = self.parse_containerspec(name)
        self._found: coso.Container | None = None
        super().__init__(self.name, *args, **kwargs)

    def run(self, command: str, *args: str, **_: Any) -> base.CommandResult:
        """Run a command, with testinfra's way of quoting."""
        text = self.get_command(command, *args)
        if self._found is None:
            self._found = coso.find(self.name)
        done = self._found.exec(text, user=self.user or "")
        return self.result(done.status, self.encode(text), done.stdout_bytes, done.stderr_bytes)


def register() -> None:
    """Make the backend known to testinfra, which has no other way to do so."""
    testinfra.backend.BACKENDS[NAME] = f"{__name__}.{CosoBackend.__name__}"
