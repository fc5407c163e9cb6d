"""The services of a compose file, for as long as a block lasts."""

from __future__ import annotations

import os
import re
from typing import TYPE_CHECKING

from coso.api.command import command
from coso.api.container import Container
from coso.errors import MissingError

if TYPE_CHECKING:
    from collections.abc import Mapping, Sequence
    from typing import Self

    from coso.api.client import Starter
    from coso.engine.record import Record


class Compose:
    """A project whose services run; as a context manager it is taken down at the end, volumes and all."""

    def __init__(self, name: str, words: tuple[str, ...], starter: Starter | None) -> None:
        self.name = name
        self._words, self._starter = words, starter

    def __repr__(self) -> str:
        return f"<coso.Compose {self.name}>"

    def command(self, *words: str, timeout: float | None = None) -> str:
        """What `coso compose WORDS …` prints for this project. Raises CosoError."""
        return command("compose", *self._words, *words, timeout=timeout, starter=self._starter).stdout

    @property
    def services(self) -> dict[str, list[Container]]:
        """The containers of each service, by number."""
        found: dict[str, list[Container]] = {}
        for service, one in self._records():
            found.setdefault(service, []).append(Container(one.id, None, -1, self._starter, 0.0))
        return found

    def _records(self) -> list[tuple[str, Record]]:
        from coso.services import state

        return [(state.service_of(one), one) for one in state.containers(self.name)]

    def service(self, name: str, number: int = 1) -> Container:
        """A container of a service. Raises MissingError."""
        found = self.services.get(name, [])
        if len(found) < number:
            raise MissingError(f"the project {self.name} has no container {number} of a service {name!r}")
        return found[number - 1]

    def logs(self) -> str:
        """What all of them have said."""
        return self.command("logs", "--no-color")

    def down(self) -> None:
        """Take all of it away. Raises CosoError."""
        self.command("down", "--volumes", "--timeout", "1", "--remove-orphans")

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *_: object) -> None:
        self.down()


def compose(
    *files: str | os.PathLike[str],
    name: str = "",
    profiles: Sequence[str] = (),
    services: Sequence[str] = (),
    scale: Mapping[str, int] | None = None,
    wait: bool = True,
    timeout: float | None = None,
    starter: Starter | None = None,
) -> Compose:
    """Bring the services of compose files up, and wait until they are well. Needs root. Raises CosoError.

    Without a `name` the project gets one that nothing else has.
    """
    paths = [os.path.abspath(path) for path in files or ("compose.yaml",)]
    base = re.sub(r"[^a-z0-9]", "", os.path.basename(os.path.dirname(paths[0])).lower()) or "project"
    name = name or f"{base}-{os.urandom(4).hex()}"
    words = [word for path in paths for word in ("-f", path)] + ["-p", name]
    words += [word for profile in profiles for word in ("--profile", profile)]
    found = Compose(name, tuple(words), starter)
    more = [word for service, number in (scale or {}).items() for word in ("--scale", f"{service}={number}")]
    try:
        found.command("up", "-d", *(["--wait"] if wait else []), *more, *services, timeout=timeout)
    except BaseException:
        found.down()
        raise
    return found
