"""What is to be done, before anything is: which containers are made, made anew, started, kept and removed, and why."""

from __future__ import annotations

from coso.compose import state
from coso.compose.container import HASH, hash_of, image_of, name_of, numbers
from coso.compose.places import Map
from coso.errors import UsageError
from coso.images import store
from coso.value import value

TYPE_CHECKING = False
if TYPE_CHECKING:
    from coso.compose.project import Project
    from coso.engine.record import Record

CREATE, RECREATE, START, KEEP, REMOVE = "create", "recreate", "start", "keep", "remove"


@value
class Action:
    """One container, and what becomes of it."""

    kind: str
    service: str
    number: int
    name: str
    reason: str
    existing: Record | None = None


@value
class How:
    """The switches of `up`."""

    force: bool = False
    no_recreate: bool = False
    always_deps: bool = False
    remove_orphans: bool = False
    start: bool = True
    scales: dict[str, int] | None = None


@value
class Plan:
    """All of it: `order` has the services so that each comes after those it waits for."""

    order: tuple[str, ...]
    actions: tuple[Action, ...]
    networks: tuple[str, ...]
    volumes: tuple[str, ...]
    orphans: tuple[Action, ...]


def wanted(project: Project, named: tuple[str, ...], *, with_dependencies: bool = True) -> tuple[str, ...]:
    """The services that are meant, each after those it depends on; all where none is named. Raises UsageError."""
    for name in named:
        if name not in project.services:
            raise UsageError(f"there is no service {name!r}", hint=f"there are: {', '.join(project.services)}")
    found: list[str] = []

    def add(name: str) -> None:
        if name in found:
            return
        if with_dependencies:
            for other in project.services[name].get("depends_on") or ():
                add(other)
        found.append(name)

    for name in named or ordered(project):
        add(name)
    return tuple(name for name in ordered(project) if name in found)


def ordered(project: Project) -> tuple[str, ...]:
    """Every service after those it depends on."""
    found: list[str] = []

    def add(name: str) -> None:
        for other in sorted(project.services[name].get("depends_on") or ()):
            if other in project.services and other not in found:
                add(other)
        if name not in found:
            found.append(name)

    for name in project.services:
        add(name)
    return tuple(found)


def plan(project: Project, named: tuple[str, ...], how: How, *, with_dependencies: bool = True) -> Plan:
    """What `up` would do."""
    there = state.containers(project.name)
    order = wanted(project, named, with_dependencies=with_dependencies)
    actions: list[Action] = []
    changed: set[str] = set()
    for service in order:
        force = how.force and (how.always_deps or not named or service in named)
        mine = [one for one in there if state.service_of(one) == service]
        found = _of_service(project, service, mine, how, changed, force=force)
        if any(action.kind == RECREATE for action in found):
            changed.add(service)
        actions += found
    orphans = [one for one in there if state.service_of(one) not in project.services]
    return Plan(
        order,
        tuple(actions),
        tuple(_missing_networks(project, order)),
        tuple(_missing_volumes(project, order)),
        tuple(
            Action(
                REMOVE, state.service_of(one), state.number_of(one), one.name, "its service is in the file no more", one
            )
            for one in orphans
        ),
    )


def _of_service(
    project: Project, service: str, mine: list[Record], how: How, changed: set[str], *, force: bool
) -> list[Action]:
    by_number = {state.number_of(one): one for one in mine}
    count = (how.scales or {}).get(service)
    all_numbers = range(1, count + 1) if count is not None else numbers(project.services[service])
    found = []
    for number in all_numbers:
        name = name_of(project, service, number)
        existing = by_number.pop(number, None)
        if existing is None:
            found.append(Action(CREATE, service, number, name, "there is none"))
            continue
        reason = "--force-recreate" if force else _difference(project, service, existing, changed)
        if reason and not how.no_recreate:
            found.append(Action(RECREATE, service, number, name, reason, existing))
        elif existing.is_alive or not how.start:
            found.append(Action(KEEP, service, number, name, "nothing has changed", existing))
        else:
            found.append(Action(START, service, number, name, "it does not run", existing))
    found += [
        Action(REMOVE, service, number, one.name, f"{len(all_numbers)} are wanted", one)
        for number, one in sorted(by_number.items())
    ]
    return found


def _difference(project: Project, service: str, existing: Record, changed: set[str]) -> str:
    """Why a container is not as its service wants it; `""` when it is."""
    one = project.services[service]
    if existing.labels.get(HASH) != hash_of(one):
        return "its service has changed"
    image = store.find_or_none(image_of(project, service))
    if image and existing.config.get("imageId") not in (image.id, f"sha256:{image.id}"):
        return "its image has changed"
    for key in ("network_mode", "pid", "ipc"):
        kind, _, other = str(one.get(key) or "").partition(":")
        if kind == "service" and other in changed:
            return f"it shares something with {other}, which is made anew"
    return ""


def _missing_networks(project: Project, order: tuple[str, ...]) -> list[str]:
    from cosonet import definition

    used = [name for service in order for name in project.services[service].get("networks") or ()]
    known = definition.names()
    return [
        key
        for key in dict.fromkeys(used)
        if project.model["networks"][key]["name"] not in known and not project.model["networks"][key].get("external")
    ]


def _missing_volumes(project: Project, order: tuple[str, ...]) -> list[str]:
    from coso.engine import volumes

    mounts = [mount for service in order for mount in project.services[service].get("volumes") or ()]
    used = [mount["source"] for mount in mounts if mount["type"] == "volume" and mount.get("source")]
    listed = project.model.get("volumes") or Map()
    return [
        key
        for key in dict.fromkeys(used)
        if not listed[key].get("external") and not volumes.is_whole(listed[key]["name"])
    ]


def shown(found: Plan, project: Project) -> str:
    """A plan as people read it."""
    lines = [f"network    {project.model['networks'][key]['name']}: create" for key in found.networks]
    lines += [f"volume     {project.model['volumes'][key]['name']}: create" for key in found.volumes]
    lines += [f"container  {one.name}: {one.kind}, {one.reason}" for one in (*found.actions, *found.orphans)]
    return "\n".join(lines) + "\n"
