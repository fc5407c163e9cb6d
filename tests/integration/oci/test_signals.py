"""`kill`: which signal reaches whom, and what a container is that was killed from outside (runtime.md)."""

from __future__ import annotations

import os
import signal

import pytest

from tests.integration.oci import groups
from tests.integration.oci.bundle import Bundle, alive, eventually
from tests.integration.oci.runtime import Runtime

TRAPS = "trap 'echo got TERM; exit 3' TERM; trap 'echo got USR1' USR1; echo ready; while :; do sleep 0.02; done"


@pytest.mark.parametrize("name", ["TERM", "SIGTERM", "15", "term", "sigterm", ""])
def test_a_signal_has_a_name_or_a_number_and_is_term_by_default(bundle: Bundle, name: str) -> None:
    bundle.up(TRAPS)
    assert bundle.prints("ready")
    bundle.kill(*([name] if name else [])).ok()
    assert bundle.prints("got TERM")
    bundle.ended()


def test_other_signals_arrive_as_what_they_are(bundle: Bundle) -> None:
    bundle.up(TRAPS)
    assert bundle.prints("ready")
    bundle.kill("USR1").ok()
    assert bundle.prints("got USR1")
    assert bundle.status() == "running"


@pytest.mark.parametrize("name", ["NOSUCH", "SIGNOSUCH", "999", "-1"])
def test_an_unknown_signal_is_refused(bundle: Bundle, name: str) -> None:
    bundle.up()
    assert bundle.kill("--", name).status != 0
    assert bundle.status() == "running"


def test_kill_all_reaches_every_process(bundle: Bundle) -> None:
    """Without a pid namespace nothing else takes them along."""
    bundle.without("pid").up("sleep 99 & exec sleep 98")
    pids = groups.members(groups.of(bundle.pid, "pids"))
    assert len(pids) == 2
    bundle.runtime("kill", "--all", bundle.id, "KILL").ok()
    assert eventually(lambda: not any(map(alive, pids)), 5)


def test_an_init_killed_from_outside_is_stopped(bundle: Bundle) -> None:
    bundle.up()
    os.kill(bundle.pid, signal.SIGKILL)
    bundle.ended()
    bundle.delete().ok()
    assert not bundle.traces()


def test_a_created_container_killed_from_outside_is_stopped(bundle: Bundle) -> None:
    bundle.create().ok()
    os.kill(bundle.pid, signal.SIGKILL)
    bundle.ended()
    assert bundle.start().status != 0
    bundle.delete().ok()


def test_a_signal_to_a_stopped_container_is_refused(bundle: Bundle) -> None:
    bundle.up("true").ended()
    done = bundle.kill("TERM")
    assert done.status != 0 and done.err


def test_a_signal_to_what_does_not_exist_is_an_error(runtime: Runtime) -> None:
    done = runtime("kill", "nobody", "TERM")
    assert done.status != 0 and done.err
