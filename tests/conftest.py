"""What every test may use: where real Alpine releases lie, and a server for them."""

from __future__ import annotations

import http.server
import os
import threading
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest

ROOT = Path(__file__).resolve().parent.parent
MIRROR = ROOT.parent / "shared" / "alpine"


@pytest.fixture(scope="session")
def mirror() -> Path:
    """A directory laid out like Alpine's servers, with real releases."""
    if not MIRROR.is_dir():
        pytest.skip(f"no Alpine mirror at {MIRROR}")
    return MIRROR


@pytest.fixture
def serve() -> Iterator[Callable[..., str]]:
    """Serve a directory on loopback; the handler class may be replaced. Gives the address."""
    servers = []

    def start(directory: Path, handler: type[http.server.SimpleHTTPRequestHandler] | None = None) -> str:
        kind = handler or QuietHandler
        server = http.server.ThreadingHTTPServer(("127.0.0.1", 0), lambda *a: kind(*a, directory=str(directory)))
        threading.Thread(target=server.serve_forever, args=(0.02,), daemon=True).start()
        servers.append(server)
        return f"http://127.0.0.1:{server.server_address[1]}"

    yield start
    for server in servers:
        server.shutdown()
        server.server_close()


class QuietHandler(http.server.SimpleHTTPRequestHandler):
    def log_message(self, *_: object) -> None:
        pass


@pytest.fixture
def as_root() -> None:
    if os.geteuid() != 0:
        pytest.skip("needs root")
