"""A project as text: what `coso compose config` prints, in the form of Docker Compose."""

from __future__ import annotations

from coso.services.places import Map, plain

TYPE_CHECKING = False
if TYPE_CHECKING:
    from coso.services.project import Project

    Json = dict[str, object]

EMPTY: tuple[object, ...] = (False, 0, "0s", "0", "", {}, [])
# Whose being false, nought or empty says something.
SHOWN = {"attach", "init", "required", "scale", "replicas", "retries", "parallelism", "max_attempts", "enable_ipv4"}
SHOWN |= {"enable_ipv6", "command", "entrypoint", "volume", "timeout", "interval", "start_period", "start_interval"}
SHOWN |= {"healthcheck", "bind", "stop_grace_period", "soft", "hard", "window", "count"}
# Whose keys are anybody's.
AS_THEY_ARE = {"environment", "labels", "args", "sysctls", "options", "driver_opts", "annotations", "storage_opt"}
ORDER = ("services", "networks", "volumes", "secrets", "configs", "models")


def shown(project: Project) -> Json:
    """The model as plain values, without what nobody uses."""
    model = project.model
    found: Json = {"name": project.name}
    services = {name: _service(one) for name, one in sorted(project.services.items())}
    found["services"] = services
    used = _used(project.services)
    for part in ORDER[1:]:
        kept = {name: one for name, one in sorted((model.get(part) or Map()).items()) if name in used[part]}
        if kept:
            found[part] = {name: _resource(one) for name, one in kept.items()}
    found.update({key: plain(content) for key, content in model.items() if key.startswith("x-")})
    return {key: _in_order(content) for key, content in found.items()}


def _in_order(content: object) -> object:
    """The same, with the keys of every mapping in the order of the alphabet."""
    if isinstance(content, dict):
        return {key: _in_order(inner) for key, inner in sorted(content.items())}
    return [_in_order(inner) for inner in content] if isinstance(content, list) else content


def _used(services: Map) -> dict[str, set[str]]:
    used: dict[str, set[str]] = {part: set() for part in ORDER}
    for service in services.values():
        used["networks"].update(service.get("networks") or ())
        used["models"].update(service.get("models") or ())
        for part in ("secrets", "configs"):
            used[part].update(one["source"] for one in service.get(part) or ())
        used["secrets"].update(one["source"] for one in (service.get("build") or {}).get("secrets") or ())
        mounts = service.get("volumes") or ()
        used["volumes"].update(one["source"] for one in mounts if one["type"] == "volume" and one.get("source"))
    return used


def _service(service: Map) -> object:
    found = plain(service)
    assert isinstance(found, dict)
    for place in (found, found.get("build") or {}):
        if "extra_hosts" in place:
            hosts = sorted(place["extra_hosts"].items())
            place["extra_hosts"] = [f"{name}={address}" for name, addresses in hosts for address in addresses]
    return _without_nothing(found)


def _without_nothing(tree: Json) -> Json:
    """Leave out what is as if it were not written: false, 0 and what is empty, where that is the default."""
    found: Json = {}
    for key, content in tree.items():
        inner = _without_nothing(content) if isinstance(content, dict) and key not in AS_THEY_ARE else content
        if isinstance(inner, list):
            inner = [_without_nothing(one) if isinstance(one, dict) else one for one in inner]
        if inner in EMPTY and inner is not None and key not in SHOWN and not (inner == {} and content != {}):
            continue
        found[key] = inner
    return found


def _resource(one: object) -> object:
    found = plain(one)
    assert isinstance(found, dict)
    return _without_nothing(found)


def as_yaml(tree: Json) -> str:
    """The text of a tree of values."""
    import yaml

    class Dumper(yaml.SafeDumper):
        """Writes lists indented, and never an alias."""

        def ignore_aliases(self, data: object) -> bool:
            """Write everything in full."""
            return True

        def increase_indent(self, flow: bool = False, indentless: bool = False) -> None:
            """Indent lists as people do."""
            return super().increase_indent(flow, False)

    # What is printed can be read again: a dollar sign is one then, too.
    return yaml.dump(tree, Dumper=Dumper, sort_keys=False, allow_unicode=True, width=4096).replace("$", "$$")
