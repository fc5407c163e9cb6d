"""pytest's fixtures for containers: `coso_container`, `coso_network`, `coso_compose`, and what a failure shows of them.

Loaded by every pytest where coso is installed, so nothing is imported here
that is not used: without a fixture of ours it costs a module and three hooks.
"""

from __future__ import annotations

import json
import os
from typing import TYPE_CHECKING

import pytest

if TYPE_CHECKING:
    from collections.abc import Callable, Generator, Iterator
    from contextlib import ExitStack
    from typing import Any

    import coso

    MakeContainer = Callable[..., coso.Container]

LAST_LINES = 100
MARKER = "coso(image, command=(), **options): what coso_container() starts without arguments of its own"
KEPT_HINT = "coso: containers are kept for looking inside; Ctrl-C, or the end of this process, removes them"


def pytest_addoption(parser: pytest.Parser) -> None:
    """`--coso-keep`."""
    group = parser.getgroup("coso", "containers")
    group.addoption(
        "--coso-keep",
        action="store_true",
        help="leave the containers of failed tests running at the end, until Ctrl-C, to look inside",
    )


def pytest_configure(config: pytest.Config) -> None:
    """Make the marker known and, beside testinfra, its backend `coso://NAME`."""
    config.addinivalue_line("markers", MARKER)
    if config.pluginmanager.hasplugin("pytest11.testinfra"):
        from coso.connectors import testinfra

        testinfra.register()


class _Used:
    """What a test has started, for the report of its failure; and what ends it."""

    def __init__(self, ends: ExitStack) -> None:
        self.containers: list[coso.Container] = []
        self.ends = ends


_USED = pytest.StashKey[_Used]()
_KEPT = pytest.StashKey[list[_Used]]()


@pytest.hookimpl(wrapper=True)
def pytest_runtest_makereport(
    item: pytest.Item, call: pytest.CallInfo[None]
) -> Generator[None, pytest.TestReport, pytest.TestReport]:
    """Add to the report of a failure what its containers have said, how they ended and how they were made."""
    report = yield
    used = item.stash.get(_USED, None)
    if used and report.failed and report.when in ("setup", "call"):
        for one in used.containers:
            report.sections += _sections(one)
        if item.config.getoption("--coso-keep"):
            item.config.stash.setdefault(_KEPT, []).append(used)
    return report


def _sections(one: coso.Container) -> Iterator[tuple[str, str]]:
    import coso

    try:
        lines = one.logs().splitlines()
        yield f"coso logs {one.id}", "\n".join(lines[-LAST_LINES:])
        yield f"coso status {one.id}", one.status if one.status != "exited" else f"exited with status {one.wait(0)}"
        yield f"coso inspect {one.id}", json.dumps(one.inspect(), indent=1)
    except coso.CosoError as error:
        yield f"coso {one.id}", str(error)


def pytest_sessionfinish(session: pytest.Session) -> None:
    """With --coso-keep, wait until somebody has looked."""
    kept = session.config.stash.get(_KEPT, [])
    if not kept:
        return
    import contextlib
    import signal
    import sys

    # Begun in the background by a shell, pytest would ignore Ctrl-C, which is the only way on.
    signal.signal(signal.SIGINT, signal.default_int_handler)
    names = [f"  coso exec -it {one.id} sh\n" for used in kept for one in used.containers if one.status == "running"]
    sys.__stderr__.write(f"\n{KEPT_HINT}\n{''.join(names)}")  # type: ignore[union-attr]
    sys.__stderr__.flush()  # type: ignore[union-attr]
    with contextlib.suppress(KeyboardInterrupt):
        signal.pause()
    for used in kept:
        used.ends.close()


@pytest.fixture
def _coso_used(request: pytest.FixtureRequest) -> Iterator[_Used]:
    """All that a test has of ours; what came last goes first, in whatever order its fixtures stand."""
    from contextlib import ExitStack

    used = request.node.stash[_USED] = _Used(ExitStack())
    yield used
    if used not in request.config.stash.get(_KEPT, []):
        used.ends.close()


@pytest.fixture
def coso_container(request: pytest.FixtureRequest, _coso_used: _Used) -> MakeContainer:
    """Start containers that end with the test, as `coso.container` does.

    `c = coso_container("alpine", "sleep 9", memory="64m")`; without arguments
    it starts what the marker `@pytest.mark.coso(…)` says.
    """
    return _starting(_coso_used, request.node)


@pytest.fixture(scope="module")
def coso_module_container() -> Iterator[MakeContainer]:
    """The same, for containers that end with the module."""
    yield from _lasting()


@pytest.fixture(scope="session")
def coso_session_container() -> Iterator[MakeContainer]:
    """The same, for containers that end with the session (with xdist, of each worker)."""
    yield from _lasting()


def _lasting() -> Iterator[MakeContainer]:
    from contextlib import ExitStack

    with ExitStack() as ends:
        yield _starting(_Used(ends), None)


def _starting(used: _Used, item: pytest.Item | None) -> MakeContainer:
    import coso

    def start(*args: Any, **options: Any) -> coso.Container:
        if not args and "rootfs" not in options:
            marker = item.get_closest_marker("coso") if item else None
            if marker is None:
                raise coso.UsageError(
                    "coso_container() names no image", hint="give one, or @pytest.mark.coso('alpine')"
                )
            args, options = marker.args, {**marker.kwargs, **options}
        one = coso.container(*args, **options)
        used.containers.append(one)
        used.ends.callback(one.close)
        return one

    return start


@pytest.fixture
def coso_network(_coso_used: _Used) -> coso.Network:
    """A network that nothing else is on; containers find each other there by `name` and `network_alias`."""
    import coso

    return _coso_used.ends.enter_context(coso.network(_unique("test")))


@pytest.fixture
def coso_compose(request: pytest.FixtureRequest, _coso_used: _Used) -> Callable[..., coso.Compose]:
    """Bring up compose files, beside the test where they are relative: `coso_compose("compose.yaml")`."""
    import coso

    def up(*files: str | os.PathLike[str], **options: Any) -> coso.Compose:
        here = os.path.dirname(str(request.path))
        paths = [os.path.join(here, path) for path in files or ("compose.yaml",)]
        return _coso_used.ends.enter_context(coso.compose(*paths, name=_unique("test"), **options))

    return up


def _unique(base: str) -> str:
    """A name that no other test, worker or run has."""
    return f"{base}-{os.environ.get('PYTEST_XDIST_WORKER', 'main')}-{os.urandom(4).hex()}"
