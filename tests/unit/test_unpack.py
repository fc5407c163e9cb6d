"""Archives that must be unpacked rightly, and archives that must not be unpacked."""

from __future__ import annotations

import io
import os
import tarfile
from pathlib import Path

import pytest

from coso.errors import ArchiveError
from provisioning import unpack as room
from provisioning.unpack import unpack


class Archive:
    """Builds a tar.gz entry by entry."""

    def __init__(self, path: Path) -> None:
        self.path = str(path)
        self._tar = tarfile.open(self.path, "w:gz")

    def add(
        self, name: str, kind: bytes = tarfile.REGTYPE, *, link: str = "", data: bytes = b"", mode: int = 0o644
    ) -> None:
        member = tarfile.TarInfo(name)
        member.type, member.linkname, member.size, member.mode, member.mtime = kind, link, len(data), mode, 1000
        member.uid, member.gid = os.geteuid(), os.getegid()
        self._tar.addfile(member, io.BytesIO(data))

    def unpack(self, target: Path) -> Path:
        self._tar.close()
        target.mkdir()
        unpack(self.path, str(target))
        return target


@pytest.fixture
def archive(tmp_path: Path) -> Archive:
    return Archive(tmp_path / "a.tar.gz")


@pytest.fixture
def target(tmp_path: Path) -> Path:
    return tmp_path / "tree"


def test_files_links_modes_and_times_arrive(archive: Archive, target: Path) -> None:
    archive.add("./bin", tarfile.DIRTYPE, mode=0o755)
    archive.add("./bin/tool", data=b"x" * 100, mode=0o4755)
    archive.add("./bin/same", tarfile.LNKTYPE, link="./bin/tool")
    archive.add("./bin/abs", tarfile.SYMTYPE, link="/bin/tool")
    archive.add("./deep/er/file", data=b"y")
    tree = archive.unpack(target)
    tool = (tree / "bin/tool").stat()
    assert (tool.st_mode & 0o7777, tool.st_mtime, tool.st_nlink) == (0o4755, 1000, 2)
    assert (tree / "bin").stat().st_mtime == 1000
    assert os.readlink(tree / "bin/abs") == "/bin/tool"
    assert (tree / "deep/er/file").read_bytes() == b"y"


def test_holes_stay_holes(archive: Archive, target: Path) -> None:
    archive.add("sparse", data=b"a" + bytes(8 << 20) + b"z")
    found = (archive.unpack(target) / "sparse").stat()
    assert found.st_size == (8 << 20) + 2
    assert found.st_blocks * 512 < 1 << 20


@pytest.mark.parametrize("name", ["/etc/passwd", "../out", "a/../../out"])
def test_a_name_that_leads_out_is_refused(archive: Archive, target: Path, name: str) -> None:
    archive.add(name, data=b"x")
    with pytest.raises(ArchiveError, match="leads out of the tree"):
        archive.unpack(target)


@pytest.mark.parametrize("link", ["../../out", "a/../../../x"])
def test_a_link_that_climbs_out_is_refused(archive: Archive, target: Path, link: str) -> None:
    archive.add("d/link", tarfile.SYMTYPE, link=link)
    with pytest.raises(ArchiveError, match="leads out of the tree"):
        archive.unpack(target)


def test_a_hard_link_to_the_host_is_refused(archive: Archive, target: Path) -> None:
    archive.add("passwd", tarfile.LNKTYPE, link="/etc/passwd")
    with pytest.raises(ArchiveError, match="hard link that leads out"):
        archive.unpack(target)


@pytest.mark.parametrize("kind", [tarfile.CHRTYPE, tarfile.BLKTYPE, tarfile.FIFOTYPE])
def test_a_device_is_refused(archive: Archive, target: Path, kind: bytes) -> None:
    archive.add("node", kind)
    with pytest.raises(ArchiveError, match="device or FIFO"):
        archive.unpack(target)


def test_writing_through_a_link_stays_inside(archive: Archive, target: Path, tmp_path: Path) -> None:
    outside = tmp_path / "outside"
    outside.mkdir(mode=0o700)
    archive.add("door", tarfile.SYMTYPE, link=str(outside))
    archive.add("door/gift", data=b"x")
    tree = archive.unpack(target)
    assert list(outside.iterdir()) == []
    assert (tree / str(outside).lstrip("/") / "gift").read_bytes() == b"x"


def test_a_directory_entry_over_a_link_does_not_touch_its_target(
    archive: Archive, target: Path, tmp_path: Path
) -> None:
    outside = tmp_path / "outside"
    outside.mkdir(mode=0o700)
    archive.add("door", tarfile.SYMTYPE, link=str(outside))
    archive.add("door", tarfile.DIRTYPE, mode=0o777)
    archive.unpack(target)
    assert outside.stat().st_mode & 0o777 == 0o700


def test_a_later_file_replaces_an_earlier_link_and_not_its_target(
    archive: Archive, target: Path, tmp_path: Path
) -> None:
    victim = tmp_path / "victim"
    victim.write_text("safe")
    archive.add("x", tarfile.SYMTYPE, link=str(victim))
    archive.add("x", data=b"evil")
    assert (archive.unpack(target) / "x").read_bytes() == b"evil"
    assert victim.read_text() == "safe"


def test_bombs_are_bounded(archive: Archive, target: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(room, "MOST_BYTES", 1 << 20)
    archive.add("big", data=bytes(2 << 20))
    with pytest.raises(ArchiveError, match="unpacks to more than"):
        archive.unpack(target)


def test_too_many_entries_are_refused(archive: Archive, target: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(room, "MOST_ENTRIES", 3)
    for number in range(5):
        archive.add(str(number))
    with pytest.raises(ArchiveError, match="more than 3 entries"):
        archive.unpack(target)


def test_a_truncated_archive_is_damaged(archive: Archive, target: Path) -> None:
    archive.add("file", data=os.urandom(200_000))
    archive._tar.close()
    whole = Path(archive.path).read_bytes()
    Path(archive.path).write_bytes(whole[: len(whole) // 2])
    target.mkdir()
    with pytest.raises(ArchiveError, match="is damaged"):
        unpack(archive.path, str(target))
