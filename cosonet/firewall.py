"""Rules: address translation and protection in our own nftables table, acceptance in other people's FORWARD.

Our own table `inet coso` is replaced as a whole, in one atomic batch (nft(8)).
An accept there does not undo a drop elsewhere: Docker sets the policy of
iptables' FORWARD to DROP and sends everybody first through DOCKER-USER.  So
two narrow rules for our bridge go into DOCKER-USER where it exists, else into
FORWARD, with a comment by which they are found again (iptables(8)).
"""

from __future__ import annotations

from coso.errors import NetworkError
from coso.spawn import find, spawn

TABLE = "inet coso"
COMMENT = "coso"


def rules(bridge: str, subnet: str) -> str:
    """The batch that makes our table, whatever it was before."""
    return f"""table {TABLE}
delete table {TABLE}
table {TABLE} {{
  chain postrouting {{
    type nat hook postrouting priority srcnat; policy accept;
    ip saddr {subnet} oifname != "{bridge}" masquerade
  }}
  chain forward {{
    type filter hook forward priority filter; policy accept;
    iifname "{bridge}" accept
    oifname "{bridge}" ct state established,related accept
    oifname "{bridge}" drop
  }}
}}
"""


def make_table(bridge: str, subnet: str) -> bool:
    """Make our own table; whether iptables' table is missing, which `accept` would then make. Raises NetworkError."""
    return "table ip filter" not in _nft(f"list tables ip\n{rules(bridge, subnet)}")


def accept(bridge: str) -> None:
    """Let iptables accept what our bridge forwards; raise NetworkError."""
    for program in iptables_in_use():
        restore = f"{program}-restore"
        commands = "".join(f"-I {chain} {rule}\n" for chain in [forward_chain(program)] for rule in accepts(bridge))
        status, said = spawn([restore, "-w", "--noflush"], f"*filter\n{commands}COMMIT\n")
        if status:
            raise NetworkError(f"{restore} failed: {said.strip()}", hint="run `cosonet gc`, then try again")


def close(bridge: str, *, made_filter_table: bool) -> None:
    """Take the rules away, as far as they are there, and the table they were in, if nobody else uses it."""
    _nft(f"table {TABLE}\ndelete table {TABLE}\n")
    for program in iptables_in_use():
        _, said = spawn([program, "-w", "-S"])
        ours = [line[3:] for line in said.splitlines() if line.startswith("-A ") and is_ours(line, bridge)]
        if ours:
            commands = "".join(f"-D {rule}\n" for rule in ours)
            spawn([f"{program}-restore", "-w", "--noflush"], f"*filter\n{commands}COMMIT\n")
    if made_filter_table and not _is_used():
        _nft("table ip filter\ndelete table ip filter\n")


def _is_used() -> bool:
    """Whether iptables' table has a rule, a chain or a policy of anybody's."""
    is_there = "table ip filter" in _nft("list tables ip\n")
    lines = _nft("list table ip filter\n").splitlines() if is_there else []
    plain = ("table ip filter {", "chain INPUT {", "chain FORWARD {", "chain OUTPUT {", "}", "")
    return any(line.strip() not in plain and not line.strip().endswith("policy accept;") for line in lines)


def is_ours(rule: str, bridge: str) -> bool:
    """Whether a line of `iptables -S` is one of the two that we added."""
    words = rule.split()
    return bridge in words and "--comment" in words and words[words.index("--comment") + 1].strip('"') == COMMENT


def accepts(bridge: str) -> tuple[str, str]:
    """The two rules of the FORWARD path: out of the bridge, and answers into it."""
    comment = f"-m comment --comment {COMMENT} -j ACCEPT"
    return (f"-i {bridge} {comment}", f"-o {bridge} -m conntrack --ctstate RELATED,ESTABLISHED {comment}")


def forward_chain(program: str) -> str:
    """DOCKER-USER where it exists: Docker's own rules come after it. Else FORWARD."""
    status, _ = spawn([program, "-w", "-n", "-L", "DOCKER-USER"])
    return "FORWARD" if status else "DOCKER-USER"


def iptables_in_use() -> list[str]:
    """The iptables programs whose rules see our packets: the machine's own, and legacy where it has a table loaded."""
    found = [path for path in [find("iptables")] if path]
    legacy = find("iptables-legacy")
    if legacy and found and "filter" in _legacy_tables() and not _is_legacy(found[0]):
        found.append(legacy)
    return found


def _legacy_tables() -> list[str]:
    try:
        with open("/proc/net/ip_tables_names") as file:
            return file.read().split()
    except OSError:
        return []


def _is_legacy(program: str) -> bool:
    import os

    return "legacy" in os.path.realpath(program)


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
