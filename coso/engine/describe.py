"""What `inspect` shows, in Docker's words: one JSON object for a container, an image, a volume."""

from __future__ import annotations

from coso.engine import health, ports
from coso.engine.control import stop_signal
from coso.images import store
from coso.images.reference import familiar
from coso.spec import defaults
from coso.spec.mounts import volume_path
from coso.spec.network import names_of

TYPE_CHECKING = False
if TYPE_CHECKING:
    from typing import Any

    from coso.engine.record import Record

    Json = dict[str, Any]

NEVER = "0001-01-01T00:00:00Z"
NANO = 1_000_000_000


def container(one: Record) -> Json:
    """A container as `docker inspect` shows one, as far as it has the same properties."""
    args = list(one.config.get("args") or [""])
    return {
        "Id": one.id,
        "Created": one.config.get("created"),
        "Path": args[0],
        "Args": args[1:],
        "State": _state(one),
        "Image": f"sha256:{one.config['imageId']}" if one.config.get("imageId") else "",
        "ResolvConfPath": f"{one.directory}/resolv.conf",
        "HostnamePath": f"{one.directory}/hostname",
        "HostsPath": f"{one.directory}/hosts",
        "LogPath": f"{one.directory}/json.log" if one.is_kept else "",
        "Name": f"/{one.name}" if one.name else "",
        "RestartCount": int(one.state.get("restarts") or 0),
        "Driver": "overlay",
        "Platform": "linux",
        "MountLabel": "",
        "ProcessLabel": "",
        "AppArmorProfile": "",
        "HostConfig": _host_config(one),
        "GraphDriver": {
            "Name": "overlay",
            "Data": {"UpperDir": f"{one.directory}/upper", "WorkDir": f"{one.directory}/work"},
        },
        "Mounts": [_mount(item) for item in one.config.get("mounts") or []],
        "Config": _config(one),
        "NetworkSettings": _network(one),
    }


def _state(one: Record) -> Json:
    state = one.state
    found: Json = {
        "Status": one.status,
        "Running": one.is_alive,
        "Paused": one.status == "paused",
        "Restarting": one.status == "restarting",
        "OOMKilled": bool(state.get("oomKilled")),
        "Dead": False,
        "Pid": one.pid,
        "ExitCode": int(state.get("exitCode") or 0),
        "Error": str(state.get("error") or ""),
        "StartedAt": state.get("startedAt") or NEVER,
        "FinishedAt": state.get("finishedAt") or NEVER,
    }
    if state.get("health"):
        found["Health"] = state["health"]
    return found


def _host_config(one: Record) -> Json:
    from coso.flags import Words
    from coso.spec.resources import resources

    limits = resources(Words(one.options, ()), filter_devices=False)
    policy, _, most = one.option("restart", "no").partition(":")
    log = dict(text.partition("=")[::2] for text in one.options.get("log-opt", []))
    cpus = one.option("cpus")
    return {
        "Binds": one.options.get("volume") or None,
        "ContainerIDFile": "",
        "LogConfig": {"Type": one.option("log-driver", "json-file"), "Config": log},
        "NetworkMode": network_mode(one),
        "PortBindings": _bindings(one),
        "RestartPolicy": {"Name": policy, "MaximumRetryCount": int(most or 0)},
        "AutoRemove": bool(one.config.get("remove", not one.is_kept)),
        "CapAdd": one.options.get("cap-add"),
        "CapDrop": one.options.get("cap-drop"),
        "CgroupnsMode": one.option("cgroupns", "private"),
        "Dns": one.options.get("dns", []),
        "DnsOptions": one.options.get("dns-option", []),
        "DnsSearch": one.options.get("dns-search", []),
        "ExtraHosts": one.options.get("add-host"),
        "GroupAdd": one.options.get("group-add"),
        "IpcMode": one.option("ipc", "private"),
        "OomScoreAdj": int(one.option("oom-score-adj", "0")),
        "PidMode": one.option("pid"),
        "Privileged": one.switch("privileged"),
        "PublishAllPorts": False,
        "ReadonlyRootfs": one.switch("read-only"),
        "SecurityOpt": one.options.get("security-opt"),
        "Tmpfs": dict(text.partition(":")[::2] for text in one.options.get("tmpfs", [])) or None,
        "UTSMode": one.option("uts"),
        "UsernsMode": one.option("userns"),
        "ShmSize": _shm_size(one),
        "Runtime": "coso",
        "Memory": limits.memory.limit or 0,
        "MemorySwap": limits.memory.swap or 0,
        "MemoryReservation": limits.memory.reservation or 0,
        "NanoCpus": int(float(cpus) * NANO) if cpus else 0,
        "CpuShares": limits.cpu.shares or 0,
        "CpuPeriod": 0 if cpus else limits.cpu.period or 0,
        "CpuQuota": 0 if cpus else limits.cpu.quota or 0,
        "CpusetCpus": limits.cpu.cpus,
        "CpusetMems": limits.cpu.mems,
        "BlkioWeight": limits.block_io.weight or 0,
        "PidsLimit": limits.pids,
        "CgroupParent": one.option("cgroup-parent"),
        "Init": one.switch("init") or None,
        "MaskedPaths": list(defaults.MASKED_PATHS),
        "ReadonlyPaths": list(defaults.READONLY_PATHS),
    }


