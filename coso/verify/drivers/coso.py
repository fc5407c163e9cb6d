"""coso itself, under the same checks as the others."""

from __future__ import annotations

import os

from coso import __version__, launcher
from coso.verify.drivers.model import Driver, Wish


def command(wish: Wish, name: str, scratch: str) -> list[str]:
    """The words of `coso run`, with a launcher in the scratch directory."""
    program = f"{scratch}/coso"
    with open(program, "w") as file:
        file.write(launcher.text("coso"))
    os.chmod(program, 0o755)
    network = () if any(option.startswith("--network=") for option in wish.options) else ("--network=none",)
    words = [program, "run", f"--rootfs={wish.rootfs}", "--interactive", *network]
    words += [option for option in wish.options if option != "--interactive"]
    for path, inside, read_only in wish.volumes:
        words.append(f"--volume={path}:{inside}{':ro' if read_only else ''}")
    return [*words, "--", *wish.command]


def remove(name: str, scratch: str) -> None:
    """Take back what killed runtimes left, as `coso gc` does."""
    from coso.runtime.gc import collect

    collect()


DRIVER = Driver("coso", lambda: "", command, remove, lambda: __version__)
