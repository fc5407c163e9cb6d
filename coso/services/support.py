"""What coso does not carry out of what the specification has: each key with the reason, so that nothing is silent."""

from __future__ import annotations

from coso.images.store import PLATFORM
from coso.services.container import has_ports
from coso.services.places import NOWHERE, Item, Map

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Callable, Iterator

    from coso.services.project import Project

WINDOWS = "it is of Windows"
SWARM = "it is for a cluster of machines"
SERVICE = {
    "cpu_count": WINDOWS,
    "cpu_percent": WINDOWS,
    "credential_spec": WINDOWS,
    "external_links": "containers of other projects have their names on a common network",
    "gpus": "devices are given one by one: devices:",
    "models": "coso runs no models",
    "pull_refresh_after": "when an image was pulled is not kept",
    "provider": "coso asks no other programs for services",
    "storage_opt": "the writable layer is on the host's filesystem, which has no size of its own",
    "use_api_socket": "there is no daemon, and so no socket of one",
}
DEPLOY = {
    "endpoint_mode": SWARM,
    "placement": SWARM,
    "rollback_config": SWARM,
    "update_config": SWARM,
}
RESOURCES = {"devices": SERVICE["gpus"], "generic_resources": SWARM}
BUILD = {
    "additional_contexts": "one build has one context",
    "cache_from": "layers of earlier builds are found here only",
    "cache_to": "layers of builds are kept here only",
    "entitlements": "a build has no rights of the host",
    "isolation": WINDOWS,
    "privileged": "a build has no rights of the host",
    "provenance": "no attestations are made",
    "sbom": "no attestations are made",
    "ssh": "no agent is passed on to a build",
}
NETWORK_OF_SERVICE = {
    "driver_opts": "an interface has no options",
    "gw_priority": "the first network is the way out",
    "interface_name": "interfaces are eth0, eth1 and so on",
    "link_local_ips": "a connection has one address of each version",
}
IPAM = {"options": "addresses are cosonet's to give"}
POOL = {"aux_addresses": "only the gateway's address is kept back"}
NETWORK = {"enable_ipv4": "version 4 is always there", "attachable": ""}
VOLUME = {"driver_opts": "a volume is a directory", "driver": "volumes are of the driver local"}
ISOLATION = ("default", "")
PLATFORMS = (PLATFORM, "linux", "linux/x86_64")
PULL_POLICIES = ("missing", "always", "never", "build")
CONDITIONS = ("none", "on-failure", "any")
WAIT = "a container starts again after a wait that doubles each time"
RUNTIMES = ("", "coso", "runc", "crun", "io.containerd.runc.v2")


def unsupported(project: Project) -> Iterator[Item]:
    """What would not be carried out: the values with their places, and the reason as the content of each."""
    for name, service in project.services.items():
        path = f"services.{name}"
        yield from _found(service, SERVICE, path)
        yield from _found(service.get("build"), BUILD, f"{path}.build")
        deploy = service.get("deploy") or Map()
        yield from _found(deploy, DEPLOY, f"{path}.deploy")
        for part in ("limits", "reservations"):
            resources = (deploy.get("resources") or Map()).get(part)
            yield from _found(resources, RESOURCES, f"{path}.deploy.resources.{part}")
        reserved = (deploy.get("resources") or Map()).get("reservations") or Map()
        for key in ("cpus", "pids"):
            if key in reserved:
                yield _item(
                    reserved, key, f"{path}.deploy.resources.reservations", f"{key} are not reserved, only limited"
                )
        for network, how in (service.get("networks") or Map()).items():
            yield from _found(how, NETWORK_OF_SERVICE, f"{path}.networks.{network}")
        yield from _values(service, path)
        yield from _of_build(service.get("build") or Map(), f"{path}.build")
        yield from _of_restart(deploy.get("restart_policy") or Map(), f"{path}.deploy.restart_policy")
    for part, table in (("networks", NETWORK), ("volumes", VOLUME)):
        for name, one in (project.model.get(part) or Map()).items():
            if not one.get("external"):
                yield from _found(one, table, f"{part}.{name}")
                yield from _ipam(one.get("ipam"), f"{part}.{name}.ipam")
    for part in ("secrets", "configs"):
        for name, one in (project.model.get(part) or Map()).items():
            if one.get("external"):
                yield _item(one, "external", f"{part}.{name}", "there is no store of secrets or configs here")
            yield from _found(one, {"driver": SWARM, "driver_opts": SWARM, "template_driver": SWARM}, f"{part}.{name}")


