"""The compiled modules of a start in one file, beside Python's own caches.

Finding, checking and reading forty-odd .pyc files takes twice as long as
running them.  The first start as a user who may write there puts them into
`coso/__pycache__/<program>.<python>.bundle`; later ones read that, unless a
source file has changed since.  Like a .pyc, it is only a cache: without it
everything works, 5 ms slower.
"""

# No `from __future__`: that module's file would be searched for before the bundle is in use.
import marshal
import os
import sys
from _frozen_importlib import ModuleSpec

TYPE_CHECKING = False
if TYPE_CHECKING:
    from types import ModuleType

    Modules = dict[str, tuple[bytes, str, bool]]

DIRECTORY = f"{os.path.dirname(__file__)}/__pycache__"
# What a start needs besides what the first one has loaded of ours: what has its own .pyc, and the bundled network.
NETWORK = (
    "address attach cli definition elements firewall inside lease member names netlink network owner publish release"
).split()
ALSO = {
    "coso": ("__future__", "cosonet", *(f"cosonet.{part}" for part in NETWORK)),
    # A container's life takes several commands, and whichever comes first writes for all of them.
    "coso-oci": (
        "__future__",
        *(f"coso.oci.{part}" for part in ("control", "create", "execute", "listing", "run", "store", "words")),
        *(f"coso.cgroups.{part}" for part in ("files", "join", "members", "more", "devices", "v1", "v2")),
        *(f"coso.spec.{part}" for part in ("profile", "read", "sysctl")),
        *(f"coso.runtime.{part}" for part in ("copyup", "namespaces", "protect")),
    ),
}


class Finder:
    """Finds modules in a bundle (importlib's finder and loader protocols)."""

    def __init__(self, modules: "Modules") -> None:
        self.modules = modules

    def find_spec(self, name: str, path: object = None, target: object = None) -> ModuleSpec | None:
        """The spec of a module that is in the bundle."""
        if name not in self.modules:
            return None
        _, file, is_package = self.modules[name]
        spec = ModuleSpec(name, self, origin=file, is_package=is_package)  # type: ignore[arg-type]
        spec.has_location = True
        if is_package and spec.submodule_search_locations is not None:
            spec.submodule_search_locations.append(os.path.dirname(file))
        return spec

    def create_module(self, spec: ModuleSpec) -> None:
        """None: an ordinary module will do."""

    def exec_module(self, module: "ModuleType") -> None:
        """Run a module's code."""
        exec(marshal.loads(self.modules[module.__name__][0]), module.__dict__)


def path_of(program: str) -> str:
    """The bundle of a program: each loads other modules."""
    return f"{DIRECTORY}/{program}.{sys.implementation.cache_tag}.bundle"


def use(program: str = "coso") -> bool:
    """Import from a program's bundle from here on; False when there is none, or a source file has changed since."""
    if any(isinstance(finder, Finder) for finder in sys.meta_path):
        return True
    try:
        with open(path_of(program), "rb") as file:
            stamps, modules = marshal.loads(file.read())
        if any(os.stat(path).st_mtime_ns != stamp for path, stamp in stamps):
            return False
    except (OSError, ValueError, EOFError, TypeError):
        return False
    sys.meta_path.insert(0, Finder(modules))
    return True


def forget() -> None:
    """Give up the bundle in use, once all that is wanted of it is loaded: it takes a megabyte."""
    for finder in sys.meta_path:
        if isinstance(finder, Finder):
            finder.modules.clear()  # Every module it has loaded knows it.
    sys.meta_path[:] = [finder for finder in sys.meta_path if not isinstance(finder, Finder)]


def write(program: str = "coso") -> None:
    """Put what this start has loaded into a program's bundle, as far as one may write there."""
    if not os.access(DIRECTORY if os.path.isdir(DIRECTORY) else os.path.dirname(DIRECTORY), os.W_OK):
        return
    from importlib.util import find_spec

    names = {name for name in sys.modules if name.partition(".")[0] in ("coso", "cosonet")}
    modules: Modules = {}
    stamps = []
    for name in sorted(names.union(ALSO[program])):
        spec = find_spec(name)
        if spec and spec.origin:
            stamps.append((spec.origin, os.stat(spec.origin).st_mtime_ns))
            with open(spec.origin, encoding="utf-8") as source:
                # Without docstrings, which nobody asks a running program for.
                code = compile(source.read(), spec.origin, "exec", dont_inherit=True, optimize=2)
            modules[name] = (marshal.dumps(code), spec.origin, spec.submodule_search_locations is not None)
    try:
        os.makedirs(DIRECTORY, exist_ok=True)
        beside = f"{path_of(program)}.{os.getpid()}"
        with open(beside, "wb") as file:
            file.write(marshal.dumps((stamps, modules)))
        os.rename(beside, path_of(program))
    except OSError:
        pass  # A cache that cannot be written is no fault.
