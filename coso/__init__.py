"""coso: Containerization Oriented Standard Operations.

Containers without a daemon, from Python:

    import coso

    print(coso.run("alpine", ["echo", "hi"]).stdout)
    with coso.container("alpine", "nc -lk -p 80 -e date", network="web") as c:
        c.wait_for(port=80)

Names are imported when they are used, so that the command line pays for none of them.
"""

# No `from __future__`, as in coso.bundle: a start would search the disk for it.
__version__ = "0.1.0"

TYPE_CHECKING = False
if TYPE_CHECKING:
    from coso.api.client import Starter
    from coso.api.container import Completed, Container, container, find, run
    from coso.api.words import Options
    from coso.errors import CommandFailedError, CosoError, MissingError, TimeoutExpiredError, UsageError

__all__ = [
    "CommandFailedError",
    "Completed",
    "Container",
    "CosoError",
    "MissingError",
    "Options",
    "Starter",
    "TimeoutExpiredError",
    "UsageError",
    "__version__",
    "container",
    "find",
    "run",
]
_WHERE = {
    "Starter": "coso.api.client",
    "Options": "coso.api.words",
    **dict.fromkeys(("Completed", "Container", "container", "find", "run"), "coso.api.container"),
    **dict.fromkeys(
        ("CommandFailedError", "CosoError", "MissingError", "TimeoutExpiredError", "UsageError"), "coso.errors"
    ),
}


def __getattr__(name: str) -> object:
    if name not in _WHERE:
        raise AttributeError(f"module 'coso' has no attribute {name!r}")
    from importlib import import_module

    return getattr(import_module(_WHERE[name]), name)


def __dir__() -> list[str]:
    return __all__
