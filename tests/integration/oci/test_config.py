"""config.json itself: what must be in it, what may not, and what is passed over (config.md)."""

from __future__ import annotations

import json
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

from tests.integration.oci.bundle import PATH, Bundle, eventually

Way = tuple[str | int, ...]


def place(config: Any, way: Way) -> Any:
    """What holds the last step of a way into a config, made where it is missing."""
    for step in way[:-1]:
        config = config[step] if isinstance(step, int) else config.setdefault(step, {})
    return config


def run_text(bundle: Bundle, text: str | bytes) -> Any:
    """Run a config.json as it is written here."""
    data = text if isinstance(text, bytes) else text.encode()
    (bundle.path / "config.json").write_bytes(data)
    return bundle.runtime("run", "--bundle", str(bundle.path), bundle.id)


def refused_text(bundle: Bundle, text: str | bytes) -> None:
    """It is an error, and nothing is left."""
    done = run_text(bundle, text)
    assert done.status != 0 and done.err.strip()
    assert "Traceback" not in done.err and "panic" not in done.err
    assert eventually(lambda: not bundle.traces(), 2), bundle.traces()


# The file.


@pytest.mark.parametrize(
    "bend",
    [
        lambda text: text[:-2],
        lambda text: text + "}",
        lambda text: text.replace('"linux":', '"linux"'),
        lambda text: text.replace("{", "{,", 1),
        lambda text: f"// a comment\n{text}",
        lambda text: text.replace("true", "True"),
        lambda text: text.replace('"', "'"),
    ],
    ids=["cut off", "one brace more", "no colon", "a comma", "a comment", "another True", "other quotes"],
)
def test_what_is_not_quite_json_is_refused(bundle: Bundle, bend: Any) -> None:
    bundle.process["noNewPrivileges"] = True
    refused_text(bundle, bend(json.dumps(bundle.config)))


def test_bytes_that_are_no_utf_8_are_refused_or_replaced(bundle: Bundle) -> None:
    """JSON is UTF-8 (RFC 8259). Whoever takes it must not pass on bytes that mean something else."""
    bundle.process["args"] = ["/bin/sh", "-c", "exit 0", "OTHER"]
    done = run_text(bundle, json.dumps(bundle.config).encode().replace(b"OTHER", b"\xff\xfe"))
    assert done.status == 0 or done.err.strip()
    assert eventually(lambda: not bundle.traces(), 2), bundle.traces()


def test_a_byte_order_mark_is_no_part_of_json(bundle: Bundle) -> None:
    """A parser may pass over it (RFC 8259, 8.1); whoever does not says so."""
    done = run_text(bundle, b"\xef\xbb\xbf" + json.dumps(bundle.config).encode())
    assert done.status == 0 or done.err.strip()


def test_white_space_and_the_order_of_fields_mean_nothing(bundle: Bundle) -> None:
    turned = dict(reversed(bundle.config.items()))
    assert run_text(bundle, f"\r\n\t {json.dumps(turned, indent='	')}\n\n").status == 0


def test_a_config_that_is_a_directory_is_an_error(bundle: Bundle) -> None:
    (bundle.path / "config.json").mkdir()
    done = bundle.runtime("create", "--bundle", str(bundle.path), bundle.id)
    assert done.status != 0 and done.err.strip()
    assert not bundle.traces()


def test_json_that_is_nested_without_end_is_an_error(bundle: Bundle) -> None:
    refused_text(bundle, '{"process": ' + "[" * 100_000)


def test_escapes_are_what_they_stand_for(bundle: Bundle) -> None:
    bundle.process["args"] = ["printf", "%s", 'a\tb"\\\u00e9\U0001f600/']
    text = json.dumps(bundle.config, ensure_ascii=True)
    assert "\\ud83d\\ude00" in text
    assert run_text(bundle, text).ok().out == 'a\tb"\\é\U0001f600/'


# What is required.


@pytest.mark.parametrize(
    "way",
    [
        ("ociVersion",),
        ("process", "cwd"),
        ("process", "args"),
        ("root", "path"),
        ("mounts", 0, "destination"),
        ("linux", "namespaces", 0, "type"),
        ("linux", "devices", 0, "path"),
        ("linux", "devices", 0, "type"),
        ("linux", "devices", 0, "major"),
        ("linux", "uidMappings", 0, "size"),
        ("process", "rlimits", 0, "type"),
        ("process", "rlimits", 0, "hard"),
        ("hooks", "createRuntime", 0, "path"),
        ("linux", "resources", "devices", 0, "allow"),
    ],
    ids=lambda way: ".".join(map(str, way)),
)
def test_what_is_required_and_missing_is_an_error(bundle: Bundle, way: Way) -> None:
    if "uidMappings" in way:
        bundle.own_users()  # For it alone: there devices are the host's.
    bundle.linux["devices"] = [{"path": "/dev/full", "type": "c", "major": 1, "minor": 7}]
    bundle.process["rlimits"] = [{"type": "RLIMIT_CORE", "soft": 1, "hard": 2}]
    bundle.config["hooks"] = {"createRuntime": [{"path": "/bin/true"}]}
    bundle.run().ok()
    del place(bundle.config, way)[way[-1]]
    bundle.refused()


