"""The compiled modules of our programs in one file, beside Python's own caches.

Finding, checking and reading forty-odd .pyc files takes twice as long as
running them.  So each command that had to search for modules of ours adds them to
`coso/__pycache__/coso.<python>.bundle`, if its user may write there, and the
next one reads from there what it imports, piece by piece, unless the source
file has changed since; what every `coso run` imports is one piece more.  Like a
.pyc, it is only a cache: without it everything works, some milliseconds slower.
"""

# No `from __future__`: that module's file would be searched for before the bundle is in use.
import marshal
import os
import sys
from _frozen_importlib import ModuleSpec

TYPE_CHECKING = False
if TYPE_CHECKING:
    from types import ModuleType

    # Where its code begins after the index, and how long it is; when its source was changed; whether it is a package.
    Piece = tuple[int, int, int, bool]
    Index = dict[str, Piece]

ROOT = os.path.dirname(os.path.dirname(__file__))
DIRECTORY = f"{ROOT}/coso/__pycache__"
PATH = f"{DIRECTORY}/coso.{sys.implementation.cache_tag}.bundle"
OURS = ("coso", "cosonet")
# These find the others. `__future__` is not ours, and searched for by nearly all.
FIRST, ALSO = ("coso", "coso.bundle"), "__future__"
# What `coso run` imports on its way to execve, each after what it imports itself: one piece, loaded at once.
TOGETHER = "run"
RUN = """
cli errors times cli.main images value spec spec.defaults images.rootfs quickjson images.reference state
images.blobs images.store images.source cli.sources engine engine.joined flags runtime cgroups.files cgroups
cgroups.v1 cgroups.v2 steps kernel kernel.call kernel.process runtime.channel runtime.container runtime.pid
runtime.command runtime.hooks runtime.ipc kernel.path spec.sysctl runtime.process kernel.capability
kernel.seccomp runtime.undo runtime.journal runtime.user runtime.users spec.seccomp_compiled runtime.security
runtime.last runtime.cgroup kernel.mount runtime.console runtime.options runtime.root runtime.mount
runtime.devices runtime.filesystems runtime.handover launcher spawn spec.network runtime.net runtime.time
runtime.uts runtime.plan runtime.report runtime.child runtime.ready runtime.supervise runtime.start spec.units
spec.mounts spec.resources spec.build engine.front options cli.run
"""
# The first bytes: the lengths of the whole file and of its index, and a number that no other bundle has.  Each piece
# begins with that too: the file may be another by the time a piece is read, and its place another module's.
HEAD, MARK = 24, 8


class Finder:
    """Finds modules in a bundle (importlib's finder and loader protocols).

    It keeps no descriptor: the lowest numbers are the caller's to give to a
    container, and who leaves a process behind closes all it does not know.
    """

    def __init__(self, mark: bytes, index: "Index", start: int) -> None:
        self.mark = mark
        self.index = index
        self.start = start

    def find_spec(self, name: str, path: object = None, target: object = None) -> ModuleSpec | None:
        """The spec of a module that is in the bundle as its source is on the disk."""
        if name not in self.index:
            return None
        _, _, stamp, is_package = self.index[name]
        source = source_of(name, is_package)
        if stamp != _stamp(source) or not (code := self.read(name)):
            return None
        spec = self._spec(name, source, is_package)
        spec.loader_state = code
        return spec

    def create_module(self, spec: ModuleSpec) -> None:
        """None: an ordinary module will do."""

    def exec_module(self, module: "ModuleType") -> None:
        """Run a module's code."""
        spec = module.__spec__
        assert spec
        code, spec.loader_state = spec.loader_state, None
        exec(marshal.loads(code), module.__dict__)

    def load_together(self) -> None:
        """Load the modules of `RUN` as one: without a search for each, and with what they have in common said once."""
        data = self.read(TOGETHER) if TOGETHER in self.index else b""
        for name, code in marshal.loads(data).items() if data else ():
            _, _, stamp, is_package = self.index[name]
            source, (parent, _, own) = source_of(name, is_package), name.rpartition(".")
            # What is not as it was is searched for, and so is what it belongs to.
            if name in sys.modules or parent not in sys.modules or stamp != _stamp(source):
                continue
            spec = self._spec(name, source, is_package)
            module = sys.modules[name] = type(sys)(name)
            module.__spec__, module.__package__, module.__file__ = spec, spec.parent, source
            module.__loader__ = self  # type: ignore[assignment]
            if is_package:
                module.__path__ = spec.submodule_search_locations  # type: ignore[assignment]
            try:
                exec(code, module.__dict__)
            except BaseException:
                del sys.modules[name]
                raise
            setattr(sys.modules[parent], own, module)

    def _spec(self, name: str, source: str, is_package: bool) -> ModuleSpec:
        spec = ModuleSpec(name, self, origin=source, is_package=is_package)  # type: ignore[arg-type]
        spec.has_location = True
        if is_package and spec.submodule_search_locations is not None:
            spec.submodule_search_locations.append(os.path.dirname(source))
        return spec

    def read(self, name: str) -> bytes:
        """The code of a module, as marshal wrote it; nothing where another bundle is in this one's place by now."""
        start, length, _, _ = self.index[name]
        try:
            fd = os.open(PATH, os.O_RDONLY | os.O_CLOEXEC)
        except OSError:
            return b""
        try:
            data = os.pread(fd, length, self.start + start)
            return data[MARK:] if len(data) == length and data[:MARK] == self.mark else b""
        finally:
            os.close(fd)