def _shm_size(one: Record) -> int:
    from coso.spec import units

    return units.size(one.option("shm-size", "64m"))


def network_mode(one: Record) -> str:
    """`bridge`, `none`, `host`, a network's name, or another container's."""
    asked = names_of(one.options.get("network", ["bridge"]))[0]
    return "bridge" if asked.startswith("/") else asked


def _bindings(one: Record) -> Json:
    from cosonet.publish import parse_publish

    found: dict[str, list[Json]] = {}
    for text in one.options.get("publish", []):
        for item in parse_publish(text):
            port = str(item.host_port) if item.host_port else ""
            found.setdefault(f"{item.inside}/{item.protocol}", []).append({"HostIp": item.host, "HostPort": port})
    return found


def _mount(item: Json) -> Json:
    kind = str(item["kind"])
    found: Json = {"Type": kind, "Source": item["source"], "Destination": item["destination"]}
    if kind == "volume":
        found = {"Type": kind, "Name": item["source"], "Source": volume_path(str(item["source"]))}
        found |= {"Destination": item["destination"], "Driver": "local"}
    propagation = next(iter(item["options"]), "rprivate" if kind == "bind" else "") if kind != "tmpfs" else ""
    return {**found, "Mode": "ro" if item["readonly"] else "", "RW": not item["readonly"], "Propagation": propagation}


def _config(one: Record) -> Json:
    image = one.settings
    exposed = {**(image.get("ExposedPorts") or {}), **{_port(text): {} for text in one.options.get("expose", [])}}
    exposed |= {key: {} for key in _bindings(one)}
    variables = dict(item.partition("=")[::2] for item in image.get("Env") or ())
    variables |= dict(item.partition("=")[::2] for item in one.options.get("env", []))
    entrypoint = [one.option("entrypoint")] if one.option("entrypoint") else image.get("Entrypoint")
    found = {
        "Hostname": one.option("hostname", one.id),
        "Domainname": one.option("domainname"),
        "User": one.option("user") or image.get("User") or "",
        "AttachStdin": one.switch("interactive"),
        "AttachStdout": True,
        "AttachStderr": True,
        "ExposedPorts": exposed or None,
        "Tty": one.switch("tty"),
        "OpenStdin": one.switch("interactive"),
        "StdinOnce": one.switch("interactive"),
        "Env": [f"{name}={text}" for name, text in ({"PATH": defaults.PATH} | variables).items()],
        "Cmd": list(one.config.get("command") or []) or image.get("Cmd"),
        "Image": str(one.config.get("image")),
        "Volumes": image.get("Volumes"),
        "WorkingDir": one.option("workdir") or image.get("WorkingDir") or "",
        "Entrypoint": entrypoint,
        "Labels": one.labels,
        "StopSignal": stop_signal(one),
        "StopTimeout": int(one.option("stop-timeout", "10")),
    }
    if check := health.settings_of(one):
        found["Healthcheck"] = check
    return found


def _port(text: str) -> str:
    return text if "/" in text else f"{text}/tcp"


def _network(one: Record) -> Json:
    members = ports.members_of(*one.process) if one.is_alive and one.pid else []
    published: dict[str, list[Json]] = {}
    for item in members:
        for kind, host, port, inside in item.ports:
            published.setdefault(f"{inside}/{kind}", []).append({"HostIp": host or "0.0.0.0", "HostPort": str(port)})
    first = members[0] if members else None
    networks = {
        item.network: {
            "IPAddress": item.address.partition("/")[0],
            "GlobalIPv6Address": item.address6.partition("/")[0],
            "MacAddress": item.mac,
            "Aliases": list(item.names),
        }
        for item in members
    }
    return {
        "Ports": published,
        "IPAddress": first.address.partition("/")[0] if first else str(one.state.get("address") or ""),
        "MacAddress": first.mac if first else "",
        "SandboxKey": f"/proc/{one.pid}/ns/net" if one.pid else "",
        "Networks": networks,
    }


def image(found: store.Image) -> Json:
    """An image as `docker image inspect` shows one."""
    history = found.config.get("history") or [{}]
    return {
        "Id": f"sha256:{found.id}",
        "RepoTags": [familiar(name) for name in found.names],
        "RepoDigests": [familiar(origin) for origin in found.origins],
        "Parent": "",
        "Comment": str(history[-1].get("comment") or ""),
        "Created": found.config.get("created"),
        "Author": str(found.config.get("author") or ""),
        "Config": found.settings,
        "Architecture": found.config.get("architecture"),
        "Variant": str(found.config.get("variant") or ""),
        "Os": found.config.get("os"),
        "Size": store.size_of(found),
        "Digest": found.digest,
        "MediaType": found.media_type,
        "GraphDriver": {"Name": "overlay", "Data": {"Layers": [store.tree_of(diff_id) for diff_id in found.diff_ids]}},
        "RootFS": {"Type": "layers", "Layers": found.diff_ids},
    }


def volume(known: Json) -> Json:
    """A volume as `docker volume inspect` shows one."""
    return {
        "CreatedAt": known["created"],
        "Driver": "local",
        "Labels": known["labels"],
        "Mountpoint": volume_path(str(known["name"])),
        "Name": known["name"],
        "Options": None,
        "Scope": "local",
    }
