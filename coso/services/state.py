"""What there is of a project, by its labels: containers, networks, volumes. There is no other record of it."""

from __future__ import annotations

from coso.engine import record, volumes
from coso.services.container import HASH, NETWORK, NUMBER, ONE_OFF, PROJECT, SERVICE, VOLUME, digest
from coso.services.places import plain

TYPE_CHECKING = False
if TYPE_CHECKING:
    from coso.engine.record import Record
    from coso.services.project import Project


def containers(project: str = "", *, one_off: bool = False) -> list[Record]:
    """The containers of a project, or of all: by service and number; with `one_off` those of `compose run` too."""
    found = [one for one in record.every() if PROJECT in one.labels]
    found = [one for one in found if not project or one.labels[PROJECT] == project]
    kept = [one for one in found if one_off or one.labels.get(ONE_OFF) != "True"]
    return sorted(kept, key=lambda one: (service_of(one), number_of(one)))


def of_service(project: str, service: str) -> list[Record]:
    """The containers of a service, by number."""
    return [one for one in containers(project) if service_of(one) == service]


def service_of(one: Record) -> str:
    """The service of a container."""
    return one.labels.get(SERVICE, "")


def number_of(one: Record) -> int:
    """The number of a container among those of its service."""
    text = one.labels.get(NUMBER, "0")
    return int(text) if text.isdecimal() else 0


def health_of(one: Record) -> str:
    """What the checks of its health say; `""` for one that has none."""
    return str((one.state.get("health") or {}).get("Status", ""))


def networks(project: str) -> list[str]:
    """The networks that were made for a project."""
    from cosonet import definition

    return [name for name in definition.names() if definition.load(name).labels.get(PROJECT) == project]


def volumes_of(project: str) -> list[str]:
    """The volumes that were made for a project."""
    return [str(one["name"]) for one in volumes.every() if (one.get("labels") or {}).get(PROJECT) == project]


def labels_of_network(project: Project, key: str) -> dict[str, str]:
    """By which a network is found again, and a change of it is seen."""
    return {PROJECT: project.name, NETWORK: key, HASH: digest(plain(project.model["networks"][key]))}


def labels_of_volume(project: str, key: str) -> dict[str, str]:
    """By which a volume is found again."""
    return {PROJECT: project, VOLUME: key}
