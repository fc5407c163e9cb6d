"""`cosonet doctor`: what keeps traffic of containers from flowing, in sentences, each with what mends it.

It changes nothing.  Every check is a function that yields findings; one that
cannot be made says why.
"""

from __future__ import annotations

import os

from coso.errors import CosoError
from coso.spawn import find, spawn
from coso.value import value
from cosonet import definition, firewall, member, network
from cosonet.definition import Network
from cosonet.listing import links_by_name

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Callable, Iterator


@value
class Finding:
    """What is wrong, and the command that mends it; `harmless` as long as nothing else is wrong."""

    sentence: str
    remedy: str
    harmless: bool = False


def report(write: Callable[[str], object]) -> int:
    """Write every finding; 1 when something is wrong."""
    found = examine()
    for finding in found:
        mark = "note" if finding.harmless else "problem"
        write(f"{mark}: {finding.sentence}\n" + (f"  mend it with: {finding.remedy}\n" if finding.remedy else ""))
    wrong = [finding for finding in found if not finding.harmless]
    if not wrong:
        write("nothing that coso knows of keeps traffic from flowing\n")
    return 1 if wrong else 0


def examine() -> list[Finding]:
    """Every finding, the gravest kinds first."""
    found: list[Finding] = []
    for check in CHECKS:
        try:
            found += check()
        except (CosoError, OSError) as error:
            name = check.__name__.strip("_").replace("_", " ")
            found.append(Finding(f"the check of {name} could not be made: {error}", "", harmless=True))
    return found


def _read(path: str) -> str:
    """A kernel parameter, `""` where the kernel has no such."""
    try:
        with open(f"/proc/sys/{path}") as file:
            return file.read().strip()
    except FileNotFoundError:
        return ""


def _bridges() -> list[Network]:
    return [item for item in network.made() if item.is_bridge]


def _programs() -> Iterator[Finding]:
    if not find("nft"):
        yield Finding("nft is not installed: no rule can be made", "./dev invoke net-setup")
    if not find("iptables"):
        yield Finding(
            "iptables is not installed: nothing can be done about Docker's rules, should they come",
            "./dev invoke net-setup",
            harmless=True,
        )


def _kernel() -> Iterator[Finding]:
    if not (program := find("nft")):
        return
    sample = Network("sample", bridge="coso-sample", subnet="192.0.2.0/24", gateway="192.0.2.1")
    status, said = spawn([program, "-c", "-f", "-"], firewall.rules([sample], []))
    if status:
        yield Finding(
            f"the kernel does not take coso's rules: {(said.strip().splitlines() or [str(status)])[0]}",
            "modprobe -a nf_tables nft_masq nft_nat nft_ct nft_fib_inet nf_tables_bridge bridge veth",
        )


def _forwarding() -> Iterator[Finding]:
    if _read("net/ipv4/ip_forward") == "0":
        yield Finding(
            "the host does not forward packets (net.ipv4.ip_forward is 0): containers reach each other and the host, "
            "and nothing beyond",
            "sysctl -w net.ipv4.ip_forward=1",
        )
    version6 = [name for name in definition.names() if definition.load(name).subnet6]
    if version6 and _read("net/ipv6/conf/all/forwarding") == "0":
        yield Finding(
            f"the host does not forward packets of version 6, and the network {version6[0]} has a subnet of it",
            "sysctl -w net.ipv6.conf.all.forwarding=1",
        )


def _policies() -> Iterator[Finding]:
    """FORWARD with the policy DROP, and rules of ours that are missing there."""
    for program in [*firewall.iptables_in_use(), *firewall.ip6tables_in_use()]:
        version6 = os.path.basename(program).startswith("ip6")
        _, said = spawn([program, "-w", "-S"])
        lines = said.splitlines()
        closed = "-P FORWARD DROP" in lines
        for item in [item for item in _bridges() if item.subnet6 or not version6]:
            ours = [line for line in lines if line.startswith("-A ") and firewall.is_ours(line, item.bridge)]
            if len(ours) < len(firewall.accepts(item.bridge)) and closed:
                yield Finding(
                    f"the policy of FORWARD is DROP ({os.path.basename(program)}), as Docker sets it, and rules that "
                    f"let {item.bridge} pass are missing",
                    "cosonet reload",
                )
        if closed and not _bridges():
            yield Finding(
                f"the policy of FORWARD is DROP ({os.path.basename(program)}): cosonet adds rules for its own bridges",
                f"{os.path.basename(program)} -P FORWARD ACCEPT, should other bridges need it",
                harmless=True,
            )


