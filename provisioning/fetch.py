"""Downloads: resumed, bounded, verified. Addresses with https, http and file."""

from __future__ import annotations

import errno
import hashlib
import os
import time
from collections.abc import Callable, Iterator
from typing import TYPE_CHECKING
from urllib.parse import unquote, urlsplit

from coso.errors import DownloadError, VerificationError

if TYPE_CHECKING:
    from provisioning.alpine import Release

CONNECT_SECONDS, READ_SECONDS = 10, 30
ATTEMPTS = 4
BACK_OFF_SECONDS = 0.5
CHUNK = 1 << 16
LARGEST_TEXT = 1 << 20
LARGEST_ARCHIVE = 1 << 30

Progress = Callable[[int], None]


class NotOfferedError(DownloadError):
    """The server answers, and does not have it."""


def cache_directory() -> str:
    """Where verified archives are kept."""
    if os.geteuid() == 0:
        return "/var/cache/coso"
    return os.path.join(os.environ.get("XDG_CACHE_HOME") or os.path.expanduser("~/.cache"), "coso")


def fetch_text(url: str) -> str:
    """A short text. Raises NotOfferedError when the server does not have it, DownloadError otherwise."""
    data = b""
    for chunk in _read(url, 0):
        data += chunk
        if len(data) > LARGEST_TEXT:
            raise DownloadError(f"{url} is longer than a list of releases can be")
    return data.decode("utf-8", "replace")


def fetch_archive(release: Release, directory: str, progress: Progress = lambda _: None) -> str:
    """The path of the verified archive in `directory`, downloaded where it is not there yet.

    A download cut short is resumed at the next attempt. Nothing is given back
    unverified: size, sha256 and sha512 must be those of the release.
    """
    path = os.path.join(directory, release.file)
    os.makedirs(directory, mode=0o755, exist_ok=True)
    if os.path.exists(path):
        try:
            verify(path, release)
            return path
        except VerificationError:
            os.unlink(path)
    part = f"{path}.part"
    try:
        _download(release, part, progress)
    except OSError as error:
        if error.errno == errno.ENOSPC and os.path.exists(part):
            os.unlink(part)
        raise DownloadError(f"cannot write {part}: {error.strerror}", hint=_disk_hint(error, directory)) from None
    try:
        verify(part, release)
    except VerificationError:
        os.unlink(part)
        raise
    os.rename(part, path)
    return path


def _disk_hint(error: OSError, directory: str) -> str:
    if error.errno == errno.ENOSPC:
        return f"make room on the disk of {directory}"
    return "see the mount's options and the directory's owner"


def _download(release: Release, part: str, progress: Progress) -> None:
    """Append to `part` until it is whole; a server that breaks off is asked again from there."""
    most = release.size or LARGEST_ARCHIVE
    for attempt in range(1, ATTEMPTS + 1):
        have = os.path.getsize(part) if os.path.exists(part) else 0
        if release.size and have >= release.size:
            return
        try:
            with open(part, "ab") as file:
                for chunk in _read(release.url, have, file.truncate):
                    file.write(chunk)
                    progress(file.tell())
                    if file.tell() > most:
                        raise VerificationError(f"{release.url} is larger than the {most} bytes its publisher names")
                if not release.size or file.tell() == release.size:
                    return
            cut = DownloadError(
                f"{release.url} ends after {os.path.getsize(part)} of {release.size} bytes",
                cause="a truncated file on the mirror, or a broken connection",
                hint="try again, or another mirror",
            )
        except NotOfferedError:
            raise
        except DownloadError as error:
            cut = error
        if attempt == ATTEMPTS or release.url.startswith("file:"):
            raise cut
        time.sleep(BACK_OFF_SECONDS * 2 ** (attempt - 1))


def _read(url: str, start: int, restart: Callable[[int], object] = lambda _: None) -> Iterator[bytes]:
    """The bytes of `url` from `start` on; `restart(0)` is called when the server can only send all of it."""
    if url.startswith("file:"):
        yield from _read_file(url, start)
        return
    import requests

    headers = {"Accept-Encoding": "identity"} | ({"Range": f"bytes={start}-"} if start else {})
    try:
        with requests.get(url, headers=headers, stream=True, timeout=(CONNECT_SECONDS, READ_SECONDS)) as answer:
            if answer.status_code in (404, 410):
                raise NotOfferedError(f"{url} does not exist ({answer.status_code})")
            if answer.status_code not in (200, 206):
                restart(0)
                raise DownloadError(f"{url}: the server answers {answer.status_code} {answer.reason}")
            if start and answer.status_code == 200:
                restart(0)
            yield from answer.iter_content(CHUNK)
    except requests.RequestException as error:
        raise DownloadError(f"{url} cannot be read: {_reason(error)}") from None


def _reason(error: Exception) -> str:
    """The innermost reason of a requests error, without its wrappers' names."""
    import requests

    if isinstance(error, requests.Timeout):
        return "the server does not answer in time"
    text = str(error)
    for known in ("Connection refused", "Name or service not known", "Network is unreachable", "No route to host"):
        if known in text:
            return known.lower()
    if "resolve" in text or "resolution" in text:
        return "its name cannot be resolved"
    if "certificate" in text.lower():
        return "its certificate is not trusted"
    return text.rsplit(": ", 1)[-1].strip("')>") or type(error).__name__


def _read_file(url: str, start: int) -> Iterator[bytes]:
    path = unquote(urlsplit(url).path)
    try:
        with open(path, "rb") as file:
            file.seek(start)
            while chunk := file.read(CHUNK):
                yield chunk
    except FileNotFoundError:
        root = path.split("/v", 1)[0].split("/latest-stable", 1)[0]
        if not os.path.isdir(root):
            raise DownloadError(f"there is no directory {root}") from None
        raise NotOfferedError(f"{path} does not exist") from None
    except OSError as error:
        raise DownloadError(f"{path} cannot be read: {error.strerror}") from None


def verify(path: str, release: Release) -> None:
    """Raise VerificationError unless size, sha256 and sha512 are the release's."""
    size = os.path.getsize(path)
    if release.size and size != release.size:
        raise VerificationError(
            f"{release.url} has {size} bytes and should have {release.size}", hint="try again, or another mirror"
        )
    sums = {"sha256": hashlib.sha256(), "sha512": hashlib.sha512()}
    with open(path, "rb") as file:
        while chunk := file.read(1 << 20):
            for digest in sums.values():
                digest.update(chunk)
    for kind, digest in sums.items():
        is_, should_be = digest.hexdigest(), getattr(release, kind)
        if is_ != should_be:
            raise VerificationError(
                f"the {kind} of {release.url} is {is_[:16]}… and should be {should_be[:16]}…",
                cause="a damaged or forged file",
                hint="try another mirror; nothing was unpacked",
            )
