"""Readiness: what a service inside tells systemd outside (sd_notify(3), NOTIFY_SOCKET)."""

from __future__ import annotations

import os
import socket
import time
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from threading import Thread

import pytest

from tests.integration.oci import program
from tests.integration.oci.bundle import Bundle, eventually

SEND = '/send "$NOTIFY_SOCKET" "$(printf \'%s\')"; '
READY = SEND % "READY=1"
WAIT = "exec sleep 100"


class Manager:
    """systemd's end of the socket; like systemd it takes each message at once, for a runtime may wait for that."""

    def __init__(self, address: str) -> None:
        self.address = address
        self.heard: list[str] = []
        self._socket = socket.socket(socket.AF_UNIX, socket.SOCK_DGRAM)
        self._socket.bind(address.replace("@", "\0", 1))
        self._thread = Thread(target=self._listen)
        self._thread.start()

    @property
    def env(self) -> dict[str, str]:
        """What the runtime is started with."""
        return {"NOTIFY_SOCKET": self.address}

    def hears(self, line: str) -> bool:
        """Whether somebody comes to say this."""
        return eventually(lambda: line in self.heard)

    def hears_nothing(self) -> bool:
        """Whether nobody has said anything."""
        time.sleep(0.3)
        return not self.heard

    def _listen(self) -> None:
        while message := self._socket.recv(4096):
            self.heard += message.decode().split()

    def close(self) -> None:
        self._socket.shutdown(socket.SHUT_RDWR)
        self._thread.join()
        self._socket.close()


@pytest.fixture(params=["path", "abstract"])
def manager(
    request: pytest.FixtureRequest, bundle: Bundle, tmp_path_factory: pytest.TempPathFactory
) -> Iterator[Manager]:
    if os.uname().machine != "x86_64":
        pytest.skip("the program that sends is for x86-64")
    program.write_sender(bundle.rootfs / "send")
    path = tmp_path_factory.mktemp("n") / "s"
    found = Manager(f"@{bundle.id}" if request.param == "abstract" else str(path))
    yield found
    found.close()


def test_start_returns_when_the_service_is_ready(bundle: Bundle, manager: Manager) -> None:
    bundle.sh(f"sleep 0.5; touch /late; {READY} {WAIT}").create(env=manager.env, timeout=5).ok()
    bundle.runtime("start", bundle.id, env=manager.env, timeout=5).ok()
    assert (bundle.rootfs / "late").exists(), "start did not wait"
    assert manager.hears("READY=1")


def test_the_manager_is_told_which_process_it_is(bundle: Bundle, manager: Manager) -> None:
    bundle.sh(f"{READY} {WAIT}").create(env=manager.env, timeout=5).ok()
    bundle.runtime("start", bundle.id, env=manager.env, timeout=5).ok()
    assert manager.hears(f"MAINPID={bundle.pid}"), manager.heard


def test_readiness_may_come_with_more(bundle: Bundle, manager: Manager) -> None:
    # "newline-separated list of variable assignments" (sd_notify(3)).
    said = SEND % "STATUS=Serving\\nREADY=1"
    bundle.sh(f"{said} {WAIT}").detach(env=manager.env, timeout=5).ok()
    assert manager.hears("READY=1")


def test_a_detached_run_waits_too(bundle: Bundle, manager: Manager) -> None:
    bundle.sh(f"sleep 0.3; touch /late; {READY} {WAIT}").detach(env=manager.env, timeout=5).ok()
    assert (bundle.rootfs / "late").exists()


def test_a_run_that_stays_passes_it_on_meanwhile(bundle: Bundle, manager: Manager) -> None:
    with ThreadPoolExecutor() as pool:
        running = pool.submit(bundle.sh(f"{READY} {WAIT}").run, env=manager.env, timeout=5)
        assert manager.hears("READY=1")
        assert bundle.status() == "running"
        # The runtime is who the manager has started, and whose status it gets.
        assert f"MAINPID={bundle.pid}" not in manager.heard
        bundle.kill("KILL")
        running.result()


def test_a_service_that_ends_before_it_is_ready_holds_nobody_up(bundle: Bundle, manager: Manager) -> None:
    bundle.sh("sleep 0.3").create(env=manager.env, timeout=5).ok()
    bundle.runtime("start", bundle.id, env=manager.env, timeout=5)
    assert manager.hears_nothing(), manager.heard


def test_nothing_but_readiness_goes_on(bundle: Bundle, manager: Manager) -> None:
    said = SEND % "a\\nMAINPID=1\\nWATCHDOG=trigger\\nREADY=10"
    bundle.sh(f"{said} sleep 0.3").create(env=manager.env, timeout=5).ok()
    bundle.runtime("start", bundle.id, env=manager.env, timeout=5)
    assert manager.hears_nothing(), manager.heard


def test_the_managers_own_socket_stays_outside(bundle: Bundle, manager: Manager) -> None:
    bundle.sh(f"echo $NOTIFY_SOCKET; cat /proc/self/mountinfo; {READY} {WAIT}").detach(env=manager.env, timeout=5).ok()
    assert eventually(lambda: "proc" in bundle.printed())
    told = bundle.printed().splitlines()[0]
    assert told != manager.address and Path(told).is_absolute()


def test_it_is_heard_from_a_user_namespace(bundle: Bundle, manager: Manager) -> None:
    bundle.own_users().sh(f"{READY} {WAIT}").detach(env=manager.env, timeout=5).ok()
    assert manager.hears("READY=1")
