"""From a service to the words of a container: what `coso create` would be given for it."""

from __future__ import annotations

import hashlib
import os

from coso.errors import UsageError
from coso.services import grants
from coso.services.consistency import replicas
from coso.services.limits import limits_of
from coso.services.places import Map, plain
from coso.services.published import published
from coso.services.values import seconds_of

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Callable

    from coso.services.project import Project

    Options = dict[str, list[str]]

LABEL = "com.docker.compose"
# Labels by which all that belongs to a project is found again, as Docker Compose names them.
PROJECT, SERVICE, NUMBER = f"{LABEL}.project", f"{LABEL}.service", f"{LABEL}.container-number"
HASH, ONE_OFF = f"{LABEL}.config-hash", f"{LABEL}.oneoff"
FILES, DIRECTORY = f"{LABEL}.project.config_files", f"{LABEL}.project.working_dir"
NETWORK, VOLUME = f"{LABEL}.network", f"{LABEL}.volume"
# What a change of does not ask for another container.
APART = ("build", "deploy", "scale", "depends_on", "profiles", "develop", "pull_policy", "attach")
# Option of `coso create`, and the key that is passed on as it stands.
SAME = {
    "cgroup-parent": "cgroup_parent",
    "cpu-period": "cpu_period",
    "cpu-quota": "cpu_quota",
    "cpu-rt-period": "cpu_rt_period",
    "cpu-rt-runtime": "cpu_rt_runtime",
    "cpu-shares": "cpu_shares",
    "cpus": "cpus",
    "cpuset-cpus": "cpuset",
    "domainname": "domainname",
    "hostname": "hostname",
    "mac-address": "mac_address",
    "memory": "mem_limit",
    "memory-reservation": "mem_reservation",
    "memory-swap": "memswap_limit",
    "memory-swappiness": "mem_swappiness",
    "oom-score-adj": "oom_score_adj",
    "pids-limit": "pids_limit",
    "platform": "platform",
    "shm-size": "shm_size",
    "stop-signal": "stop_signal",
    "user": "user",
    "uts": "uts",
    "workdir": "working_dir",
}
UNLIMITED = (
    "mem_limit",
    "mem_reservation",
    "memswap_limit",
    "cpus",
    "cpu_quota",
    "cpu_period",
    "cpu_shares",
    "pids_limit",
)
LISTS = {
    "cap-add": "cap_add",
    "cap-drop": "cap_drop",
    "device-cgroup-rule": "device_cgroup_rules",
    "dns": "dns",
    "dns-option": "dns_opt",
    "dns-search": "dns_search",
    "expose": "expose",
    "group-add": "group_add",
    "tmpfs": "tmpfs",
}
MAPS = {"annotation": "annotations", "sysctl": "sysctls"}
SWITCHES = {
    "init": "init",
    "interactive": "stdin_open",
    "oom-kill-disable": "oom_kill_disable",
    "privileged": "privileged",
    "read-only": "read_only",
    "tty": "tty",
}
LIMITS = {"memory": "memory", "cpus": "cpus", "pids-limit": "pids"}
HEALTH = {
    "health-interval": "interval",
    "health-timeout": "timeout",
    "health-start-period": "start_period",
    "health-start-interval": "start_interval",
}


def name_of(project: Project, service: str, number: int) -> str:
    """The name of a service's container."""
    chosen = project.services[service].get("container_name")
    return chosen or f"{project.name}-{service}-{number}"


def image_of(project: Project, service: str) -> str:
    """The image of a service; one that is built and has no name gets the service's."""
    return project.services[service].get("image") or f"{project.name}-{service}"


def hash_of(project: Project, service: str) -> str:
    """What says whether a container is still as its service wants it."""
    one = project.services[service]
    kept = {key: plain(content) for key, content in one.items() if key not in APART and not key.startswith("x-")}
    deploy = one.get("deploy") or {}
    kept["deploy"] = [plain(deploy.get("resources")), plain(deploy.get("restart_policy"))]
    used = {
        part: [project.model[part][name].get("name") for name in names]
        for part, names in (("networks", one.get("networks") or ()), ("volumes", _volumes_of(one)))
    }
    return digest([kept, grants.signature(project, service), _links_to(project, service), used])


