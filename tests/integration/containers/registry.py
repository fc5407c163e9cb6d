"""A real registry on loopback, and a thing between it and its clients that breaks what it passes on."""

from __future__ import annotations

import http.client
import http.server
import json
import subprocess
import threading
import time
from collections.abc import Iterator
from contextlib import closing, contextmanager
from pathlib import Path
from urllib.parse import urlsplit

PASSWORD = "secret"
# htpasswd -Bbn user secret
HTPASSWD = "user:$2y$05$5kLeXUjg9OAXK9t1TWm.6O2.z7HPxSPQdHtJPpAVuXqlGAwsFHcFW\n"


@contextmanager
def registry(directory: Path, port: int, *, htpasswd: str = "") -> Iterator[str]:
    """docker-registry (the distribution's own) with its storage in a directory; its host and port."""
    directory.mkdir(parents=True, exist_ok=True)
    config = {
        "version": 0.1,
        "log": {"level": "error", "accesslog": {"disabled": True}},
        "storage": {"filesystem": {"rootdirectory": str(directory / "data")}, "delete": {"enabled": True}},
        "http": {"addr": f"127.0.0.1:{port}"},
    }
    if htpasswd:
        (directory / "htpasswd").write_text(htpasswd)
        config["auth"] = {"htpasswd": {"realm": "test", "path": str(directory / "htpasswd")}}
    (directory / "config.yml").write_text(json.dumps(config))
    with open(directory / "log", "wb") as log:
        process = subprocess.Popen(
            ["docker-registry", "serve", str(directory / "config.yml")],
            stdout=log,
            stderr=log,
            stdin=subprocess.DEVNULL,
        )
    try:
        for _ in range(100):
            try:
                with closing(http.client.HTTPConnection("127.0.0.1", port, timeout=1)) as connection:
                    connection.request("GET", "/v2/")
                break
            except OSError:
                time.sleep(0.05)
        yield f"127.0.0.1:{port}"
    finally:
        process.kill()
        process.wait()


class Between(http.server.BaseHTTPRequestHandler):
    """Passes requests on to `upstream`; cuts bodies of blobs after `cut` bytes, or wants a bearer token."""

    upstream = ""
    cut = 0
    token = ""
    seen: list[tuple[str, str, str]] = []  # noqa: RUF012  # of the class on purpose: one list for all requests
    protocol_version = "HTTP/1.1"

    def log_message(self, *_: object) -> None:
        pass

    def do_GET(self) -> None:
        type(self).seen.append((self.command, self.path, self.headers.get("Range", "")))
        if self.path.startswith("/token"):
            return self._give_token()
        if self.token and self.headers.get("Authorization") != f"Bearer {self.token}":
            return self._ask_for_token()
        host = urlsplit(f"//{self.upstream}")
        connection = http.client.HTTPConnection(str(host.hostname), host.port or 80)
        kept = {name: text for name, text in self.headers.items() if name.lower() not in ("host", "authorization")}
        length = int(self.headers.get("Content-Length") or 0)
        connection.request(self.command, self.path, self.rfile.read(length) if length else None, kept)
        answer = connection.getresponse()
        data = answer.read()
        connection.close()
        self.send_response(answer.status)
        for name, text in answer.getheaders():
            if name.lower() not in ("transfer-encoding", "connection"):
                here = self.headers["Host"]
                self.send_header(name, text.replace(self.upstream, here))
        self.end_headers()
        if self.cut and "/blobs/sha256" in self.path and len(data) > self.cut:
            self.wfile.write(data[: self.cut])
            self.close_connection = True
            self.connection.close()
            return None
        if self.command != "HEAD":
            self.wfile.write(data)
        return None

    do_HEAD = do_POST = do_PUT = do_PATCH = do_GET  # noqa: N815  # http.server's names

    def _give_token(self) -> None:
        text = json.dumps({"token": self.token}).encode()
        good = "Basic " in self.headers.get("Authorization", "") or "scope=" in self.path
        self.send_response(200 if good else 401)
        self.send_header("Content-Length", str(len(text)))
        self.end_headers()
        self.wfile.write(text)

    def _ask_for_token(self) -> None:
        realm = f"http://{self.headers['Host']}/token"
        self.send_response(401)
        self.send_header("WWW-Authenticate", f'Bearer realm="{realm}",service="test"')
        self.send_header("Content-Length", "0")
        self.end_headers()


@contextmanager
def between(upstream: str, *, cut: int = 0, token: str = "") -> Iterator[tuple[str, type[Between]]]:
    """Such a thing, at a host and port of its own."""
    kind = type("Handler", (Between,), {"upstream": upstream, "cut": cut, "token": token, "seen": []})
    server = http.server.ThreadingHTTPServer(("127.0.0.1", 0), kind)
    threading.Thread(target=server.serve_forever, args=(0.02,), daemon=True).start()
    try:
        yield f"127.0.0.1:{server.server_address[1]}", kind
    finally:
        server.shutdown()
        server.server_close()
