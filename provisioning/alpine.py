"""Which Alpine release to take, from a mirror's own list (latest-releases.yaml)."""

from __future__ import annotations

import os
import re
from dataclasses import dataclass

from coso.errors import DownloadError, ReleaseError
from provisioning.fetch import NotOfferedError, fetch_text

MIRRORS = (
    "https://dl-cdn.alpinelinux.org/alpine",
    "https://mirror.leaseweb.com/alpine",
    "https://ftp.halifax.rwth-aachen.de/alpine",
)
# Tried in this order where no branch is asked for: what the mirror calls stable, then the newest we know of.
BRANCHES = ("latest-stable", "v3.24", "v3.23", "v3.22", "v3.21", "v3.20")
ARCHITECTURE = "x86_64"
FLAVOUR = "alpine-minirootfs"


@dataclass(frozen=True)
class Release:
    """One published archive: where it is, and what it must be. A size of 0 is unknown."""

    version: str
    url: str
    size: int
    sha256: str
    sha512: str

    @property
    def file(self) -> str:
        """The archive's own name."""
        return self.url.rpartition("/")[2]


def mirrors(asked: str = "") -> list[str]:
    """The mirrors to ask, in order: the option, else COSO_ALPINE_MIRROR, else Alpine's own; spaces separate several."""
    text = asked or os.environ.get("COSO_ALPINE_MIRROR", "")
    found = text.split() or list(MIRRORS)
    for mirror in found:
        if not re.match(r"(https?|file)://", mirror):
            raise DownloadError(f"{mirror!r} is no mirror", hint="give an address with https://, http:// or file://")
    return [mirror.rstrip("/") for mirror in found]


def find(asked: list[str], branch: str = "", version: str = "") -> Release:
    """The release to take from the first mirror that can be reached.

    Raises DownloadError when none can, and ReleaseError when one can and does
    not offer what is asked for.
    """
    if version and not re.fullmatch(r"\d+\.\d+\.\d+(_\w+)?", version):
        raise ReleaseError(f"{version!r} is not an Alpine version", hint="write it as 3.20.3")
    if branch and not re.fullmatch(r"v\d+\.\d+|latest-stable|edge", branch):
        raise ReleaseError(f"{branch!r} is not an Alpine branch", hint="write it as v3.20, latest-stable or edge")
    if version and not branch:
        branch = "v" + ".".join(version.split(".")[:2])
    problems = []
    for mirror in asked:
        try:
            return _find_at(mirror, (branch,) if branch else BRANCHES, version)
        except NotOfferedError as error:
            raise ReleaseError(error.message, hint=error.hint) from None
        except DownloadError as error:
            problems.append(error.message)
    raise DownloadError(
        f"no Alpine mirror can be reached: {'; '.join(problems)}",
        hint="name one with --mirror or COSO_ALPINE_MIRROR (file:///… works too)",
    )


def _find_at(mirror: str, branches: tuple[str, ...], version: str) -> Release:
    for branch in branches:
        place = f"{mirror}/{branch}/releases/{ARCHITECTURE}"
        try:
            text = fetch_text(f"{place}/latest-releases.yaml")
        except NotOfferedError:
            continue
        return _from_list(text, place, branch, version)
    raise NotOfferedError(
        f"{mirror} has no branch {' or '.join(branches)}", hint="see which branches it has, and give one with --branch"
    )


def _from_list(text: str, place: str, branch: str, version: str) -> Release:
    import yaml

    try:
        entries = [item for item in yaml.safe_load(text) if item.get("flavor") == FLAVOUR]
        newest = entries[0]
        release = Release(
            str(newest["version"]),
            f"{place}/{newest['file']}",
            int(newest["size"]),
            str(newest["sha256"]),
            str(newest["sha512"]),
        )
    except (yaml.YAMLError, LookupError, TypeError, ValueError, AttributeError):
        raise DownloadError(f"{place}/latest-releases.yaml cannot be understood") from None
    if "/" in release.file or not release.file:
        raise DownloadError(f"{place}/latest-releases.yaml names the file {newest['file']!r}")
    return release if version in ("", release.version) else _older(place, branch, version, release.version)


def _older(place: str, branch: str, version: str, newest: str) -> Release:
    """A version that is no longer the newest: its checksums stand beside it."""
    url = f"{place}/{FLAVOUR}-{version}-{ARCHITECTURE}.tar.gz"
    try:
        sums = [fetch_text(f"{url}.{kind}").split()[0] for kind in ("sha256", "sha512")]
    except (NotOfferedError, IndexError):
        raise NotOfferedError(
            f"the mirror has no Alpine {version} in {branch}", hint=f"the newest there is {newest}"
        ) from None
    return Release(version, url, 0, sums[0], sums[1])
