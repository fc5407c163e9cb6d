"""Options as keyword arguments: those of `coso run`, by their names with `_` for `-`."""

from __future__ import annotations

import os
from collections.abc import Mapping, Sequence
from typing import TypedDict

from coso.errors import UsageError
from coso.options import OPTIONS

Pairs = Mapping[str, str | int] | Sequence[str]
Many = Sequence[str] | str
Size = int | str

# Of several things people speak in the plural.
PLURALS = {"volumes": "volume", "ports": "publish", "labels": "label"}
# What makes no sense for a container that belongs to a process, or is said otherwise.
LEFT_OUT = (
    "detach attach tty interactive rm quiet cidfile restart health-interval health-timeout health-retries "
    "health-start-period health-start-interval no-healthcheck log-driver log-opt detach-keys sig-proxy explain "
    "net platform pull stop-timeout"
).split()
SEPARATORS = {"volume": ":", "publish": ":", "add-host": ":", "tmpfs": ":", "device": ":"}
PATHS = ("rootfs", "env-file", "label-file")


class Options(TypedDict, total=False):
    """What a container may be given; each is the option of `coso run` of that name.

    What may be given several times is a list or, where it has two halves, a
    mapping: `env={"A": "b"}`, `volumes={"/srv": "/data:ro"}`, `ports={8080: 80}`
    (host to container), `ports=[80]` (a port of the host's choice).
    """

    rootfs: str
    name: str
    network: Many
    ip: str
    ip6: str
    mac_address: str
    network_alias: Many
    ports: Mapping[int, int] | Sequence[int | str]
    publish: Mapping[int, int] | Sequence[int | str]
    publish_all: bool
    expose: Sequence[int | str]
    dns: Many
    dns_search: Many
    dns_option: Many
    add_host: Pairs
    hostname: str
    domainname: str
    entrypoint: str
    user: str | int
    group_add: Many
    workdir: str
    env: Pairs
    env_file: Many
    annotation: Pairs
    labels: Pairs
    label: Pairs
    label_file: Many
    volumes: Mapping[str, str] | Sequence[str]
    volume: Mapping[str, str] | Sequence[str]
    mount: Many
    tmpfs: Mapping[str, str] | Many
    volumes_from: Many
    read_only: bool
    device: Many
    device_cgroup_rule: Many
    shm_size: Size
    memory: Size
    memory_swap: Size
    memory_reservation: Size
    memory_swappiness: int
    oom_kill_disable: bool
    oom_score_adj: int
    cpus: float | str
    cpu_shares: int
    cpu_period: int
    cpu_quota: int
    cpuset_cpus: str
    cpuset_mems: str
    blkio_weight: int
    blkio_weight_device: Many
    device_read_bps: Many
    device_write_bps: Many
    device_read_iops: Many
    device_write_iops: Many
    cpu_rt_runtime: int
    cpu_rt_period: int
    pids_limit: int
    ulimit: Pairs
    cgroup_parent: str
    init: bool
    privileged: bool
    cap_add: Many
    cap_drop: Many
    security_opt: Many
    sysctl: Pairs
    pid: str
    uts: str
    ipc: str
    userns: str
    cgroupns: str
    mountns: str
    monotonic: int
    boottime: int
    stop_signal: str
    health_cmd: str


def words_of(options: Mapping[str, object]) -> dict[str, list[str]]:
    """The words of `coso run` for these. Raises UsageError."""
    known = {option.name: option for option in OPTIONS if option.name not in LEFT_OUT}
    found: dict[str, list[str]] = {}
    for key, content in options.items():
        name = PLURALS.get(key, key.replace("_", "-"))
        option = known.get(name)
        if option is None:
            raise UsageError(f"there is no option {key!r}", hint=_hint(key, [*PLURALS, *known]))
        if content is None or content is False:
            continue
        if not option.argument:
            if content is not True:
                raise UsageError(f"{key} is a switch: it takes True or False, not {content!r}")
            found[name] = ["true"]
            continue
        texts = _texts(name, content)
        if len(texts) > 1 and not option.repeated:
            raise UsageError(f"{key} takes one value, not {content!r}")
        found[name] = [*found.get(name, []), *texts]
    for text in found.get("userns", []):
        raise UsageError(f"userns={text!r} is for `coso run`: its runtime has to protect itself then")
    return {name: [_settled(name, text) for text in texts] for name, texts in found.items()}


def _hint(key: str, known: list[str]) -> str:
    from difflib import get_close_matches

    near = get_close_matches(key, [name.replace("-", "_") for name in known], 1)
    return f"{near[0]!r} perhaps?" if near else "they are those of `coso run --help`, with _ for -"


def _texts(name: str, content: object) -> list[str]:
    if isinstance(content, Mapping):
        return [f"{key}{SEPARATORS.get(name, '=')}{text}" for key, text in content.items()]
    if isinstance(content, (list, tuple)):
        return [str(item) for item in content]
    return [str(content)]


def _settled(name: str, text: str) -> str:
    """What depends on this process's directory and environment is looked up here."""
    if name == "env" and "=" not in text:
        return f"{text}={os.environ.get(text, '')}"
    if name in PATHS:
        return os.path.abspath(text)
    source, colon, rest = text.partition(":")
    if name == "volume" and colon and "/" in source:
        return f"{os.path.abspath(os.path.expanduser(source))}:{rest}"
    return text
