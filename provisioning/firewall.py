"""The policy of iptables' FORWARD chain.

Docker sets it to DROP, and then no packet of another bridge is forwarded.
net-setup sets it to ACCEPT, as its users expect, and records what it was.
"""

from __future__ import annotations

import os
from dataclasses import dataclass
from typing import ClassVar

from coso.errors import ProvisionError
from coso.spawn import find
from cosonet.firewall import iptables_in_use
from provisioning.resource import Change, Fine, Plan, Skip, State
from provisioning.system import run

OPENS = "packets between all interfaces of this host are forwarded now, unless other rules drop them"


@dataclass(frozen=True)
class ForwardPolicy:
    """The policy of FORWARD, as one of the two iptables variants sees it."""

    kind: ClassVar[str] = "forward policy"
    program: str = "iptables"
    policy: str = "ACCEPT"
    leave: bool = False

    @property
    def label(self) -> str:
        """The program it is read and set with."""
        return self.program

    def inspect(self) -> State:
        """The policy; empty when the program is missing or has no part in what happens to packets."""
        path = find(self.program)
        if not path or not _has_part(self.program, path):
            return {"policy": ""}
        for line in run(path, "-w", "-S", "FORWARD").splitlines():
            if line.startswith("-P FORWARD "):
                return {"policy": line.split()[2]}
        raise ProvisionError(f"{path} names no policy of FORWARD")

    def plan(self, found: State) -> Plan:
        """Set the policy, or say why not."""
        if self.leave:
            return Skip("left alone (--forward=rules): cosonet adds two rules for its own bridge")
        if not found["policy"]:
            return Skip(_why_not(self.program))
        if found["policy"] == self.policy:
            return Fine(which(self.program))
        return Change(
            found,
            {"policy": self.policy},
            f"set it from {found['policy']} to {self.policy} ({which(self.program)})",
            f"{OPENS}; net-teardown sets {found['policy']} again",
        )

    def apply(self, change: Change) -> None:
        """Set the policy."""
        run(find(self.program), "-w", "-P", "FORWARD", change.after["policy"])

    def undo(self, change: Change) -> str:
        """Set the earlier policy, unless somebody has set it already or the program is gone."""
        now = self.inspect()
        if now == change.before or not now["policy"]:
            return ""
        run(find(self.program), "-w", "-P", "FORWARD", change.before["policy"])
        return f"{change.before['policy']} again"


def _has_part(program: str, path: str) -> bool:
    return program == "iptables" or path in iptables_in_use()


def which(program: str) -> str:
    """Which variant of iptables a program is, and why it is used."""
    variant = "legacy" if "legacy" in os.path.realpath(find(program)) else "nf_tables"
    if program != "iptables":
        return f"{variant}: it has a filter table of its own in the kernel, which every packet passes too"
    other = "nft" if variant == "legacy" else "legacy"
    both = f", and iptables-{other} is there too" if find(f"iptables-{other}") else ""
    return f"{variant}: the system's own `iptables`{both}"


def _why_not(program: str) -> str:
    if not find(program):
        return f"{program} is not installed" + (" yet" if program == "iptables" else "")
    return f"{program} has no table in the kernel; `iptables` is another variant, and used instead"