def source_of(name: str, is_package: bool) -> str:
    """The source file of a module."""
    if name == ALSO:
        return f"{os.path.dirname(os.__file__)}/{ALSO}.py"
    return f"{ROOT}/{name.replace('.', '/')}{'/__init__' if is_package else ''}.py"


def _stamp(path: str) -> int:
    try:
        return os.stat(path).st_mtime_ns
    except OSError:
        return -1


def use(_: str = "") -> bool:
    """Import from the bundle from here on; False when there is none. Launchers of an earlier version say for what."""
    if _in_use():
        return True
    try:
        fd = os.open(PATH, os.O_RDONLY | os.O_CLOEXEC)
    except OSError:
        return False
    try:
        head = os.pread(fd, HEAD, 0)
        whole, length = int.from_bytes(head[:8], "little"), int.from_bytes(head[8:16], "little")
        if len(head) != HEAD or os.fstat(fd).st_size != whole:
            return False
        sys.meta_path.insert(0, Finder(head[16:], marshal.loads(os.pread(fd, length, HEAD)), HEAD + length))
        return True
    finally:
        os.close(fd)


def load_together() -> None:
    """Load what `coso run` imports, where that is in the bundle in use."""
    finder = _in_use()
    if finder:
        finder.load_together()


def _in_use() -> Finder | None:
    return next((finder for finder in sys.meta_path if isinstance(finder, Finder)), None)


def forget() -> None:
    """Give up the bundle in use, once all that is wanted of it is loaded: every module knows the finder."""
    finder = _in_use()
    if finder:
        finder.index = {}
        sys.meta_path.remove(finder)


def write() -> None:
    """Add to the bundle what this program has had to search for of ours, as far as one may write there."""
    finder = _in_use()
    missing = {
        name
        for name, module in sys.modules.items()
        if (name.partition(".")[0] in OURS or name == ALSO)
        and name not in FIRST
        and not isinstance(getattr(module, "__loader__", None), Finder)
    }
    place = DIRECTORY if os.path.isdir(DIRECTORY) else os.path.dirname(DIRECTORY)
    is_whole = not finder or TOGETHER in finder.index or not set(_run()) <= finder.index.keys()
    if (not missing and is_whole) or not os.access(place, os.W_OK):
        return
    pieces = {name: _compiled(name) for name in sorted(missing)}
    for name, (_, _, stamp, is_package) in finder.index.items() if finder else ():
        if name != TOGETHER and stamp == _stamp(source_of(name, is_package)) and finder and (code := finder.read(name)):
            pieces.setdefault(name, (code, stamp, is_package))
    if pieces.keys() >= set(_run()):
        codes = {name: marshal.loads(pieces[name][0]) for name in _run()}
        pieces[TOGETHER] = marshal.dumps(codes), 0, False
    try:
        os.makedirs(DIRECTORY, exist_ok=True)
        beside = f"{PATH}.{os.getpid()}"
        with open(beside, "wb") as file:
            file.write(_packed(pieces))
        os.rename(beside, PATH)
    except OSError:
        pass  # A cache that cannot be written is no fault.


def _run() -> list[str]:
    return [f"coso.{name}" for name in RUN.split()]


def _compiled(name: str) -> tuple[bytes, int, bool]:
    is_package = hasattr(sys.modules[name], "__path__")
    path = source_of(name, is_package)
    stamp = _stamp(path)
    with open(path, encoding="utf-8") as source:
        # Without docstrings, which nobody asks a running program for.
        code = compile(source.read(), path, "exec", dont_inherit=True, optimize=2)
    return marshal.dumps(code), stamp, is_package


def _packed(pieces: dict[str, tuple[bytes, int, bool]]) -> bytes:
    """The head, the index, the pieces."""
    index: Index = {}
    body, mark = b"", os.urandom(MARK)
    for name, (code, stamp, is_package) in pieces.items():
        index[name] = (len(body), MARK + len(code), stamp, is_package)
        body += mark + code
    known = marshal.dumps(index)
    whole = HEAD + len(known) + len(body)
    return whole.to_bytes(8, "little") + len(known).to_bytes(8, "little") + mark + known + body