def _values(service: Map, path: str) -> Iterator[Item]:
    """Keys that are carried out for some of their values only."""
    if str(service.get("platform") or PLATFORM) not in PLATFORMS:
        yield _item(service, "platform", path, f"{PLATFORM} runs here")
    if service.get("ports") and not has_ports(service):
        yield _item(service, "ports", path, f"with network_mode: {service['network_mode']} there are none of its own")
    for key in ("pid", "ipc"):
        text = str(service.get(key) or "host")
        if text not in ("host", "private", "shareable") and not text.startswith(("service:", "container:")):
            yield _item(service, key, path, "host, service:NAME and container:NAME are")
    if service.get("isolation", "") not in ISOLATION:
        yield _item(service, "isolation", path, WINDOWS)
    if service.get("runtime", "") not in RUNTIMES:
        yield _item(service, "runtime", path, "coso is the runtime")
    mode = (service.get("deploy") or {}).get("mode", "replicated")
    if mode != "replicated":
        yield _item(service["deploy"], "mode", f"{path}.deploy", SWARM if mode == "global" else "replicated is")
    for number, mount in enumerate(service.get("volumes") or ()):
        place = service["volumes"].places[number]
        if mount["type"] in ("npipe", "cluster", "image"):
            yield Item(f"mounts of the type {mount['type']} are not made", f"{path}.volumes[{number}].type", place)
        recursive = (mount.get("bind") or {}).get("recursive", "disabled")
        if recursive != "disabled":
            yield Item("what is mounted below is not shown", f"{path}.volumes[{number}].bind.recursive", place)
        if (mount.get("volume") or {}).get("subpath"):
            yield Item("a volume is mounted whole", f"{path}.volumes[{number}].volume.subpath", place)
    if str(service.get("pull_policy", "missing")) not in PULL_POLICIES:
        yield _item(service, "pull_policy", path, f"{', '.join(PULL_POLICIES)} are")
    driver = (service.get("logging") or {}).get("driver", "json-file")
    if driver not in ("json-file", "local", "none", ""):
        yield _item(service["logging"], "driver", f"{path}.logging", "json-file, local and none are")


def _of_build(build: Map, path: str) -> Iterator[Item]:
    others = [text for text in build.get("platforms") or () if text != PLATFORM]
    if others:
        yield _item(build, "platforms", path, f"images are built for {PLATFORM}, not for {others[0]}")


def _of_restart(policy: Map, path: str) -> Iterator[Item]:
    if policy.get("max_attempts") and policy.get("condition", "any") != "on-failure":
        yield _item(policy, "max_attempts", path, "attempts are counted with the condition on-failure")
    if policy.get("condition", "any") not in CONDITIONS:
        yield _item(policy, "condition", path, f"{', '.join(CONDITIONS)} are")
    yield from _found(policy, {"delay": WAIT, "window": WAIT}, path)


def _ipam(ipam: Map | None, path: str) -> Iterator[Item]:
    if not ipam:
        return
    yield from _found(ipam, IPAM, path)
    if ipam.get("driver", "default") != "default":
        yield _item(ipam, "driver", path, IPAM["options"])
    if sum("ip_range" in pool for pool in ipam.get("config") or ()) > 1:
        yield _item(ipam, "config", path, "one range of addresses is given from")
    for number, pool in enumerate(ipam.get("config") or ()):
        yield from _found(pool, POOL, f"{path}.config[{number}]")


def _found(one: Map | None, table: dict[str, str], path: str) -> Iterator[Item]:
    for key, reason in table.items():
        if one and reason and _says_something(key, one.get(key)):
            yield _item(one, key, path, reason)


def _says_something(key: str, content: object) -> bool:
    """Whether a key asks for anything, and for anything else than is done."""
    if key == "enable_ipv4":
        return content is False
    if key in ("provenance", "sbom"):
        return content not in ("false", "", None)
    return bool(content) and (key, content) not in (("driver", "local"), ("isolation", "default"))


def _item(one: Map, key: str, path: str, reason: str) -> Item:
    return Item(reason, f"{path}.{key}", one.places.get(key, NOWHERE))


def refuse(project: Project, warn: Callable[[str], None] | None) -> None:
    """Raise ConfigError for the first thing that is not carried out; with `warn`, tell of each."""
    for item in unsupported(project):
        if warn is None:
            item.fail(f"this is not carried out: {item.content}", hint="--ignore-unsupported goes on without it")
        warn(f"{item.path} is not carried out: {item.content}")
