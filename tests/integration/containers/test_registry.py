"""Images to and from a real registry, and back byte for byte."""

from __future__ import annotations

import hashlib
import json
import os
import shutil
import subprocess
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest
import requests

from coso import state
from tests.integration.conftest import Completed, Coso
from tests.integration.containers import registry as registries
from tests.integration.containers.conftest import install, ok
from tests.integration.containers.registry import between

OCI_INDEX = "application/vnd.oci.image.index.v1+json"
PORT = 5067


@pytest.fixture(scope="module")
def registry(tmp_path_factory: pytest.TempPathFactory, alpine: str) -> Iterator[str]:
    install(("docker-registry", "docker-registry"), ("skopeo", "skopeo"))
    with registries.registry(tmp_path_factory.mktemp("registry"), PORT) as host:
        yield host


@pytest.fixture(scope="module")
def layout(programs: Path, alpine: str, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The image as an OCI layout, for skopeo to push."""
    place = tmp_path_factory.mktemp("layout") / "oci"
    subprocess.run([str(programs / "coso"), "save", "--format", "oci-dir", "-o", str(place), alpine], check=True)
    return place


Elsewhere = Callable[..., Completed]


@pytest.fixture
def elsewhere(coso: Coso, programs: Path, tmp_path: Path) -> Elsewhere:
    """coso with a store of its own, and Docker's configuration in a directory of the test's."""
    own = {
        "COSO_LIB": str(tmp_path / "lib"),
        "COSO_RUN": str(tmp_path / "run"),
        "DOCKER_CONFIG": str(tmp_path / "docker"),
    }
    env = {**os.environ, **own, "COSO_NETWORK": str(programs / "cosonet")}

    def command(*words: str, **more: object) -> Completed:
        return coso(*words, **({"env": env} | more))

    return command


def skopeo(*words: str) -> str:
    done = subprocess.run(["skopeo", *words], capture_output=True, text=True)
    assert done.returncode == 0, done.stderr
    return done.stdout


def digest_at(host: str, name: str, tag: str = "1") -> str:
    words = ["inspect", "--raw", "--tls-verify=false", f"docker://{host}/{name}:{tag}"]
    done = subprocess.run(["skopeo", *words], capture_output=True, check=True)
    return f"sha256:{hashlib.sha256(done.stdout).hexdigest()}"


def push_with_skopeo(layout: Path, host: str, name: str, *words: str) -> None:
    source = f"oci:{layout}:docker.io/test/alpine:3.20"
    if "zstd" in words:
        # What is compressed already it would leave as it is.
        plain = layout.parent / "plain"
        skopeo("copy", "--dest-decompress", source, f"dir:{plain}")
        source = f"dir:{plain}"
    skopeo("copy", "--dest-tls-verify=false", *words, source, f"docker://{host}/{name}:1")


@pytest.mark.parametrize("form", ["gzip", "zstd", "v2s2"])
def test_what_skopeo_pushes_comes_and_goes_back_the_same(
    layout: Path, elsewhere: Elsewhere, form: str, tmp_path: Path
) -> None:
    # A registry each: where skopeo knows that a layer is there in another form, it takes that.
    install(("docker-registry", "docker-registry"), ("skopeo", "skopeo"))
    with registries.registry(tmp_path / "registry", PORT + 5 + len(form)) as registry:
        _there_and_back(registry, layout, elsewhere, form)


def _there_and_back(registry: str, layout: Path, elsewhere: Elsewhere, form: str) -> None:
    words = ("--format", "v2s2") if form == "v2s2" else ("--dest-compress-format", form, "--format", "oci")
    push_with_skopeo(layout, registry, f"from-skopeo-{form}", *words)
    name = f"{registry}/from-skopeo-{form}:1"
    said = ok(elsewhere("pull", name))
    assert f"Pulling from {registry}/from-skopeo-{form}" in said
    assert digest_at(registry, f"from-skopeo-{form}") in said
    assert ok(elsewhere("run", "--rm", "--network", "none", name, "cat", "/etc/alpine-release"))
    ok(elsewhere("tag", name, f"{registry}/back-{form}:1"))
    ok(elsewhere("push", f"{registry}/back-{form}:1"))
    assert digest_at(registry, f"back-{form}") == digest_at(registry, f"from-skopeo-{form}")
    manifest = json.loads(skopeo("inspect", "--raw", "--tls-verify=false", f"docker://{registry}/back-{form}:1"))
    assert manifest["layers"][0]["mediaType"].endswith("zstd" if form == "zstd" else "gzip")


def test_an_index_gives_the_platform_of_this_machine_or_the_one_that_is_named(
    registry: str, layout: Path, elsewhere: Elsewhere
) -> None:
    push_with_skopeo(layout, registry, "multi", "--format", "oci")
    base = f"http://{registry}/v2/multi"
    manifest = requests.get(
        f"{base}/manifests/1", headers={"Accept": "application/vnd.oci.image.manifest.v1+json"}
    ).json()
    described = []
    for machine in ("amd64", "arm64"):
        config = requests.get(f"{base}/blobs/{manifest['config']['digest']}").json() | {"architecture": machine}
        blob = json.dumps(config).encode()
        number = f"sha256:{hashlib.sha256(blob).hexdigest()}"
        place = requests.post(f"{base}/blobs/uploads/").headers["Location"]
        assert requests.put(f"{place}&digest={number}", data=blob).status_code == 201
        its = {**manifest, "config": {**manifest["config"], "digest": number, "size": len(blob)}}
        text = json.dumps(its).encode()
        own = f"sha256:{hashlib.sha256(text).hexdigest()}"
        kind = manifest.get("mediaType", "application/vnd.oci.image.manifest.v1+json")
        assert requests.put(f"{base}/manifests/{own}", data=text, headers={"Content-Type": kind}).status_code == 201
        platform = {"os": "linux", "architecture": machine}
        described.append({"mediaType": kind, "digest": own, "size": len(text), "platform": platform})
    index = json.dumps({"schemaVersion": 2, "mediaType": OCI_INDEX, "manifests": described}).encode()
    assert requests.put(f"{base}/manifests/2", data=index, headers={"Content-Type": OCI_INDEX}).status_code == 201
    ok(elsewhere("pull", f"{registry}/multi:2"))
    assert ok(elsewhere("image", "inspect", "-f", "{{.Architecture}}", f"{registry}/multi:2")) == "amd64"
    ok(elsewhere("pull", "--platform", "linux/arm64", f"{registry}/multi:2"))
    assert ok(elsewhere("image", "inspect", "-f", "{{.Architecture}}", f"{registry}/multi:2")) == "arm64"
    refused = elsewhere("pull", "--platform", "linux/riscv64", f"{registry}/multi:2")
    assert "it is for linux/amd64, linux/arm64" in refused.stderr
    ok(elsewhere("pull", "--all-platforms", f"{registry}/multi:2"))
    ok(elsewhere("tag", f"{registry}/multi:2", f"{registry}/whole:1"))
    ok(elsewhere("push", f"{registry}/whole:1"))
    assert digest_at(registry, "whole") == digest_at(registry, "multi", "2")


def test_a_pull_that_is_cut_short_goes_on_where_it_was(registry: str, layout: Path, elsewhere: Elsewhere) -> None:
    push_with_skopeo(layout, registry, "long")
    with between(registry, cut=1_000_000) as (host, handler):
        # Five attempts for each pull, a million bytes each, of about three and a half.
        ok(elsewhere("pull", f"{host}/long:1"))
        starts = [int(text[6:-1]) for _, path, text in handler.seen if "/blobs/" in path and text]
        assert len(starts) >= 3
        assert starts == sorted(set(starts))
        assert starts[0] > 500_000
    ok(elsewhere("run", "--rm", "--network", "none", f"{host}/long:1", "true"))


def test_a_damaged_blob_is_refused_and_not_kept(
    registry: str, layout: Path, elsewhere: Elsewhere, tmp_path: Path
) -> None:
    with registries.registry(tmp_path / "bad", PORT + 1) as host:
        push_with_skopeo(layout, host, "bad")
        blobs = sorted((tmp_path / "bad" / "data").rglob("data"), key=lambda path: path.stat().st_size)
        content = bytearray(blobs[-1].read_bytes())
        content[len(content) // 2] ^= 1
        blobs[-1].write_bytes(content)
        done = elsewhere("pull", f"{host}/bad:1")
        assert done.returncode == 125
        assert "is not what its digest says" in done.stderr
        assert ok(elsewhere("images", "-q")) == ""
        assert not [name for name in os.listdir(tmp_path / "lib/images/blobs/sha256") if name.endswith(".part")]


def test_credentials_are_asked_for_kept_used_and_forgotten(
    layout: Path, elsewhere: Elsewhere, tmp_path: Path, registry: str
) -> None:
    htpasswd = subprocess.run(
        ["python3", "-c", "import crypt; print('user:' + crypt.crypt('secret', '$2b$05$abcdefghijklmnopqrstuu'))"],
        capture_output=True,
        text=True,
    ).stdout
    with registries.registry(tmp_path / "closed", PORT + 2, htpasswd=htpasswd) as host:
        skopeo(
            "copy",
            "--dest-tls-verify=false",
            "--dest-creds",
            "user:secret",
            f"oci:{layout}:docker.io/test/alpine:3.20",
            f"docker://{host}/x:1",
        )
        refused = elsewhere("pull", f"{host}/x:1")
        assert refused.returncode == 125
        assert f"coso login {host}" in refused.stderr
        assert elsewhere("login", "-u", "user", "--password-stdin", host, input="wrong\n").returncode == 125
        assert "Login Succeeded" in ok(elsewhere("login", "-u", "user", "--password-stdin", host, input="secret\n"))
        assert oct((tmp_path / "docker/config.json").stat().st_mode & 0o777) == "0o600"
        ok(elsewhere("pull", "-q", f"{host}/x:1"))
        ok(elsewhere("push", f"{host}/x:1"))
        ok(elsewhere("logout", host))
        assert elsewhere("pull", f"{host}/x:1").returncode == 125


def test_a_credential_helper_is_asked(layout: Path, elsewhere: Elsewhere, tmp_path: Path, registry: str) -> None:
    helper = tmp_path / "bin" / "docker-credential-test"
    helper.parent.mkdir()
    helper.write_text(f"#!/bin/sh\ncat > /dev/null\ncase $1 in get) cat {tmp_path}/kept || echo not found;; esac\n")
    helper.chmod(0o755)
    (tmp_path / "kept").write_text('{"Username": "u", "Secret": "s"}')
    (tmp_path / "docker").mkdir()
    push_with_skopeo(layout, registry, "helped")
    with between(registry, token="t0ken") as (host, handler):
        (tmp_path / "docker/config.json").write_text(json.dumps({"credHelpers": {host: "test"}}))
        env = {
            **os.environ,
            "PATH": f"{helper.parent}:{os.environ['PATH']}",
            "COSO_LIB": str(tmp_path / "lib"),
            "COSO_RUN": str(tmp_path / "run"),
            "DOCKER_CONFIG": str(tmp_path / "docker"),
        }
        ok(elsewhere("pull", f"{host}/helped:1", env=env))
        assert any(
            path.startswith("/token?") and "scope=repository%3Ahelped%3Apull" in path for _, path, _ in handler.seen
        )


def test_a_mirror_comes_first_and_a_blocked_registry_never(
    layout: Path, elsewhere: Elsewhere, tmp_path: Path, registry: str
) -> None:
    push_with_skopeo(layout, registry, "mirrored/thing")
    conf = tmp_path / "registries.conf"
    conf.write_text(
        f'unqualified-search-registries = ["quay.example"]\n[aliases]\nshort = "{registry}/mirrored/thing"\n'
        f'[[registry]]\nprefix = "quay.example"\nlocation = "quay.example"\n'
        f'[[registry.mirror]]\nlocation = "{registry}"\n[[registry]]\nprefix = "bad.example"\nblocked = true\n'
    )
    env = {
        **os.environ,
        "CONTAINERS_REGISTRIES_CONF": str(conf),
        "COSO_LIB": str(tmp_path / "lib"),
        "COSO_RUN": str(tmp_path / "run"),
    }
    assert "Pulling from quay.example/mirrored/thing" in ok(elsewhere("pull", "mirrored/thing:1", env=env))
    assert f"Pulling from {registry}/mirrored/thing" in ok(elsewhere("pull", "short:1", env=env))
    assert "is blocked" in elsewhere("pull", "bad.example/x:1", env=env).stderr


def test_an_image_that_nobody_has_is_told_in_a_sentence(registry: str, elsewhere: Elsewhere) -> None:
    for name in (f"{registry}/nothing:1", "127.0.0.1:1/x", "no.such.host.invalid/x"):
        done = elsewhere("run", "--rm", name)
        assert done.returncode == 125
        assert "Traceback" not in done.stderr
        assert done.stderr.splitlines()[-1].startswith("  ")  # Cause or hint.


def test_two_pulls_of_the_same_image_do_not_disturb_each_other(
    registry: str, layout: Path, elsewhere: Elsewhere, programs: Path, tmp_path: Path
) -> None:
    push_with_skopeo(layout, registry, "shared")
    env = {**os.environ, "COSO_LIB": str(tmp_path / "lib"), "COSO_RUN": str(tmp_path / "run")}
    words = [str(programs / "coso"), "pull", f"{registry}/shared:1"]
    both = [subprocess.Popen(words, env=env, stdout=subprocess.DEVNULL) for _ in range(3)]
    assert [process.wait(60) for process in both] == [0, 0, 0]
    assert len(ok(elsewhere("images", "-q")).split()) == 1


def test_damage_is_found_and_repaired(registry: str, layout: Path, elsewhere: Elsewhere, tmp_path: Path) -> None:
    push_with_skopeo(layout, registry, "whole")
    name = f"{registry}/whole:1"
    ok(elsewhere("pull", name))
    assert ok(elsewhere("system", "check")).startswith("the store is whole")
    trees = [path for path in (tmp_path / "lib/layers").iterdir() if path.is_dir()]
    shutil.rmtree(trees[0])
    assert elsewhere("run", "--rm", "--network", "none", name, "true").returncode == 125
    assert elsewhere("system", "check").returncode == 1
    ok(elsewhere("run", "--rm", "--network", "none", name, "true"))
    blob = max((tmp_path / "lib/images/blobs/sha256").iterdir(), key=lambda path: path.stat().st_size)
    blob.write_bytes(b"other")
    assert elsewhere("system", "check", "--repair").returncode == 0
    assert ok(elsewhere("images", "-q")) == ""
    ok(elsewhere("pull", name))
    ok(elsewhere("run", "--rm", "--network", "none", name, "true"))
    assert state.LIB not in str(tmp_path)
