"""What a model says without words: names, the default network, what depends on what, variables from files.

Source: compose-spec, 05-services.md, 06-networks.md; as Docker Compose prints it.
"""

from __future__ import annotations

import os

from coso.errors import ConfigError
from coso.services import environment
from coso.services.loading import PARTS
from coso.services.merging import distinct
from coso.services.places import NOWHERE, Item, Map, Seq

TYPE_CHECKING = False
if TYPE_CHECKING:
    Variables = dict[str, str]

STARTED = "service_started"
LISTS = (
    "ports",
    "volumes",
    "devices",
    "secrets",
    "configs",
    "env_file",
    "dns",
    "dns_opt",
    "dns_search",
    "tmpfs",
    "expose",
)


def complete(model: Map, project: str, variables: Variables) -> None:
    """Fill in what is left out."""
    for name, service in (model.get("services") or Map()).items():
        item = Item(service, f"services.{name}", model["services"].places.get(name, NOWHERE))
        if not isinstance(service, Map):
            item.fail(f"a mapping is wanted here, not {item.kind}")
        for key in ("command", "entrypoint", "image", "deploy", "develop"):
            if key in service and service[key] is None:
                del service[key]
        _networks(service)
        _build(service, variables)
        for key in LISTS:
            if key in service:
                service[key] = distinct(service[key], key)
        for part, number, grant in _grants(service):
            if "source" not in grant:
                item.fail(f"{part}[{number}] names no source")
        for secret in service.get("secrets") or ():
            secret.setdefault("target", f"/run/secrets/{secret['source']}")
        if service.get("pull_policy") == "if_not_present":
            service["pull_policy"] = "missing"
        _depend(service, item)
    for part in PARTS:
        if part != "services":
            _names(model, part, project)
    model.pop("version", None)
    model.put("name", project, NOWHERE)


def _grants(service: Map) -> list[tuple[str, int, Map]]:
    build = service.get("build") or Map()
    holders = (("secrets", service), ("configs", service), ("secrets", build))
    return [(part, number, one) for part, holder in holders for number, one in enumerate(holder.get(part) or ())]


def read_files(model: Map, variables: Variables) -> None:
    """Put in what files of variables and labels say, of the services that are switched on. Raises ConfigError."""
    for name, service in (model.get("services") or Map()).items():
        item = Item(service, f"services.{name}", model["services"].places.get(name, NOWHERE))
        _environment(service, item, variables)
        _labels(service, item)


def _networks(service: Map) -> None:
    if "network_mode" not in service and not service.get("networks") and "provider" not in service:
        service.put("networks", Map({"default": None}), NOWHERE)


def _build(service: Map, variables: Variables) -> None:
    build = service.get("build")
    if not build:
        return
    if "dockerfile_inline" not in build:
        build.setdefault("dockerfile", "Dockerfile")
    if "args" in build:
        build["args"] = _resolved(build["args"], variables, keep=False)


def _resolved(given: Map, variables: Variables, *, keep: bool) -> Map:
    """Names without a value get that of the environment; those it has none for stay so, or go."""
    found = Map({}, given.places)
    for name, content in given.items():
        text = variables.get(name) if content is None else content
        if text is not None or keep:
            found[name] = text
    return found


def _environment(service: Map, item: Item, variables: Variables) -> None:
    """Variables of files, and over them those of the service itself."""
    files = service.pop("env_file", None) or Seq()
    own = _resolved(service.get("environment") or Map(), variables, keep=True)
    found = Map()
    for one in files:
        for name, content in _variables_of(one, Map({**variables, **own}), found, item).items():
            text = variables.get(name) if content is None else content
            if text is not None:
                found[name] = text
    if files or "environment" in service:
        service.put("environment", Map({**found, **own}, own.places), item.place)


def _variables_of(one: Map, known: Map, earlier: Map, item: Item, key: str = "env_file") -> dict[str, str | None]:
    path = one.get("path")
    if not path:
        item.fail(f"{key} names no file")
    if not os.path.isfile(path):
        if not one["required"]:
            return {}
        raise ConfigError(str(item.place), f"{item.path}.{key}", f"there is no file {path}")
    try:
        with open(path, encoding="utf-8") as file:
            text = file.read()
    except (OSError, UnicodeDecodeError) as error:
        item.fail(f"{key}: {path} cannot be read: {error}")
    if one.get("format") == "raw":
        return environment.parse_raw(text, path)
    if one.get("format"):
        item.fail(f"the format {one['format']!r} of {path} is not known", hint="raw is")
    return environment.parse(text, path, _given(known), _given(earlier))


def _given(found: Map) -> Variables:
    return {name: content for name, content in found.items() if content is not None}


def _labels(service: Map, item: Item) -> None:
    files = service.pop("label_file", None) or Seq()
    found = Map()
    for path in files:
        one = Map({"path": path, "required": True})
        found.update(
            {name: content or "" for name, content in _variables_of(one, Map(), Map(), item, "label_file").items()}
        )
    if files:
        own = service.get("labels") or Map()
        service.put("labels", Map({**found, **own}, own.places), item.place)


def _depend(service: Map, item: Item) -> None:
    """Who shares something with another service, or is linked to it, starts after it."""
    found = service.get("depends_on") or Map()
    implied: list[tuple[str, str, bool]] = []
    implied += [("links", text.partition(":")[0], True) for text in service.get("links") or ()]
    for key in ("network_mode", "ipc", "pid"):
        kind, _, other = str(service.get(key) or "").partition(":")
        if kind == "service":
            implied.append((key, other, True))
    for text in service.get("volumes_from") or ():
        if not text.startswith("container:"):
            implied.append(("volumes_from", text.partition(":")[0], False))
    for key, name, restart in implied:
        if name not in found:
            more = {"restart": True} if restart else {}
            place = service.places.get(key, item.place)
            found.put(name, Map({"condition": STARTED, **more, "required": True}), place)
    if found:
        service.put("depends_on", found, service.places.get("depends_on", item.place))


def _names(model: Map, part: str, project: str) -> None:
    listed = model.get(part) or Map()
    if part == "networks":
        listed.setdefault("default", None)
        listed.places.setdefault("default", NOWHERE)
        model.setdefault("networks", listed)
    for key in list(listed):
        one = listed[key] if listed[key] is not None else Map()
        listed[key] = one
        external = one.get("external")
        if isinstance(external, Map):
            one["name"] = one.get("name") or external.get("name") or key
            external = one["external"] = True
        if part != "models":
            one.setdefault("name", key if external else f"{project}_{key}")
