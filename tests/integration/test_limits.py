"""Limits bite, and a container without them does the same thing unhindered."""

from __future__ import annotations

import time

from tests.integration.conftest import Coso

SPIN = "i=0; while [ $i -lt 200000 ]; do i=$((i+1)); done"
FORKS = "for i in 1 2 3 4 5 6 7 8 9 10 11 12; do sleep 0.5 & done; wait; echo all"
EAT = "dd if=/dev/zero of=/dev/null bs=64M count=1"


def test_memory_beyond_the_limit_kills_and_says_so(run: Coso) -> None:
    done = run("--memory", "32m", "--", "/bin/sh", "-c", EAT)
    assert done.returncode == 137
    assert "memory limit of 32768 KiB" in done.stderr
    assert run("--memory", "256m", "--", "/bin/sh", "-c", EAT).returncode == 0


def test_processes_beyond_the_limit_cannot_be_made(run: Coso) -> None:
    limited = run("--pids-limit", "10", FORKS)
    assert limited.returncode != 0 and "fork" in limited.stderr
    assert run("--pids-limit", "20", FORKS).stdout == "all\n"


def test_cpu_time_beyond_the_limit_is_waited_for(run: Coso) -> None:
    def seconds(*options: str) -> float:
        begun = time.monotonic()
        assert run(*options, SPIN).returncode == 0
        return time.monotonic() - begun

    free = seconds()
    assert seconds("--cpus", "0.1") > 3 * free


def test_a_limit_that_cannot_be_kept_is_an_error(run: Coso) -> None:
    done = run("--cpus", "5000", "true")
    assert done.returncode == 125 and "this machine has" in done.stderr
    # More than the kernel's largest number of processes: it refuses the write.
    done = run("--pids-limit", "9" * 18, "true")
    assert done.returncode == 125 and "cannot write" in done.stderr
