"""Host set-up: planned, applied, applied again without a change, undone; and every way a download can fail."""

from __future__ import annotations

import json
import os
import shutil
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path

import pytest

from coso.errors import CosoError
from coso.spawn import find, spawn
from coso.spec.defaults import NETWORK
from provisioning import engine, record, setups
from provisioning.files import Directory, File, Program
from provisioning.firewall import ForwardPolicy
from provisioning.resource import Change, Result, Skip
from provisioning.system import Package, Sysctl
from tests.integration.conftest import ROOT

Setup = Callable[..., tuple[int, str]]
FORWARDING = Path("/proc/sys/net/ipv4/ip_forward")


@pytest.fixture(autouse=True)
def _fresh(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    """Records and cache of this test alone."""
    monkeypatch.setattr(record, "DIRECTORY", str(tmp_path / "records"))
    monkeypatch.setattr(setups, "cache_directory", lambda: str(tmp_path / "cache"))
    monkeypatch.setattr("provisioning.rootfs.cache_directory", lambda: str(tmp_path / "cache"))
    tmp_path.chmod(0o755)


@pytest.fixture
def fs(mirror: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> Setup:
    """Carry fs-setup out below tmp_path/coso; gives the exit status and what was printed."""

    def setup(*, check: bool = False, diff: bool = False, as_json: bool = False, **more: str) -> tuple[int, str]:
        given = {"mirror": f"file://{mirror}", "rootfs": str(tmp_path / "coso" / "rootfs")} | more
        status = setups.carry_out("fs-setup", setups.fs_setup(**given), check=check, diff=diff, as_json=as_json)
        return status, capsys.readouterr().out

    return setup


def snapshot(directory: Path) -> list[str]:
    return sorted(f"{path} {path.lstat().st_mode:o} {path.lstat().st_mtime}" for path in directory.rglob("*"))


def test_the_newest_alpine_is_unpacked(fs: Setup, tmp_path: Path) -> None:
    status, said = fs()
    assert status == 0
    assert "fs-setup: ok=0 changed=3 skipped=0 failed=0" in said
    rootfs = tmp_path / "coso/rootfs"
    assert (rootfs / "etc/alpine-release").read_text() == "3.20.3\n"
    assert os.readlink(rootfs / "bin/sh") == "/bin/busybox"
    assert [path.name for path in (tmp_path / "coso").iterdir()] == ["rootfs"]


def test_the_second_time_nothing_changes(fs: Setup, tmp_path: Path) -> None:
    fs()
    before = snapshot(tmp_path)
    status, said = fs()
    assert (status, "ok=3 changed=0 skipped=0 failed=0" in said) == (0, True)
    assert snapshot(tmp_path) == before


def test_check_mode_touches_nothing_and_reports_drift(fs: Setup, tmp_path: Path) -> None:
    before = snapshot(tmp_path)
    status, said = fs(check=True, diff=True)
    assert status == 2
    assert "+version: 3.20.3" in said and "--- before" in said
    assert snapshot(tmp_path) == before
    fs()
    assert fs(check=True)[0] == 0


def test_json_says_the_same_to_programs(fs: Setup) -> None:
    status, said = fs(as_json=True)
    found = json.loads(said)
    assert status == 0
    assert found["recap"] == {"ok": 0, "changed": 3, "skipped": 0, "failed": 0}
    assert [item["kind"] for item in found["results"]] == ["directory", "cache", "rootfs"]


def test_another_version_replaces_the_tree_in_one_step(fs: Setup, tmp_path: Path) -> None:
    fs(version="3.19.4")
    release = tmp_path / "coso/rootfs/etc/alpine-release"
    assert release.read_text() == "3.19.4\n"
    status, said = fs()
    assert (status, "replace alpine 3.19.4 by alpine 3.20.3" in said) == (0, True)
    assert release.read_text() == "3.20.3\n"
    assert [path.name for path in (tmp_path / "coso").iterdir()] == ["rootfs"]


def test_tear_down_removes_all_of_it(fs: Setup, tmp_path: Path) -> None:
    before = snapshot(tmp_path)
    fs(version="3.19.4")
    fs()
    assert setups.tear_down("fs-setup") == 0
    (tmp_path / "records").rmdir()
    assert snapshot(tmp_path) == before


def test_somebody_elses_tree_comes_back(fs: Setup, tmp_path: Path) -> None:
    theirs = tmp_path / "coso/rootfs"
    theirs.mkdir(parents=True, mode=0o755)
    (theirs / "theirs").write_text("precious")
    fs()
    assert (theirs / "etc/alpine-release").exists()
    setups.tear_down("fs-setup")
    assert (theirs / "theirs").read_text() == "precious"


def test_somebody_elses_tree_survives_a_failure_and_a_second_try(fs: Setup, tmp_path: Path) -> None:
    theirs = tmp_path / "coso/rootfs"
    theirs.mkdir(parents=True, mode=0o755)
    (theirs / "theirs").write_text("precious")
    assert fs(mirror="http://127.0.0.1:9", source="alpine")[0] == 1
    (tmp_path / "coso/rootfs.before-coso").mkdir()
    assert "is in the way" in fs()[1]
    assert (theirs / "theirs").read_text() == "precious"
    (tmp_path / "coso/rootfs.before-coso").rmdir()
    assert fs()[0] == 0
    setups.tear_down("fs-setup")
    assert (theirs / "theirs").read_text() == "precious"


def damage_checksum(own: Path) -> None:
    listing = own / "v3.20/releases/x86_64/latest-releases.yaml"
    listing.write_text(listing.read_text().replace("sha256: d4e6", "sha256: d4e7"))


def truncate(own: Path) -> None:
    path = next((own / "v3.20/releases/x86_64").glob("*.tar.gz"))
    path.write_bytes(path.read_bytes()[:1000])


def remove_archive(own: Path) -> None:
    next((own / "v3.20/releases/x86_64").glob("*.tar.gz")).unlink()


@pytest.mark.parametrize(
    ("spoil", "more", "said"),
    [
        (damage_checksum, {}, "the sha256 of"),
        (truncate, {}, "1000 of 3490290 bytes"),
        (remove_archive, {}, "does not exist"),
        (None, {"mirror": "http://127.0.0.1:9", "source": "alpine"}, "connection refused"),
        (None, {"version": "3.20.99"}, "has no Alpine 3.20.99"),
        (None, {"branch": "v1.0"}, "has no branch v1.0"),
    ],
)
def test_a_failure_is_one_sentence_and_the_earlier_rootfs_stays(
    fs: Setup, mirror: Path, tmp_path: Path, spoil: Callable[[Path], None] | None, more: dict[str, str], said: str
) -> None:
    assert fs(version="3.19.4")[0] == 0
    before = snapshot(tmp_path / "coso")
    own = tmp_path / "mirror"
    shutil.copytree(mirror, own)
    subprocess.run(["chmod", "-R", "u+w", str(own)], check=True)
    if spoil:
        spoil(own)
    status, text = fs(**({"mirror": f"file://{own}"} | more))
    failed = [line for line in text.splitlines() if line.startswith("failed:")]
    assert (status, len(failed)) == (1, 1), text
    assert said in failed[0]
    assert snapshot(tmp_path / "coso") == before


def test_a_full_disk_is_one_sentence_and_leaves_nothing_half_done(fs: Setup, tmp_path: Path) -> None:
    place = tmp_path / "small"
    place.mkdir(mode=0o755)
    subprocess.run(["mount", "-t", "tmpfs", "-o", "size=1m,mode=755", "small", str(place)], check=True)
    try:
        status, said = fs(rootfs=str(place / "rootfs"))
        assert status == 1
        assert "No space left on device" in said and "untouched" in said
        assert list(place.iterdir()) == []
    finally:
        subprocess.run(["umount", str(place)], check=True)


def test_a_read_only_target_is_one_sentence(fs: Setup, tmp_path: Path) -> None:
    place = tmp_path / "frozen"
    place.mkdir(mode=0o755)
    subprocess.run(["mount", "-t", "tmpfs", "-o", "ro,mode=755", "frozen", str(place)], check=True)
    try:
        status, said = fs(rootfs=str(place / "rootfs"))
        assert status == 1 and "Read-only file system" in said
    finally:
        subprocess.run(["umount", str(place)], check=True)


@pytest.mark.parametrize(("owner", "mode", "said"), [(65534, 0o755, "belongs to user 65534"), (0, 0o777, "by others")])
def test_a_place_that_others_control_is_refused(fs: Setup, tmp_path: Path, owner: int, mode: int, said: str) -> None:
    place = tmp_path / "coso"
    place.mkdir()
    place.chmod(mode)
    os.chown(place, owner, 0)
    status, text = fs()
    assert status == 1 and said in text
    assert list(place.iterdir()) == []


@pytest.mark.usefixtures("package_servers")
def test_without_a_mirror_debians_busybox_takes_its_place(fs: Setup, tmp_path: Path, coso) -> None:  # type: ignore[no-untyped-def]
    status, said = fs(mirror="http://127.0.0.1:9", source="auto")
    assert status == 0, said
    assert "so Debian's busybox-static it is" in said
    rootfs = str(tmp_path / "coso/rootfs")
    done = coso("run", "-rootfs", rootfs, "-network", "none", "--", "sh", "-c", ". /etc/os-release; echo $ID; id -u")
    assert done.stdout.split() == ["busybox", "0"], done.stderr
    assert "changed=0" in fs(mirror="http://127.0.0.1:9", source="auto")[1]


def told(resources: list[object], *, check: bool = False) -> list[Result]:
    return engine.apply("test", resources, lambda _: None, check=check)  # type: ignore[arg-type]


def undone() -> list[Result]:
    return engine.undo("test", setups.KINDS, lambda _: None)


def test_files_and_programs_come_and_go(tmp_path: Path) -> None:
    (tmp_path / "old").write_text("theirs")
    resources = [
        Directory(str(tmp_path / "d")),
        File(str(tmp_path / "old"), "ours"),
        Program(str(tmp_path / "d/tool"), "#!/bin/sh\n"),
    ]
    assert [item.status for item in told(resources)] == ["changed"] * 3
    assert (tmp_path / "d/tool").stat().st_mode & 0o7777 == 0o755
    assert [item.status for item in told(resources)] == ["ok"] * 3
    assert [item.status for item in undone()] == ["changed"] * 3
    assert (tmp_path / "old").read_text() == "theirs"
    assert not (tmp_path / "d").exists()


def test_what_somebody_changed_since_is_left_alone(tmp_path: Path) -> None:
    path = tmp_path / "file"
    told([File(str(path), "ours")])
    path.write_text("edited")
    assert "somebody has changed it" in undone()[0].message
    assert path.read_text() == "edited"


def test_a_setuid_bit_on_the_helper_is_taken_away(tmp_path: Path) -> None:
    path = tmp_path / "cosonet"
    path.write_text("x")
    path.chmod(0o4755)
    told([Program(str(path), "x")])
    assert path.stat().st_mode & 0o7777 == 0o755


def test_a_failure_stops_the_rest_and_is_told(tmp_path: Path) -> None:
    (tmp_path / "file").write_text("")
    results = told([Directory(str(tmp_path / "file")), Directory(str(tmp_path / "never"))])
    assert [item.status for item in results] == ["failed"]
    assert not (tmp_path / "never").exists()


def test_a_record_cut_short_by_a_crash_is_read(tmp_path: Path) -> None:
    told([Directory(str(tmp_path / "d"))])
    with open(record.path("test"), "a") as file:
        file.write('{"kind": "direc')
    told([Directory(str(tmp_path / "e"))])
    assert [item.status for item in undone()] == ["changed"] * 2
    with pytest.raises(CosoError, match="is damaged"):
        Path(record.path("test")).write_text("{\n")
        record.read("test")


def test_a_kernel_parameter_is_set_and_put_back() -> None:
    FORWARDING.write_text("0")
    try:
        assert [item.status for item in told([Sysctl("net.ipv4.ip_forward", "1")])] == ["changed"]
        assert FORWARDING.read_text() == "1\n"
        undone()
        assert FORWARDING.read_text() == "0\n"
    finally:
        FORWARDING.write_text("1")


@pytest.mark.parametrize("earlier", ["DROP", "ACCEPT"])
def test_the_forward_policy_is_opened_and_put_back(earlier: str) -> None:
    iptables = find("iptables")
    spawn([iptables, "-w", "-P", "FORWARD", earlier])
    try:
        first = told([ForwardPolicy()])
        assert first[0].status == ("changed" if earlier == "DROP" else "ok")
        if earlier == "DROP":
            assert "forwarded now" in first[0].message and "net-teardown sets DROP again" in first[0].message
        assert "-P FORWARD ACCEPT" in spawn([iptables, "-w", "-S", "FORWARD"])[1]
        assert told([ForwardPolicy()])[0].status == "ok"
        undone()
        assert f"-P FORWARD {earlier}" in spawn([iptables, "-w", "-S", "FORWARD"])[1]
    finally:
        spawn([iptables, "-w", "-P", "FORWARD", "ACCEPT"])


def test_with_rules_the_policy_is_left_alone() -> None:
    assert isinstance(ForwardPolicy(leave=True).plan({"policy": "DROP"}), Skip)


def test_both_variants_of_iptables_are_told_apart() -> None:
    if not find("iptables-legacy"):
        pytest.skip("iptables-legacy is not installed")
    said = told([ForwardPolicy()])[0].message
    assert "the system's own `iptables`, and iptables-legacy is there too" in said


@pytest.mark.usefixtures("package_servers")
def test_a_package_is_installed_and_purged() -> None:
    package = Package("cowsay", "no-such-program")
    if package.inspect()["installed"]:
        pytest.skip("cowsay is installed here")
    plan = package.plan(package.inspect())
    assert isinstance(plan, Change) and "cowsay" in plan.after["new"]
    try:
        assert [item.status for item in told([package])] == ["changed"]
        assert package.inspect()["installed"]
    finally:
        undone()
    assert not package.inspect()["installed"]


def invoke(*words: str, **variables: str) -> subprocess.CompletedProcess[str]:
    line = [sys.executable, "-m", "invoke", "--search-root", str(ROOT), *words]
    return subprocess.run(
        line,
        cwd=ROOT,
        capture_output=True,
        text=True,
        env=os.environ | variables,
        check=False,
        stdin=subprocess.DEVNULL,
        timeout=100,
    )


def test_the_main_job_from_nothing_and_back(mirror: Path, tmp_path: Path) -> None:
    """`invoke fs-setup net-setup run`, a second time, and the tear-downs: the machine is as before."""
    program = Path(NETWORK)
    before = program.read_text() if program.exists() else None
    spawn([find("iptables"), "-w", "-P", "FORWARD", "DROP"])
    FORWARDING.write_text("0")
    place = {
        "COSO_LIB": str(tmp_path / "lib"),
        "COSO_RUN": str(tmp_path / "run"),
        "COSO_ALPINE_MIRROR": f"file://{mirror}",
    }
    rootfs = str(tmp_path / "coso/rootfs")
    try:
        fs = ["fs-setup", "--rootfs", rootfs]
        job = [*fs, "net-setup", "run", "--rootfs", rootfs, "--command"]
        done = invoke(*job, "cat /etc/alpine-release; id -u; ip -4 -o addr show eth0; ps; exit 3", **place)
        assert done.returncode == 3, done.stdout + done.stderr
        assert "3.20.3\n0\n" in done.stdout and " 10." in done.stdout
        again = invoke(*fs, "net-setup", **place)
        assert again.returncode == 0
        assert again.stdout.count("changed=0") == 2, again.stdout
        down = invoke("net-teardown", "fs-teardown", **place)
        assert down.returncode == 0, down.stdout
        assert "DROP again" in down.stdout
        assert "-P FORWARD DROP" in spawn([find("iptables"), "-w", "-S", "FORWARD"])[1]
        assert FORWARDING.read_text() == "0\n"
        assert (program.read_text() if program.exists() else None) == before
        assert sorted(path.name for path in tmp_path.iterdir()) == []
    finally:
        spawn([find("iptables"), "-w", "-P", "FORWARD", "ACCEPT"])
        FORWARDING.write_text("1")


def test_without_set_up_each_message_leads_to_the_next_command(tmp_path: Path) -> None:
    done = invoke("run", "--rootfs", str(tmp_path / "none"), "--command", "true")
    assert done.returncode == 125 and "invoke fs-setup" in done.stderr
    assert "Traceback" not in done.stderr


def test_nothing_is_taken_from_under_a_running_container(fs: Setup, start) -> None:  # type: ignore[no-untyped-def]
    assert fs(version="3.19.4")[0] == 0
    process = start("-i", "echo up; cat", stdin=subprocess.PIPE)
    assert process.stdout.readline() == "up\n"
    status, said = fs()
    assert status == 1 and "while containers run" in said
    assert setups.tear_down("fs-setup") == 1
    with pytest.raises(CosoError, match="while containers run"):
        setups.tear_down("net-setup")
    process.communicate("", timeout=10)
    assert fs()[0] == 0
