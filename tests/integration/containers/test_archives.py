"""Archives of images: those of Docker, podman and skopeo load here, and ours load there, and run."""

from __future__ import annotations

import json
import subprocess
from pathlib import Path

import pytest

from tests.integration.conftest import Coso
from tests.integration.containers.conftest import IMAGE, install, ok
from tests.integration.engines.conftest import Place

RUN = "run --rm --network none"


@pytest.mark.parametrize("peer", ["docker", "podman"])
@pytest.mark.parametrize("form", ["", "docker-archive", "oci-archive"])
def test_an_archive_of_a_peer_loads_and_runs(
    coso: Coso, peers: dict[str, str], place: Place, peer: str, form: str, tmp_path: Path
) -> None:
    if form and peer == "docker":
        pytest.skip("docker save has one format")
    archive = tmp_path / "image.tar"
    option = f"--format {form}" if form else ""
    place.ok(f"{peers[peer]} tag {IMAGE} test/of-{peer}:1 && {peers[peer]} save {option} -o {archive} test/of-{peer}:1")
    said = ok(coso("load", "-i", str(archive)))
    name = said.rpartition("Loaded image: ")[2]
    assert name.endswith(f"test/of-{peer}:1")
    assert ok(coso(*RUN.split(), name, "cat", "/etc/alpine-release"))
    ok(coso("rmi", name))


@pytest.mark.parametrize("peer", ["docker", "podman"])
@pytest.mark.parametrize("form", ["oci-archive", "docker-archive"])
def test_an_archive_of_ours_loads_and_runs_there(
    coso: Coso, alpine: str, peers: dict[str, str], place: Place, peer: str, form: str, tmp_path: Path
) -> None:
    archive = tmp_path / "image.tar"
    ok(coso("tag", alpine, f"test/ours-{form}:1"))
    ok(coso("save", "--format", form, "-o", str(archive), f"test/ours-{form}:1"))
    words = peers[peer]
    place.ok(f"{words} load -i {archive}")
    assert place.ok(f"{words} {RUN} test/ours-{form}:1 cat /etc/alpine-release").strip()
    shown = json.loads(place.ok(f"{words} image inspect test/ours-{form}:1"))[0]
    assert shown["Config"]["Cmd"] == ["/bin/sh"]
    ok(coso("rmi", f"test/ours-{form}:1"))


def test_skopeo_reads_and_writes_the_same_archives(coso: Coso, alpine: str, tmp_path: Path) -> None:
    install(("skopeo", "skopeo"))
    ours = tmp_path / "ours.tar"
    ok(coso("save", "-o", str(ours), alpine))
    for kind in ("oci-archive", "docker-archive"):
        name = ":docker.io/test/alpine:3.20" if kind == "oci-archive" else ""
        target = tmp_path / f"{kind}.tar"
        words = ["skopeo", "copy", f"{kind}:{ours}{name}", f"{kind}:{target}:docker.io/test/by-skopeo:1"]
        subprocess.run(words, check=True, capture_output=True)
        assert "test/by-skopeo:1" in ok(coso("load", "-i", str(target)))
        assert ok(coso(*RUN.split(), "test/by-skopeo:1", "cat", "/etc/alpine-release"))
        ok(coso("rmi", "test/by-skopeo:1"))


def test_archives_go_through_pipes_compressed_and_with_several_images(coso: Coso, alpine: str, tmp_path: Path) -> None:
    ok(coso("tag", alpine, "test/second:1"))
    data = coso("save", alpine, "test/second:1", text=False).stdout
    ok(coso("rmi", "test/second:1"))
    packed = subprocess.run(["gzip", "-c"], input=data, capture_output=True, check=True).stdout
    (tmp_path / "image.tar.gz").write_bytes(packed)
    assert "Loaded image: test/second:1" in ok(coso("load", "-i", str(tmp_path / "image.tar.gz")))
    ok(coso("rmi", "test/second:1"))
    assert "Loaded image: test/second:1" in coso("load", input=data, text=False).stdout.decode()
    ok(coso("rmi", "test/second:1"))


