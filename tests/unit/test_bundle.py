"""The cache of a start's modules: used when it is fresh, and never when it is not."""

from __future__ import annotations

import os
import shutil
import subprocess
import sys
from pathlib import Path

import pytest

from coso import bundle

ROOT = Path(__file__).resolve().parents[2]
SCRIPT = """
import sys
sys.path.insert(0, sys.argv[1])
from coso import bundle
bundle.use()
import coso.spec.units
print(type(coso.spec.units.__loader__).__name__ == "Finder", coso.spec.units._LEAST_MEMORY)
for name in sys.argv[2:]:
    __import__(name)
    print(type(sys.modules[name].__loader__).__name__ == "Finder")
bundle.write()
"""


@pytest.fixture
def tree(tmp_path: Path) -> Path:
    for room in ("coso", "cosonet"):
        shutil.copytree(ROOT / room, tmp_path / room, ignore=shutil.ignore_patterns("__pycache__"))
    return tmp_path


def start(tree: Path, *more: str) -> list[str]:
    words = [sys.executable, "-I", "-S", "-c", SCRIPT, str(tree), *more]
    return subprocess.run(words, capture_output=True, text=True, check=True).stdout.split()


def test_the_second_start_comes_from_the_bundle(tree: Path) -> None:
    assert start(tree) == ["False", "524288"]
    assert start(tree) == ["True", "524288"]


def test_a_changed_source_is_noticed(tree: Path) -> None:
    start(tree)
    source = tree / "coso/spec/units.py"
    source.write_text(source.read_text().replace("512 << 10", "256 << 10"))
    assert start(tree) == ["False", "262144"]
    assert start(tree) == ["True", "262144"]


def test_each_command_adds_what_it_had_to_search_for(tree: Path) -> None:
    start(tree)
    assert start(tree, "coso.spec.seccomp") == ["True", "524288", "False"]
    assert start(tree, "coso.spec.seccomp") == ["True", "524288", "True"]
    assert start(tree) == ["True", "524288"]
    assert start(tree, "coso.spec.seccomp") == ["True", "524288", "True"]


def run_help(tree: Path) -> list[str]:
    """Begin a `coso run` as the launcher does; the modules that came with the first one."""
    script = (
        f"import sys; sys.path.insert(0, {str(tree)!r}); from coso import bundle; bundle.use(); bundle.load_together();"
        "print(*sys.modules, sep='\\n'); sys.argv[1:] = ['run', '--rm', '--help'];"
        "from coso.cli import main; from coso.runtime import start; from coso import times;"
        "from coso.cgroups import v1, v2; main.entry()"
    )
    words = [sys.executable, "-I", "-S", "-c", script]
    done = subprocess.run(words, capture_output=True, text=True, check=True).stdout
    return [name for name in done.split("coso run [OPTIONS]")[0].split() if name.startswith("coso.")]


def test_the_modules_of_a_run_are_loaded_at_once(tree: Path) -> None:
    run_help(tree)
    assert set(run_help(tree)) == {"coso.bundle", *(f"coso.{name}" for name in bundle.RUN.split())}


def test_a_bundle_that_goes_away_meanwhile_is_done_without(tree: Path) -> None:
    run_help(tree)
    run_help(tree)
    script = (
        f"import sys; sys.path.insert(0, {str(tree)!r}); from coso import bundle; bundle.use();"
        "import os; os.unlink(bundle.PATH); bundle.load_together();"
        "from coso.runtime import start; print(start.__name__)"
    )
    words = [sys.executable, "-I", "-S", "-c", script]
    done = subprocess.run(words, capture_output=True, text=True, check=True)
    assert done.stdout.strip() == "coso.runtime.start"


def test_a_changed_source_is_noticed_there_too(tree: Path) -> None:
    run_help(tree)
    source = tree / "coso/spec/units.py"
    script = (
        f"import sys; sys.path.insert(0, {str(tree)!r}); from coso import bundle; bundle.use(); bundle.load_together();"
        "print(sys.modules['coso.spec.units']._LEAST_MEMORY)"
    )
    words = [sys.executable, "-I", "-S", "-c", script]
    run_help(tree)
    assert subprocess.run(words, capture_output=True, text=True, check=True).stdout == "524288\n"
    source.write_text(source.read_text().replace("512 << 10", "256 << 10"))
    assert subprocess.run(words, capture_output=True, text=True, check=True).stdout == "262144\n"
    run_help(tree)
    assert set(run_help(tree)) == {"coso.bundle", *(f"coso.{name}" for name in bundle.RUN.split())}


@pytest.mark.parametrize("damage", [b"", b"x" * 100])
def test_a_damaged_bundle_is_made_anew(tree: Path, damage: bytes) -> None:
    start(tree)
    path = tree / os.path.relpath(bundle.PATH, ROOT)
    path.write_bytes(damage)
    assert start(tree)[0] == "False"
    assert start(tree)[0] == "True"
