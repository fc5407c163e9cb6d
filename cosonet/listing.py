"""`cosonet list`: who has which address in which network, through which link; links are read with pyroute2."""

from __future__ import annotations

from coso.errors import MissingError
from cosonet import member, network, owner

TYPE_CHECKING = False
if TYPE_CHECKING:
    from typing import Any

    from cosonet.member import Member

MISSING_PYROUTE2 = MissingError(
    "pyroute2 is not installed for this interpreter",
    hint="run `invoke net-setup`, or `pip install pyroute2`",
)


def lines() -> list[str]:
    """A line for each network that is made, then a table of who is connected."""
    made = network.made()
    if not made:
        return ["no network is made: the first container makes it"]
    heads = [
        f"{item.name}: {item.bridge or f'{item.driver} on {item.parent}'} {item.subnet} {item.subnet6}".rstrip()
        + f" gateway {item.gateway or '-'} mtu {item.mtu or '-'}"
        for item in made
    ]
    links = links_by_name()
    rows = [f"{'ADDRESS':<16} {'NETWORK':<12} {'PID':<8} {'COMMAND':<16} {'LINK':<15} PORTS"]
    for one in member.everybody():
        pid = owner.pid_of(one.owner)
        command = (_command(pid) if pid else owner.name_of(one.owner)) if one.is_alive else "(dead)"
        link = one.host_link if one.host_link in links else "-"
        ports = ", ".join(ports_of(one))
        row = f"{one.address:<16} {one.network:<12} {pid or '-':<8} {command:<16} {link:<15} {ports}"
        rows.append(row.rstrip())
    return [*heads, *rows]


def ports_of(one: Member) -> list[str]:
    """Published ports as people write them: `80/tcp -> 127.0.0.1:8080`."""
    return [
        f"{inside}/{protocol} -> {f'[{host}]' if ':' in host else host or '0.0.0.0'}:{port}"
        for protocol, host, port, inside in one.ports
    ]


def links_by_name() -> dict[str, dict[str, Any]]:
    """The links of this network namespace: index, state, and the index of the bridge each is in."""
    try:
        from pyroute2 import IPRoute
    except ImportError:
        raise MISSING_PYROUTE2 from None

    with IPRoute() as routes:
        return {
            str(link.get("ifname")): {
                "index": link["index"],
                "up": bool(link["flags"] & 1),
                "master": link.get("master"),
                "mtu": link.get("mtu"),
            }
            for link in routes.get_links()
        }


def _command(pid: int) -> str:
    try:
        with open(f"/proc/{pid}/comm") as file:
            return file.read().strip()
    except OSError:
        return "-"