def test_an_archive_that_is_none_is_refused(coso: Coso, alpine: str, tmp_path: Path) -> None:
    (tmp_path / "text").write_text("no archive" * 1000)
    subprocess.run(["tar", "-C", str(tmp_path), "-cf", str(tmp_path / "other.tar"), "text"], check=True)
    whole = tmp_path / "whole.tar"
    ok(coso("save", "-o", str(whole), alpine))
    data = bytearray(whole.read_bytes())
    (tmp_path / "short.tar").write_bytes(data[: len(data) // 2])
    data[len(data) // 3] ^= 1
    (tmp_path / "flipped.tar").write_bytes(data)
    for name in ("text", "other.tar", "short.tar"):
        done = coso("load", "-i", str(tmp_path / name))
        assert done.returncode == 125, name
        assert "Traceback" not in done.stderr


def test_a_layer_cannot_write_outside_of_its_tree(coso: Coso, tmp_path: Path) -> None:
    import io
    import tarfile

    victim = tmp_path / "victim"
    victim.mkdir()
    for trick in ("dots", "link", "hard"):
        layer = tmp_path / f"{trick}.tar"
        with tarfile.open(layer, "w") as tar:
            body = tarfile.TarInfo("")
            body.size = 1
            if trick == "dots":
                body.name = f"../../../../../..{victim}/file"
            elif trick == "link":
                link = tarfile.TarInfo("way")
                link.type, link.linkname = tarfile.SYMTYPE, str(victim)
                tar.addfile(link)
                body.name = "way/file"
            else:
                hard = tarfile.TarInfo("name")
                hard.type, hard.linkname = tarfile.LNKTYPE, "/etc/passwd"
                tar.addfile(hard)
                body.name = "name2"
            tar.addfile(body, io.BytesIO(b"x"))
        coso("import", str(layer), f"test/{trick}:1")
        assert list(victim.iterdir()) == []
        coso("rmi", f"test/{trick}:1")


@pytest.mark.parametrize("diff_id", ["sha256:../../../../tmp/planted", "sha256:" + "A" * 64, "md5:" + "0" * 32, ""])
def test_an_image_cannot_name_a_place_for_its_layer(coso: Coso, alpine: str, tmp_path: Path, diff_id: str) -> None:
    ok(coso("save", "--format", "docker-archive", "-o", str(tmp_path / "image.tar"), alpine))
    subprocess.run(["tar", "-C", str(tmp_path), "-xf", str(tmp_path / "image.tar")], check=True)
    manifest = json.loads((tmp_path / "manifest.json").read_text())
    config = json.loads((tmp_path / manifest[0]["Config"]).read_text())
    config["rootfs"]["diff_ids"] = [diff_id]
    (tmp_path / "config.json").write_text(json.dumps(config))
    (tmp_path / "manifest.json").write_text(json.dumps([{**manifest[0], "Config": "config.json", "RepoTags": ["t:1"]}]))
    subprocess.run(
        ["tar", "-C", str(tmp_path), "-cf", "bad.tar", "manifest.json", "config.json", *manifest[0]["Layers"]],
        check=True,
        cwd=tmp_path,
    )
    done = coso("load", "-i", str(tmp_path / "bad.tar"))
    assert done.returncode == 125, done.stdout
    assert "Traceback" not in done.stderr
    assert "t:1" not in coso("images").stdout
    assert not Path("/tmp/planted").exists()


def test_whiteouts_opaque_directories_links_and_attributes_are_kept(coso: Coso, alpine: str, tmp_path: Path) -> None:
    (tmp_path / "Dockerfile").write_text(
        f"FROM {alpine}\n"
        "RUN mkdir /d && echo a > /d/a && echo b > /d/b && ln /d/a /d/hard && echo f > /f\n"
        "RUN rm /d/b && rm /f && rm -r /srv && mkdir /srv && rm -rf /d2\n"
        "RUN rm -r /d && mkdir /d && echo new > /d/c\n"
        "RUN echo x > /x && ln /x /y && chmod 4755 /x\n"
    )
    ok(coso("build", "-q", "--network", "none", "-t", "test/layers:1", str(tmp_path)))
    archive = tmp_path / "layers.tar"
    ok(coso("save", "-o", str(archive), "test/layers:1"))
    ok(coso("rmi", "test/layers:1"))
    ok(coso("builder", "prune", "-f"))
    ok(coso("load", "-i", str(archive)))
    line = "ls /d; ls /f; cat /x; stat -c '%h %a' /x; stat -c %i /x /y | uniq | wc -l"
    done = coso(*RUN.split(), "test/layers:1", "sh", "-c", line)
    assert done.stdout.split() == ["c", "x", "2", "4755", "1"]
    assert "/f: No such file" in done.stderr
    ok(coso("rmi", "test/layers:1"))
