"""pyinfra's connector `@coso/NAME`: `pyinfra @coso/web deploy.py` provisions a container that runs."""

from __future__ import annotations

from typing import IO, TYPE_CHECKING, Any

from pyinfra.api.exceptions import ConnectError, InventoryError
from pyinfra.api.output import echo
from pyinfra.api.util import get_file_io
from pyinfra.connectors.base import BaseConnector
from pyinfra.connectors.util import CommandOutput, OutputLine, extract_control_arguments, make_unix_command_for_host

import coso

if TYPE_CHECKING:
    from collections.abc import Iterator

    from pyinfra.api.command import StringCommand

KEY = "coso_identifier"


class CosoConnector(BaseConnector):
    """Runs commands in a container that is there, by coso's own exec."""

    handles_execution = True
    found: coso.Container

    @staticmethod
    def make_names_data(name: str | None = None) -> Iterator[tuple[str, dict[str, Any], list[str]]]:
        """The host that a name in the inventory stands for."""
        if not name:
            raise InventoryError("@coso needs the name of a container: @coso/web")
        yield f"@coso/{name}", {KEY: name}, ["@coso"]

    def connect(self) -> None:
        """Find the container."""
        try:
            self.found = coso.find(self.host.data.get(KEY))
        except coso.CosoError as error:
            raise ConnectError(str(error)) from None

    def run_shell_command(
        self, command: StringCommand, print_output: bool = False, print_input: bool = False, **arguments: Any
    ) -> tuple[bool, CommandOutput]:
        """Run a command; whether it succeeded, and its lines."""
        control: dict[str, Any] = dict(extract_control_arguments(arguments))  # type: ignore[arg-type]
        whole = make_unix_command_for_host(self.state, self.host, command, **arguments)
        if print_input:
            echo(f"{self.host.print_prefix}>>> {whole}", err=True)
        given = control.get("_stdin")
        text = "\n".join(given) + "\n" if isinstance(given, (list, tuple)) else given
        done = self.found.exec(whole.get_raw_value(), input=text, timeout=control.get("_timeout"))
        lines = [OutputLine("stdout", line) for line in done.stdout.splitlines()]
        lines += [OutputLine("stderr", line) for line in done.stderr.splitlines()]
        if print_output:
            for line in lines:
                echo(f"{self.host.print_prefix}{line.line}", err=True)
        return done.status in control.get("_success_exit_codes", [0]), CommandOutput(lines)

    def put_file(  # type: ignore[override]  # its other arguments are about users and shells
        self, filename_or_io: str | IO[Any], remote_filename: str, *_: object, **__: object
    ) -> bool:
        """Write a file into the container."""
        with get_file_io(filename_or_io) as file:
            self.found.put(remote_filename, file.read())
        return True

    def get_file(  # type: ignore[override]
        self, remote_filename: str, filename_or_io: str | IO[Any], *_: object, **__: object
    ) -> bool:
        """Read a file of the container."""
        with get_file_io(filename_or_io, "wb") as file:
            file.write(self.found.get(remote_filename))
        return True
