"""Ansible's connection plugin `coso`: tasks are run in a container that runs, by coso's own exec."""

from __future__ import annotations

import importlib
import os

from ansible.errors import AnsibleConnectionFailure, AnsibleFileNotFound
from ansible.plugins.connection import ConnectionBase

# This file has coso's name, as Ansible wants it; the package is found by its own.
_coso = importlib.import_module("coso")

DOCUMENTATION = """
    name: coso
    short_description: run tasks in coso containers
    description: Runs each command in a container that runs, without a daemon and without SSH.
    author: coso
    version_added: "2.15"
    options:
      remote_addr:
        description: name or id of the container
        default: inventory_hostname
        vars:
          - name: inventory_hostname
          - name: ansible_host
          - name: ansible_coso_host
      remote_user:
        description: user inside
        vars:
          - name: ansible_user
"""


class Connection(ConnectionBase):  # type: ignore[misc]  # Ansible's types are not published
    """A container that is there."""

    transport = "coso"
    has_pipelining = True

    def _connect(self) -> Connection:
        if not self.connected:
            try:
                self._found = _coso.find(self.get_option("remote_addr"))
            except _coso.CosoError as error:
                raise AnsibleConnectionFailure(str(error)) from None
            self._connected = True
        return self

    def exec_command(self, cmd: str, in_data: bytes | None = None, sudoable: bool = True) -> tuple[int, bytes, bytes]:
        """Run a command; its status, output and errors."""
        super().exec_command(cmd, in_data=in_data, sudoable=sudoable)
        done = self._found.exec(cmd, user=self.get_option("remote_user") or "", input=in_data)
        return done.status, done.stdout_bytes, done.stderr_bytes

    def put_file(self, in_path: str, out_path: str) -> None:
        """Write a file into the container."""
        super().put_file(in_path, out_path)
        if not os.path.exists(in_path):
            raise AnsibleFileNotFound(f"there is no {in_path}")
        with open(in_path, "rb") as file:
            self._found.put(out_path, file.read())

    def fetch_file(self, in_path: str, out_path: str) -> None:
        """Read a file of the container."""
        super().fetch_file(in_path, out_path)
        data = self._found.get(in_path)
        with open(out_path, "wb") as file:
            file.write(data)

    def close(self) -> None:
        """There is nothing to close."""
        self._connected = False
