"""`coso.run`: a command in a container of its own."""

from __future__ import annotations

import os
import signal
import subprocess
import sys
import textwrap
import threading
import time
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import pytest

import coso
from tests.integration.conftest import eventually, what_is_left


def test_output_errors_status_and_times(starter: coso.Starter, alpine: str) -> None:
    done = coso.run(alpine, "echo out; echo err >&2; exit 3", network="none", starter=starter)
    assert (done.stdout, done.stderr, done.status) == ("out\n", "err\n", 3)
    assert 0 < done.started_ms <= done.ms
    assert coso.run(alpine, ["echo", "a b", "c"], network="none", starter=starter).stdout == "a b c\n"
    assert coso.run(alpine, ["kill", "-9", "$$"], network="none", starter=starter).status == 1
    assert coso.run(alpine, "sh -c 'kill -TERM $$; sleep 1'; exit $?", network="none", starter=starter).status == 143


def test_input_and_options(starter: coso.Starter, alpine: str, tmp_path: Path) -> None:
    def said(command: str, **options: object) -> str:
        options.setdefault("network", "none")
        return coso.run(alpine, command, starter=starter, check=True, **options).stdout  # type: ignore[arg-type]

    (tmp_path / "file").write_text("of the host")
    assert said("cat", input="given") == "given"
    assert said("cat") == ""
    assert said("echo $A $B", env={"A": "1", "B": "two"}) == "1 two\n"
    assert said("cat /d/file", volumes={str(tmp_path): "/d:ro"}) == "of the host"
    assert said("id -u; pwd", user=33, workdir="/tmp") == "33\n/tmp\n"
    assert said("hostname", hostname="box") == "box\n"
    assert said("touch /x 2>&1 || true", read_only=True).endswith("Read-only file system\n")
    assert said("ip -4 -o addr show eth0", network=os.environ["COSO_NETWORK"]).count("inet ") == 1


def test_one_that_was_made_ahead_is_like_any_other(starter: coso.Starter, alpine: str, tmp_path: Path) -> None:
    def said(image: str, command: str, **options: object) -> str:
        return coso.run(image, command, network="none", starter=starter, check=True, **options).stdout  # type: ignore[arg-type]

    tag = "test/ahead:1"
    for version in ("1", "2"):
        (tmp_path / "Dockerfile").write_text(f"FROM {alpine}\nRUN echo {version} > /version\n")
        coso.build_image(tmp_path, tag)
        # More than there are workers, each of which expects more of the same after two.
        for number in range(9):
            new = f"test ! -e /seen && touch /seen; cat /version; echo {number} $N; hostname; cat /etc/hostname; umask"
            version_seen, numbers, name, in_file, mask = said(tag, new, env={"N": str(-number)}).splitlines()
            assert (version_seen, numbers, mask) == (version, f"{number} {-number}", "0022")
            assert name == in_file
        limit = "cat /sys/fs/cgroup/memory.max /sys/fs/cgroup/memory/memory.limit_in_bytes 2>/dev/null || true"
        unlimited = said(tag, limit)
        for _ in range(6):
            # The name is free again each time, and limits are nobody's but who asked for them.
            assert said(tag, limit, memory="64m", name="ahead", oom_score_adj=500) == f"{64 << 20}\n"
        assert coso.run(tag, "cat /proc/self/oom_score_adj", network="none", starter=starter).stdout == "0\n"
        assert said(tag, limit) == unlimited
        assert said(tag, "hostname", hostname="box") == "box\n"
        assert said(tag, "id -u", user=33) == "33\n"
        assert said(alpine, "cat /version 2>/dev/null || echo none") == "none\n"
    coso.image(tag).remove()
    with pytest.raises(coso.MissingError):
        said(tag, "true")


def test_a_command_that_says_much_waits_for_nobody(starter: coso.Starter, alpine: str) -> None:
    done = coso.run(alpine, "dd if=/dev/zero bs=1M count=20 2>/dev/null", network="none", starter=starter)
    assert len(done.stdout_bytes) == 20 << 20


