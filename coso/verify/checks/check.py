"""One check, as a value, and the options of its containers."""

from __future__ import annotations

from coso.value import value

NETWORK = "--network=default"  # the runtime's own network, whatever it is
UNFILTERED = "--security-opt=seccomp=unconfined"
PRIVILEGED = ("--userns=host", "--cap-add=ALL", UNFILTERED)
REPEATED = ("--cap-add", "--security-opt", "--volume")


@value
class Check:
    """One check.

    `probe` is a function of coso.verify.probe with its argument, or what is
    looked at on the `host`.  It runs in a container with the options `given`,
    in the place and company that `scene` names (coso.verify.scenes).  With
    the options `control` added, or without what `without` names, or with
    nothing given where there is neither, it must breach.
    """

    id: str
    area: str
    title: str
    severity: str
    source: str
    probe: str
    control: tuple[str, ...] = ()
    without: str = ""
    given: tuple[str, ...] = ()
    scene: str = "alone"


def options(check: Check, *, control: bool = False) -> tuple[str, ...]:
    """The options of a check's container, or of its control's; of an option that is given again the last counts."""
    asked = () if control and not check.control and not check.without else check.given
    chosen: dict[str, str] = {}
    for word in ("--network=none", *asked, *(check.control if control else ())):
        name = word.partition("=")[0]
        chosen[word if name in REPEATED else name] = word
    return tuple(word for word in chosen.values() if word != NETWORK)
