"""Credentials for registries, where Docker keeps them: config.json, or a helper that it names.

`$DOCKER_CONFIG/config.json` (else `~/.docker/config.json`) has `auths`, a user
and password in base64 each; `credHelpers` and `credsStore` name programs
`docker-credential-NAME` that keep them safer and are asked first.
"""

from __future__ import annotations

import base64
import binascii
import json
import os
import subprocess
from typing import Any

from coso.errors import CosoError
from coso.images.reference import DOCKER_HUB

# The name under which Docker keeps what is for Docker Hub.
HUB_KEY = "https://index.docker.io/v1/"
TOKEN_USER = "<token>"
SECONDS = 30

Credentials = tuple[str, str]


def config_path() -> str:
    """Docker's file."""
    return os.path.join(os.environ.get("DOCKER_CONFIG") or os.path.expanduser("~/.docker"), "config.json")


def read() -> dict[str, Any]:
    """What the file says, nothing where there is none; raises CosoError for one that is no JSON."""
    try:
        with open(config_path(), encoding="utf-8") as file:
            found = json.load(file)
    except FileNotFoundError:
        return {}
    except (OSError, ValueError) as error:
        raise CosoError(f"{config_path()} cannot be read: {error}") from None
    if not isinstance(found, dict):
        raise CosoError(f"{config_path()} holds no JSON object")
    return found


def key_of(registry: str) -> str:
    """Under which name a registry's credentials are kept."""
    return HUB_KEY if registry == DOCKER_HUB else registry


def credentials(registry: str) -> Credentials | None:
    """User and password for a registry, or None; raises CosoError."""
    config, key = read(), key_of(registry)
    helper = (config.get("credHelpers") or {}).get(registry) or config.get("credsStore")
    if helper:
        found = _ask(str(helper), "get", key)
        if found is not None:
            answer = json.loads(found)
            return str(answer["Username"]), str(answer["Secret"])
    entry = (config.get("auths") or {}).get(key) or (config.get("auths") or {}).get(f"https://{key}")
    if not isinstance(entry, dict):
        return None
    if entry.get("identitytoken"):
        return TOKEN_USER, str(entry["identitytoken"])
    try:
        user, colon, password = base64.b64decode(entry.get("auth") or "").decode().partition(":")
    except (binascii.Error, UnicodeDecodeError):
        raise CosoError(
            f"{config_path()} has credentials for {registry} that cannot be read", hint=f"coso login {registry}"
        ) from None
    return (user, password) if colon else None


def keep(registry: str, user: str, password: str) -> str:
    """Keep credentials; returns where. Raises CosoError."""
    config, key = read(), key_of(registry)
    helper = (config.get("credHelpers") or {}).get(registry) or config.get("credsStore")
    if helper:
        _ask(str(helper), "store", json.dumps({"ServerURL": key, "Username": user, "Secret": password}))
        return f"docker-credential-{helper}"
    text = base64.b64encode(f"{user}:{password}".encode()).decode()
    config.setdefault("auths", {})[key] = {"auth": text}
    _write(config)
    return config_path()


def forget(registry: str) -> bool:
    """Forget a registry's credentials; False when there were none."""
    config, key = read(), key_of(registry)
    helper = (config.get("credHelpers") or {}).get(registry) or config.get("credsStore")
    if helper:
        return _ask(str(helper), "erase", key) is not None
    if key not in (config.get("auths") or {}):
        return False
    del config["auths"][key]
    _write(config)
    return True


def _write(config: dict[str, Any]) -> None:
    path = config_path()
    os.makedirs(os.path.dirname(path), 0o700, exist_ok=True)
    beside = f"{path}.{os.getpid()}"
    with open(os.open(beside, os.O_CREAT | os.O_WRONLY | os.O_TRUNC, 0o600), "w", encoding="utf-8") as file:
        json.dump(config, file, indent="\t")
    os.rename(beside, path)


def _ask(helper: str, act: str, text: str) -> str | None:
    """What a helper answers; None when it does not know the registry."""
    program = f"docker-credential-{helper}"
    try:
        done = subprocess.run([program, act], input=text, capture_output=True, text=True, timeout=SECONDS)
    except FileNotFoundError:
        raise CosoError(
            f"{config_path()} names the credential helper {program}, which is not installed",
            hint="install it, or take the line out of the file",
        ) from None
    except subprocess.TimeoutExpired:
        raise CosoError(f"{program} {act} does not answer within {SECONDS} s") from None
    if done.returncode == 0:
        return done.stdout
    said = (done.stdout + done.stderr).strip()
    if "not found" in said.lower():
        return None
    raise CosoError(f"{program} {act} failed: {said or f'status {done.returncode}'}")
