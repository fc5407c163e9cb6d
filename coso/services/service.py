"""A service: every key of the specification, and what reads it into its long form.

Source: compose-spec, 05-services.md, build.md, deploy.md, develop.md.
"""

from __future__ import annotations

import re

from coso.services.building import build, extra_hosts, grants, ulimits
from coso.services.mounts import device, long_device, mount
from coso.services.places import Item, Map, Seq
from coso.services.ports import ports
from coso.services.values import (
    Reader,
    count,
    either,
    fields,
    flag,
    listing,
    mapping,
    named,
    number,
    one_of,
    or_nothing,
    path,
    resolved,
    said,
    size,
    span,
    tagged,
    text,
    whole,
    word,
    words_of_shell,
)

CONDITIONS = ("service_started", "service_healthy", "service_completed_successfully")
PULL_POLICY = re.compile(r"always|never|build|if_not_present|missing|refresh|daily|weekly|every_([0-9]+[wdhms])+")
texts = listing(text)
one_or_more = listing(text, single=True)


def _depends_on(item: Item, directory: str) -> Map:
    found = Map()
    if isinstance(item.content, Seq):
        for inner in item.items():
            found.put(text(inner), Map({"condition": CONDITIONS[0], "required": True}), inner.place)
        return found
    known: dict[str, Reader] = {"restart": flag, "required": flag, "condition": one_of(*CONDITIONS)}

    def read(inner: Item, directory: str) -> Map:
        one = fields(known, required=("condition",))(inner, directory)
        assert isinstance(one, Map)
        return Map({"required": True, **one}, one.places)

    for name, inner in item.entries():
        found.put(name, tagged(inner, read, directory), inner.place)
    return found


NETWORK: dict[str, Reader] = {
    "aliases": texts,
    "interface_name": text,
    "ipv4_address": text,
    "ipv6_address": text,
    "link_local_ips": texts,
    "mac_address": text,
    "driver_opts": mapping(""),
    "priority": whole,
    "gw_priority": whole,
}


def _networks(item: Item, directory: str) -> Map:
    if isinstance(item.content, Seq):
        found = Map()
        for inner in item.items():
            found.put(text(inner), None, inner.place)
        return found
    return named(fields(NETWORK))(item, directory)  # type: ignore[return-value]


def _env_files(item: Item, directory: str) -> Seq:
    found = Seq()
    for inner in [item] if isinstance(item.content, str) else item.items():
        if isinstance(inner.content, str):
            found.put(Map({"path": resolved(inner.content, directory), "required": True}), inner.place)
            continue
        known: dict[str, Reader] = {"path": path, "format": text, "required": flag}
        read = fields(known, required=("path",))(inner, directory)
        assert isinstance(read, Map)
        found.put(Map({"required": True, **read}, read.places), inner.place)
    return found


def _health_test(item: Item, _: str) -> Seq:
    if isinstance(item.content, str):
        return Seq(["CMD-SHELL", item.content], [item.place] * 2)
    found = texts(item, "")
    assert isinstance(found, Seq)
    if found and found[0] not in ("NONE", "CMD", "CMD-SHELL"):
        item.fail("the first word of a test is NONE, CMD or CMD-SHELL")
    if found and found[0] != "NONE" and len(found) == 1:
        item.fail(f"a command is missing after {found[0]}")
    return found


def _restart(item: Item, _: str) -> str:
    if item.content is False or item.content == "":
        return "no" if item.content is False else ""  # YAML 1.1 took `no` for false.
    policy, colon, count = text(item).partition(":")
    if policy not in ("no", "always", "on-failure", "unless-stopped") or (
        colon and (policy != "on-failure" or not count.isdecimal())
    ):
        item.fail(f"{item.content!r} is no restart policy", hint="no, always, unless-stopped, on-failure[:TIMES]")
    return text(item)


def _pull_policy(item: Item, _: str) -> str:
    if not PULL_POLICY.fullmatch(text(item)):
        item.fail(f"{item.content!r} is no pull policy", hint="always, missing, never, build, daily, weekly, every_12h")
    return text(item)


def _gpus(item: Item, directory: str) -> Seq:
    if item.content == "all":
        return Seq([Map({"count": -1})], [item.place])
    return listing(_device_request)(item, directory)  # type: ignore[return-value]


def _device_request(item: Item, directory: str) -> Map:
    """Devices of a kind: all of it, where neither number nor names are said."""
    found = fields(DEVICE_REQUEST)(item, directory)
    assert isinstance(found, Map)
    if "count" not in found and "device_ids" not in found:
        found["count"] = -1
    return found


def _count(item: Item, _: str) -> int:
    return -1 if item.content == "all" else whole(item)


def _provider(item: Item, directory: str) -> object:
    return fields({"type": text, "options": _options}, required=("type",))(item, directory)


def _options(item: Item, _: str) -> Map:
    """Options of a provider: each a list of texts."""
    found = Map()
    for key, inner in item.entries():
        content = inner.content if isinstance(inner.content, Seq) else [inner.content]
        found.put(key, Seq([said(one) for one in content], [inner.place] * len(content)), inner.place)
    return found


def _models(item: Item, directory: str) -> object:
    if isinstance(item.content, Seq):
        found = Map()
        for inner in item.items():
            found.put(text(inner), None, inner.place)
        return found
    return named(fields({"endpoint_var": text, "model_var": text}))(item, directory)


def _watch_path(item: Item, directory: str) -> str:
    return path(item, directory)


