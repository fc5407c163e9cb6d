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
    from coso.api import aio
    from coso.api.client import Starter
    from coso.api.completed import Completed, run
    from coso.api.compose import Compose, compose
    from coso.api.container import Container, container, find
    from coso.api.image import Image, build_image, image, pull_image
    from coso.api.network import Network, network
    from coso.api.words import Options
    from coso.errors import CommandFailedError, CosoError, MissingError, TimeoutExpiredError, UsageError

__all__ = [
    "CommandFailedError",
    "Completed",
    "Compose",
    "Container",
    "CosoError",
    "Image",
    "MissingError",
    "Network",
    "Options",
    "Starter",
    "TimeoutExpiredError",
    "UsageError",
    "__version__",
    "aio",
    "build_image",
    "compose",
    "container",
    "find",
    "image",
    "network",
    "pull_image",
    "run",
]
_WHERE = {
    "aio": "coso.api.aio",
    "Starter": "coso.api.client",
    "Options": "coso.api.words",
    **dict.fromkeys(("Compose", "compose"), "coso.api.compose"),
    **dict.fromkeys(("Image", "build_image", "image", "pull_image"), "coso.api.image"),
    **dict.fromkeys(("Network", "network"), "coso.api.network"),
    **dict.fromkeys(("Completed", "run"), "coso.api.completed"),
    **dict.fromkeys(("Container", "container", "find"), "coso.api.container"),
    **dict.fromkeys(
        ("CommandFailedError", "CosoError", "MissingError", "TimeoutExpiredError", "UsageError"), "coso.errors"
    ),
}


def __getattr__(name: str) -> object:
    # Asked for every module of ours that is imported, too: so this comes first.
    if name not in _WHERE:
        raise AttributeError(f"module 'coso' has no attribute {name!r}")
    from importlib import import_module

    if name == "aio":
        return import_module(_WHERE[name])
    return getattr(import_module(_WHERE[name]), name)


def __dir__() -> list[str]:
    return __all__