@pytest.mark.parametrize("name", ["hostname", "mounts", "hooks", "annotations"])
def test_what_is_optional_may_be_missing_empty_or_null(bundle: Bundle, name: str) -> None:
    empty = {"hostname": "", "mounts": [], "hooks": {}, "annotations": {}}
    for value in (None, empty[name]):
        bundle.config[name] = value
        bundle.run().ok()
    del bundle.config[name]
    bundle.run().ok()


def test_the_least_that_a_config_can_be_runs(bundle: Bundle) -> None:
    bundle.config = {
        "ociVersion": "1.0.2",
        "process": {"user": {"uid": 0, "gid": 0}, "args": ["/bin/busybox", "echo", "least"], "cwd": "/"},
        "root": {"path": "rootfs"},
        "linux": {"namespaces": [{"type": "mount"}]},
    }
    assert bundle.run().ok().out == "least\n"


# Types.


@pytest.mark.parametrize(
    ("way", "value"),
    [
        (("ociVersion",), 1),
        (("process",), []),
        (("process", "args"), "true"),
        (("process", "args"), [1]),
        (("process", "env"), {"A": "1"}),
        (("process", "cwd"), ["/"]),
        (("process", "terminal"), "false"),
        (("process", "noNewPrivileges"), 1),
        (("process", "user", "uid"), "0"),
        (("process", "user", "uid"), -1),
        (("process", "user", "uid"), 1 << 32),
        (("process", "user", "uid"), 0.5),
        (("process", "user", "additionalGids"), [-1]),
        (("process", "capabilities"), ["CAP_KILL"]),
        (("process", "rlimits"), {}),
        (("process", "oomScoreAdj"), "0"),
        (("process", "oomScoreAdj"), 1001),
        (("root",), "rootfs"),
        (("root", "readonly"), "true"),
        (("hostname",), {}),
        (("hostname",), "x" * 65),
        (("mounts",), {}),
        (("mounts", 0), "/proc"),
        (("mounts", 0, "options"), "ro"),
        (("hooks",), []),
        (("annotations",), []),
        (("annotations",), {"key": 1}),
        (("linux",), []),
        (("linux", "namespaces"), ["pid"]),
        (("linux", "resources", "memory", "limit"), "64M"),
        (("linux", "resources", "pids", "limit"), 1.5),
        (("linux", "maskedPaths"), "/proc/kcore"),
        (("linux", "sysctl"), {"net.ipv4.ip_forward": 1}),
    ],
    ids=lambda item: ".".join(map(str, item)) if isinstance(item, tuple) else json.dumps(item)[:20],
)
def test_a_value_of_the_wrong_kind_is_an_error(bundle: Bundle, way: Way, value: object) -> None:
    place(bundle.config, way)[way[-1]] = value
    bundle.refused()


# Versions.


@pytest.mark.parametrize(
    "version", ["1.0.0", "1.0.2", "1.0.2-dev", "1.0.0-rc5", "1.1.0", "1.2.0", "1.2.1", "1.2.0+x.1"]
)
def test_every_version_1_is_accepted(bundle: Bundle, version: str) -> None:
    """Within a major version configs are compatible (config.md, Specification version)."""
    bundle.config["ociVersion"] = version
    bundle.run().ok()


@pytest.mark.parametrize(
    "version", ["", "1", "1.0", "one", "v1.0.0", "1.0.0.0", "01.0.0", "1.0.0-", "2.0.0", "0.1.0", " 1.0.0"]
)
def test_what_is_no_version_or_another_one_is_refused(bundle: Bundle, version: str) -> None:
    bundle.config["ociVersion"] = version
    bundle.refused()


# What nobody knows.


