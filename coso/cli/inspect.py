"""`coso inspect`: containers, images, volumes and networks by any of their names."""

from __future__ import annotations

import os

from coso.cli import table
from coso.cli.table import FORMAT
from coso.engine import describe, record, volumes
from coso.engine.adopt import adopt
from coso.engine.record import size_of
from coso.errors import CosoError, MissingError, UsageError
from coso.flags import Option, read_words
from coso.images import store

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Callable
    from typing import Any

KINDS = ("container", "image", "volume", "network")


def main(words: list[str]) -> int:
    """`coso inspect`."""
    options = (
        Option("format", "f", "TEMPLATE", "a Go template: '{{.State.Status}}', or json"),
        Option("type", "", "|".join(KINDS), "what the names are of"),
        Option("size", "s", "", "how much a container has written"),
    )
    given = read_words(options, words, "coso inspect [OPTIONS] NAME|ID [NAME|ID …]", least=1)
    if given is None:
        return 0
    kind = given.last("type")
    if kind and kind not in KINDS:
        raise UsageError(f"--type {kind!r} is not known", hint=f"there are {', '.join(KINDS)}")
    adopt()
    return _show(given.rest, given.last("format"), [kind] if kind else list(KINDS), with_size=given.on("size"))


def image(words: list[str]) -> int:
    """`coso image inspect`."""
    options = (Option("format", "f", FORMAT.argument, FORMAT.help),)
    given = read_words(options, words, "coso image inspect [OPTIONS] IMAGE [IMAGE …]", least=1)
    return _show(given.rest, given.last("format"), ["image"], with_size=False) if given else 0


def _show(names: tuple[str, ...], form: str, kinds: list[str], *, with_size: bool) -> int:
    """Show what is found, then say what is not."""
    from coso.cli.main import say

    found: list[Any] = []
    errors: list[CosoError] = []
    for name in names:
        try:
            found.append(_find(name, kinds, with_size=with_size))
        except CosoError as error:
            errors.append(error)
    if found or not form:
        table.details(found, form)
    for failure in errors:
        say(failure)
    return 1 if errors else 0


def _find(name: str, kinds: list[str], *, with_size: bool) -> Any:
    for kind in kinds:
        try:
            return FINDERS[kind](name, with_size)
        except MissingError:
            if len(kinds) == 1:
                raise
    raise MissingError(f"there is no such object: {name}", hint="`coso ps -a` and `coso images` list what there is")


def _container(name: str, with_size: bool) -> Any:
    one = record.find(name)
    found = describe.container(one)
    if with_size:
        written = size_of(one)
        layers = one.config.get("layers") or ()
        below = sum(_size_of_tree(key) for key in layers)
        found |= {"SizeRw": written, "SizeRootFs": written + below}
    return found


def _size_of_tree(key: str) -> int:
    return store.layer_size(f"sha256:{key}")


def _network(name: str, _: bool) -> Any:
    from coso.errors import NetworkError
    from cosonet import manage

    try:
        return manage.inspect(name)
    except (NetworkError, UsageError) as error:
        raise MissingError(error.message) from None


FINDERS: dict[str, Callable[[str, bool], Any]] = {
    "container": _container,
    "image": lambda name, _: describe.image(store.find(name)),
    "volume": lambda name, _: describe.volume(volumes.about(os.path.basename(name))),
    "network": _network,
}
