"""Names: containers find each other, at once, and the world by a resolver that can be reached."""

from __future__ import annotations

import signal
import time
from collections.abc import Callable
from pathlib import Path

import pytest

from coso.cli.run import OPTIONS
from coso.errors import UsageError
from coso.flags import parse
from coso.spec.build import spec_from
from tests.integration.conftest import Coso, Start, eventually

Net = Callable[..., str]


def up(process: object) -> None:
    assert process.stdout.readline() == "up\n"  # type: ignore[attr-defined]


def test_containers_find_each_other_by_name_and_alias(net: Net, start: Start, both_versions: None) -> None:
    """Whoever came first finds who came later, without being told again."""
    net("web", "--ipv6")
    first = start("--name", "one", "-i", "echo up; sh", network="web", stdin=-1)
    up(first)
    second = start("--name", "two", "--network-alias", "db", "echo up; exec sleep 30", network="web")
    up(second)
    out, _ = first.communicate("ping -c 1 -W 2 two > /dev/null && ping -6 -c 1 -W 2 db > /dev/null && echo found\n", 10)
    assert out == "found\n"


def test_names_of_another_network_say_nothing(net: Net, start: Start) -> None:
    net("web")
    net("db")
    up(start("--name", "one", "echo up; exec sleep 30", network="web"))
    other = start("grep -c one /etc/hosts; ping -c 1 -W 1 one", network="db")
    out, err = other.communicate(timeout=10)
    assert out == "0\n" and "bad address" in err


def test_a_name_is_gone_with_its_container(net: Net, start: Start) -> None:
    net("web")
    one = start("--name", "one", "echo up; exec sleep 30", network="web")
    up(one)
    two = start("-i", "echo up; sh", network="web", stdin=-1)
    up(two)
    for _ in range(3):
        one.send_signal(signal.SIGINT)
        time.sleep(0.05)
    one.communicate(timeout=10)
    out, _ = two.communicate("cat /etc/hosts\n", timeout=10)
    assert "one" not in out and "localhost" in out


def test_a_killed_runtimes_name_is_gone_after_gc(net: Net, start: Start, coso: Coso) -> None:
    net("web")
    one = start("--name", "one", "echo up; exec sleep 30", network="web")
    up(one)
    two = start("-i", "echo up; sh", network="web", stdin=-1)
    up(two)
    one.kill()
    one.communicate()
    assert coso("gc").returncode == 0
    out, _ = two.communicate("cat /etc/hosts\n", timeout=10)
    assert "one" not in out


def test_a_connected_network_brings_its_names(net: Net, start: Start, coso: Coso) -> None:
    net("web")
    net("db")
    up(start("--name", "store", "echo up; exec sleep 30", network="db"))
    front = start("--name", "front", "-i", "echo up; sh", network="web", stdin=-1)
    up(front)
    assert coso("network", "connect", "--alias", "entry", "db", "front").returncode == 0
    assert front.stdin
    front.stdin.write("ping -c 1 -W 2 store > /dev/null && echo found\n")
    front.stdin.flush()
    assert front.stdout and front.stdout.readline() == "found\n"
    assert coso("network", "disconnect", "db", "front").returncode == 0
    out, _ = front.communicate("cat /etc/hosts\n", timeout=10)
    assert "store" not in out and "entry" not in out and "front" in out


def test_resolvers_hosts_and_options_are_as_asked(run: Coso) -> None:
    words = (
        "--dns",
        "192.0.2.53",
        "--dns-search",
        "example.org",
        "--dns-option",
        "ndots:2",
        "--add-host",
        "db:10.0.0.7",
    )
    lines = run(*words, "cat /etc/resolv.conf /etc/hosts").stdout.splitlines()
    assert [line for line in lines if line.startswith("nameserver")] == ["nameserver 192.0.2.53"]
    assert "search example.org" in lines and "options ndots:2" in lines and "10.0.0.7\tdb" in lines


def test_the_hosts_own_address_has_a_name_when_asked(net_run: Coso) -> None:
    done = net_run(
        "--add-host",
        "outside:host-gateway",
        "grep outside /etc/hosts; ping -c 1 -W 2 outside > /dev/null && echo there",
    )
    assert done.stdout.splitlines()[-1] == "there", done.stdout + done.stderr


@pytest.mark.parametrize(
    "words",
    [
        ["--dns", "one.one"],
        ["--dns", "1.1.1.1", "--dns", "1.1.1.2", "--dns", "1.1.1.3", "--dns", "1.1.1.4"],
        ["--dns-search", "a b"],
        ["--add-host", "db"],
        ["--add-host", "db:nowhere"],
        ["--add-host", "a b:10.0.0.1"],
        ["--network", "none", "--ip", "10.0.0.5"],
        ["--network", "host", "--network-alias", "db"],
    ],
)
def test_words_that_make_no_sense_are_named(words: list[str]) -> None:
    given = parse(OPTIONS, words, "run")
    with pytest.raises(UsageError, match=words[0] if words[0] != "--network" else words[2]):
        spec_from(given, "/", ("true",), on_terminal=False)


def test_a_container_cannot_hinder_its_neighbours_by_its_hosts_file(net: Net, start: Start, coso: Coso) -> None:
    net("web")
    first = start("--name", "first", "-i", "truncate -s 1T /etc/hosts; echo up; sh", network="web", stdin=-1)
    up(first)
    second = start("--name", "second", "echo up; exec sleep 0.1", network="web")
    up(second)
    _, err = second.communicate(timeout=20)
    assert second.returncode == 0, err
    # Who has ended is taken off by a process that nobody waits for.
    assert eventually(lambda: "second" not in coso("network", "inspect", "web").stdout)
    assert "first" in coso("network", "inspect", "web").stdout


def test_a_hosts_file_that_a_container_changed_keeps_its_own_lines(net: Net, start: Start, tmp_path: Path) -> None:
    net("web")
    first = start("-i", "echo 192.0.2.1 mine >> /etc/hosts; echo up; sh", network="web", stdin=-1)
    up(first)
    second = start("--name", "two", "echo up; exec sleep 0.1", network="web")
    up(second)
    second.communicate(timeout=10)
    out, _ = first.communicate("cat /etc/hosts\n", timeout=10)
    assert "192.0.2.1 mine" in out and "two" not in out