def test_errors_are_those_of_the_tree(starter: coso.Starter, alpine: str) -> None:
    def error(*words: str, **options: object) -> coso.CosoError:
        with pytest.raises(coso.CosoError) as caught:
            coso.run(words[0], list(words[1:]), starter=starter, **{"network": "none", **options})  # type: ignore[arg-type]
        return caught.value

    assert type(error("test/nowhere:1", "true")) is coso.MissingError
    assert error(alpine, "no-such-program").exit_status == 127
    assert "'memory' perhaps?" in str(error(alpine, "true", memry="1m"))
    assert "is not a size" in str(error(alpine, "true", memory="much"))
    assert "a switch" in str(error(alpine, "true", read_only="yes"))
    assert "kernel.hostname cannot be set" in str(error(alpine, "true", sysctl={"kernel.hostname": "x"}))
    failed = error(alpine, "sh", "-c", "echo why >&2; exit 4", check=True)
    assert isinstance(failed, coso.CommandFailedError)
    assert (failed.status, failed.stderr) == (4, "why\n")


def test_a_timeout_and_an_interrupt_kill(starter: coso.Starter, alpine: str) -> None:
    begun = time.monotonic()
    with pytest.raises(coso.TimeoutExpiredError, match=r"0\.3 seconds"):
        coso.run(alpine, "sleep 60", network="none", timeout=0.3, starter=starter)
    assert time.monotonic() - begun < 5
    threading.Timer(0.3, lambda: signal.pthread_kill(threading.main_thread().ident or 0, signal.SIGINT)).start()
    with pytest.raises(KeyboardInterrupt):
        coso.run(alpine, "sleep 61", network="none", starter=starter)
    assert eventually(lambda: subprocess.run(["pgrep", "-f", "^sleep 6[01]$"], check=False).returncode == 1)


def test_the_memory_limit_is_told(starter: coso.Starter, alpine: str) -> None:
    done = coso.run(alpine, ["dd", "if=/dev/zero", "of=/dev/shm/x", "bs=60M", "count=1"], memory="16m", starter=starter)
    assert (done.status, done.out_of_memory) == (137, True)


def test_from_many_threads_at_once(starter: coso.Starter, alpine: str) -> None:
    def one(number: int) -> str:
        return coso.run(alpine, ["echo", str(number)], network="none", starter=starter).stdout

    with ThreadPoolExecutor(16) as pool:
        assert list(pool.map(one, range(64))) == [f"{number}\n" for number in range(64)]


def script(text: str, tmp_path: Path) -> subprocess.Popen[str]:
    file = tmp_path / "script.py"
    file.write_text(textwrap.dedent(text))
    return subprocess.Popen([sys.executable, str(file)], stdout=subprocess.PIPE, text=True)


def test_killed_the_process_leaves_nothing(alpine: str, tmp_path: Path) -> None:
    running = script(
        f"""
        import coso, os, threading
        for _ in range(4):
            coso.container({alpine!r}, "sleep 99").wait_for(until=lambda c: c.pid)
        threading.Thread(target=lambda: coso.run({alpine!r}, "sleep 98")).start()
        print("ready", flush=True)
        """,
        tmp_path,
    )
    assert running.stdout and running.stdout.readline() == "ready\n"
    time.sleep(0.2)
    running.kill()
    running.communicate()
    assert not what_is_left()


def test_a_forked_child_has_a_starter_of_its_own(alpine: str, tmp_path: Path) -> None:
    running = script(
        f"""
        import coso, os
        say = lambda: coso.run({alpine!r}, ["echo", "hi"], network="none").stdout
        first = say()
        if os.fork() == 0:
            print(say() == first, flush=True)
            os._exit(0)
        os.wait()
        print(say() == first, flush=True)
        """,
        tmp_path,
    )
    assert running.communicate(timeout=30)[0] == "True\nTrue\n"
    assert not what_is_left()


def test_without_context_managers_the_end_of_the_process_is_enough(alpine: str, tmp_path: Path) -> None:
    running = script(f"import coso; c = coso.container({alpine!r}, 'sleep 99'); print(c.ip)", tmp_path)
    assert "10." in running.communicate(timeout=30)[0]
    assert not what_is_left()
