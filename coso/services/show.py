"""A project as text: what `coso compose config` prints, in the form of Docker Compose."""

from __future__ import annotations

from coso.services.places import Map, plain
from coso.services.text import meaning

TYPE_CHECKING = False
if TYPE_CHECKING:
    from coso.services.project import Project

    Json = dict[str, object]

EMPTY: tuple[object, ...] = (False, 0, "0s", "", {}, [])
# Whose "0" is a number of bytes, and says nothing.
SIZES = {"mem_limit", "mem_reservation", "memswap_limit", "mem_swappiness", "shm_size", "memory", "size"}
# Whose being false, nought or empty says something.
SHOWN = {"attach", "init", "required", "scale", "replicas", "retries", "parallelism", "max_attempts", "enable_ipv4"}
SHOWN |= {"enable_ipv6", "command", "entrypoint", "volume", "timeout", "interval", "start_period", "start_interval"}
SHOWN |= {"healthcheck", "bind", "stop_grace_period", "soft", "hard", "window", "count"}
SHOWN |= {"blkio_config", "credential_spec", "deploy", "develop", "logging"}
SHOWN |= {"restart_policy", "rollback_config", "update_config"}
# Whose keys are names, each of which says something by being there.
NAMES = {"networks"}
# Whose keys are anybody's.
AS_THEY_ARE = {"environment", "labels", "args", "sysctls", "options", "driver_opts", "annotations", "storage_opt"}
AS_THEY_ARE |= {"ulimits"}
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
    found.update({key: plain(content) for key, content in sorted(model.items()) if key.startswith("x-")})
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
        inner = _without_nothing(content) if isinstance(content, dict) and key not in AS_THEY_ARE | NAMES else content
        if key in NAMES and isinstance(inner, dict):
            inner = {name: _without_nothing(one) if isinstance(one, dict) else one for name, one in inner.items()}
        if isinstance(inner, list):
            inner = [_without_nothing(one) if isinstance(one, dict) else one for one in inner]
        says_nothing = (inner in EMPTY and not (inner == {} and content != {})) or (inner == "0" and key in SIZES)
        if says_nothing and inner is not None and key not in SHOWN:
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

    def write_text(dumper: yaml.SafeDumper, written: str) -> yaml.ScalarNode:
        # What would be read as something else without quotes gets some; PyYAML itself only knows YAML 1.1.
        style = None if isinstance(meaning(written), str) and written != "=" else "'"
        return dumper.represent_scalar("tag:yaml.org,2002:str", written, style=style)

    Dumper.add_representer(str, write_text)
    # What is printed can be read again: a dollar sign is one then, too.
    return yaml.dump(tree, Dumper=Dumper, sort_keys=False, allow_unicode=True, width=4096).replace("$", "$$")
