"""The drivers of other runtimes: words and bundles for wishes, without starting one."""

from __future__ import annotations

import copy
import os
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from coso.errors import UnsupportedError
from coso.kernel.capability import NUMBERS
from coso.verify.drivers import DRIVERS, Driver, Wish, bubblewrap, docker, host, lxc, nspawn, oci, podman, unshare
from coso.verify.drivers.model import asked

SPEC: dict[str, Any] = {
    "process": {
        "terminal": True,
        "args": ["sh"],
        "env": ["PATH=/bin"],
        "cwd": "/home",
        "capabilities": {"bounding": ["CAP_KILL"], "effective": ["CAP_KILL"], "permitted": ["CAP_KILL"]},
        "noNewPrivileges": True,
    },
    "root": {"path": "rootfs", "readonly": True},
    "hostname": "runc",
    "mounts": [{"destination": "/proc", "type": "proc", "source": "proc"}],
    "linux": {"namespaces": [{"type": "pid"}, {"type": "network"}, {"type": "uts"}, {"type": "mount"}]},
}
VOLUMES = (("/usr", "/host/usr", True), ("/srv/data", "/data", False))


def wish(*options: str, volumes: tuple[tuple[str, str, bool], ...] = ()) -> Wish:
    return Wish("/srv/root", ("/bin/true", "-x"), volumes, options)


def amended(*options: str, namespaces: tuple[str, ...] = ()) -> dict[str, Any]:
    return oci.bundle("runc", copy.deepcopy(SPEC), wish(*options), namespaces)


@pytest.fixture(autouse=True)
def _every_program_is_there(monkeypatch: pytest.MonkeyPatch) -> None:
    for module in (bubblewrap, docker, host, lxc, nspawn, oci, podman, unshare):
        monkeypatch.setattr(module, "find", lambda program: f"/usr/bin/{program}")


def test_each_driver_has_a_name_of_its_own() -> None:
    names = ["coso", "runc", "crun", "youki", "podman", "docker", "bwrap", "nspawn", "lxc", "unshare"]
    assert [(name, driver.name) for name, driver in DRIVERS.items()] == [(name, name) for name in names]
    assert [name for name, driver in DRIVERS.items() if driver.by_daemon] == ["docker"]


@pytest.mark.parametrize(
    "driver", [driver for driver in DRIVERS.values() if driver.name != "coso"], ids=lambda driver: driver.name
)
def test_a_driver_says_what_is_not_installed(driver: Driver, monkeypatch: pytest.MonkeyPatch) -> None:
    for module in (docker, host):
        monkeypatch.setattr(module, "find", lambda program: "")
    assert driver.lacking().endswith(" is not installed")
    assert driver.version() == ""


