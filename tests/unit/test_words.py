"""From words to a Spec."""

from __future__ import annotations

import pytest

from coso.cli.run import OPTIONS
from coso.errors import UsageError
from coso.flags import parse
from coso.spec import Spec, TimeOffset, units
from coso.spec.build import spec_from


def spec(*words: str, on_terminal: bool = False) -> Spec:
    given = parse(OPTIONS, list(words), "run")
    return spec_from(given, "/rootfs", given.rest, on_terminal=on_terminal)


@pytest.mark.parametrize("words", [["-rootfs", "/r"], ["--rootfs", "/r"], ["-rootfs=/r"], ["--rootfs=/r"]])
def test_one_dash_and_two_mean_the_same(words: list[str]) -> None:
    assert parse(OPTIONS, words, "run").last("rootfs") == "/r"


def test_letters_can_be_joined_and_options_end_at_the_command() -> None:
    given = parse(OPTIONS, ["-it", "-e", "A=1", "-e", "B=2", "sh", "-c", "x"], "run")
    assert given.on("interactive") and given.on("tty")
    assert given.all("env") == ["A=1", "B=2"]
    assert given.rest == ("sh", "-c", "x")


def test_two_dashes_end_the_options() -> None:
    assert parse(OPTIONS, ["-rootfs", "/r", "--", "-it"], "run").rest == ("-it",)


@pytest.mark.parametrize(
    ("words", "said"),
    [
        (["--memroy", "1g"], "did you mean --memory"),
        (["--memory"], "needs a value"),
        (["--memory", "1m", "--memory", "2m"], "given twice"),
        (["--memory", "lots"], "not a size"),
        (["--memory", "1k"], "too little memory"),
        (["--cpus", "0"], "not a number of CPUs"),
        (["--cpus", "nan"], "not a number of CPUs"),
        (["--pids-limit", "-3"], "not a valid number of processes"),
        (["--env", "=x"], "has no name"),
        (["--workdir", "here"], "not an absolute path"),
        (["--volume", "-data:/data"], "is no name of a volume"),
        (["--volume", "/nowhere-at-all:/x"], "does not exist"),
        (["--volume", "/tmp:tmp"], "is not HOST:CONTAINER"),
        (["--volume", "/tmp:/a", "--tmpfs", "/a"], "two mounts are asked for"),
        (["--cap-add", "FLY"], "is no capability"),
        (["--ulimit", "nofile"], "is not NAME=SOFT"),
        (["--ulimit", "wishes=1"], "is no resource limit"),
        (["--security-opt", "apparmor=x"], "is not known here"),
        (["--pid", "container:x"], "takes `host` or `private`"),
        (["--uts", "host", "--hostname", "x"], "would rename the host"),
        (["--mountns", "host"], "needs --userns=host"),
        (["--rm=maybe"], "takes true or false"),
        (["--monotonic", "soon"], "not a number of seconds"),
        (["-t", "-i"], "not a terminal"),
    ],
)
def test_what_makes_no_sense_is_refused_with_a_reason(words: list[str], said: str) -> None:
    with pytest.raises(UsageError) as caught:
        spec(*words)
    assert said in str(caught.value)


def test_without_a_command_a_shell_runs_interactively_on_a_terminal() -> None:
    process = spec(on_terminal=True).process
    assert (process.args, process.terminal, process.interactive) == (("/bin/sh",), True, True)
    assert spec().process.terminal is False


def test_a_namespace_is_shared_only_when_asked() -> None:
    assert spec().namespaces == ("user", "pid", "mount", "uts", "ipc", "network", "cgroup")
    assert "pid" not in spec("--pid", "host").namespaces
    assert "network" not in spec("--network", "host").namespaces
    assert spec("--boottime", "-5").time_offsets == (("boottime", TimeOffset(-5)),)


def test_capabilities_are_dropped_before_they_are_added() -> None:
    kept = spec("--cap-drop", "ALL", "--cap-add", "net_raw").process.capabilities
    assert kept.bounding == kept.effective == kept.permitted == ("CAP_NET_RAW",)
    assert kept.inheritable == kept.ambient == ()


def test_a_variable_without_value_is_the_hosts(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("FROM_HOST", "yes")
    env = spec("-e", "FROM_HOST", "-e", "NOT_THERE", "-e", "A=b=c").process.env
    assert "FROM_HOST=yes" in env and "A=b=c" in env
    assert not [item for item in env if item.startswith("NOT_THERE")]


@pytest.mark.parametrize(
    ("text", "size"),
    [
        ("64m", 64 << 20),
        ("1g", 1 << 30),
        ("1.5GiB", 3 << 29),
        ("1048576", 1 << 20),
        ("2MB", 2 << 20),
        ("700kb", 716800),
    ],
)
def test_sizes_are_read_as_docker_reads_them(text: str, size: int) -> None:
    assert units.memory(text) == size