def _volumes_of(service: Map) -> list[str]:
    return [
        mount["source"] for mount in service.get("volumes") or () if mount["type"] == "volume" and mount.get("source")
    ]


def shared_with(service: Map) -> list[str]:
    """The services whose namespaces or volumes a service shares."""
    texts = [str(service.get(key) or "") for key in ("network_mode", "pid", "ipc")]
    found = [text.removeprefix("service:") for text in texts if text.startswith("service:")]
    others = (text for text in service.get("volumes_from") or () if not text.startswith("container:"))
    return [*found, *(text.partition(":")[0] for text in others)]


def digest(tree: object) -> str:
    """What says whether something is still as it was; the order of keys does not matter."""
    import json

    return hashlib.sha256(json.dumps(tree, sort_keys=True, default=str).encode()).hexdigest()


def labels_of(project: Project, service: str, number: int, *, one_off: bool = False) -> dict[str, str]:
    """The labels of a container: those by which it is found, and its service's."""
    one = project.services[service]
    return {
        **(one.get("labels") or {}),
        PROJECT: project.name,
        SERVICE: service,
        NUMBER: str(number),
        HASH: hash_of(project, service),
        ONE_OFF: "True" if one_off else "False",
        FILES: ",".join(project.files),
        DIRECTORY: project.directory,
    }


def options_of(
    project: Project, service: str, number: int, id_of: Callable[[str], str], *, one_off: bool = False
) -> Options:
    """The options of a container; `id_of` finds the container of a service that something is shared with."""
    one = project.services[service]
    found: Options = {"name": [name_of(project, service, number)]}
    found |= {option: [str(one[key])] for option, key in SAME.items() if key in one and not _is_none(key, one[key])}
    found |= {option: [str(text) for text in one[key]] for option, key in LISTS.items() if one.get(key)}
    found |= {
        option: [f"{key}={text}" for key, text in one[name].items()] for option, name in MAPS.items() if one.get(name)
    }
    found |= {option: ["true"] for option, key in SWITCHES.items() if one.get(key)}
    limits = ((one.get("deploy") or {}).get("resources") or {}).get("limits") or {}
    found |= {option: [str(limits[key])] for option, key in LIMITS.items() if key in limits and limits[key] != 0}
    reserved = ((one.get("deploy") or {}).get("resources") or {}).get("reservations") or {}
    if "memory" in reserved:
        found["memory-reservation"] = [str(reserved["memory"])]
    environment = {key: text for key, text in (one.get("environment") or {}).items() if text is not None}
    found["env"] = [f"{key}={text}" for key, text in environment.items()]
    found["label"] = [f"{key}={text}" for key, text in labels_of(project, service, number, one_off=one_off).items()]
    found |= _network(project, service, id_of, one_off=one_off)
    for part in (_shared, _mounts, _life, _health):
        found |= part(project, service, id_of)
    found |= limits_of(one)
    if not one_off and has_ports(one):
        found["publish"] = [published(port, number) for port in one.get("ports") or ()]
    if "stop_grace_period" in one:
        found["stop-timeout"] = [str(round(seconds_of(one["stop_grace_period"])))]
    if one.get("security_opt"):
        found["security-opt"] = [text.replace(":", "=", 1) if "=" not in text else text for text in one["security_opt"]]
    if one.get("devices"):
        found["device"] = [f"{item['source']}:{item['target']}:{item['permissions']}" for item in one["devices"]]
    return {option: texts for option, texts in found.items() if texts}


def _is_none(key: str, content: object) -> bool:
    """Whether a limit of nought stands for none."""
    return key in UNLIMITED and str(content) in ("0", "0.0")


