"""The words of `coso run` about the network, its names and its ports."""

from __future__ import annotations

import os

from coso.errors import UsageError
from coso.spec import HOST_GATEWAY, Resolver, defaults

TYPE_CHECKING = False
if TYPE_CHECKING:
    from typing import Any

    from coso.flags import Words

# Option of `coso run`, and the word for it in the helper's contract.
PASSED_ON = {
    "ip": "-ip",
    "ip6": "-ip6",
    "mac-address": "-mac",
    "network-alias": "-alias",
    "publish": "-publish",
}
# The same in the long form, of one network of several.
OF_ONE = {"alias": "-alias", "ip": "-ip", "ip6": "-ip6", "mac-address": "-mac"}
USUAL = ("bridge", "default")
MOST_SERVERS = 3


def network(words: Words, joined: bool) -> dict[str, Any]:
    """The fields of the Spec that say how a container is connected. Raises UsageError.

    `joined` says that the network is another container's.
    """
    first, *others = words.all("network") or [defaults.NETWORK]
    text, own = _parts(first)
    name = words.last("name")
    passed = [part for option, word in PASSED_ON.items() for item in words.all(option) for part in (word, item)]
    passed = [*own, *passed]
    if others and (text in ("none", "host") or joined or "/" in text):
        raise UsageError(f"--network {first} excludes others, and {others[0]} is given too")
    if text in ("none", "host") or joined:
        if passed:
            option = next(option for option in PASSED_ON if option in words.options)
            raise UsageError(f"--{option} needs a network of the container's own, and --network is {text}")
        return {"network": "none" if joined else text}
    if "/" in text:
        return {"network": os.path.abspath(text), "network_words": _words((), name, passed)}
    chosen = () if text in USUAL else ("-network", text)
    more = tuple(_more(text, name) for text in others)
    return {"network": defaults.NETWORK, "network_words": _words(chosen, name, passed), "networks_more": more}


def is_usual(words: Words) -> bool:
    """Whether a container is on the default network alone."""
    return all(_parts(text)[0] in USUAL for text in words.all("network"))


def _more(text: str, name: str) -> tuple[str, ...]:
    """The words for one more network."""
    chosen, own = _parts(text)
    if chosen in ("none", "host") or "/" in chosen or ":" in chosen:
        raise UsageError(f"--network {text!r} excludes other networks, and is not the only one")
    return _words(() if chosen in USUAL else ("-network", chosen), name, own)


def _parts(text: str) -> tuple[str, list[str]]:
    """A network's name, and what `name=NAME,alias=…,ip=…,ip6=…,mac-address=…` says besides."""
    if "=" not in text or "/" in text.partition("=")[0]:
        return text, []
    name, passed = "", []
    for part in text.split(","):
        key, _, content = part.partition("=")
        if key == "name":
            name = content
        elif key in OF_ONE:
            passed += [OF_ONE[key], content]
        else:
            raise UsageError(f"--network {text!r}: {key!r} is not known", hint=f"name, {', '.join(OF_ONE)} are")
    if not name:
        raise UsageError(f"--network {text!r} names no network", hint="name=NAME,alias=OTHER")
    return name, passed


def names_of(texts: list[str]) -> list[str]:
    """The networks that values of --network name, in their order."""
    return [_parts(text)[0] for text in texts]


def helper_of(text: str) -> str:
    """The program that connects a container whose --network is this; "none" where nothing does."""
    if text in ("none", "host") or text.startswith("container:"):
        return "none"
    return os.path.abspath(text) if "/" in text else defaults.NETWORK


def _words(chosen: tuple[str, ...], name: str, passed: list[str]) -> tuple[str, ...]:
    return (*chosen, *(("-name", name) if name else ()), *passed)


def without_name(words: tuple[str, ...]) -> tuple[str, ...]:
    """The words for a helper, less the container's name."""
    pairs = zip(words[::2], words[1::2], strict=True)
    return tuple(word for pair in pairs if pair[0] != "-name" for word in pair)


def resolver(words: Words) -> Resolver:
    """What --dns and its like ask for. Raises UsageError."""
    servers = words.all("dns")
    for text in servers:
        _check_address(text, "--dns")
    if len(servers) > MOST_SERVERS:
        raise UsageError(f"--dns is given {len(servers)} times: a C library asks {MOST_SERVERS} servers at most")
    for option in ("dns-search", "dns-option"):
        for text in words.all(option):
            if not text or set(text) & set(" \t\n#;"):
                raise UsageError(f"--{option} {text!r} is not one word")
    hosts = tuple(_host(text) for text in words.all("add-host"))
    return Resolver(tuple(servers), tuple(words.all("dns-search")), tuple(words.all("dns-option")), hosts)


def _host(text: str) -> tuple[str, str]:
    name, _, address = text.partition("=" if "=" in text else ":")
    if not name or set(name) & set(" \t\n#"):
        raise UsageError(f"--add-host {text!r} is not NAME:ADDRESS", hint="write it as db:10.0.0.7")
    address = address.removeprefix("[").removesuffix("]")
    if address != HOST_GATEWAY:
        _check_address(address, f"--add-host {text!r}: the address")
    return name, address


def _check_address(text: str, option: str) -> None:
    from _socket import AF_INET, AF_INET6, inet_pton

    for family in (AF_INET, AF_INET6):
        try:
            inet_pton(family, text)
            return
        except (OSError, ValueError):
            continue
    raise UsageError(f"{option} {text!r} is not an IP address")
