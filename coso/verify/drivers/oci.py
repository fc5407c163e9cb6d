"""runc, crun and youki: the bundle which the runtime itself writes (`RUNTIME spec`), amended by the wish."""

from __future__ import annotations

import json
import os
import shutil
import subprocess
from typing import Any

from coso.errors import CosoError
from coso.kernel.capability import permitted
from coso.spawn import find
from coso.spec import units
from coso.verify.drivers import host
from coso.verify.drivers.model import Driver, Wish, asked, capability, refusal

Config = dict[str, Any]

PERIOD = 100_000
# The names which `docker run` and the OCI specification have for the namespaces that may be shared.
SHARED = {"network": "network", "pid": "pid", "ipc": "ipc", "uts": "uts", "cgroupns": "cgroup", "userns": "user"}


def bundle(runtime: str, config: Config, wish: Wish, namespaces: tuple[str, ...] = ()) -> Config:
    """Amend a runtime's own config.json; `namespaces` are those it says it knows."""
    process = config["process"]
    process |= {"args": list(wish.command), "cwd": "/", "terminal": False}
    config["root"] = {"path": wish.rootfs, "readonly": False}
    config["mounts"] += [
        {"destination": inside, "type": "bind", "source": path, "options": ["rbind", *(["ro"] if read_only else [])]}
        for path, inside, read_only in wish.volumes
    ]
    for name, text in asked(wish):
        if not (_limit(config, name, text) or _process(config, name, text) or _namespace(config, name, text)):
            if name != "monotonic" or "time" not in namespaces:
                raise refusal(runtime, name, text)
            config["linux"]["namespaces"].append({"type": "time"})
            config["linux"]["timeOffsets"] = {"monotonic": {"secs": int(text)}}
    return config


def _limit(config: Config, name: str, text: str) -> bool:
    """Grant a limit; whether it was one."""
    limits = config["linux"].setdefault("resources", {})
    match name:
        case "memory":
            limits["memory"] = {"limit": units.memory(text)}
        case "pids-limit":
            limits["pids"] = {"limit": int(text)}
        case "cpus":
            limits["cpu"] = {"quota": int(units.cpus(text) * PERIOD), "period": PERIOD}
        case _:
            return False
    return True


def _process(config: Config, name: str, text: str) -> bool:
    """Grant what concerns the process; whether it did."""
    process = config["process"]
    match name, text:
        case "cap-add", _:
            more = permitted() if text == "ALL" else (capability(text),)
            for kind in ("bounding", "effective", "permitted"):
                held = process["capabilities"].setdefault(kind, [])
                held += [capability for capability in more if capability not in held]
        case "security-opt", "seccomp=unconfined":
            config["linux"].pop("seccomp", None)
        case "security-opt", "no-new-privileges=false" | "no-new-privileges=true":
            process["noNewPrivileges"] = text.endswith("true")
        case "workdir", _:
            process["cwd"] = text
        case "hostname", _:
            config["hostname"] = text
        case "tty", _:
            process["terminal"] = True
        case _:
            return name == "interactive"  # Standard input is passed on in any case.
    return True


def _namespace(config: Config, name: str, text: str) -> bool:
    """Leave a namespace out; whether it was about that."""
    if (name, text) == ("network", "none"):
        return True  # The namespace which the bundle asks for has a loopback interface alone.
    if name not in SHARED or text != "host":
        return False
    kept = [item for item in config["linux"]["namespaces"] if item["type"] != SHARED[name]]
    config["linux"]["namespaces"] = kept
    if name == "uts":
        config.pop("hostname", None)  # It would be the host's name that is set.
    return True


def _driver(runtime: str) -> Driver:
    def command(wish: Wish, name: str, scratch: str) -> list[str]:
        directory = f"{scratch}/{name}"
        shutil.rmtree(directory, ignore_errors=True)
        os.mkdir(directory, 0o755)
        config = bundle(runtime, _spec(runtime, directory), wish, _namespaces(runtime))
        with open(f"{directory}/config.json", "w") as file:
            json.dump(config, file)
        return _words(runtime, scratch, "run", "--bundle", directory, name)

    def remove(name: str, scratch: str) -> None:
        if find(runtime):
            host.said(_words(runtime, scratch, "delete", "--force", name))

    return Driver(runtime, host.absence(runtime), command, remove, host.version(runtime))


def _words(runtime: str, scratch: str, *words: str) -> list[str]:
    """A command of the runtime, with its state apart from that of the host's containers."""
    line = [find(runtime) or runtime, "--root", f"{scratch}/{runtime}", *words]
    return host.without_hybrid_controllers(line) if runtime == "crun" else line


def _spec(runtime: str, directory: str) -> Config:
    """The config.json that the runtime writes for whoever has none yet."""
    done = subprocess.run(
        [find(runtime) or runtime, "spec"], cwd=directory, capture_output=True, text=True, check=False
    )
    try:
        with open(f"{directory}/config.json") as file:
            return dict(json.load(file))
    except FileNotFoundError:
        raise CosoError(f"`{runtime} spec` wrote no config.json", cause=done.stderr.strip()) from None


def _namespaces(runtime: str) -> tuple[str, ...]:
    """The namespaces which the runtime says it knows; none when it is too old to be asked."""
    try:
        return tuple(json.loads(host.said([find(runtime) or runtime, "features"]))["linux"]["namespaces"])
    except (ValueError, KeyError):
        return ()


DRIVERS = tuple(_driver(runtime) for runtime in ("runc", "crun", "youki"))
