"""What podman and Docker have, and ctr has not."""

from __future__ import annotations

import pytest

from tests.integration.engines.conftest import SERVE, Place, words
from tests.integration.engines.engines import Docker

testinfra_hosts = ["local://"]
pytestmark = pytest.mark.parametrize("engine", ["podman", "docker"], indirect=True)


def test_a_command_that_is_not_there_is_status_127(engine: Docker) -> None:
    done = engine(f"run --rm {engine.options} --network=none coso-engines nosuch")
    assert done.rc == 127 and "nosuch" in done.stderr


def test_a_command_that_cannot_be_executed_is_status_126(engine: Docker) -> None:
    assert engine(f"run --rm {engine.options} --network=none coso-engines /etc/passwd").rc == 126


def test_the_number_of_processes_is_limited(engine: Docker) -> None:
    done = engine.run("--pids-limit=5", "for i in 1 2 3 4 5 6 7 8; do sleep 0.5 & done; wait; echo all")
    assert "all" not in done.stdout or "fork" in done.stderr


def test_user_and_group(engine: Docker) -> None:
    assert words(engine.run("--user=5:6 --group-add=7", "id -u; id -g; id -G")) == ["5", "6", "6", "7"]


def test_a_host_name_an_environment_and_a_directory(engine: Docker) -> None:
    options = "--hostname=named --env=KEY=value --workdir=/tmp"
    assert words(engine.run(options, "hostname; echo $KEY; pwd")) == ["named", "value", "/tmp"]


def test_a_filesystem_in_memory(engine: Docker) -> None:
    found = engine.run(
        "--read-only --tmpfs=/scratch:size=1m,mode=1777", "touch /scratch/file; df -k /scratch | tail -1"
    )
    assert words(found)[:2] == ["tmpfs", "1024"]


def test_limits_of_a_process_and_parameters_of_the_kernel(engine: Docker) -> None:
    found = engine.run(
        "--ulimit=nofile=77:99 --sysctl=kernel.msgmax=4321", "ulimit -n; ulimit -Hn; sysctl kernel.msgmax"
    )
    assert words(found) == ["77", "99", "kernel.msgmax", "=", "4321"]


def test_a_device_of_the_host(engine: Docker) -> None:
    assert words(engine.run("--device=/dev/null:/dev/mine:r", "stat -c %F /dev/mine; cat /dev/mine"))[0] == "character"


def test_a_filter_of_system_calls_is_in_force(engine: Docker) -> None:
    assert words(engine.run("", "grep Seccomp: /proc/self/status")) == ["Seccomp:", "2"]
    found = engine.run("--security-opt=seccomp=unconfined", "grep Seccomp: /proc/self/status")
    assert words(found) == ["Seccomp:", "0"]


def test_every_privilege(engine: Docker, place: Place) -> None:
    look = "grep CapEff /proc/self/status"
    found = words(engine.run("--privileged", f"mount -t tmpfs none /mnt && {look}; ls /dev | wc -l"))
    # Every engine knows the capabilities up to Linux 5.7's; nobody gives what this machine's root lacks.
    known = (1 << 38) - 1 & int(place.ok(look).split()[1], 16)
    assert int(found[1], 16) & known == known and int(found[2]) > 20


def test_a_program_that_reaps_is_process_1(engine: Docker) -> None:
    assert words(engine.run("--init", "cat /proc/1/comm"))[0] in ("podman-init", "docker-init")


def test_what_it_prints_is_its_log(engine: Docker) -> None:
    try:
        assert engine.start("life", "", "echo begun; echo wrong >&2; exit 6").rc == 0
        assert engine("wait life").stdout.strip() == "6"
        done = engine("logs life")
        assert (done.stdout.strip(), done.stderr.strip()) == ("begun", "wrong")
        assert engine("inspect --format='{{.State.ExitCode}}' life").stdout.strip() == "6"
    finally:
        engine.on("life", "remove")


def test_a_container_starts_again(engine: Docker) -> None:
    try:
        assert engine.start("life", "", "echo x >> /count; exec sleep 100").rc == 0
        assert engine("restart --time=0 life").rc == 0
        assert words(engine.exec("life", "", "wc -l /count"))[0] == "2"
    finally:
        engine.on("life", "remove")


def test_input_goes_through(engine: Docker) -> None:
    line = f"echo given | {engine.words} run --interactive --rm {engine.options} --network=none coso-engines cat"
    assert words(engine.shell(line)) == ["given"]


def test_a_port_of_the_host_leads_into_a_container(engine: Docker, place: Place) -> None:
    network = "--network=bridge --publish=18080:80"
    try:
        done = engine.start("life", network, SERVE)
        assert done.rc == 0, done.stderr
        fetch = "bash -c 'cat < /dev/tcp/127.0.0.1/18080' 2>/dev/null"
        found = place.sh(f"for i in $(seq 50); do {fetch} | grep . && exit; sleep 0.1; done; exit 1")
        assert words(found) == ["served"]
    finally:
        engine.on("life", "remove")


def test_limits_are_changed_while_it_runs(engine: Docker, place: Place) -> None:
    try:
        assert engine.start("life", "--memory=64m", "exec sleep 100").rc == 0
        done = engine("update --memory=96m --memory-swap=96m --cpus=0.25 life")
        assert done.rc == 0, done.stderr
        files = "memory.max cpu.max" if place.unified else "memory/memory.limit_in_bytes cpu/cpu.cfs_quota_us"
        found = words(engine.exec("life", "", f"sh -c 'cd /sys/fs/cgroup; cat {files}'"))
        assert found[:2] == [str(96 << 20), "25000"]
    finally:
        engine.on("life", "remove")


def test_figures_of_use(engine: Docker) -> None:
    try:
        assert engine.start("life", "--memory=64m", "exec sleep 100").rc == 0
        done = engine("stats --no-stream --format='{{.MemUsage}}' life")
        assert (done.rc == 0 and "67.1" in done.stdout) or "64MiB" in done.stdout, done.stdout + done.stderr
    finally:
        engine.on("life", "remove")
