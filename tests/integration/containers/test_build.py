"""`coso build`: the same tree as Docker makes, file by file; and what Docker's old builder has not."""

from __future__ import annotations

import hashlib
import io
import json
import os
import tarfile
from pathlib import Path

import pytest

from tests.integration.conftest import Coso
from tests.integration.containers.conftest import ok
from tests.integration.containers.dockerfiles import CASES
from tests.integration.engines.conftest import Place

NETWORK = ("--network", "none")
RUN = ("run", "--rm", "--network", "none")
# What each engine puts into a container for its own sake.
OWN = {".dockerenv", "dev", "proc", "sys", "etc/hostname", "etc/hosts", "etc/resolv.conf", "etc/mtab"}
Entry = tuple[object, ...]


def context(directory: Path, case: str) -> Path:
    """The Dockerfile and the context of a case."""
    text, files = CASES[case]
    for name, content in {"Dockerfile": text, **files}.items():
        path = directory / name
        path.parent.mkdir(parents=True, exist_ok=True)
        if content == "@tar":
            with tarfile.open(path, "w:gz") as tar:
                for inner in ("a", "b/c"):
                    info = tarfile.TarInfo(inner)
                    info.size, info.uid, info.mode = 4, 7, 0o640
                    tar.addfile(info, io.BytesIO(b"data"))
        else:
            path.write_text(content.lstrip("\n") if name == "Dockerfile" else content)
        path.chmod(0o755 if name.endswith(".sh") else 0o644)
    return directory


def tree(archive: bytes) -> dict[str, Entry]:
    """What an exported tree holds: kind, mode, owner, link, and a hash of each file."""
    found: dict[str, Entry] = {}
    with tarfile.open(fileobj=io.BytesIO(archive)) as tar:
        for member in tar:
            name = member.name.strip("./") if member.name.startswith("./") else member.name.rstrip("/")
            if not name or name in OWN or name.split("/")[0] in ("dev", "proc", "sys"):
                continue
            source = tar.extractfile(member) if member.isfile() or member.islnk() else None
            content = hashlib.sha256(source.read()).hexdigest()[:12] if source else ""
            kind = b"0" if member.islnk() else member.type
            link = member.linkname if member.issym() else ""
            found[name] = (kind, oct(member.mode & 0o7777), member.uid, member.gid, link, content)
    return found


@pytest.mark.parametrize("case", list(CASES))
def test_a_build_has_the_same_tree_as_dockers(
    coso: Coso, alpine: str, peers: dict[str, str], place: Place, case: str, tmp_path: Path
) -> None:
    directory = context(tmp_path / case, case)
    ok(coso("build", "-q", *NETWORK, "-t", f"built/{case}", str(directory)))
    docker = peers["docker"]
    place.ok(f"{docker} build -q --network none -t built/{case} {directory}")
    place.ok(f"{docker} create --name {case} built/{case} x && {docker} export -o {tmp_path}/theirs.tar {case}")
    theirs = tree((tmp_path / "theirs.tar").read_bytes())
    container = ok(coso("create", *NETWORK, f"built/{case}", "x"))
    ours = tree(coso("export", container, text=False).stdout)
    ok(coso("rm", "-v", container))
    different = {
        name: (ours.get(name), theirs.get(name)) for name in {*ours, *theirs} if ours.get(name) != theirs.get(name)
    }
    assert different == {}
    assert _config(ok(coso("image", "inspect", f"built/{case}"))) == _config(
        place.ok(f"{docker} image inspect built/{case}")
    )
    place.ok(f"{docker} rm -v {case} && {docker} rmi built/{case}")
    ok(coso("rmi", f"built/{case}"))


def _config(shown: str) -> dict[str, object]:
    """What an image says of its containers, less what is empty and what names a builder's own containers."""
    config = json.loads(shown)[0]["Config"]
    wanted = (
        "Cmd Entrypoint Env ExposedPorts Healthcheck Labels OnBuild Shell StopSignal User Volumes WorkingDir".split()
    )
    return {name: config[name] for name in wanted if config.get(name)}


def test_a_second_build_does_nothing_again_until_something_changes(coso: Coso, alpine: str, tmp_path: Path) -> None:
    (tmp_path / "file").write_text("one")
    (tmp_path / "Dockerfile").write_text(
        f"FROM {alpine}\nRUN cat /proc/sys/kernel/random/uuid > /id\nCOPY file /\nRUN true\n"
    )
    words = ("build", *NETWORK, "-t", "built/cached", str(tmp_path))
    first = ok(coso(*words))
    assert "Using cache" not in first
    assert ok(coso(*words)).count("Using cache") == 3
    os.utime(tmp_path / "file", (1, 1))
    assert ok(coso(*words)).count("Using cache") == 3
    (tmp_path / "file").write_text("two")
    assert ok(coso(*words)).count("Using cache") == 1
    assert "Using cache" not in ok(coso(*words[:1], "--no-cache", *words[1:]))
    ok(coso("rmi", "built/cached"))
    ok(coso("builder", "prune", "-f"))
    ok(coso("image", "prune", "-f"))


def test_the_same_moment_gives_the_same_image(coso: Coso, alpine: str, tmp_path: Path) -> None:
    ids = []
    for name in ("one", "two"):
        directory = tmp_path / name
        directory.mkdir()
        (directory / "file").write_text("x")
        (directory / "Dockerfile").write_text(
            f"FROM {alpine}\nRUN mkdir /a && echo x > /a/b\nCOPY file /\nWORKDIR /w\n"
        )
        env = {**os.environ, "SOURCE_DATE_EPOCH": "1700000000"}
        ids.append(ok(coso("build", "-q", "--no-cache", *NETWORK, str(directory), env=env)))
    assert ids[0] == ids[1]
    ok(coso("image", "prune", "-f"))


