"""What is to be done, before anything is: which containers are made, made anew, started, kept and removed, and why."""

from __future__ import annotations

from coso.errors import UsageError
from coso.images import store
from coso.services import grants, state
from coso.services.container import HASH, hash_of, image_of, name_of, numbers, shared_with
from coso.services.places import Map
from coso.value import value

TYPE_CHECKING = False
if TYPE_CHECKING:
    from coso.engine.record import Record
    from coso.services.project import Project

CREATE, RECREATE, START, RESTART, KEEP, REMOVE = "create", "recreate", "start", "restart", "keep", "remove"


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
    # Networks that are there, and are to be made anew.
    changed_networks: tuple[str, ...]
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
                if other in project.services:
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
    networks = _used_networks(project, order)
    anew = [] if how.no_recreate else _changed_networks(project, networks)
    _refuse_others_on(project, anew, order, there)
    changed = Changed(frozenset(anew), set(), set())
    actions: list[Action] = []
    for service in ordered(project):
        sharing = set(shared_with(project.services[service])) & (changed.anew | changed.again)
        if service not in order and not (sharing and any(state.service_of(one) == service for one in there)):
            continue
        force = how.force and (how.always_deps or not named or service in named)
        mine = [one for one in there if state.service_of(one) == service]
        found = _of_service(project, service, mine, how, changed, force=force)
        kinds = {action.kind for action in found}
        if kinds & {CREATE, RECREATE}:
            changed.anew.add(service)
        if kinds & {RECREATE, RESTART, START}:
            changed.again.add(service)
        actions += found
    orphans = [one for one in there if state.service_of(one) not in (*project.services, *project.off)]
    concerned = {action.service for action in actions} | set(order)
    return Plan(
        tuple(service for service in ordered(project) if service in concerned),
        tuple(actions),
        missing_networks(project, order),
        tuple(sorted(changed.networks)),
        missing_volumes(project, order),
        tuple(
            Action(
                REMOVE, state.service_of(one), state.number_of(one), one.name, "its service is in the file no more", one
            )
            for one in orphans
        ),
    )


@value
class Changed:
    """What is made anew, or starts again, and so others with it; services are added as they are found."""

    networks: frozenset[str]
    anew: set[str]
    again: set[str]


def _of_service(
    project: Project, service: str, mine: list[Record], how: How, changed: Changed, *, force: bool
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
        elif existing.is_alive and how.start and (above := _restarted_with(project, service, changed)):
            found.append(Action(RESTART, service, number, name, f"it restarts with {above}", existing))
        elif existing.is_alive or existing.status == "restarting" or not how.start:
            found.append(Action(KEEP, service, number, name, "nothing has changed", existing))
        else:
            found.append(Action(START, service, number, name, "it does not run", existing))
    found += [
        Action(REMOVE, service, number, one.name, f"{len(all_numbers)} are wanted", one)
        for number, one in sorted(by_number.items())
    ]
    return found


def _restarted_with(project: Project, service: str, changed: Changed) -> str:
    """The service with whose new containers this one's are to start again; `""` for none."""
    depends = project.services[service].get("depends_on") or Map()
    shared = shared_with(project.services[service])
    return next((n for n, how in depends.items() if (how.get("restart") or n in shared) and n in changed.again), "")


def _difference(project: Project, service: str, existing: Record, changed: Changed) -> str:
    """Why a container is not as its service wants it; `""` when it is."""
    one = project.services[service]
    if existing.labels.get(HASH) != hash_of(project, service):
        return "its service has changed"
    image = store.find_or_none(image_of(project, service))
    if image and existing.config.get("imageId") not in (image.id, f"sha256:{image.id}"):
        return "its image has changed"
    for network in one.get("networks") or ():
        if network in changed.networks:
            return f"its network {network} has changed"
    for other in shared_with(one):
        if other in changed.anew:
            return f"it shares something with {other}, which is made anew"
    if existing.status == "created" and grants.are_written(project, service):
        return "it was not finished"
    return ""


def _used_networks(project: Project, order: tuple[str, ...]) -> list[str]:
    """The networks that are this project's own."""
    used = [name for service in order for name in project.services[service].get("networks") or ()]
    return [key for key in dict.fromkeys(used) if not project.model["networks"][key].get("external")]


def missing_networks(project: Project, order: tuple[str, ...]) -> tuple[str, ...]:
    """Networks of these services that are not there."""
    from cosonet import definition

    known, used = definition.names(), _used_networks(project, order)
    return tuple(key for key in used if project.model["networks"][key]["name"] not in known)


def _changed_networks(project: Project, used: list[str]) -> list[str]:
    """Those that were made for this project, from other words."""
    from cosonet import definition

    mine = state.networks(project.name)
    found = []
    for key in used:
        name = project.model["networks"][key]["name"]
        if name in mine and definition.load(name).labels.get(HASH) != state.labels_of_network(project, key)[HASH]:
            found.append(key)
    return found


def _refuse_others_on(project: Project, networks: list[str], order: tuple[str, ...], there: list[Record]) -> None:
    """Raise UsageError when a network is to be made anew, and a service is on it that is not meant."""
    for one in there:
        service = state.service_of(one)
        on = {word for text in one.options.get("network", []) for word in text.split(",")}
        for key in networks:
            if f"name={project.model['networks'][key]['name']}" in on and service not in order:
                raise UsageError(
                    f"the network {key} has changed, and the service {service} is on it too",
                    hint="`coso up` without names makes all of them anew",
                )


def missing_volumes(project: Project, order: tuple[str, ...]) -> tuple[str, ...]:
    """Volumes of these services that are not there."""
    from coso.engine import volumes

    mounts = [mount for service in order for mount in project.services[service].get("volumes") or ()]
    used = [mount["source"] for mount in mounts if mount["type"] == "volume" and mount.get("source")]
    listed = project.model.get("volumes") or Map()
    return tuple(
        key
        for key in dict.fromkeys(used)
        if not listed[key].get("external") and not volumes.is_whole(listed[key]["name"])
    )


def shown(found: Plan, project: Project) -> str:
    """A plan as people read it."""
    lines = [f"network    {project.model['networks'][key]['name']}: create" for key in found.networks]
    lines += [f"network    {project.model['networks'][key]['name']}: recreate" for key in found.changed_networks]
    lines += [f"volume     {project.model['volumes'][key]['name']}: create" for key in found.volumes]
    lines += [f"container  {one.name}: {one.kind}, {one.reason}" for one in (*found.actions, *found.orphans)]
    return "\n".join(lines) + "\n"