@pytest.mark.parametrize(
    "way",
    [
        ("x-unknown",),
        ("process", "x-unknown"),
        ("root", "x-unknown"),
        ("mounts", 0, "x-unknown"),
        ("linux", "x-unknown"),
        ("linux", "resources", "x-unknown"),
        ("linux", "namespaces", 0, "x-unknown"),
        ("hooks", "x-unknown"),
    ],
    ids=lambda way: ".".join(map(str, way)),
)
def test_an_unknown_property_is_passed_over(bundle: Bundle, way: Way) -> None:
    """config.md, Extensibility."""
    place(bundle.config, way)[way[-1]] = {"anything": ["at", "all", 1, None]} if way[0] != "hooks" else []
    bundle.run().ok()


def test_names_of_properties_are_as_they_are_written(bundle: Bundle) -> None:
    """`Hostname` is another property than `hostname`, and unknown."""
    bundle.config["Hostname"] = "other"
    assert bundle.output("hostname") == "oci"


# Annotations.


KEPT = {"org.example.key": "value", "empty": "", "unicode é 😀": 'línea\n"two"\\', "long": "x" * 10_000}


def test_annotations_are_kept_as_they_are(bundle: Bundle) -> None:
    bundle.config["annotations"] = KEPT
    assert bundle.up().state()["annotations"].items() >= KEPT.items()
    bundle.runtime("list", "--format", "json").ok()


def test_without_annotations_the_state_has_none_or_an_empty_map(bundle: Bundle) -> None:
    assert not bundle.up().state().get("annotations")


def test_an_annotation_without_a_key_is_refused(bundle: Bundle) -> None:
    bundle.config["annotations"] = {"": "value"}
    bundle.refused()


@pytest.mark.parametrize("key", ["org.example.unknown", "com.docker.x", "run.oci.unknown", "io.kubernetes.cri-o.x"])
def test_an_annotation_nobody_knows_is_no_error(bundle: Bundle, key: str) -> None:
    bundle.config["annotations"] = {key: "{"}
    bundle.run().ok()


# Sizes.


def test_unicode_arrives_in_arguments_variables_and_paths(bundle: Bundle) -> None:
    word = "Ünï→😀"
    (bundle.rootfs / word).mkdir()
    bundle.process.update(cwd=f"/{word}", env=[PATH, f"WORD={word}"])
    bundle.process["args"] = ["/bin/sh", "-c", 'printf "%s %s %s" "$WORD" "$1" "$PWD"', "sh", word]
    assert bundle.run().ok().out == f"{word} {word} /{word}"


def test_a_nul_is_refused(bundle: Bundle) -> None:
    """It would end the word for the kernel, and something shorter would run."""
    bundle.process["args"] = ["echo", "a\0b"]
    bundle.refused()


@pytest.mark.parametrize("field", ["args", "env"])
def test_a_word_may_be_as_long_as_the_kernel_takes_it(bundle: Bundle, field: str) -> None:
    long = "x" * 120_000  # A single one may have 128 KiB (execve(2)).
    bundle.process["args"] = ["/bin/sh", "-c", 'printf %s "$1$LONG" | wc -c', "sh", long if field == "args" else ""]
    bundle.process["env"] = [PATH, f"LONG={long if field == 'env' else ''}"]
    assert bundle.run().ok().out.split() == ["120000"]


def test_many_arguments_and_variables_arrive(bundle: Bundle) -> None:
    bundle.process["args"] = ["/bin/sh", "-c", "echo $#; env | grep -c ^V", "sh", *map(str, range(5000))]
    bundle.process["env"] = [PATH, *(f"V{number}={number}" for number in range(5000))]
    assert bundle.run().ok().out.split() == ["5000", "5000"]


def test_what_the_kernel_does_not_take_is_an_error(bundle: Bundle) -> None:
    bundle.process["args"] = ["true", "x" * (1 << 18)]
    bundle.refused()


def test_many_mounts_are_made(bundle: Bundle) -> None:
    (bundle.path / "file").touch()
    for number in range(200):
        bundle.mount(f"/mnt/{number}", bundle.path / "file")
    assert bundle.output("grep -c ' /mnt/' /proc/self/mountinfo") == "200"


# Where it is.


@pytest.fixture
def elsewhere(bundle: Bundle) -> Iterator[Path]:
    """Another way to the bundle, through a link."""
    link = bundle.path.with_name(f"link-{bundle.path.name}")
    link.symlink_to(bundle.path)
    yield link
    link.unlink()


def test_a_bundle_may_be_named_through_a_link(bundle: Bundle, elsewhere: Path) -> None:
    bundle.sh("exec sleep 100").write()
    bundle.runtime("create", "--bundle", str(elsewhere), bundle.id, keep=bundle.path / "container").ok()
    assert Path(bundle.state()["bundle"]).resolve() == bundle.path.resolve()