DEVICE_REQUEST: dict[str, Reader] = {
    "capabilities": texts,
    "count": _count,
    "device_ids": texts,
    "driver": text,
    "options": mapping(""),
}
HEALTHCHECK: dict[str, Reader] = {
    "disable": flag,
    "interval": span,
    "retries": count,
    "test": _health_test,
    "timeout": span,
    "start_period": span,
    "start_interval": span,
}
UPDATE: dict[str, Reader] = {
    "parallelism": whole,
    "delay": span,
    "failure_action": text,
    "monitor": span,
    "max_failure_ratio": number,
    "order": one_of("start-first", "stop-first"),
}
GENERIC: dict[str, Reader] = {"discrete_resource_spec": fields({"kind": text, "value": whole})}
RESOURCES: dict[str, Reader] = {
    "cpus": number,
    "memory": size,
    "pids": whole,
    "devices": listing(_device_request),
    "generic_resources": listing(fields(GENERIC)),
}
PLACEMENT: dict[str, Reader] = {
    "constraints": texts,
    "preferences": listing(fields({"spread": text})),
    "max_replicas_per_node": whole,
}
DEPLOY: dict[str, Reader] = {
    "mode": text,
    "endpoint_mode": text,
    "replicas": count,
    "labels": mapping(""),
    "rollback_config": fields(UPDATE),
    "update_config": fields(UPDATE),
    "resources": fields({"limits": fields(RESOURCES), "reservations": fields(RESOURCES)}),
    "restart_policy": fields({"condition": text, "delay": span, "max_attempts": whole, "window": span}),
    "placement": fields(PLACEMENT),
}
HOOK: dict[str, Reader] = {
    "command": words_of_shell,
    "user": text,
    "privileged": flag,
    "working_dir": text,
    "environment": mapping(),
}
WATCH: dict[str, Reader] = {
    "path": _watch_path,
    "action": one_of("rebuild", "sync", "restart", "sync+restart", "sync+exec"),
    "target": text,
    "ignore": one_or_more,
    "include": one_or_more,
    "initial_sync": flag,
    "exec": fields(HOOK),
}
RATE = fields({"path": text, "rate": size}, required=("path", "rate"))
WEIGHT = fields({"path": text, "weight": whole}, required=("path", "weight"))
BLKIO: dict[str, Reader] = {
    "weight": whole,
    "weight_device": listing(WEIGHT),
    **{f"device_{act}_{what}": listing(RATE) for act in ("read", "write") for what in ("bps", "iops")},
}
SERVICE: dict[str, Reader] = {
    "annotations": mapping(""),
    "attach": flag,
    "blkio_config": fields(BLKIO),
    "build": build,
    "cap_add": listing(text, unique=True),
    "cap_drop": listing(text, unique=True),
    "cgroup": one_of("host", "private"),
    "cgroup_parent": text,
    "command": words_of_shell,
    "configs": grants,
    "container_name": text,
    "cpu_count": whole,
    "cpu_percent": number,
    "cpu_period": whole,
    "cpu_quota": whole,
    "cpu_rt_period": whole,
    "cpu_rt_runtime": whole,
    "cpu_shares": whole,
    "cpus": number,
    "cpuset": text,
    "credential_spec": fields({"config": text, "file": text, "registry": text}),
    "depends_on": _depends_on,
    "deploy": or_nothing(fields(DEPLOY)),
    "develop": or_nothing(fields({"watch": listing(fields(WATCH, required=("path", "action")))})),
    "device_cgroup_rules": texts,
    "devices": listing(either(device, long_device)),
    "dns": one_or_more,
    "dns_opt": texts,
    "dns_search": one_or_more,
    "domainname": text,
    "entrypoint": words_of_shell,
    "env_file": _env_files,
    "environment": mapping(),
    "expose": listing(word),
    "extends": either(lambda item, _: Map({"service": text(item)}), fields({"service": text, "file": text})),
    "external_links": texts,
    "extra_hosts": extra_hosts,
    "gpus": _gpus,
    "group_add": listing(word, unique=True),
    "healthcheck": fields(HEALTHCHECK),
    "hostname": text,
    "image": or_nothing(text),
    "init": flag,
    "ipc": text,
    "isolation": text,
    "label_file": listing(path, single=True),
    "labels": mapping(""),
    "links": texts,
    "logging": fields({"driver": text, "options": mapping("")}),
    "mac_address": text,
    "mem_limit": size,
    "mem_reservation": size,
    "mem_swappiness": size,
    "memswap_limit": size,
    "models": _models,
    "network_mode": text,
    "networks": _networks,
    "oom_kill_disable": flag,
    "oom_score_adj": whole,
    "pid": text,
    "pids_limit": whole,
    "platform": text,
    "ports": ports,
    "post_start": listing(fields(HOOK, required=("command",))),
    "pre_stop": listing(fields(HOOK, required=("command",))),
    "privileged": flag,
    "profiles": listing(text, unique=True),
    "provider": _provider,
    "pull_policy": _pull_policy,
    "pull_refresh_after": text,
    "read_only": flag,
    "restart": _restart,
    "runtime": text,
    "scale": count,
    "secrets": grants,
    "security_opt": texts,
    "shm_size": size,
    "stdin_open": flag,
    "stop_grace_period": span,
    "stop_signal": text,
    "storage_opt": mapping(""),
    "sysctls": mapping(""),
    "tmpfs": one_or_more,
    "tty": flag,
    "ulimits": ulimits,
    "use_api_socket": flag,
    "user": word,
    "userns_mode": text,
    "uts": text,
    "volumes": listing(mount),
    "volumes_from": texts,
    "working_dir": text,
}
