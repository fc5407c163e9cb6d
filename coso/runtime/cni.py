"""CNI plugins in cosonet's place: `-network FILE.conflist` (CNI specification, "Execution Protocol").

The plugins of the list are executed in order, each given the result of the
one before; at the end, or when one fails, in reverse with DEL.
"""

from __future__ import annotations

import json
import os
import subprocess

from coso.errors import CosoError, MissingError, NetworkError, SpecError
from coso.state import LAYERS

TYPE_CHECKING = False
if TYPE_CHECKING:
    from typing import Any

    Tree = dict[str, Any]

DIRECTORIES = ("/opt/cni/bin", "/usr/lib/cni", "/usr/libexec/cni")
INTERFACE = "eth0"
PATIENCE = 60


def check(path: str) -> None:
    """Raise for a configuration that cannot be read, or whose plugins are not there."""
    _, plugins = _load(path)
    for plugin in plugins:
        _program(str(plugin["type"]))


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


def add(path: str, container: str, namespace: str, ports: list[Tree]) -> str:
    """Connect a namespace and return its first address; raises NetworkError with the plugin's words.

    The result is kept for the end, in the container's directory.
    """
    tree, plugins = _load(path)
    result: Tree = {}
    for plugin in plugins:
        result = _execute("ADD", tree, plugin, container, namespace, result, ports)
    with open(_result(container), "w", encoding="utf-8") as file:
        json.dump(result, file)
    addresses = [str(item.get("address", "")).partition("/")[0] for item in result.get("ips") or []]
    return next(iter(addresses), "")


def delete(path: str, container: str, namespace: str, ports: list[Tree]) -> None:
    """Take a connection back; go on after an error, and raise NetworkError with all of them."""
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
    if failures:
        raise NetworkError("; ".join(failures))


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
