"""The UTS namespace: a host name of one's own (uts_namespaces(7))."""

from __future__ import annotations

from coso.kernel.call import call
from coso.kernel.process import CLONE_NEWUTS
from coso.runtime.container import Container
from coso.steps import Step

FLAG = CLONE_NEWUTS


def set_names(container: Container) -> None:
    """Set the host name; the domain name becomes the kernel's default, not the host's."""
    name = container.hostname.encode()
    call("sethostname", name, len(name), path=container.hostname)
    call("setdomainname", b"(none)", 6)


NAMES = Step(
    "name the host",
    "give the container its own host name",
    "sethostname(), setdomainname()",
    "a new UTS namespace starts with a copy of the host's names",
    "uts_namespaces(7)",
    set_names,
)
