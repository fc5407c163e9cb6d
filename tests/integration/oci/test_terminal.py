"""`process.terminal` and `consoleSize`: the terminal of a container, and the socket it leaves by (config.md)."""

from __future__ import annotations

from collections.abc import Iterator

import pytest

from tests.integration.oci.bundle import Bundle
from tests.integration.oci.console import Console


@pytest.fixture
def console(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Console]:
    found = Console(tmp_path_factory.mktemp("c") / "s")
    yield found
    found.close()


def test_a_terminal_is_handed_to_the_console_socket(bundle: Bundle, console: Console) -> None:
    bundle.process["terminal"] = True
    bundle.process["consoleSize"] = {"height": 33, "width": 77}
    bundle.sh("tty; stty size; read word; echo got $word; ls -l /dev/console")
    bundle.create("--console-socket", console.path).ok()
    console.receive()
    bundle.start().ok()
    console.type("hello\n")
    said = console.read_until("/dev/console\r\n")
    assert "/dev/pts/0" in said
    assert "33 77" in said
    assert "got hello" in said
    bundle.ended()


def test_a_terminal_of_run_detached_too(bundle: Bundle, console: Console) -> None:
    bundle.process["terminal"] = True
    bundle.sh("sleep 0.1; stty size; exec sleep 100").detach("--console-socket", console.path).ok()
    console.receive().resize(10, 20)
    assert "10 20" in console.read_until("10 20")


def test_control_c_reaches_the_command(bundle: Bundle, console: Console) -> None:
    bundle.process["terminal"] = True
    bundle.sh("trap 'echo interrupted; exit' INT; echo ready; while :; do sleep 0.02; done")
    bundle.create("--console-socket", console.path).ok()
    console.receive()
    bundle.start().ok()
    console.read_until("ready")
    console.type("\x03")
    assert "interrupted" in console.read_until("interrupted")


def test_the_terminal_belongs_to_the_user(bundle: Bundle, console: Console) -> None:
    bundle.process.update(terminal=True, user={"uid": 1000, "gid": 1000})
    bundle.sh('stat -c "owner %u" $(tty); echo >$(tty) && echo opened; exec sleep 100')
    bundle.detach("--console-socket", console.path).ok()
    said = console.receive().read_until("opened")
    assert "owner 1000" in said and "opened" in said


def test_a_detached_terminal_needs_a_console_socket(bundle: Bundle) -> None:
    bundle.process["terminal"] = True
    assert bundle.create().status != 0
    bundle.clean()
    assert not bundle.traces()


def test_a_console_socket_without_terminal_is_refused(bundle: Bundle, console: Console) -> None:
    assert bundle.create("--console-socket", console.path).status != 0


def test_a_terminal_is_the_containers_console_and_controls_its_session(bundle: Bundle, console: Console) -> None:
    """Anybody who opens /dev/tty or /dev/console gets this one (config-linux.md, Default Devices)."""
    bundle.process["terminal"] = True
    bundle.sh("echo by tty > /dev/tty; echo by console > /dev/console; ps -o pid,tty | head -2; exec sleep 100")
    bundle.create("--console-socket", console.path).ok()
    console.receive()
    bundle.start().ok()
    said = console.read_until("136,0")
    assert "by tty" in said and "by console" in said and "136,0" in said


def test_without_a_terminal_its_size_means_nothing(bundle: Bundle) -> None:
    bundle.process["consoleSize"] = {"height": 33, "width": 77}
    bundle.run().ok()
    assert not (bundle.rootfs / "dev" / "console").exists()


def test_without_a_terminal_there_is_none(bundle: Bundle) -> None:
    """Not even the caller's, into which a container could type."""
    assert "ENXIO" in bundle.output("(exec 3</dev/tty) 2>/dev/null || echo ENXIO")


def test_a_hangup_reaches_the_command(bundle: Bundle, console: Console) -> None:
    bundle.process["terminal"] = True
    bundle.sh("trap 'touch /hung; exit' HUP; echo ready; while :; do sleep 0.02; done")
    bundle.create("--console-socket", console.path).ok()
    console.receive()
    bundle.start().ok()
    console.read_until("ready")
    console.close()
    bundle.ended()
    assert (bundle.rootfs / "hung").exists()
