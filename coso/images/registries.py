"""What this machine says of registries: containers-registries.conf(5), as podman and skopeo read it.

Read are `unqualified-search-registries` (whose first settles short names),
`[aliases]`, and for each `[[registry]]` its `prefix`, `location`, `insecure`,
`blocked` and mirrors.  A registry on loopback may speak plain HTTP without
being named, as with Docker.
"""

from __future__ import annotations

import os
from typing import Any

from coso.errors import CosoError
from coso.images import reference
from coso.images.reference import DOCKER_HUB, Reference
from coso.value import value

FILES = ("/etc/containers/registries.conf", "/usr/share/containers/registries.conf")
CERTIFICATES = ("/etc/docker/certs.d", "/etc/containers/certs.d")
HUB_HOST = "registry-1.docker.io"


@value
class Endpoint:
    """Where a repository can be fetched: the host, the repository's name there, and whether plain HTTP will do."""

    host: str
    repository: str
    insecure: bool = False


def settings() -> dict[str, Any]:
    """What the first file that is there says; raises CosoError for one that is no TOML."""
    import tomllib

    own = os.environ.get("XDG_CONFIG_HOME") or os.path.expanduser("~/.config")
    named = os.environ.get("CONTAINERS_REGISTRIES_CONF")
    for path in [named] if named else [f"{own}/containers/registries.conf", *FILES]:
        try:
            with open(path, "rb") as file:
                return tomllib.load(file)
        except FileNotFoundError:
            continue
        except (tomllib.TOMLDecodeError, UnicodeDecodeError) as error:
            raise CosoError(f"{path} cannot be read: {error}", hint="see containers-registries.conf(5)") from None
    return {}


def resolve(word: str) -> Reference:
    """What a name in full is, short ones as this machine has it; raises UsageError."""
    known = settings()
    searched = known.get("unqualified-search-registries") or [DOCKER_HUB]
    found = reference.parse(word, str(searched[0]))
    alias = (known.get("aliases") or {}).get(word.partition("@")[0].rpartition(":")[0] or word)
    if alias and not _names_registry(word):
        whole = reference.parse(str(alias))
        return Reference(whole.registry, whole.repository, found.tag, found.digest)
    return found


def _names_registry(word: str) -> bool:
    head, slash, _ = word.partition("/")
    return bool(slash) and ("." in head or ":" in head or head == "localhost")


def endpoints(wanted: Reference, *, insecure: bool = False) -> list[Endpoint]:
    """Where to ask for a repository, mirrors first; raises CosoError for a blocked one."""
    best: dict[str, Any] = {}
    for entry in settings().get("registry") or []:
        prefix = str(entry.get("prefix") or entry.get("location") or "")
        fits = wanted.name == prefix or wanted.name.startswith((f"{prefix}/", f"{prefix}:"))
        if prefix and fits and len(prefix) > len(best.get("_prefix", "")):
            best = dict(entry, _prefix=prefix)
    if best.get("blocked"):
        raise CosoError(f"{best['_prefix']} is blocked", cause="registries.conf says so")
    places = [*(best.get("mirror") or []), {"location": best.get("location") or wanted.registry, **_flags(best)}]
    rest = wanted.name.removeprefix(best.get("_prefix") or wanted.registry).lstrip("/")
    found = []
    for place in places:
        host, _, above = str(place["location"]).partition("/")
        name = "/".join(filter(None, (above, rest)))
        relaxed = insecure or bool(place.get("insecure")) or is_loopback(host)
        found.append(Endpoint(HUB_HOST if host == DOCKER_HUB else host, name or wanted.repository, relaxed))
    return found


def _flags(entry: dict[str, Any]) -> dict[str, Any]:
    return {"insecure": entry.get("insecure", False)}


def is_loopback(host: str) -> bool:
    """Whether a registry is on this very machine."""
    name = host.rpartition(":")[0] or host
    return name in ("localhost", "[::1]") or name.startswith("127.")


def certificates(host: str) -> tuple[str, tuple[str, str] | None]:
    """The authority and the client's certificate and key that are kept for a registry, `""` and None without."""
    for above in CERTIFICATES:
        place = f"{above}/{host}"
        if not os.path.isdir(place):
            continue
        names = sorted(os.listdir(place))
        authority = next((f"{place}/{name}" for name in names if name.endswith(".crt")), "")
        pair = next((name.removesuffix(".cert") for name in names if name.endswith(".cert")), "")
        return authority, (f"{place}/{pair}.cert", f"{place}/{pair}.key") if pair else None
    return "", None
