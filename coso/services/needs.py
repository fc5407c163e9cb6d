"""What a project needs of this machine before anything of it is made: what it says others have made."""

from __future__ import annotations

import os

from coso.engine import make, record, volumes
from coso.errors import ConfigError, CosoError
from coso.flags import Words
from coso.services import container, grants
from coso.services.places import NOWHERE, Item, Map
from coso.services.plan import CREATE, RECREATE

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Callable, Iterable

    from coso.images.source import Source
    from coso.services.plan import Action
    from coso.services.project import Project

    Resolve = Callable[[str], Source]

# Stands for a container that something will be shared with.
NOBODY = "0" * 64
# What is a network to everybody.
OWN_MODES = ("host", "none", "bridge", "default")
SHARED = ("network_mode", "pid", "ipc")


def check(project: Project, order: tuple[str, ...]) -> None:
    """Raise CosoError for an external network or volume, a container, a directory or a secret that is not there."""
    for name in order:
        service = project.services[name]
        item = Item(service, f"services.{name}", project.services.places.get(name, NOWHERE))
        _networks(project, service)
        _mode(item, service)
        _volumes(project, item, service)
        grants.check(project, name)
        for text in _containers(service):
            try:
                record.find(text)
            except CosoError as error:
                item.fail(error.message)


def try_out(project: Project, actions: Iterable[Action], resolve: Resolve) -> None:
    """Raise ConfigError for a container that would be refused, while none of the others is made yet."""
    for action in actions:
        if action.kind in (CREATE, RECREATE):
            service = project.services[action.service]
            try:
                options = container.options_of(project, action.service, action.number, lambda _: NOBODY)
                later = {f"source={path}" for path in container.missing_sources(service)}
                options["mount"] = [text for text in options.get("mount", []) if not later & set(text.split(","))]
                words = container.command_of(service, options)
                make.try_out(Words(options, ()), resolve(container.image_of(project, action.service)), words)
            except ConfigError:
                raise
            except CosoError as error:
                item = Item(service, f"services.{action.service}", project.services.places.get(action.service, NOWHERE))
                item.fail(error.message, hint=error.hint)


def _networks(project: Project, service: Map) -> None:
    from cosonet import definition

    for key in service.get("networks") or ():
        one = project.model["networks"][key]
        place = project.model["networks"].places.get(key, NOWHERE)
        if one.get("external") and one["name"] not in (*OWN_MODES, *definition.names()):
            hint = f"coso network create {one['name']}"
            Item(one, f"networks.{key}", place).fail(f"there is no network {one['name']!r}", hint=hint)
        if not one.get("external"):
            _options(Item(one, f"networks.{key}", place))


def _options(network: Item) -> None:
    """Raise ConfigError for a driver or an option of one that cosonet does not have."""
    from cosonet import manage
    from cosonet.definition import DRIVERS

    driver = network.content.get("driver") or "bridge"  # type: ignore[attr-defined]
    if driver not in DRIVERS:
        network.fail(f"driver: {driver!r} is not one of {', '.join(DRIVERS)}")
    for option in container.network_options(network.content):  # type: ignore[arg-type]
        if option not in manage.OPTIONS:
            network.fail(f"driver_opts: {option!r} is not known", hint=f"{', '.join(sorted(manage.OPTIONS))} are")


def _mode(item: Item, service: Map) -> None:
    from cosonet import definition

    mode = str(service.get("network_mode") or "")
    if mode and ":" not in mode and mode not in (*OWN_MODES, *definition.names()):
        place = service.places.get("network_mode", item.place)
        Item(mode, f"{item.path}.network_mode", place).fail(f"there is no network {mode!r}")


def _volumes(project: Project, item: Item, service: Map) -> None:
    for number, mount in enumerate(service.get("volumes") or ()):
        source = mount.get("source")
        place = service["volumes"].places[number]
        is_made = (mount.get("bind") or {}).get("create_host_path")
        if mount["type"] == "bind" and not is_made and not os.path.lexists(source):
            path = f"{item.path}.volumes[{number}]"
            Item(mount, path, place).fail(f"there is no {source}", hint="bind: {create_host_path: true} makes it")
        if mount["type"] == "volume" and source:
            one = project.model["volumes"][source]
            if one.get("external") and not volumes.is_whole(one["name"]):
                place = project.model["volumes"].places.get(source, NOWHERE)
                hint = f"coso volume create {one['name']}"
                Item(one, f"volumes.{source}", place).fail(f"there is no volume {one['name']!r}", hint=hint)


def _containers(service: Map) -> list[str]:
    """The containers that a service shares something with, and that are no project's concern."""
    texts = [str(service.get(key) or "") for key in SHARED] + list(service.get("volumes_from") or ())
    return [text.split(":")[1] for text in texts if text.startswith("container:")]
