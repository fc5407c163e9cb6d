"""coso itself, under the same checks as the others."""

from __future__ import annotations

import os
import subprocess
import threading

from coso import __version__, launcher
from coso.verify.drivers.model import Driver, Wish


def driver(text: str = "") -> Driver:
    """The driver of coso; `text` is started in the place of the installed program's text."""

    def command(wish: Wish, name: str, scratch: str) -> list[str]:
        network = () if any(option.startswith("--network=") for option in wish.options) else (_cosonet(scratch),)
        words = [_program(scratch, text), "run", f"--rootfs={wish.rootfs}", *network, *wish.options]
        for path, inside, read_only in wish.volumes:
            words.append(f"--volume={path}:{inside}{':ro' if read_only else ''}")
        return [*words, "--", *wish.command]

    def remove(name: str, scratch: str) -> None:
        subprocess.run([_program(scratch, text), "gc"], capture_output=True, check=False)

    return Driver("coso", lambda: "", command, remove, lambda: __version__)


def _program(scratch: str, text: str) -> str:
    return _written(f"{scratch}/coso", text or launcher.text("coso"))


def _cosonet(scratch: str) -> str:
    return f"--network={_written(f'{scratch}/cosonet', launcher.text('cosonet'))}"


def _written(path: str, text: str) -> str:
    """Write a program once: one that is being executed cannot be written again."""
    if not os.path.exists(path):
        new = f"{path}.{threading.get_ident()}"
        with open(new, "w") as file:
            file.write(text)
        os.chmod(new, 0o755)
        os.rename(new, path)
    return path


DRIVER = driver()