def has_ports(service: Map) -> bool:
    """Whether its network is its own, so that ports of it can be published."""
    mode = str(service.get("network_mode") or "")
    return mode not in ("host", "none") and ":" not in mode


def _network(project: Project, service: str, id_of: Callable[[str], str], *, one_off: bool) -> Options:
    one = project.services[service]
    hosts = [f"{name}={address}" for name, all_ in (one.get("extra_hosts") or {}).items() for address in all_]
    found: Options = {"add-host": hosts} if hosts else {}
    mode = str(one.get("network_mode") or "")
    if mode:
        kind, _, other = mode.partition(":")
        found["network"] = [f"container:{id_of(other)}" if kind == "service" else mode]
        return found
    networks = networks_of(project, service)
    alone = [one_of for name, _ in networks if (one_of := _is_outer(project, name))]
    if alone:
        found["network"] = alone[:1]
        return found
    # Names and addresses are those of the service's own containers.
    found["network"] = [
        _words(project, service, name, Map() if one_off else how, named=not one_off) for name, how in networks
    ]
    return found


def _is_outer(project: Project, name: str) -> str:
    """`host` or `none`, where a network of the file is only another word for that."""
    one = project.model["networks"][name]
    return str(one["name"]) if one.get("external") and one["name"] in ("host", "none") else ""


def network_options(network: Map) -> dict[str, str]:
    """The options of a network's driver, by cosonet's names for Docker's."""
    given = network.get("driver_opts") or {}
    return {name.removeprefix("com.docker.network.driver."): str(content) for name, content in given.items()}


def networks_of(project: Project, service: str) -> list[tuple[str, Map]]:
    """The networks of a service: that of the highest priority first, and one with a way out before one without."""
    defined = project.model.get("networks") or Map()
    listed = [(name, how or Map()) for name, how in (project.services[service].get("networks") or {}).items()]
    return sorted(listed, key=lambda item: (-int(item[1].get("priority") or 0), bool(defined[item[0]].get("internal"))))


def _words(project: Project, service: str, name: str, how: Map, *, named: bool) -> str:
    aliases = [service, *(how.get("aliases") or ())] if named else []
    aliases += [text.partition(":")[2] for text in _links_to(project, service) if named]
    parts = [f"name={project.model['networks'][name]['name']}"]
    parts += [f"alias={alias}" for alias in dict.fromkeys(aliases) if alias]
    for key, word in (("ipv4_address", "ip"), ("ipv6_address", "ip6"), ("mac_address", "mac-address")):
        if how.get(key):
            parts.append(f"{word}={how[key]}")
    return ",".join(parts)


def _links_to(project: Project, service: str) -> list[str]:
    """The links of other services that lead to this one: `SERVICE:ALIAS`."""
    links = [text for one in project.services.values() for text in one.get("links") or ()]
    return [text for text in links if text.partition(":")[0] == service and ":" in text]


def _shared(project: Project, service: str, id_of: Callable[[str], str]) -> Options:
    """Namespaces of other services, or of the host."""
    one = project.services[service]
    found: Options = {}
    for key in ("pid", "ipc"):
        kind, _, other = str(one.get(key) or "").partition(":")
        if kind == "service":
            found[key] = [f"container:{id_of(other)}"]
        elif kind in ("host", "container"):
            found[key] = [one[key]]
    if one.get("cgroup") == "host":
        found["cgroupns"] = ["host"]
    if one.get("userns_mode"):
        found["userns"] = [one["userns_mode"]]
    return found


def _mounts(project: Project, service: str, id_of: Callable[[str], str]) -> Options:
    one = project.services[service]
    found: Options = {"mount": [], "volumes-from": []}
    for mount in one.get("volumes") or ():
        found["mount"].append(_mount(project, mount))
    for text in one.get("volumes_from") or ():
        if text.startswith("container:"):
            found["volumes-from"].append(text.removeprefix("container:"))
        else:
            name, colon, mode = text.partition(":")
            found["volumes-from"].append(f"{id_of(name)}{colon}{mode}")
    found["mount"] += grants.mounts(project, service)
    return found


