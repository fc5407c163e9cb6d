"""The list of checks: what each proves, how serious a breach is, where it is written, and its control.

The control is what a person would give `coso run` to take this very
protection away; the same probe must then report a breach.  A protection that
no option takes away names what gives it (`without`): the tests leave that out.
"""

from __future__ import annotations

from coso.verify.checks import filesystems, leftovers, namespaces, privileges
from coso.verify.checks.check import Check

__all__ = ["CHECKS", "Check"]

CHECKS: tuple[Check, ...] = (*namespaces.CHECKS, *filesystems.CHECKS, *privileges.CHECKS, *leftovers.CHECKS)
