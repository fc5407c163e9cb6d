"""coso: Containerization Oriented Standard Operations.

Containers without a daemon: `coso.run(spec)` runs one to its end.  Names are
imported when they are used, so that the command line pays for none of them.
"""

# No `from __future__`, as in coso.bundle: a start would search the disk for it.
__version__ = "0.1.0"
__all__ = ["CosoError", "Spec", "__version__", "run"]

TYPE_CHECKING = False
if TYPE_CHECKING:
    from coso.errors import CosoError
    from coso.runtime.start import run
    from coso.spec import Spec

_WHERE = {"CosoError": "coso.errors", "Spec": "coso.spec", "run": "coso.runtime.start"}


def __getattr__(name: str) -> object:
    if name not in _WHERE:
        raise AttributeError(f"module 'coso' has no attribute {name!r}")
    from importlib import import_module

    return getattr(import_module(_WHERE[name]), name)