def test_docker_needs_a_daemon_on_this_machine(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(docker, "_daemon", lambda: "")
    monkeypatch.delenv("DOCKER_HOST", raising=False)
    assert docker.lacking() == ""
    monkeypatch.setattr(docker, "find", lambda program: "/usr/bin/docker" if program == "docker" else "")
    assert docker.lacking() == "no Docker daemon answers, and dockerd is not installed"
    monkeypatch.setenv("DOCKER_HOST", "tcp://build:2375")
    assert docker.lacking() == "DOCKER_HOST names another machine"


def test_options_are_pairs() -> None:
    given = wish("--memory=1m", "--interactive", "--security-opt=seccomp=unconfined")
    assert asked(given) == [("memory", "1m"), ("interactive", ""), ("security-opt", "seccomp=unconfined")]


def test_a_bundle_is_the_runtimes_own_but_for_the_command_and_the_root() -> None:
    config = amended()
    assert config["process"].pop("args") == ["/bin/true", "-x"]
    assert (config["process"].pop("cwd"), config["process"].pop("terminal")) == ("/", False)
    assert config.pop("root") == {"path": "/srv/root", "readonly": False}
    assert config["linux"].pop("resources", {}) == {}
    expected = copy.deepcopy(SPEC)
    del expected["root"], expected["process"]["args"], expected["process"]["cwd"], expected["process"]["terminal"]
    assert config == expected


def test_volumes_are_bind_mounts_of_a_bundle() -> None:
    config = oci.bundle("crun", copy.deepcopy(SPEC), wish(volumes=VOLUMES))
    assert [(item["destination"], item["options"]) for item in config["mounts"][1:]] == [
        ("/host/usr", ["rbind", "ro"]),
        ("/data", ["rbind"]),
    ]


def test_limits_of_a_bundle() -> None:
    assert amended("--memory=64m", "--pids-limit=7", "--cpus=0.5")["linux"]["resources"] == {
        "memory": {"limit": 64 << 20},
        "pids": {"limit": 7},
        "cpu": {"quota": 50_000, "period": 100_000},
    }


def test_namespaces_of_a_bundle_are_shared_by_leaving_them_out() -> None:
    config = amended("--network=host", "--pid=host", "--uts=host", "--userns=host")
    assert config["linux"]["namespaces"] == [{"type": "mount"}]
    assert "hostname" not in config
    assert amended("--network=none")["linux"]["namespaces"] == SPEC["linux"]["namespaces"]


def test_privileges_of_a_bundle() -> None:
    process = amended("--cap-add=SYS_ADMIN", "--security-opt=no-new-privileges=false", "--workdir=/tmp")["process"]
    assert process["capabilities"]["bounding"] == ["CAP_KILL", "CAP_SYS_ADMIN"]
    assert process["noNewPrivileges"] is False
    assert process["cwd"] == "/tmp"
    assert "CAP_KILL" in amended("--cap-add=ALL")["process"]["capabilities"]["permitted"]


def test_a_time_namespace_only_where_the_runtime_knows_it() -> None:
    assert amended("--monotonic=9", namespaces=("time",))["linux"]["timeOffsets"] == {"monotonic": {"secs": 9}}
    with pytest.raises(UnsupportedError, match=r"^runc has no way to grant --monotonic=9$"):
        amended("--monotonic=9")


def test_bubblewrap_is_started_as_its_manual_recommends() -> None:
    words = bubblewrap.command(wish("--workdir=/tmp", volumes=VOLUMES), "name", "/scratch")
    assert " ".join(words) == (
        "/usr/bin/bwrap --unshare-all --die-with-parent --new-session --bind /srv/root / --proc /proc --dev /dev"
        " --ro-bind /usr /host/usr --bind /srv/data /data --chdir /tmp -- /bin/true -x"
    )


def test_bubblewrap_shares_a_namespace_by_naming_the_others() -> None:
    words = bubblewrap.command(wish("--network=host", "--userns=host"), "name", "/scratch")
    assert words[1:5] == ["--unshare-ipc", "--unshare-pid", "--unshare-uts", "--unshare-cgroup-try"]


def test_unshare_names_every_namespace() -> None:
    words = unshare.command(wish(), "name", "/scratch")
    flags = {"--mount", "--time", "--user", "--ipc", "--pid", "--net", "--uts", "--cgroup"}
    assert flags <= set(words)
    assert words[-3:] == ["--", "/bin/true", "-x"]


def test_unshare_has_its_volumes_mounted_beforehand() -> None:
    words = unshare.command(wish(volumes=VOLUMES), "name", "/scratch")
    assert words[:4] == ["/usr/bin/unshare", "--mount", "/bin/sh", "-c"]
    assert words[4] == (
        "mount --rbind /usr /srv/root/host/usr && mount -o remount,bind,ro /srv/root/host/usr"
        ' && mount --rbind /srv/data /srv/root/data && exec "$@"'
    )


def test_nspawn_takes_what_it_has_no_option_for_from_the_environment(tmp_path: Path) -> None:
    words = nspawn.command(wish("--pid=host", "--cap-add=ALL", "--network=host"), "name", str(tmp_path))
    assert words[:3] == ["/usr/bin/env", "SYSTEMD_NSPAWN_SHARE_NS_PID=1", "/usr/bin/systemd-nspawn"]
    assert "--capability=all" in words and "--private-network" not in words
    assert "--private-network" in nspawn.command(wish(), "name", str(tmp_path))


def test_lxc_includes_what_its_templates_share() -> None:
    lines = lxc.configuration(wish("--memory=64m", "--cpus=2", "--pid=host", "--ipc=host", volumes=VOLUMES), "box")
    assert lines[0] == "lxc.include = /usr/share/lxc/config/common.conf"
    assert "lxc.net.0.type = empty" in lines and "lxc.uts.name = box" in lines
    assert "lxc.uts.name = box" not in lxc.configuration(wish("--uts=host"), "box")
    assert lines[-5:] == [
        "lxc.cgroup2.memory.max = 67108864",
        "lxc.cgroup2.cpu.max = 200000 100000",
        "lxc.namespace.keep = pid ipc user time",
        "lxc.mount.entry = /usr host/usr none rbind,ro 0 0",
        "lxc.mount.entry = /srv/data data none rbind 0 0",
    ]
    assert "lxc.cgroup.cpu.cfs_quota_us = 200000" in lxc.configuration(wish("--cpus=2"), "box", unified=False)


def test_docker_and_podman_share_their_words(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(docker, "_import", lambda rootfs, image: None)
    monkeypatch.setattr(podman, "permitted", lambda: ("CAP_SYS_RESOURCE",))
    monkeypatch.setattr(host, "without_hybrid_controllers", lambda words: words)
    monkeypatch.setattr(docker, "permitted", lambda: [name for name in NUMBERS if name != "CAP_SYS_RESOURCE"])
    given = wish("--cap-add=ALL", "--memory=64m", "--interactive", "--network=none", volumes=VOLUMES)
    common = "run --rm --name name --cap-add=ALL --cap-drop=CAP_SYS_RESOURCE --memory=64m --interactive --network=none"
    common += " --volume=/usr:/host/usr:ro --volume=/srv/data:/data"
    assert " ".join(docker.command(given, "name", "/s")) == (f"/usr/bin/docker {common} coso-verify:name /bin/true -x")
    assert " ".join(podman.command(given, "name", "/s")) == (
        "/usr/bin/podman --root=/s/podman/root --runroot=/s/podman/runroot --tmpdir=/s/podman/tmpdir"
        f" {common} --rootfs /srv/root /bin/true -x"
    )


@pytest.mark.parametrize(
    ("command", "option", "runtime"),
    [
        (bubblewrap.command, "--memory=64m", "bwrap"),
        (bubblewrap.command, "--security-opt=no-new-privileges=false", "bwrap"),
        (unshare.command, "--pids-limit=5", "unshare"),
        (unshare.command, "--hostname=box", "unshare"),
        (nspawn.command, "--cpus=1", "systemd-nspawn"),
        (nspawn.command, "--monotonic=1000", "systemd-nspawn"),
        (lxc.command, "--mountns=host", "lxc"),
        (docker.command, "--monotonic=1000", "docker"),
        (podman.command, "--mountns=host", "podman"),
    ],
)
def test_an_option_that_cannot_be_granted_is_refused_by_name(
    command: Callable[..., list[str]], option: str, runtime: str, tmp_path: Path
) -> None:
    with pytest.raises(UnsupportedError) as caught:
        command(wish(option), "name", str(tmp_path))
    assert str(caught.value) == f"{runtime} has no way to grant {option}"


def test_a_hybrid_machine_shows_crun_no_controllers(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    file = tmp_path / "cgroup.controllers"
    monkeypatch.setattr(host, "HYBRID_CONTROLLERS", str(file))
    assert host.without_hybrid_controllers(["crun"]) == ["crun"]
    file.write_text("\n")
    assert host.without_hybrid_controllers(["crun"]) == ["crun"]
    file.write_text("hugetlb\n")
    words = host.without_hybrid_controllers(["crun"])
    assert words[4:] == [f'mount --bind /dev/null {file} && exec "$@"', "sh", "crun"]


@pytest.mark.parametrize(
    ("text", "number"),
    [("runc version 1.1.5+ds1\ncommit: 7", "1.1.5"), ("systemd 252 (252.39-1)", "252"), ("none", "")],
)
def test_a_version_is_the_first_number(text: str, number: str) -> None:
    assert host.first_number(text) == number


def test_removing_what_never_was_says_nothing(tmp_path: Path) -> None:
    for name in ("bwrap", "nspawn", "unshare"):
        DRIVERS[name].remove("coso-never-was", str(tmp_path))
    assert os.listdir(tmp_path) == []
