"""A coso that lacks one protection: the installed program with something left out.

There is no switch for that in the product; each entry replaces the one place
that gives the protection.
"""

from __future__ import annotations

from coso import launcher

# What is no step of the plan, and how it is left out.
LEFT_OUT = {
    "closing of descriptors": """
from coso.runtime import command
command.close_on_exec_from = lambda *_: None
command.os.closerange = lambda *_: None
command.os.getcwd = lambda: "/"
""",
    "device filter": """
from coso import cgroups
from coso.value import replace
create = cgroups.create
cgroups.create = lambda path, here, resources, record: create(path, here, replace(resources, devices=()), record)
""",
    # Of volumes alone: without it for the layers nothing would start.
    "private copies": """
from coso.kernel import mount as kernel
from coso.runtime import mount
opened = mount._open_bind
def shared(container, item):
    change = kernel.mount_setattr
    if "/propagation-" in item.source:
        kernel.mount_setattr = lambda *words, propagation=0, **more: propagation or change(*words, **more)
    try:
        return opened(container, item)
    finally:
        kernel.mount_setattr = change
mount._open_bind = shared
""",
    "protection of the interpreter": """
from coso.runtime import protect
protect.protect_interpreter = lambda: None
""",
    "refusal of links": """
from coso.runtime import filesystems
filesystems._refuse_symlink = lambda *_: None
""",
    "undoing": """
from coso.runtime.journal import Journal
Journal.undo = lambda _: []
from cosonet import release
release.remove_later = release.remove_unused = lambda: None
release.collect = lambda: []
""",
}
STEP = """
from coso.runtime import last, plan
def without(steps):
    return [step for step in steps if step.name != {step!r}]
parts = [(plan, name) for name in ("before_clone", "ids", "roots", "files", "network", "in_child")]
for module, name in (*parts, (last, "at_last")):
    whole = getattr(module, name)
    setattr(module, name, lambda spec, whole=whole, without=without: without(whole(spec)))
"""
# In both of these the redirection of input would find no /dev/null, and nothing would start.
LEFT_OUT["resolution in the root"] = (
    STEP.format(step="redirect input")
    + """
import os
from coso.errors import KernelError
from coso.kernel import path
def open_anywhere(root, name, flags=os.O_PATH, mode=0):
    try:
        return os.open(name.lstrip("/") or ".", flags | os.O_CLOEXEC, mode, dir_fd=root)
    except OSError as error:
        raise KernelError("openat", error.errno, name) from None
path.open_in_root = open_anywhere
"""
)
# MOVE_MOUNT_T_SYMLINKS (0x10): move_mount(2) follows no link at its target unless it is told to.
LEFT_OUT["own /dev"] = (
    STEP.format(step="mount /dev")
    + STEP.format(step="mask paths")
    + """
from coso.kernel import mount
mount.MOVE_MOUNT_F_EMPTY_PATH |= 0x10
"""
)
LEFT_OUT["own /dev/null"] = (
    STEP.format(step="mount /dev")
    + STEP.format(step="redirect input")
    + """
from coso.runtime import mount
mount.null = lambda container: mount.mount.open_tree("dev/null", container.root)
"""
)


def without(what: str) -> str:
    """The program without a protection, which is a step of the plan or one of LEFT_OUT."""
    code = LEFT_OUT.get(what) or STEP.format(step=what)
    return launcher.text("coso").replace("entry()\n", f"{code}entry()\n")