def test_documents_cache_mounts_secrets_and_binds(coso: Coso, alpine: str, tmp_path: Path) -> None:
    (tmp_path / "secret").write_text("hush")
    (tmp_path / "tool").write_text("of the context")
    (tmp_path / "Dockerfile").write_text(
        f"""FROM {alpine} AS first
RUN echo of the stage > /made
FROM {alpine}
ARG WHO=you
RUN <<EOF
set -e
echo one > /one
echo two > /two
EOF
RUN <<EOF
#!/bin/ash
echo script > /script
EOF
COPY <<ONE <<'TWO' /docs/
hello $WHO
ONE
hello $WHO
TWO
RUN cat > /piped <<EOF
piped
EOF
RUN --mount=type=cache,target=/cache echo x >> /cache/n; wc -l < /cache/n > /count
RUN --mount=type=secret,id=word cat /run/secrets/word > /leaked
RUN --mount=type=bind,source=tool,target=/tool --mount=type=bind,from=first,target=/stage cat /tool /stage/made > /seen
RUN --mount=type=tmpfs,target=/scratch echo x > /scratch/x
"""
    )
    secret = f"id=word,src={tmp_path}/secret"
    words = ("build", "-q", "--no-cache", *NETWORK, "--secret", secret, "-t", "built/new", str(tmp_path))
    ok(coso(*words))
    ok(coso(*words))
    files = "/one /two /script /docs/ONE /docs/TWO /piped /count /leaked"
    done = coso(*RUN, "built/new", "sh", "-c", f"cat {files}; echo; cat /seen; ls -A /cache /scratch /run/secrets")
    expected = "one two script hello you hello $WHO piped 2 hush of the contextof the stage".split()
    assert done.stdout.split()[: len(expected)] == expected
    assert "n" not in done.stdout.split()[len(expected) :]
    ok(coso("rmi", "built/new"))
    ok(coso("builder", "prune", "-f"))
    ok(coso("image", "prune", "-f"))


@pytest.mark.parametrize(
    ("text", "said"),
    [
        ("FROM test/alpine:3.20\nRUN exit 3", "line 2: RUN exit 3"),
        ("FROM test/alpine:3.20\nRUM x", "did you mean RUN"),
        ("FROM test/alpine:3.20\nCOPY nothing /", "line 2: COPY"),
        ("FROM test/alpine:3.20\nCOPY ../../etc/passwd /", "leads out of the context"),
        ("RUN x", "the first instruction is FROM"),
        ("FROM test/alpine:3.20\nRUN --mount=type=ssh x", "--mount=type=ssh is not offered"),
        ("FROM test/alpine:3.20\nEXPOSE http", "is no port"),
        ("FROM test/alpine:3.20\nENV A=${A", "without }"),
        ("", "no instructions"),
    ],
)
def test_what_cannot_be_built_is_told_with_its_line(
    coso: Coso, alpine: str, text: str, said: str, tmp_path: Path
) -> None:
    (tmp_path / "Dockerfile").write_text(text)
    done = coso("build", *NETWORK, str(tmp_path))
    assert done.returncode == 125
    assert "Traceback" not in done.stderr
    assert said in done.stderr


def test_a_dockerfile_comes_from_a_pipe_and_a_target_is_where_it_ends(coso: Coso, alpine: str, tmp_path: Path) -> None:
    text = f"FROM {alpine} AS one\nRUN echo 1 > /f\nFROM one AS two\nRUN echo 2 > /f\n"
    ok(coso("build", "-q", *NETWORK, "-t", "built/one", "--target", "one", "-f", "-", str(tmp_path), input=text))
    assert ok(coso(*RUN, "built/one", "cat", "/f")) == "1"
    ok(coso("build", "-q", *NETWORK, "-t", "built/two", "-", input=text))
    assert ok(coso(*RUN, "built/two", "cat", "/f")) == "2"
    ok(coso("rmi", "built/one", "built/two"))


def test_a_directory_goes_through_a_link_and_takes_no_files_place(coso: Coso, alpine: str, tmp_path: Path) -> None:
    (tmp_path / "d").mkdir()
    (tmp_path / "d/new").write_text("x")
    words = ("build", "-q", *NETWORK, "-t", "built/over", str(tmp_path))
    (tmp_path / "Dockerfile").write_text(f"FROM {alpine}\nRUN mkdir /real && ln -s real /link\nCOPY d /link/\n")
    ok(coso(*words))
    assert ok(coso(*RUN, "built/over", "sh", "-c", "readlink /link; ls /real")).split() == ["real", "new"]
    (tmp_path / "Dockerfile").write_text(f"FROM {alpine}\nRUN touch /file\nCOPY d /file\n")
    assert coso(*words).returncode == 125
    ok(coso("rmi", "built/over"))
    ok(coso("builder", "prune", "-f"))
    ok(coso("image", "prune", "-f"))


def test_a_link_of_an_image_leads_a_build_nowhere_outside(coso: Coso, alpine: str, tmp_path: Path) -> None:
    victim = tmp_path / "victim"
    victim.mkdir()
    directory = tmp_path / "context"
    directory.mkdir()
    (directory / "file").write_text("planted")
    (directory / "Dockerfile").write_text(f"FROM {alpine}\nRUN ln -s {victim} /way\nCOPY file /way/\n")
    image = ok(coso("build", "-q", *NETWORK, str(directory)))
    assert list(victim.iterdir()) == []
    assert ok(coso(*RUN, image.removeprefix("sha256:")[:12], "cat", f"{victim}/file")) == "planted"
    ok(coso("image", "prune", "-f"))
