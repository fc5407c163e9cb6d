"""The UTS namespace: a host name of one's own (uts_namespaces(7))."""

from __future__ import annotations

from coso.kernel.call import call
from coso.kernel.process import CLONE_NEWUTS
from coso.runtime.container import Container
from coso.steps import Step

FLAG = CLONE_NEWUTS


def set_names(container: Container) -> None:
    """Set the host name and the domain name; the latter becomes the kernel's default, not the host's."""
    spec = container.spec
    if spec.names or spec.hostname:
        name = container.hostname.encode()
        call("sethostname", name, len(name), path=container.hostname)
    if spec.names or spec.domainname:
        domain = spec.domainname.encode() or b"(none)"
        call("setdomainname", domain, len(domain), path=spec.domainname)


NAMES = Step(
    "name the host",
    "give the container its own host name",
    "sethostname(), setdomainname()",
    "a new UTS namespace starts with a copy of the host's names",
    "uts_namespaces(7)",
    set_names,
)
