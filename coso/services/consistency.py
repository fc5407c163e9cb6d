"""What must fit together in a model, and which of its services are switched on.

Source: compose-spec, 15-profiles.md, 05-services.md.
"""

from __future__ import annotations

from coso.errors import UsageError
from coso.services.places import NOWHERE, Item, Map

REFERENCES = ("networks", "secrets", "configs")


def switch(model: Map, profiles: set[str], wanted: set[str]) -> tuple[str, ...]:
    """Leave out the services whose profiles are not active, and what only they would use; which they are.

    A service that is named is switched on with all it depends on.
    """
    services = model.get("services") or Map()
    on = {name for name, one in services.items() if _is_active(one, profiles)} | (wanted & set(services))
    left = list(wanted & set(services))
    while left:
        for name in services[left.pop()].get("depends_on") or ():
            if name in services and name not in on:
                on.add(name)
                left.append(name)
    off = tuple(name for name in services if name not in on)
    for name in off:
        del services[name]
    return off


def _is_active(service: Map, profiles: set[str]) -> bool:
    its = service.get("profiles")
    return not its or "*" in profiles or bool(set(its) & profiles)


def check(model: Map) -> None:
    """Raise ConfigError for what contradicts itself, or refers to what is not there."""
    services = model.get("services") or Map()
    names: dict[str, str] = {}
    for name, service in services.items():
        item = Item(service, f"services.{name}", services.places.get(name, NOWHERE))
        if not service.get("image") and not service.get("build") and not service.get("provider"):
            item.fail("it has neither an image nor a build")
        _check_references(item, service, model)
        _check_depends(item, service, services)
        if service.get("network_mode") and service.get("networks"):
            _at(item, service, "network_mode").fail("network_mode and networks exclude each other")
        _check_limits(item, service)
        chosen = service.get("container_name")
        if chosen:
            if names.setdefault(chosen, name) != name:
                _at(item, service, "container_name").fail(f"the service {names[chosen]} has the name {chosen!r} too")
            if replicas(service) > 1:
                _at(item, service, "container_name").fail("several containers of a service cannot have one name")
    _check_cycles(services)
    for part in ("secrets", "configs"):
        _check_sources(model, part)


def replicas(service: Map) -> int:
    """How many containers a service has."""
    scale = service.get("scale")
    wanted = (service.get("deploy") or {}).get("replicas")
    return int(scale if scale is not None else 1 if wanted is None else wanted)


def _at(item: Item, service: Map, key: str) -> Item:
    return Item(service.get(key), f"{item.path}.{key}", service.places.get(key, item.place))


def _check_references(item: Item, service: Map, model: Map) -> None:
    build = service.get("build") or Map()
    for part, holder in (*((part, service) for part in REFERENCES), ("secrets", build), ("models", service)):
        for one in holder.get(part) or ():
            name = one if part in ("networks", "models") else one.get("source")
            if name not in (model.get(part) or ()):
                _at(item, holder, part).fail(f"{part[:-1]} {name!r} is not among the {part} of the file")
    for mount in service.get("volumes") or ():
        if mount["type"] == "volume" and mount.get("source") and mount["source"] not in (model.get("volumes") or ()):
            _at(item, service, "volumes").fail(f"volume {mount['source']!r} is not among the volumes of the file")


def _check_depends(item: Item, service: Map, services: Map) -> None:
    depends = service.get("depends_on") or Map()
    for name, how in list(depends.items()):
        if name not in services and how["required"]:
            place = depends.places.get(name, item.place)
            Item(how, f"{item.path}.depends_on", place).fail(
                f"there is no service {name!r}", hint="or it is switched off: see --profile"
            )


def _check_limits(item: Item, service: Map) -> None:
    """The same limit in two places must be the same."""
    deploy = service.get("deploy") or {}
    limits = (deploy.get("resources") or {}).get("limits") or {}
    reserved = (deploy.get("resources") or {}).get("reservations") or {}
    pairs = (
        ("mem_limit", limits.get("memory")),
        ("cpus", limits.get("cpus")),
        ("pids_limit", limits.get("pids")),
        ("mem_reservation", reserved.get("memory")),
        ("scale", deploy.get("replicas")),
    )
    for key, other in pairs:
        if key in service and other is not None and service[key] != other:
            _at(item, service, key).fail(f"{service[key]} here, and {other} in deploy")


def check_ports(services: Map) -> None:
    """Raise ConfigError for a port of the host that would lead to two containers, as a file may well say."""
    taken: dict[tuple[str, str], list[tuple[str, str]]] = {}
    for name, service in services.items():
        for number, port in enumerate(service.get("ports") or ()):
            published = str(port.get("published") or "")
            if not published.isdecimal() or published == "0":
                continue
            address = port.get("host_ip") or "127.0.0.1"
            others = taken.setdefault((published, port["protocol"]), [])
            item = Item(port, f"services.{name}.ports[{number}]", service["ports"].places[number])
            for other, its in others:
                if _meet(address, its):
                    item.fail(f"the port {published}/{port['protocol']} of the host leads to {other} already")
            if replicas(service) > 1:
                item.fail(f"{replicas(service)} containers cannot share the port {published}", hint="give a range")
            others.append((name, address))


def _meet(one: str, other: str) -> bool:
    """Whether a port of two addresses of the host is one."""
    if (":" in one) != (":" in other):
        return False
    return one == other or bool({"0.0.0.0", "::"} & {one, other})


def check_scale(service: Map, name: str, count: int) -> None:
    """Raise UsageError for a number of containers that a service cannot have."""
    if count > 1 and service.get("container_name"):
        raise UsageError(f"--scale {name}={count}: several containers cannot have the name {service['container_name']}")
    for port in service.get("ports") or ():
        if count > 1 and str(port.get("published") or "0").isdecimal() and port.get("published") not in (None, "0"):
            raise UsageError(
                f"--scale {name}={count}: they cannot share the port {port['published']}", hint="give a range"
            )


def _check_cycles(services: Map) -> None:
    done: set[str] = set()

    def visit(name: str, through: tuple[str, ...]) -> None:
        if name in through:
            circle = " → ".join((*through[through.index(name) :], name))
            place = services.places.get(name, NOWHERE)
            Item(None, f"services.{name}.depends_on", place).fail(f"services wait for each other in a circle: {circle}")
        if name in done:
            return
        for other in services[name].get("depends_on") or ():
            if other in services:
                visit(other, (*through, name))
        done.add(name)

    for name in services:
        visit(name, ())


def _check_sources(model: Map, part: str) -> None:
    for name, one in (model.get(part) or Map()).items():
        sources = [key for key in ("file", "environment", "content") if key in one]
        item = Item(one, f"{part}.{name}", model[part].places.get(name, NOWHERE))
        if one.get("external"):
            if sources:
                item.fail(f"external and {sources[0]} exclude each other")
        elif len(sources) != 1:
            item.fail("one of file, environment and content is wanted", hint="or external: true")
