"""`cosonet list`: who has which address, through which link, read with pyroute2."""

from __future__ import annotations

from coso.errors import MissingError
from cosonet import lease, network


def lines() -> list[str]:
    """A table: address, pid, command, link; and a line that says what the network is."""
    shared = network.load()
    if shared is None:
        return ["no network: the first container makes it"]
    links = _links_by_mac(shared.bridge)
    head = f"{shared.bridge} {shared.subnet} gateway {shared.gateway} mtu {shared.mtu}"
    rows = [f"{'ADDRESS':<16} {'PID':<8} {'COMMAND':<16} LINK"]
    for item in lease.leases():
        command = _command(item.pid) if item.is_alive() else "(dead)"
        mac = ":".join(f"{byte:02x}" for byte in network.mac(lease.to_number(item.address).to_bytes(4, "big")))
        rows.append(f"{item.address:<16} {item.pid:<8} {command:<16} {links.get(mac, '-')}")
    return [head, *rows]


def _links_by_mac(bridge: str) -> dict[str, str]:
    """Which port of the bridge leads to which Ethernet address, from the bridge's forwarding table."""
    try:
        from pyroute2 import IPRoute
    except ImportError:
        raise MissingError(
            "pyroute2 is not installed for this interpreter",
            hint="run `invoke net-setup`, or `pip install pyroute2`",
        ) from None

    with IPRoute() as routes:
        names = {link["index"]: link.get("ifname") for link in routes.get_links()}
        found = routes.link_lookup(ifname=bridge)
        if not found:
            return {}
        entries = routes.fdb("dump", master=found[0])
        return {str(entry.get("lladdr")): str(names.get(entry["ifindex"])) for entry in entries}


def _command(pid: int) -> str:
    try:
        with open(f"/proc/{pid}/comm") as file:
            return file.read().strip()
    except OSError:
        return "-"
