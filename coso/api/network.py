"""Networks of one's own, for as long as a block lasts."""

from __future__ import annotations

import os
from typing import TYPE_CHECKING, TypedDict

from coso.errors import UsageError
from coso.flags import Words

if TYPE_CHECKING:
    from collections.abc import Sequence
    from typing import Self, Unpack


class NetworkOptions(TypedDict, total=False):
    """What a network may be given; each is the option of `coso network create` of that name."""

    driver: str
    subnet: str | Sequence[str]
    gateway: str | Sequence[str]
    ip_range: str | Sequence[str]
    ipv6: bool
    internal: bool
    label: Sequence[str]
    opt: Sequence[str]


class Network:
    """A network on which containers find each other by name; as a context manager it is removed at the end."""

    def __init__(self, name: str) -> None:
        self.name = name

    def __repr__(self) -> str:
        return f"<coso.Network {self.name}>"

    def __str__(self) -> str:
        return self.name

    def connect(self, container: object) -> None:
        """Put a container that runs on this network too. Raises CosoError."""
        self._change("connect", container)

    def disconnect(self, container: object) -> None:
        """Take a container from this network: nothing it sends arrives there any more. Raises CosoError."""
        self._change("disconnect", container)

    def _change(self, act: str, container: object) -> None:
        from coso.api.command import command

        command("network", act, self.name, str(getattr(container, "id", container)))

    def remove(self) -> None:
        """Remove it; raises CosoError while containers are on it."""
        from coso.api import client
        from cosonet import manage

        client.settle()
        manage.remove(self.name)

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *_: object) -> None:
        self.remove()


def network(name: str = "", **options: Unpack[NetworkOptions]) -> Network:
    """Define a network, with a name that nothing else has unless one is given. Needs root. Raises CosoError."""
    from cosonet import manage

    words: dict[str, list[str]] = {}
    for key, content in options.items():
        if key not in NetworkOptions.__annotations__:
            raise UsageError(f"a network has no option {key!r}", hint=", ".join(NetworkOptions.__annotations__))
        if content is not None and content is not False:
            texts = content if isinstance(content, (list, tuple)) else [content]
            words[key.replace("_", "-")] = ["true" if text is True else str(text) for text in texts]
    return Network(manage.create(name or f"net-{os.urandom(6).hex()}", Words(words, ())).name)
