"""The pytest plugin, in a pytest of its own: fixtures, what a failure shows, many workers, a worker that is killed."""

from __future__ import annotations

import re
import signal
import subprocess
import sys
import time
from collections.abc import Callable
from pathlib import Path

import pytest

from tests.integration.conftest import what_is_left

Run = Callable[..., subprocess.CompletedProcess[str]]
FIVE_HUNDRED = """
import os, pytest

@pytest.mark.parametrize("number", range(500))
def test_it(number, coso_container):
    c = coso_container("{image}", ["sleep", "99"], network="none")
    assert c.exec(["cat", "/etc/hostname"]).stdout.strip() == c.id
"""


@pytest.fixture
def tests(tmp_path: Path, alpine: str) -> Run:
    """Run pytest on a file."""

    def run(text: str, *options: str) -> subprocess.CompletedProcess[str]:
        (tmp_path / "test_file.py").write_text(text.replace("{image}", alpine))
        (tmp_path / "pytest.ini").write_text("[pytest]\nmarkers =\n")
        words = [sys.executable, "-m", "pytest", "-p", "no:cacheprovider", *options, str(tmp_path)]
        done = subprocess.run(words, capture_output=True, text=True, check=False, timeout=120, cwd=tmp_path)
        assert not what_is_left()
        return done

    return run


def test_fixtures(tests: Run) -> None:
    text = """
import coso, pytest

def test_container(coso_container):
    assert coso_container("{image}", "echo hi; sleep 99", network="none").wait_for(log="hi").status == "running"

@pytest.mark.coso("{image}", "echo marked; sleep 99", network="none", env={"A": "b"})
def test_marked(coso_container):
    c = coso_container(env={"A": "c"}).wait_for(log="marked")
    assert c.exec("echo $A").stdout == "c\\n"

def test_module(coso_module_container):
    global shared
    shared = coso_module_container("{image}", "sleep 99", network="none")

def test_module_again():
    assert shared.status == "running"

def test_session(coso_session_container):
    coso_session_container("{image}", "sleep 99", network="none")

def test_network(coso_network, coso_container):
    one = coso_container("{image}", "sleep 99", network=coso_network, network_alias="one")
    two = coso_container("{image}", "sleep 99", network=coso_network)
    two.exec("ping -c1 one", check=True)

def test_testinfra(coso_container):
    import testinfra
    host = testinfra.get_host("coso://" + coso_container("{image}", "sleep 99", network="none").id)
    assert host.file("/etc/alpine-release").exists or host.file("/bin/busybox").exists
"""
    done = tests(text, "-v")
    assert done.returncode == 0, done.stdout


def test_a_failure_shows_its_containers(tests: Run) -> None:
    text = """
def test_it(coso_container):
    c = coso_container("{image}", "echo the reason is here >&2; exit 9", network="none")
    assert c.wait() == 0
"""
    done = tests(text)
    assert done.returncode == 1
    assert "the reason is here" in done.stdout
    assert re.search(r"coso status \w+.*\nexited with status 9", done.stdout)


def test_a_failure_shows_how_a_running_one_was_made(tests: Run) -> None:
    text = """
def test_it(coso_container):
    coso_container("{image}", "sleep 99", network="none", memory="64m")
    raise AssertionError
"""
    done = tests(text)
    assert re.search(r"coso inspect \w+", done.stdout)
    assert '"Memory": 67108864' in done.stdout


def test_without_our_fixtures_nothing_is_imported(tests: Run) -> None:
    text = """
import sys

def test_it():
    assert not [name for name in sys.modules if name.startswith(("coso.api", "coso.engine", "coso.runtime"))]
"""
    assert tests(text, "-p", "no:pytest11.testinfra").returncode == 0


def test_five_hundred_in_four_workers(tests: Run, record_property: Callable[[str, object], None]) -> None:
    begun = time.monotonic()
    done = tests(FIVE_HUNDRED, "-n", "4", "-q")
    record_property("seconds", round(time.monotonic() - begun, 2))
    assert done.returncode == 0, done.stdout[-3000:]
    assert "500 passed" in done.stdout


def test_a_worker_that_is_killed_leaves_nothing(tests: Run) -> None:
    text = FIVE_HUNDRED.replace("range(500)", "range(60)").replace(
        "    assert", "    if number == 30:\n        os.kill(os.getpid(), 9)\n    assert"
    )
    done = tests(text, "-n", "4", "-q")
    assert "59 passed" in done.stdout, done.stdout[-3000:]
    assert "crashed while running" in done.stdout


def test_kept_for_looking_inside(alpine: str, tmp_path: Path) -> None:
    (tmp_path / "test_file.py").write_text(
        f"def test_it(coso_container):\n    coso_container({alpine!r}, 'sleep 99', network='none')\n    assert 0\n"
    )
    (tmp_path / "pytest.ini").write_text("[pytest]\n")
    words = [sys.executable, "-m", "pytest", "-p", "no:cacheprovider", "--coso-keep", str(tmp_path)]
    # As a shell begins what shall be in the background, with Ctrl-C ignored.
    before = signal.signal(signal.SIGINT, signal.SIG_IGN)
    running = subprocess.Popen(words, stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True, cwd=tmp_path)
    signal.signal(signal.SIGINT, before)
    try:
        assert running.stderr
        said = next(line for line in iter(running.stderr.readline, "") if "coso exec" in line)
        container = said.split()[3]
        seen = subprocess.run(
            [sys.executable, "-c", f"import coso; print(coso.find({container!r}).exec('echo inside').stdout)"],
            capture_output=True,
            text=True,
            check=False,
        )
        assert "inside" in seen.stdout, seen.stderr
        running.send_signal(signal.SIGINT)
        running.communicate(timeout=30)
    finally:
        running.kill()
    assert not what_is_left()