def _mount(project: Project, mount: Map) -> str:
    parts = [f"type={mount['type']}", f"target={mount['target']}"]
    source = mount.get("source")
    if mount["type"] == "volume" and source:
        source = project.model["volumes"][source]["name"]
    if source:
        parts.append(f"source={source}")
    if mount.get("read_only"):
        parts.append("readonly")
    if (mount.get("volume") or {}).get("nocopy"):
        parts.append("volume-nocopy")
    bind, tmpfs = mount.get("bind") or {}, mount.get("tmpfs") or {}
    if bind.get("propagation"):
        parts.append(f"bind-propagation={bind['propagation']}")
    if "size" in tmpfs:
        parts.append(f"tmpfs-size={tmpfs['size']}")
    if "mode" in tmpfs:
        parts.append(f"tmpfs-mode={tmpfs['mode']:o}")
    for part in parts:
        if "," in part:
            raise UsageError(f"{part!r}: a path of a mount cannot have a comma in it")
    return ",".join(parts)


def _life(project: Project, service: str, _: Callable[[str], str]) -> Options:
    one = project.services[service]
    found: Options = {}
    # The specification has it so: `restart` counts where there is no policy for deployments (deploy.md).
    policy = _of_deploy((one.get("deploy") or {}).get("restart_policy")) or one.get("restart")
    if policy:
        found["restart"] = [policy]
    logging = one.get("logging") or {}
    if logging.get("driver"):
        found["log-driver"] = [logging["driver"]]
    if logging.get("options"):
        found["log-opt"] = [f"{key}={text}" for key, text in logging["options"].items()]
    return found


def _of_deploy(policy: Map | None) -> str:
    if not policy:
        return ""
    condition = policy.get("condition", "any")
    if condition == "on-failure" and policy.get("max_attempts"):
        return f"on-failure:{policy['max_attempts']}"
    return {"none": "no", "on-failure": "on-failure"}.get(condition, "always")


def _health(project: Project, service: str, _: Callable[[str], str]) -> Options:
    one = project.services[service].get("healthcheck") or {}
    test = one.get("test") or ()
    if one.get("disable") or (test and test[0] == "NONE"):
        return {"no-healthcheck": ["true"]}
    found: Options = {option: [one[key]] for option, key in HEALTH.items() if key in one}
    if "retries" in one:
        found["health-retries"] = [str(one["retries"])]
    if test:
        if test[0] == "CMD-SHELL":
            found["health-cmd"] = [test[1]]
        else:
            # Without a shell, which its image need not have.
            found["health-words"] = list(test[1:])
    return found


def command_of(service: Map, options: Options, command: tuple[str, ...] | None = None) -> tuple[str, ...]:
    """The words of a service's container; of its entrypoint the first becomes an option, unless there is one."""
    words = command if command is not None else tuple(service.get("command") or ())
    entrypoint = service.get("entrypoint")
    if entrypoint is None or "entrypoint" in options:
        return words
    options["entrypoint"] = [entrypoint[0] if entrypoint else ""]
    return (*entrypoint[1:], *words)


def numbers(service: Map) -> range:
    """The numbers of a service's containers."""
    return range(1, replicas(service) + 1)


def make_sources(service: Map) -> None:
    """Make the directories of the host that bind mounts want made."""
    for path in missing_sources(service):
        os.makedirs(path, exist_ok=True)


def missing_sources(service: Map) -> list[str]:
    """The directories of the host that bind mounts want made, and that are not there."""
    binds = [mount for mount in service.get("volumes") or () if mount["type"] == "bind"]
    return [
        mount["source"]
        for mount in binds
        if (mount.get("bind") or {}).get("create_host_path") and not os.path.lexists(mount["source"])
    ]
