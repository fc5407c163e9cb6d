"""`cosonet reload`: put back what somebody has flushed: rules, bridges, the links' place in them.

What should be there stands in the records of networks and members; nothing
that is right is touched.  Links and addresses through pyroute2: people wait
for this rarely.
"""

from __future__ import annotations

import os

from cosonet import firewall, member, network
from cosonet.definition import Network
from cosonet.listing import MISSING_PYROUTE2, links_by_name
from cosonet.owner import name_of

TYPE_CHECKING = False
if TYPE_CHECKING:
    from pyroute2 import IPRoute


def reload() -> list[str]:
    """Make everything as recorded; return what was done, a line each. Raises CosoError."""
    with network.locked():
        made = [item for item in network.made() if item.is_bridge]
        if not made:
            return ["nothing to do: no network is made"]
        done = [line for item in made for line in _bridge(item)]
        if firewall.apply(made, member.everybody()) and not os.path.exists(network.FILTER_TABLE):
            with open(network.FILTER_TABLE, "w"):
                pass
        for item in made:
            firewall.accept(item.bridge, version6=bool(item.subnet6))
        return [*done, f"rules for {', '.join(item.bridge for item in made)} are in place"]


def _bridge(wanted: Network) -> list[str]:
    """Put a bridge, its addresses and its members' links back."""
    try:
        from pyroute2 import IPRoute
    except ImportError:
        raise MISSING_PYROUTE2 from None

    done = []
    links = links_by_name()
    with IPRoute() as routes:
        if wanted.bridge not in links:
            network.make_bridge(wanted)
            done.append(f"made the bridge {wanted.bridge}")
            links = links_by_name()
        done += _addresses(routes, wanted, links[wanted.bridge]["index"])
        if not links[wanted.bridge]["up"]:
            routes.link("set", index=links[wanted.bridge]["index"], state="up")
            done.append(f"brought {wanted.bridge} up")
        for one in member.everybody(wanted.name):
            link = links.get(one.host_link)
            if link is None:
                if one.is_alive:
                    done.append(f"the link of {name_of(one.owner)} is gone: connect it again")
                continue
            if link["master"] != links[wanted.bridge]["index"] or not link["up"]:
                routes.link("set", index=link["index"], master=links[wanted.bridge]["index"], state="up")
                done.append(f"put {one.host_link} back into {wanted.bridge}")
    return done


def _addresses(routes: IPRoute, wanted: Network, index: int) -> list[str]:
    there = {address.get("address") for address in routes.get_addr(index=index)}
    done = []
    for subnet, gateway in zip(wanted.subnets(), wanted.gateways(), strict=True):
        if gateway.text not in there:
            routes.addr("add", index=index, address=gateway.text, prefixlen=subnet.length)
            done.append(f"gave {wanted.bridge} its address {gateway.text}")
    return done
