"""Which port of the host leads to one of a container."""

from __future__ import annotations

from coso.errors import CosoError
from coso.services.places import Map


def published(port: Map, number: int) -> str:
    """A port as `--publish` has it; of a range, one that nobody has. Raises CosoError."""
    # Without an address it is the loopback's, as everywhere in coso.
    address = port.get("host_ip", "")
    address = f"[{address}]:" if ":" in address else f"{address}:" if address else ""
    first, dash, last = str(port.get("published") or "").partition("-")
    if dash:
        first = str(_free_port(port, range(int(first), int(last) + 1), number))
    published = f"{first}:" if first else ":" if address else ""
    return f"{address}{published}{port['target']}/{port['protocol']}"


# Ports of ranges that this process has given to containers which may not have begun yet.
_given: set[tuple[str, str, int]] = set()


def _free_port(port: Map, among: range, number: int) -> int:
    """A port of a range that nobody has; the containers of a service begin with different ones."""
    from _socket import AF_INET, AF_INET6, SOCK_DGRAM, SOCK_STREAM, socket

    address = port.get("host_ip") or "127.0.0.1"
    family = AF_INET6 if ":" in address else AF_INET
    start = (number - 1) % len(among)
    for candidate in [*among[start:], *among[:start]]:
        key = (address, port["protocol"], candidate)
        if key in _given:
            continue
        end = socket(family, SOCK_DGRAM if port["protocol"] == "udp" else SOCK_STREAM)
        try:
            end.bind((address, candidate))
            _given.add(key)
            return int(candidate)
        except OSError:
            continue
        finally:
            end.close()
    raise CosoError(f"none of the ports {among[0]} to {among[-1]} is free")
