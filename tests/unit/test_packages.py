"""Debian packages: what an installation adds, and that it starts nothing."""

from __future__ import annotations

import subprocess
from pathlib import Path

import pytest

from coso.verify.drivers import DRIVERS
from provisioning import setups, system
from provisioning.peers import PEERS
from provisioning.resource import Change
from provisioning.system import Package

SAID = """Reading package lists...
Inst login [1:4.13+dfsg1-1+deb12u1] (1:4.13+dfsg1-1+deb12u2 Debian:12.15/oldstable [amd64])
Inst conmon (2.1.6+ds1-1 Debian:12.15/oldstable [amd64])
Inst podman (4.3.1+ds1-8 Debian:12.15/oldstable [amd64])
Conf podman (4.3.1+ds1-8 Debian:12.15/oldstable [amd64])
"""


def test_what_is_only_upgraded_is_never_purged(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(system, "run", lambda *words: SAID)
    plan = Package("podman", "podman").plan({"installed": False, "program": ""})
    assert isinstance(plan, Change)
    assert plan.after["new"] == ["conmon", "podman"]


@pytest.mark.parametrize("fails", [False, True])
def test_a_policy_keeps_daemons_still_for_the_time_of_an_installation(
    monkeypatch: pytest.MonkeyPatch, tmp_path: Path, fails: bool
) -> None:
    policy = tmp_path / "policy-rc.d"
    asked = []

    def install(*words: str) -> str:
        asked.append(subprocess.run([str(policy)], check=False).returncode)
        if fails:
            raise OSError("apt is broken")
        return ""

    monkeypatch.setattr(system, "POLICY", str(policy))
    monkeypatch.setattr(system, "run", install)
    try:
        Package("docker.io", "dockerd", idle=True).apply(Change({}, {}, ""))
    except OSError:
        assert fails
    assert asked == [101]
    assert not policy.exists()


def test_a_policy_of_the_machines_own_stays(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    policy = tmp_path / "policy-rc.d"
    policy.write_text("theirs")
    monkeypatch.setattr(system, "POLICY", str(policy))
    monkeypatch.setattr(system, "run", lambda *words: "")
    Package("docker.io", "dockerd", idle=True).apply(Change({}, {}, ""))
    assert policy.read_text() == "theirs"


def test_an_older_debian_has_dockers_client_in_another_package(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("provisioning.peers.is_offered", lambda name: False)
    assert [item.label for item in setups.peers_setup()] == [package.name for package in PEERS]
    monkeypatch.setattr("provisioning.peers.is_offered", lambda name: name == "docker-cli")
    assert setups.peers_setup()[-1].label == "docker-cli"


def test_the_peers_are_named_in_one_place() -> None:
    programs = {package.program for package in PEERS}
    assert {"crun", "runc", "podman", "bwrap", "dockerd", "systemd-nspawn", "lxc-execute"} <= programs
    assert {"crun", "runc", "podman"} <= set(DRIVERS)
