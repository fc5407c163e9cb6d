"""Rules: translation and protection in tables of our own, acceptance in other people's FORWARD.

Our tables `inet coso` and `bridge coso` are replaced as a whole, in one
atomic batch (nft(8)); what containers add are elements of their sets.  An
accept there does not undo a drop elsewhere: Docker sets the policy of
iptables' FORWARD to DROP and sends everybody first through DOCKER-USER.  So
narrow rules for our bridges go into DOCKER-USER where it exists, else into
FORWARD, with a comment by which they are found again (iptables(8)); and where
firewalld runs, it is told that our bridges are trusted.
"""

from __future__ import annotations

import os

from coso.errors import NetworkError
from coso.spawn import find, spawn
from cosonet import elements
from cosonet.definition import Network
from cosonet.member import Member

TABLE = "inet coso"
TABLES = (TABLE, "bridge coso")
COMMENT = "coso"
LOOPBACK = "127.0.0.0/8"
SETS = """
  set bridges {{ type ifname; {bridges} }}
  set internal {{ type ifname; {internal} }}
  map published4 {{ type inet_proto . ipv4_addr . inet_service : ipv4_addr . inet_service; {published4} }}
  map published6 {{ type inet_proto . ipv6_addr . inet_service : ipv6_addr . inet_service; {published6} }}
  map open4 {{ type inet_proto . inet_service : ipv4_addr . inet_service; {open4} }}
  map open6 {{ type inet_proto . inet_service : ipv6_addr . inet_service; {open6} }}
"""
# The bridge's own table: whoever speaks for another is not heard.
BRIDGE = """table bridge coso {{
  set members {{ type ifname . ether_addr; {members} }}
  set members4 {{ type ifname . ether_addr . ipv4_addr; {members4} }}
  set members6 {{ type ifname . ether_addr . ipv6_addr; {members6} }}
  set neighbours {{ typeof iifname . ether saddr . @th,64,128; {neighbours} }}
  chain prerouting {{
    type filter hook prerouting priority filter; policy accept;
    iifname "coso-*" jump member
  }}
  chain member {{
    iifname . ether saddr != @members drop
    ether type ip iifname . ether saddr . ip saddr @members4 accept
    ether type arp iifname . arp saddr ether . arp saddr ip @members4 accept
    ether type arp arp saddr ip 0.0.0.0 accept
    icmpv6 type nd-router-advert drop
    icmpv6 type nd-neighbor-advert iifname . ether saddr . @th,64,128 @neighbours accept
    icmpv6 type nd-neighbor-advert @th,64,10 0x3fa accept
    icmpv6 type nd-neighbor-advert drop
    ip6 saddr {{ ::, fe80::/10 }} accept
    iifname . ether saddr . ip6 saddr @members6 accept
    drop
  }}
}}
"""


def rules(networks: list[Network], members: list[Member]) -> str:
    """The batch that makes our tables, whatever they were before."""
    forget = "".join(f"table {table}\ndelete table {table}\n" for table in TABLES)
    bridges = [network for network in networks if network.is_bridge]
    if not bridges:
        return forget
    found: dict[str, list[str]] = {}
    for member in members:
        for element in elements.of_member(member) if member.host_link else []:
            found.setdefault(element.set, []).append(element.text)
    found["bridges"] = [f'"{network.bridge}"' for network in bridges]
    found["internal"] = [f'"{network.bridge}"' for network in bridges if network.internal]
    named = _Known(
        {name: f"elements = {{ {', '.join(sorted(set(words)))} }}" for name, words in found.items() if words}
    )
    return forget + _inet(bridges, SETS.format_map(named)) + BRIDGE.format_map(named)


class _Known(dict[str, str]):
    """Sets without an element have no such clause."""

    def __missing__(self, key: str) -> str:
        return ""


def _inet(bridges: list[Network], sets: str) -> str:
    translated, same = [], []
    for network in bridges:
        same.append(f'iifname "{network.bridge}" oifname "{network.bridge}" accept')
        for subnet in network.subnets():
            source = f"ip{'' if subnet.version == 4 else '6'} saddr {subnet.text}"
            # Who comes back to the bridge it came from must get its answer by the same way.
            translated.append(f'{source} oifname "{network.bridge}" ct status dnat masquerade')
            if not network.internal:
                translated.append(f'{source} oifname != "{network.bridge}" masquerade')
    return f"""table {TABLE} {{{sets}
  chain guard {{
    type filter hook prerouting priority raw; policy accept;
    iifname != "lo" ip daddr {LOOPBACK} drop
  }}
  chain prerouting {{
    type nat hook prerouting priority dstnat; policy accept;
    meta l4proto {{ tcp, udp, sctp }} jump publish
  }}
  chain output {{
    type nat hook output priority -100; policy accept;
    meta l4proto {{ tcp, udp, sctp }} jump publish
  }}
  chain publish {{
    dnat ip to meta l4proto . ip daddr . th dport map @published4
    dnat ip6 to meta l4proto . ip6 daddr . th dport map @published6
    fib daddr type local dnat ip to meta l4proto . th dport map @open4
    fib daddr type local dnat ip6 to meta l4proto . th dport map @open6
  }}
  chain postrouting {{
    type nat hook postrouting priority srcnat; policy accept;
    ip saddr {LOOPBACK} oifname @bridges masquerade
    {_lines(translated)}
  }}
  chain forward {{
    type filter hook forward priority filter; policy accept;
    iifname != @bridges oifname != @bridges accept
    {_lines(same)}
    ct state established,related accept
    ct status dnat oifname @bridges accept
    iifname @bridges oifname @bridges drop
    iifname @internal drop
    iifname @bridges accept
    drop
  }}
}}
"""


