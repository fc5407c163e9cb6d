"""`down`, and what else ends services: in the order opposite to that of their start."""

from __future__ import annotations

from functools import partial

from coso.engine import volumes
from coso.errors import CosoError
from coso.services import state
from coso.services.carry_out import stop, stop_and_remove
from coso.services.plan import ordered
from coso.worker import all_at_once

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Callable

    from coso.engine.record import Record
    from coso.services.project import Project

    Tell = Callable[[str, str], None]


def waves(project: Project, listed: list[Record]) -> list[list[Record]]:
    """Containers in groups: each may end once all of the group before it have."""
    level: dict[str, int] = {}
    for service in ordered(project):
        depends = project.services[service].get("depends_on") or ()
        level[service] = 1 + max((level[name] for name in depends if name in level), default=-1)
    highest = max(level.values(), default=0)
    groups: list[list[Record]] = [[] for _ in range(highest + 1)]
    for one in listed:
        groups[highest - level.get(state.service_of(one), 0)].append(one)
    return [group for group in groups if group]


def take_down(
    project: Project, listed: list[Record], tell: Tell, seconds: int | None = None, *, with_volumes: bool = False
) -> None:
    """Stop and remove containers. Raises the first CosoError, once all others are done."""
    errors: list[CosoError] = []
    for group in waves(project, listed):
        act = partial(stop_and_remove, project, tell=tell, seconds=seconds, with_volumes=with_volumes)
        _go_on(errors, [partial(act, one) for one in group])
    for error in errors:
        raise error


def stop_all(project: Project, listed: list[Record], tell: Tell, seconds: int | None = None) -> None:
    """Stop containers. Raises the first CosoError."""

    def act(one: Record) -> None:
        stop(project, one, seconds)
        tell(f"Container {one.name}", "Stopped")

    errors: list[CosoError] = []
    for group in waves(project, [one for one in listed if one.is_alive or one.status == "restarting"]):
        _go_on(errors, [partial(act, one) for one in group])
    for error in errors:
        raise error


def _go_on(errors: list[CosoError], acts: list[Callable[[], None]]) -> None:
    """Do several things at once; what goes wrong is kept for later."""
    try:
        all_at_once(acts)
    except CosoError as error:
        errors.append(error)


def remove_networks(project: Project, tell: Tell) -> None:
    """Remove the networks that were made for a project. Raises CosoError."""
    from cosonet import manage

    for name in state.networks(project.name):
        try:
            manage.remove(name)
        except CosoError as error:
            tell(f"Network {name}", f"stays: {error.message}")  # Others are on it, and keep it.
            continue
        tell(f"Network {name}", "Removed")


def remove_volumes(project: Project, tell: Tell) -> None:
    """Remove the volumes that were made for a project. Raises CosoError."""
    for name in state.volumes_of(project.name):
        volumes.remove(name)
        tell(f"Volume {name}", "Removed")


def remove_images(project: Project, tell: Tell, *, every: bool) -> None:
    """Remove the images of a project: all, or those that have the name of their service."""
    from coso.images import store, tidy
    from coso.services.container import image_of

    for service, one in project.services.items():
        name = image_of(project, service)
        if (every or not one.get("image")) and store.find_or_none(name):
            tidy.remove(name, force=False)
            tell(f"Image {name}", "Removed")
