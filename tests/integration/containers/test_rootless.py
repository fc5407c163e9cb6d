"""An ordinary user's images, containers and builds: the same commands, with and without subordinate ids."""

from __future__ import annotations

import os
import subprocess
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest

from coso import launcher
from coso.kernel import mount
from coso.spawn import find, spawn
from tests.integration.containers.conftest import install

USER = 65534
AS_USER = ["setpriv", f"--reuid={USER}", f"--regid={USER}", "--clear-groups"]
Do = Callable[..., str]


@pytest.fixture(params=["subordinate ids", "one id"])
def ids(request: pytest.FixtureRequest, tmp_path: Path) -> Iterator[str]:
    """Whether the user has ids besides the own one, in this session's mounts only."""
    install(("uidmap", "newuidmap"))
    for name in ("subuid", "subgid"):
        (tmp_path / name).write_text(f"{USER}:300000:65536\n" if request.param == "subordinate ids" else "")
        if not os.path.exists(f"/etc/{name}"):
            pytest.skip(f"there is no /etc/{name} to stand in for")
        mount.move_mount(mount.open_tree(str(tmp_path / name)), f"/etc/{name}")
    yield request.param
    for name in ("subuid", "subgid"):
        mount.unmount(f"/etc/{name}")


@pytest.fixture
def do(ids: str) -> Iterator[Do]:
    """Run coso as that user, in a directory of the user's; it must succeed."""
    place = Path(f"/var/tmp/coso-user-{os.getpid()}")
    place.mkdir(mode=0o755)
    (place / "home").mkdir()
    os.chown(place / "home", USER, USER)
    (place / "coso").write_text(launcher.text("coso"))
    (place / "coso").chmod(0o755)
    if spawn([find("setpriv"), *AS_USER[1:], str(place / "coso"), "version"])[0]:
        subprocess.run(["rm", "-rf", str(place)], check=True)
        pytest.skip("ordinary users cannot read this tree")
    env = {name: text for name, text in os.environ.items() if not name.startswith(("COSO_", "XDG_"))}

    def command(*words: str, status: int = 0, **more: object) -> str:
        given: dict[str, object] = {"capture_output": True, "text": True, "timeout": 60, "cwd": place / "home"}
        given |= {"env": {**env, "HOME": str(place / "home")}}
        if "input" not in more:
            given["stdin"] = subprocess.DEVNULL
        line = [*AS_USER, str(place / "coso"), *words]
        done = subprocess.run(line, check=False, **(given | more))  # type: ignore[call-overload]
        assert done.returncode == status, (words, done.stdout, done.stderr)
        return str(done.stdout).strip() if more.get("text", True) else ""

    yield command
    if left := command("ps", "-aq").split():
        command("rm", "-f", *left)
    subprocess.run(["rm", "-rf", str(place)], check=True)


def test_an_ordinary_user_has_images_containers_volumes_and_builds(
    do: Do, rootfs: Path, tmp_path: Path, ids: str
) -> None:
    packed = subprocess.run(["tar", "-C", str(rootfs), "-c", "."], capture_output=True, check=True).stdout
    do("import", "-c", 'CMD ["/bin/sh"]', "-", "t:1", input=packed, text=False)
    assert do("run", "--rm", "--network", "none", "t:1", "id", "-u") == "0"
    do("run", "-d", "--name", "a", "--network", "none", "t:1", "sh", "-c", "echo said; sleep 100")
    assert do("ps", "--format", "{{.Names}} {{.State}}") == "a running"
    assert do("logs", "a") == "said"
    do("exec", "a", "sh", "-c", "echo x > /file")
    if ids == "subordinate ids":
        do("exec", "a", "chown", "nobody", "/file")
    do("stop", "-t", "0", "a")
    do("start", "a")
    assert do("exec", "a", "cat", "/file") == "x"
    do("cp", "a:/file", "copied")
    do("cp", "copied", "a:/back")
    assert "A /back" in do("diff", "a")
    do("commit", "a", "c:1")
    assert do("run", "--rm", "--network", "none", "-v", "v:/v", "c:1", "sh", "-c", "cat /back; echo kept > /v/f") == "x"
    assert do("run", "--rm", "--network", "none", "-v", "v:/v", "t:1", "cat", "/v/f") == "kept"
    text = "FROM t:1\nRUN echo built > /built\n"
    do("build", "-q", "--network", "none", "-t", "b:1", "-", input=text)
    assert do("run", "--rm", "--network", "none", "b:1", "cat", "/built") == "built"
    do("rm", "-f", "a")
    do("rmi", "b:1", "c:1")
    do("system", "prune", "-f", "--volumes")
    assert do("images", "--format", "{{.Repository}}") == "t"
