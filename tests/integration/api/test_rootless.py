"""The library as an ordinary user: the same calls, without networks of one's own and limits."""

from __future__ import annotations

import os
import subprocess
from collections.abc import Iterator
from pathlib import Path

import pytest

USER = 65534
SCRIPT = """
import sys
sys.path.insert(0, {tree!r})
import coso
done = coso.run("", ["id", "-u"], rootfs={rootfs!r}, network="none")
assert done.stdout == "0\\n", done
for _ in range(3):
    assert coso.run("", "exit 5", rootfs={rootfs!r}, network="none").status == 5
# What is in a root filesystem of root's cannot be changed by others, a mount of their own can.
with coso.container("", "echo begun; sleep 60", rootfs={rootfs!r}, network="none", tmpfs=["/data"]) as c:
    c.wait_for(log="begun")
    assert c.exec("echo inside").stdout == "inside\\n"
    c.put("/data/file", "text")
    assert c.get("/data/file") == b"text"
try:
    coso.run("", "true", rootfs={rootfs!r}, network="none", memory="64m")
except coso.CosoError as error:
    print("limit refused" if "root" in str(error) else error)
print("all is well")
"""


@pytest.fixture
def home() -> Iterator[Path]:
    place = Path(f"/var/tmp/coso-api-user-{os.getpid()}")
    place.mkdir(mode=0o755)
    os.chown(place, USER, USER)
    yield place
    subprocess.run(["rm", "-rf", str(place)], check=True)


def test_an_ordinary_user_starts_containers(rootfs: Path, home: Path) -> None:
    tree = str(Path(__file__).parents[3])
    (home / "script.py").write_text(SCRIPT.format(tree=tree, rootfs=str(rootfs)))
    env = {name: text for name, text in os.environ.items() if not name.startswith(("COSO_", "XDG_"))}
    words = ["setpriv", f"--reuid={USER}", f"--regid={USER}", "--clear-groups", "/usr/bin/python3", "-B"]
    readable = subprocess.run([*words, "-c", f"open({tree!r} + '/coso/value.py')"], capture_output=True, check=False)
    if readable.returncode:
        pytest.skip("ordinary users cannot read this tree")
    done = subprocess.run(
        [*words, str(home / "script.py")],
        cwd=home,
        env={**env, "HOME": str(home)},
        capture_output=True,
        text=True,
        check=False,
        timeout=60,
    )
    assert "all is well" in done.stdout, done.stdout + done.stderr