def _mixture() -> Iterator[Finding]:
    legacy = find("iptables-legacy")
    if not legacy or "filter" not in firewall.legacy_tables():
        return
    _, said = spawn([legacy, "-w", "-S"])
    if "-P FORWARD DROP" in said.splitlines() or any(line.startswith("-A ") for line in said.splitlines()):
        yield Finding(
            "rules of iptables-legacy and of nftables are in the kernel side by side: a packet must pass both",
            "iptables-legacy-save, to see them; iptables-legacy -P FORWARD ACCEPT and -F, where nobody needs them",
            harmless=True,
        )


def _other_tables() -> Iterator[Finding]:
    """Base chains of others that drop what is forwarded: an accept of ours does not undo that."""
    program = find("nft")
    if not program or not _bridges():
        return
    _, said = spawn([program, "list", "chains"])
    table, chain = "", ""
    # That of iptables is looked at by its own rules.
    known = (*firewall.TABLES, "ip filter", "ip6 filter")
    for line in said.splitlines():
        words = line.split()
        if words[:1] == ["table"]:
            table = " ".join(words[1:3])
        elif words[:1] == ["chain"]:
            chain = words[1]
        elif "hook forward" in line and "policy drop" in line and table not in known:
            yield Finding(
                f"the chain {chain} of the table {table} drops what is forwarded, unless a rule there accepts it",
                f'nft insert rule {table} {chain} iifname "coso*" accept; '
                f'nft insert rule {table} {chain} oifname "coso*" ct state established,related accept',
            )


def _own_rules() -> Iterator[Finding]:
    program = find("nft")
    if not program or not _bridges():
        return
    _, said = spawn([program, "list", "tables"])
    for table in firewall.TABLES:
        if f"table {table}" not in said.splitlines():
            yield Finding(f"the table {table} is gone: somebody has flushed the rules", "cosonet reload")


def _links() -> Iterator[Finding]:
    links = links_by_name() if _bridges() else {}
    for item in _bridges():
        if item.bridge not in links:
            yield Finding(f"the bridge {item.bridge} of the network {item.name} is gone", "cosonet reload")
        elif not links[item.bridge]["up"]:
            yield Finding(f"the bridge {item.bridge} of the network {item.name} is down", "cosonet reload")
        for one in member.everybody(item.name):
            link = links.get(one.host_link)
            if link and item.bridge in links and link["master"] != links[item.bridge]["index"]:
                yield Finding(f"the link {one.host_link} is not in {item.bridge} any more", "cosonet reload")


def _bridge_netfilter() -> Iterator[Finding]:
    if _read("net/bridge/bridge-nf-call-iptables") == "1":
        yield Finding(
            "br_netfilter is on: what containers of one network send each other passes iptables' FORWARD too",
            "sysctl -w net.bridge.bridge-nf-call-iptables=0, where neither Docker nor Kubernetes needs it",
            harmless=True,
        )


def _reverse_paths() -> Iterator[Finding]:
    for item in _bridges():
        if "1" in (_read(f"net/ipv4/conf/{item.bridge}/rp_filter"), _read("net/ipv4/conf/all/rp_filter")):
            yield Finding(
                f"rp_filter is strict on {item.bridge}: what a container on two networks sends by the other one is "
                "dropped",
                f"sysctl -w net.ipv4.conf.all.rp_filter=2 net.ipv4.conf.{item.bridge}.rp_filter=2",
                harmless=True,
            )


def _firewalld() -> Iterator[Finding]:
    program = find("firewall-cmd")
    if not program or not os.path.exists("/run/firewalld") or spawn([program, "-q", "--state"])[0]:
        return
    _, said = spawn([program, "--zone=trusted", "--list-interfaces"])
    for item in _bridges():
        if item.bridge not in said.split():
            yield Finding(
                f"firewalld does not trust the bridge {item.bridge}, and rejects what it forwards",
                f"firewall-cmd --zone=trusted --add-interface={item.bridge}",
            )


def _dead() -> Iterator[Finding]:
    if dead := member.dead():
        yield Finding(
            f"{len(dead)} connections of processes that have ended hold addresses", "cosonet gc", harmless=True
        )


CHECKS = (
    _programs,
    _kernel,
    _forwarding,
    _own_rules,
    _links,
    _policies,
    _other_tables,
    _firewalld,
    _mixture,
    _bridge_netfilter,
    _reverse_paths,
    _dead,
)
