"""Finding a release and fetching it, from real servers on loopback that misbehave in every way."""

from __future__ import annotations

import shutil
from collections.abc import Callable
from pathlib import Path

import pytest

from coso.errors import CosoError, DownloadError, ReleaseError, VerificationError
from provisioning import alpine, fetch
from tests.conftest import QuietHandler

Serve = Callable[..., str]


@pytest.fixture
def own(mirror: Path, tmp_path: Path) -> Path:
    """A copy of the mirror that a test may damage."""
    shutil.copytree(mirror, tmp_path / "mirror")
    for path in (tmp_path / "mirror").rglob("*"):
        path.chmod(0o755)
    return tmp_path / "mirror"


@pytest.fixture(autouse=True)
def _impatient(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(fetch, "BACK_OFF_SECONDS", 0.01)


def archive_of(own: Path) -> Path:
    return own / "v3.20/releases/x86_64/alpine-minirootfs-3.20.3-x86_64.tar.gz"


@pytest.mark.parametrize("kind", ["file", "http"])
def test_the_newest_release_is_found_and_fetched(mirror: Path, tmp_path: Path, serve: Serve, kind: str) -> None:
    address = f"file://{mirror}" if kind == "file" else serve(mirror)
    release = alpine.find([address])
    assert release.version == "3.20.3"
    path = Path(fetch.fetch_archive(release, str(tmp_path / "cache")))
    assert path.stat().st_size == release.size == 3490290


def test_a_branch_and_a_version_can_be_pinned(mirror: Path) -> None:
    assert alpine.find([f"file://{mirror}"], branch="v3.19").version == "3.19.4"
    assert alpine.find([f"file://{mirror}"], version="3.19.4").version == "3.19.4"


def test_an_older_version_is_verified_by_the_checksums_beside_it(own: Path, tmp_path: Path) -> None:
    directory = own / "v3.20/releases/x86_64"
    for path in list(directory.glob("alpine-minirootfs-3.20.3*")):
        path.rename(directory / path.name.replace("3.20.3", "3.20.1"))
    release = alpine.find([f"file://{own}"], version="3.20.1")
    assert (release.version, release.size) == ("3.20.1", 0)
    assert Path(fetch.fetch_archive(release, str(tmp_path / "cache"))).exists()


@pytest.mark.parametrize(("branch", "version"), [("v9.99", ""), ("", "3.20.99"), ("", "9.9.9")])
def test_what_the_mirror_does_not_offer_is_a_release_error(mirror: Path, branch: str, version: str) -> None:
    with pytest.raises(ReleaseError, match="has no"):
        alpine.find([f"file://{mirror}"], branch, version)


@pytest.mark.parametrize(("branch", "version"), [("../../etc", ""), ("", "latest"), ("", "3.20.3/../x")])
def test_what_is_no_branch_or_version_is_refused(branch: str, version: str) -> None:
    with pytest.raises(ReleaseError, match="is not an Alpine"):
        alpine.find(["file:///"], branch, version)


def test_mirrors_are_asked_in_order(mirror: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("COSO_ALPINE_MIRROR", f"http://127.0.0.1:9 file://{mirror}/")
    assert alpine.find(alpine.mirrors()).version == "3.20.3"
    assert alpine.mirrors("https://x.example/") == ["https://x.example"]
    with pytest.raises(DownloadError, match="is no mirror"):
        alpine.mirrors("ftp://x")


def test_an_unreachable_mirror_is_named_with_its_reason() -> None:
    with pytest.raises(DownloadError) as caught:
        alpine.find(["http://127.0.0.1:9", "file:///not/there"])
    assert "connection refused" in str(caught.value)
    assert "there is no directory /not/there" in str(caught.value)


def test_a_wrong_checksum_is_refused_and_not_kept(own: Path, tmp_path: Path) -> None:
    path = archive_of(own)
    data = bytearray(path.read_bytes())
    data[1000] ^= 1
    path.write_bytes(data)
    release = alpine.find([f"file://{own}"])
    with pytest.raises(VerificationError, match="sha256"):
        fetch.fetch_archive(release, str(tmp_path / "cache"))
    assert list((tmp_path / "cache").iterdir()) == []


def test_a_wrong_sha512_alone_is_refused(own: Path, tmp_path: Path) -> None:
    listing = own / "v3.20/releases/x86_64/latest-releases.yaml"
    listing.write_text(listing.read_text().replace("sha512: 9d5", "sha512: 9d6"))
    with pytest.raises(VerificationError, match="sha512"):
        fetch.fetch_archive(alpine.find([f"file://{own}"]), str(tmp_path / "cache"))


def test_a_truncated_file_is_refused(own: Path, tmp_path: Path, serve: Serve) -> None:
    path = archive_of(own)
    path.write_bytes(path.read_bytes()[:100_000])
    for address in (f"file://{own}", serve(own)):
        with pytest.raises(CosoError, match="100000"):
            fetch.fetch_archive(alpine.find([address]), str(tmp_path / "cache"))


def test_a_file_larger_than_announced_is_stopped(own: Path, tmp_path: Path) -> None:
    path = archive_of(own)
    path.write_bytes(path.read_bytes() + bytes(1000))
    with pytest.raises(VerificationError, match="larger"):
        fetch.fetch_archive(alpine.find([f"file://{own}"]), str(tmp_path / "cache"))


def test_a_missing_archive_is_said_to_be_missing(own: Path, tmp_path: Path, serve: Serve) -> None:
    archive_of(own).unlink()
    with pytest.raises(DownloadError, match="does not exist"):
        fetch.fetch_archive(alpine.find([serve(own)]), str(tmp_path / "cache"))


def test_a_broken_connection_is_resumed(own: Path, tmp_path: Path, serve: Serve) -> None:
    asked: list[str] = []

    class Breaks(QuietHandler):
        """Sends 1 MB, then hangs up; continues from a Range."""

        def do_GET(self) -> None:
            path = Path(self.translate_path(self.path))
            if path.suffix != ".gz":
                super().do_GET()
                return
            start = int((self.headers["Range"] or "bytes=0-")[6:-1])
            asked.append(str(self.headers["Range"]))
            data = path.read_bytes()[start:]
            self.send_response(206 if start else 200)
            self.send_header("Content-Length", str(len(data)))
            self.end_headers()
            self.wfile.write(data[: 1 << 20])
            self.close_connection = True

    release = alpine.find([serve(own, Breaks)])
    path = Path(fetch.fetch_archive(release, str(tmp_path / "cache")))
    assert path.stat().st_size == release.size
    assert asked[0] == "None" and asked[1] == f"bytes={1 << 20}-"


def test_a_server_that_cannot_resume_sends_all_of_it_again(own: Path, tmp_path: Path, serve: Serve) -> None:
    release = alpine.find([serve(own)])
    (tmp_path / "cache").mkdir()
    (tmp_path / "cache" / f"{release.file}.part").write_bytes(b"x" * 1000)
    path = Path(fetch.fetch_archive(release, str(tmp_path / "cache")))
    assert path.stat().st_size == release.size


def test_a_server_with_a_passing_fault_is_asked_again(own: Path, tmp_path: Path, serve: Serve) -> None:
    faults = [503, 500]

    class Recovers(QuietHandler):
        def do_GET(self) -> None:
            if self.path.endswith(".gz") and faults:
                self.send_error(faults.pop())
            else:
                super().do_GET()

    assert fetch.fetch_archive(alpine.find([serve(own, Recovers)]), str(tmp_path / "cache"))


def test_a_verified_archive_is_not_fetched_again(own: Path, tmp_path: Path) -> None:
    release = alpine.find([f"file://{own}"])
    path = fetch.fetch_archive(release, str(tmp_path / "cache"))
    archive_of(own).unlink()
    assert fetch.fetch_archive(release, str(tmp_path / "cache")) == path


def test_a_list_that_makes_no_sense_is_not_believed(own: Path) -> None:
    listing = own / "v3.20/releases/x86_64/latest-releases.yaml"
    for text in ("- [", "hello", "- {flavor: alpine-minirootfs}", "[]"):
        listing.write_text(text)
        with pytest.raises(DownloadError, match="cannot be understood"):
            alpine.find([f"file://{own}"], "v3.20")