def _lines(found: list[str]) -> str:
    return "\n    ".join(found)


def apply(networks: list[Network], members: list[Member]) -> bool:
    """Make our tables anew; whether iptables' table is missing, which `accept` would then make. Raises NetworkError."""
    return "table ip filter" not in _nft(f"list tables ip\n{rules(networks, members)}")


def accept(bridge: str, *, version6: bool = False) -> None:
    """Let iptables accept what a bridge of ours forwards, in version 6 where somebody uses that; raise NetworkError."""
    for program in [*iptables_in_use(), *(ip6tables_in_use() if version6 else [])]:
        restore = f"{program}-restore"
        there = [line[3:] for line in _ours(program, bridge)]
        wanted = [f"{forward_chain(program)} {rule}" for rule in accepts(bridge)]
        if sorted(_plain(line) for line in there) == sorted(_plain(line) for line in wanted):
            continue
        commands = "".join([*(f"-D {line}\n" for line in there), *(f"-I {line}\n" for line in wanted)])
        status, said = spawn([restore, "-w", "--noflush"], f"*filter\n{commands}COMMIT\n")
        if status:
            raise NetworkError(f"{restore} failed: {said.strip()}", hint="run `cosonet gc`, then try again")
    _firewalld("--add-interface", bridge)


def _plain(rule: str) -> tuple[str, ...]:
    """A rule without what iptables adds when it prints one."""
    words = (word.strip('"') for word in rule.split())
    return tuple(sorted(",".join(sorted(word.split(","))) for word in words))


def close(bridge: str) -> None:
    """Take the rules for a bridge away, as far as they are there."""
    for program in [*iptables_in_use(), *ip6tables_in_use()]:
        if ours := _ours(program, bridge):
            commands = "".join(f"-D {line[3:]}\n" for line in ours)
            spawn([f"{program}-restore", "-w", "--noflush"], f"*filter\n{commands}COMMIT\n")
    _firewalld("--remove-interface", bridge)


def remove_filter_table() -> None:
    """Take iptables' table away, which was not there before us, if nobody else uses it."""
    if not _is_used():
        _nft("table ip filter\ndelete table ip filter\n")


def _ours(program: str, bridge: str) -> list[str]:
    _, said = spawn([program, "-w", "-S"])
    return [line for line in said.splitlines() if line.startswith("-A ") and is_ours(line, bridge)]


def _is_used() -> bool:
    """Whether iptables' table has a rule, a chain or a policy of anybody's."""
    is_there = "table ip filter" in _nft("list tables ip\n")
    lines = _nft("list table ip filter\n").splitlines() if is_there else []
    plain = ("table ip filter {", "chain INPUT {", "chain FORWARD {", "chain OUTPUT {", "}", "")
    return any(line.strip() not in plain and not line.strip().endswith("policy accept;") for line in lines)


def is_ours(rule: str, bridge: str) -> bool:
    """Whether a line of `iptables -S` is one of those that we added."""
    words = rule.split()
    return bridge in words and "--comment" in words and words[words.index("--comment") + 1].strip('"') == COMMENT


def accepts(bridge: str) -> tuple[str, ...]:
    """The rules of the FORWARD path: out of the bridge, answers into it, and what was published."""
    comment = f"-m comment --comment {COMMENT} -j ACCEPT"
    return (
        f"-i {bridge} {comment}",
        f"-o {bridge} -m conntrack --ctstate RELATED,ESTABLISHED {comment}",
        f"-o {bridge} -m conntrack --ctstate DNAT {comment}",
    )


def forward_chain(program: str) -> str:
    """DOCKER-USER where it exists: Docker's own rules come after it. Else FORWARD."""
    status, _ = spawn([program, "-w", "-n", "-L", "DOCKER-USER"])
    return "FORWARD" if status else "DOCKER-USER"


def iptables_in_use() -> list[str]:
    """The iptables programs whose rules see our packets: the machine's own, and legacy where it has a table loaded."""
    found = [path for path in [find("iptables")] if path]
    legacy = find("iptables-legacy")
    if legacy and found and "filter" in legacy_tables() and not _is_legacy(found[0]):
        found.append(legacy)
    return found


def ip6tables_in_use() -> list[str]:
    """The ip6tables program, where its table is there: made by us it would have to be removed by us too."""
    program = find("ip6tables")
    return [program] if program and find("nft") and "table ip6 filter" in _nft("list tables ip6\n") else []


def legacy_tables() -> list[str]:
    """The tables of iptables-legacy that the kernel has loaded."""
    try:
        with open("/proc/net/ip_tables_names") as file:
            return file.read().split()
    except OSError:
        return []


def _is_legacy(program: str) -> bool:
    return "legacy" in os.path.realpath(program)


def _firewalld(change: str, bridge: str) -> None:
    """Tell firewalld, where it runs, that a bridge is trusted, or no longer there; until its next restart."""
    program = find("firewall-cmd")
    if program and os.path.exists("/run/firewalld") and spawn([program, "-q", "--state"])[0] == 0:
        spawn([program, "-q", "--zone=trusted", f"{change}={bridge}"])


def _nft(text: str) -> str:
    program = find("nft")
    if not program:
        raise NetworkError("nft is not installed", hint="run `invoke net-setup`, which installs nftables")
    status, said = spawn([program, "-f", "-"], text)
    if status:
        raise NetworkError(
            f"nft refused the rules: {said.strip()}",
            cause="the kernel lacks nf_tables, nft_masq or nft_ct",
            hint="run `modprobe -a nf_tables nft_masq nft_ct`",
        )
    return said
