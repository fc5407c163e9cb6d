"""`DockerContainer` with the methods of testcontainers that tests use most, so that an import is all that changes.

from coso.connectors.testcontainers import DockerContainer, wait_for_logs
"""

from __future__ import annotations

from typing import Any, Self

import coso

HOST = "127.0.0.1"


class DockerContainer:
    """A container that is described step by step, and started in a `with` block or by `start`."""

    def __init__(self, image: str, **options: Any) -> None:
        self.image = image
        self._options = options
        self._command: Any = ()
        self._ports: list[str] = []
        self._found: coso.Container | None = None

    def with_env(self, key: str, value: str) -> Self:
        """Set an environment variable."""
        self._options.setdefault("env", {})[key] = value
        return self

    def with_command(self, command: str | list[str]) -> Self:
        """Set the command; a text is taken apart as a shell would."""
        import shlex

        self._command = shlex.split(command) if isinstance(command, str) else command
        return self

    def with_exposed_ports(self, *ports: int) -> Self:
        """Publish ports, each at one of the host's choice."""
        self._ports += [str(port) for port in ports]
        return self

    def with_bind_ports(self, container: int, host: int) -> Self:
        """Publish a port."""
        self._ports.append(f"{host}:{container}")
        return self

    def with_volume_mapping(self, host: str, container: str, mode: str = "ro") -> Self:
        """Show a directory of the host."""
        self._options.setdefault("volumes", []).append(f"{host}:{container}:{mode}")
        return self

    def with_kwargs(self, **options: Any) -> Self:
        """Set options of coso.container, `name` among them."""
        self._options.update(options)
        return self

    def start(self) -> Self:
        """Start it."""
        self._found = coso.container(self.image, self._command, ports=self._ports, **self._options)
        return self

    def stop(self, *_: object, **__: object) -> None:
        """End and remove it."""
        if self._found:
            self._found.close()

    def get_wrapped_container(self) -> coso.Container:
        """Coso's own container."""
        if self._found is None:
            raise coso.UsageError("the container was not started", hint="use it in a `with` block, or call start()")
        return self._found

    def get_container_host_ip(self) -> str:
        """Where its ports are published."""
        return HOST

    def get_exposed_port(self, port: int) -> int:
        """The port of the host that leads to one of it."""
        return self.get_wrapped_container().ports[port]

    def get_logs(self) -> tuple[bytes, bytes]:
        """What it has said; errors are among the output."""
        return self.get_wrapped_container().logs_bytes(), b""

    def exec(self, command: str | list[str]) -> tuple[int, bytes]:
        """Run a command inside; its status and output."""
        done = self.get_wrapped_container().exec(command)
        return done.status, done.stdout_bytes + done.stderr_bytes

    def __enter__(self) -> Self:
        return self.start()

    def __exit__(self, *_: object) -> None:
        self.stop()


def wait_for_logs(container: DockerContainer, predicate: str, timeout: float = 120) -> None:
    """Wait until the log has a line that a regular expression fits."""
    container.get_wrapped_container().wait_for(log=predicate, timeout=timeout)
