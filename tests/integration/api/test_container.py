"""`coso.container`: one that goes on, looked at and changed meanwhile; networks, compose files, images, asyncio."""

from __future__ import annotations

import asyncio
import socket
import subprocess
import time
from pathlib import Path

import pytest

import coso
from coso import aio
from tests.integration.conftest import Coso, eventually
from tests.integration.containers.conftest import ok


def test_a_container_is_run_in_looked_at_and_ended(starter: coso.Starter, alpine: str) -> None:
    with coso.container(alpine, "echo begun; sleep 99", name="api-one", memory="64m", starter=starter) as c:
        c.wait_for(log="begun")
        assert (c.name, c.status, c.logs()) == ("api-one", "running", "begun\n")
        assert c.exec("id -u; cat", input="typed", user=33).stdout == "33\ntyped"
        assert c.exec(["sh", "-c", "exit 5"]).status == 5
        with pytest.raises(coso.CommandFailedError, match="status 2"):
            c.exec("ls /nowhere 2>&1; exit 2", check=True)
        c.put("/srv/deep/file", "put", mode=0o600, owner=(33, 44))
        assert c.get("/srv/deep/file") == b"put"
        assert c.exec("stat -c %u:%g:%a /srv/deep/file").stdout == "33:44:600\n"
        with pytest.raises(coso.CosoError, match="no such file"):
            c.get("/srv/nothing")
        assert c.inspect()["HostConfig"]["Memory"] == 64 << 20
        assert c.inspect()["Config"]["Cmd"] == ["/bin/sh", "-c", "echo begun; sleep 99"]
        c.pause()
        assert c.status == "paused"
        c.unpause()
        found = coso.find("api-one", starter=starter)
        assert found.id == c.id
        assert found.exec("echo hi").stdout == "hi\n"
        pid = c.pid
    assert not Path(f"/proc/{pid}").exists()
    with pytest.raises(coso.MissingError):
        coso.find("api-one")


def test_its_end(starter: coso.Starter, alpine: str) -> None:
    with coso.container(alpine, "trap 'exit 7' TERM; echo set; while :; do sleep 0.05; done", starter=starter) as c:
        c.wait_for(log="set")
        with pytest.raises(coso.TimeoutExpiredError):
            c.wait(0.1)
        assert c.stop() == 7
        assert (c.wait(), c.status) == (7, "exited")
    with coso.container(alpine, "sleep 99", network="none", starter=starter) as c:
        # A process 1 without a handler ignores SIGTERM.
        assert c.stop(timeout=0.2) == 137


def test_waiting_and_why_it_failed(starter: coso.Starter, alpine: str) -> None:
    serve = "echo loading; sleep 0.3; echo ready; nc -lk -p 80 -e echo hi"
    with coso.container(alpine, serve, health_cmd="nc -z 127.0.0.1 80", starter=starter) as c:
        c.wait_for(log="^|\nready", port=80, health=True, until=lambda one: one.ip)
        with socket.create_connection((c.ip, 80), 5) as end:
            assert end.recv(9) == b"hi\n"
        with pytest.raises(coso.TimeoutExpiredError) as caught:
            c.wait_for(port=81, timeout=0.3)
        assert "0.3 seconds for port 81" in str(caught.value)
        assert "ready" in str(caught.value)
        assert "refused" in str(caught.value)
        with pytest.raises(coso.TimeoutExpiredError, match="status 1"):
            c.wait_for(health="false", timeout=0.2)
    with coso.container(alpine, "echo no database >&2; exit 1", starter=starter) as c:
        begun = time.monotonic()
        with pytest.raises(
            coso.CosoError, match="ended while it was waited for port 80 to answer; it said last:\n  no database"
        ):
            c.wait_for(port=80)
        assert time.monotonic() - begun < 5


