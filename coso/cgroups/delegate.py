"""Hand a v2 group to the user of its container, who may then make groups below it.

Only where the configuration shows the container its own group, writable (OCI
config-linux.md "Cgroup ownership"); version 1 is never handed over, since
there a user could lift limits set above (cgroups(7), "Cgroups delegation").
"""

from __future__ import annotations

import os

from coso.cgroups import Hierarchy, relative
from coso.cgroups.files import read

LIST = "/sys/kernel/cgroup/delegate"
# What kernels before 4.15, which have no such list, hand over.
ALWAYS = "cgroup.procs cgroup.subtree_control cgroup.threads"


def delegate(path: str, here: list[Hierarchy], uid: int) -> None:
    """Make a user of the host the owner of a group, and of the files that may be given away."""
    for hierarchy in here:
        if hierarchy.version != 2:
            continue
        group = f"{hierarchy.path}/{relative(path)}"
        os.chown(group, uid, -1)
        for name in (read(LIST) or ALWAYS).split():
            try:
                os.chown(f"{group}/{name}", uid, -1)
            except FileNotFoundError:
                continue  # Not every group has every file of the list.
