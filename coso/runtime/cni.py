"""CNI plugins in cosonet's place: `-network FILE.conflist` (CNI specification, "Execution Protocol").

The plugins of the list are executed in order, each given the result of the
one before; at the end, or when one fails, in reverse with DEL.
"""

from __future__ import annotations

import json
import os
import subprocess

from coso.errors import CosoError, MissingError, NetworkError, SpecError, UsageError
from coso.spec.network import without_name
from coso.state import LAYERS

TYPE_CHECKING = False
if TYPE_CHECKING:
    from typing import Any

    from coso.runtime.container import Container

    Tree = dict[str, Any]

DIRECTORIES = ("/opt/cni/bin", "/usr/lib/cni", "/usr/libexec/cni")
INTERFACE = "eth0"
PATIENCE = 60


# The namespaces of containers that this process has connected, by the number of their first process.
_namespaces: dict[int, str] = {}
# Containers that plugins have refused to connect.
_refused: set[str] = set()


def check(path: str, words: tuple[str, ...]) -> None:
    """Raise for a configuration that cannot be read, whose plugins are not there, or that cannot have these wishes."""
    _, plugins = _load(path)
    for plugin in plugins:
        _program(str(plugin["type"]))
    _ports(words)


def _ports(words: tuple[str, ...]) -> list[Tree]:
    """Published ports as the capability `portMappings`; raises UsageError for words that plugins have no part in."""
    from cosonet.publish import parse_publish

    found: list[Tree] = []
    wanted = without_name(words)
    for option, text in zip(wanted[::2], wanted[1::2], strict=True):
        if option != "-publish":
            raise UsageError(f"{option} {text!r}: a CNI plugin takes no such wish", hint="use a network of coso's")
        for item in parse_publish(text):
            if not item.host_port:
                raise UsageError(f"-publish {text!r}: a CNI plugin wants the host's port to be said")
            mapping = {"hostPort": item.host_port, "containerPort": item.inside, "protocol": item.protocol}
            found.append({**mapping, "hostIP": item.host})
    return found


def attach(container: Container) -> None:
    """Connect a container and note its first address; raises NetworkError with the plugin's words."""
    spec, pid = container.spec, container.pid
    # Held open: a plugin takes things back from within, also when the container has ended.
    fd = os.open(f"/proc/{pid}/ns/net", os.O_RDONLY | os.O_CLOEXEC)
    _namespaces[pid] = f"/proc/{os.getpid()}/fd/{fd}"
    try:
        container.address = _add(spec.network, container.id, _namespaces[pid], _ports(spec.network_words))
    except NetworkError:
        # What fails to connect may fail to take back; it is asked to (CNI specification, "Lifecycle").
        _refused.add(container.id)
        raise


def release(path: str, pid: int, container: str, words: tuple[str, ...]) -> None:
    """Take a connection back; raises NetworkError with all that failed."""
    failures = _delete(path, container, _namespaces.get(pid, ""), _ports(words))
    if failures and container not in _refused:
        raise NetworkError("; ".join(failures))


def _load(path: str) -> tuple[Tree, list[Tree]]:
    try:
        with open(path, encoding="utf-8") as file:
            tree = json.load(file)
    except OSError as error:
        raise MissingError(f"the CNI configuration {path} cannot be read: {error.strerror}") from None
    except ValueError as error:
        raise SpecError(f"the CNI configuration {path} is no JSON: {error}") from None
    plugins: list[Tree] = tree.get("plugins", [tree]) if isinstance(tree, dict) else []
    good = isinstance(plugins, list) and plugins and all(isinstance(one, dict) and one.get("type") for one in plugins)
    if not good or not tree.get("name"):
        raise SpecError(f"the CNI configuration {path} needs `name`, and plugins with a `type` each")
    return tree, plugins


def _directories() -> list[str]:
    return [*filter(None, os.environ.get("CNI_PATH", "").split(":")), *DIRECTORIES]


def _program(kind: str) -> str:
    places = [f"{directory}/{kind}" for directory in _directories() if "/" not in kind]
    for place in places:
        if os.access(place, os.X_OK):
            return place
    raise MissingError(
        f"the CNI plugin {kind!r} is not installed",
        hint=f"looked for in {', '.join(_directories())}; CNI_PATH names others",
    )


def _add(path: str, container: str, namespace: str, ports: list[Tree]) -> str:
    """Connect a namespace; its first address. The result is kept for the end, in the container's directory."""
    tree, plugins = _load(path)
    result: Tree = {}
    for plugin in plugins:
        result = _execute("ADD", tree, plugin, container, namespace, result, ports)
    with open(_result(container), "w", encoding="utf-8") as file:
        json.dump(result, file)
    addresses = [str(item.get("address", "")).partition("/")[0] for item in result.get("ips") or []]
    return next(iter(addresses), "")


def _delete(path: str, container: str, namespace: str, ports: list[Tree]) -> list[str]:
    """Take a connection back, and go on after an error; what failed."""
    tree, plugins = _load(path)
    try:
        with open(_result(container), encoding="utf-8") as file:
            previous = json.load(file)
    except (OSError, ValueError):
        previous = {}
    failures: list[str] = []
    for plugin in reversed(plugins):
        try:
            _execute("DEL", tree, plugin, container, namespace, previous, ports)
        except (CosoError, OSError) as error:
            failures.append(str(error))
    return failures


def _result(container: str) -> str:
    return f"{LAYERS}/{container}/cni.json"


def _execute(
    command: str, tree: Tree, plugin: Tree, container: str, namespace: str, previous: Tree, ports: list[Tree]
) -> Tree:
    config = {**plugin, "cniVersion": tree.get("cniVersion", "0.3.0"), "name": tree["name"]}
    if previous:
        config["prevResult"] = previous
    if ports and (plugin.get("capabilities") or {}).get("portMappings"):
        config["runtimeConfig"] = {"portMappings": ports}
    env = {
        **os.environ,
        "CNI_COMMAND": command,
        "CNI_CONTAINERID": container,
        "CNI_NETNS": namespace,
        "CNI_IFNAME": INTERFACE,
        "CNI_PATH": ":".join(_directories()),
    }
    kind = str(plugin["type"])
    try:
        # Signals are blocked here, to be passed on; a plugin must not inherit that.
        done = subprocess.run(
            [_program(kind)],
            input=json.dumps(config),
            capture_output=True,
            text=True,
            env=env,
            timeout=PATIENCE,
            check=False,
            preexec_fn=_unblock,
        )
    except subprocess.TimeoutExpired:
        raise NetworkError(f"the CNI plugin {kind} has not ended {command} after {PATIENCE} s") from None
    try:
        answer = json.loads(done.stdout or "{}")
    except ValueError:
        answer = {}
    answer = answer if isinstance(answer, dict) else {}
    if done.returncode:
        said = f"{answer.get('msg', '')} {answer.get('details', '')}".strip() or done.stderr.strip()
        raise NetworkError(f"the CNI plugin {kind} failed with status {done.returncode}: {said or 'it said nothing'}")
    return answer


def _unblock() -> None:
    import signal

    signal.pthread_sigmask(signal.SIG_SETMASK, ())