def test_ports_and_networks(starter: coso.Starter, alpine: str) -> None:
    with coso.network() as net:
        serve = "nc -lk -p 80 -e echo hi"
        with (
            coso.container(alpine, serve, network=net.name, network_alias="www", ports=[80], starter=starter) as web,
            coso.container(alpine, "sleep 99", network=net.name, starter=starter) as other,
        ):
            web.wait_for(port=80)
            with socket.create_connection(("127.0.0.1", web.ports[80]), 5) as end:
                assert end.recv(9) == b"hi\n"
            assert other.exec("nc www 80 < /dev/null").stdout == "hi\n"
            # A partition, and its end.
            address = web.ip
            net.disconnect(web)
            assert other.exec(["ping", "-c1", "-W1", address]).status == 1
            net.connect(web)
            assert other.exec(["ping", "-c1", "-W1", web.ip]).status == 0


def test_a_compose_file(alpine: str, tmp_path: Path, coso_is: Coso) -> None:
    (tmp_path / "compose.yaml").write_text(
        f"""
services:
  web: {{image: "{alpine}", command: nc -lk -p 80 -e echo hi, init: true, depends_on: [db]}}
  db: {{image: "{alpine}", command: "sh -c 'echo db is up; sleep 99'", init: true}}
"""
    )
    with coso.compose(tmp_path / "compose.yaml", scale={"db": 2}) as project:
        web = project.service("web").wait_for(port=80)
        assert web.exec("nc -z db 80; echo $?").stdout == "1\n"
        assert len(project.services["db"]) == 2
        project.service("db", 2).wait_for(log="db is up")
        assert "db is up" in project.logs()
        with pytest.raises(coso.MissingError, match="no container 3"):
            project.service("db", 3)
    assert ok(coso_is("ps", "-aq")) == ""
    (tmp_path / "compose.yaml").write_text("services: {a: {}}\n")
    with pytest.raises(coso.CosoError, match="neither an image nor a build"):
        coso.compose(tmp_path / "compose.yaml")


def test_images(alpine: str, tmp_path: Path) -> None:
    (tmp_path / "Dockerfile").write_text(f"FROM {alpine}\nARG WORD\nRUN echo $WORD > /word\nCMD cat /word\n")
    made = coso.build_image(tmp_path, "test/api:1", args={"WORD": "built"})
    try:
        assert coso.run("test/api:1", network="none").stdout == "built\n"
        assert coso.image("test/api:1") == made == coso.pull_image("test/api:1")
        assert made.settings["Cmd"] == ["/bin/sh", "-c", "cat /word"]
    finally:
        made.remove()
    with pytest.raises(coso.MissingError):
        coso.image("test/api:1")
    (tmp_path / "Dockerfile").write_text("FROM test/nowhere:1\n")
    with pytest.raises(coso.CosoError, match="registry"):
        coso.build_image(tmp_path, "test/api:2")


def test_asyncio(starter: coso.Starter, alpine: str) -> None:
    async def all_of_it() -> None:
        many = await asyncio.gather(
            *(aio.run(alpine, ["echo", str(n)], network="none", starter=starter) for n in range(12))
        )
        assert [done.stdout for done in many] == [f"{number}\n" for number in range(12)]
        with pytest.raises(coso.TimeoutExpiredError):
            await aio.run(alpine, "sleep 97", network="none", timeout=0.2, starter=starter)
        task = asyncio.create_task(aio.run(alpine, "sleep 97", network="none", starter=starter))
        await asyncio.sleep(0.2)
        task.cancel()
        with pytest.raises(asyncio.CancelledError):
            await task
        async with aio.container(alpine, "echo up; sleep 99", network="none", starter=starter) as c:
            await c.wait_for(log="up")
            assert (await c.exec("cat", input="x")).stdout == "x"
            await c.put("/f", "y")
            assert await c.get("/f") == b"y"
            assert await c.stop(timeout=0.1) == 137

    asyncio.run(all_of_it())
    assert eventually(lambda: subprocess.run(["pgrep", "-f", "^sleep 97$"], check=False).returncode == 1)


@pytest.fixture
def coso_is(coso: Coso) -> Coso:
    """The program; its fixture's name is the library's here."""
    return coso
