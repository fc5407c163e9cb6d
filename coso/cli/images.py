"""`coso images`, `rmi`, `tag`, `history`, `save`, `load`, `import` and `image …`: what is in the store."""

from __future__ import annotations

import os
import sys

from coso.cli import table
from coso.cli.select import Filters
from coso.cli.table import FILTER, FORMAT, NO_TRUNC, QUIET
from coso.errors import UsageError
from coso.flags import Option, Words, read_words
from coso.images import store, tidy
from coso.images.reference import familiar, split
from coso.images.reference import parse as parse_name
from coso.times import now, seconds_of

TYPE_CHECKING = False
if TYPE_CHECKING:
    from typing import Any

# How `save` writes; what writes them is imported where that is wanted.
FORMATS = ("oci-archive", "docker-archive", "oci-dir")
FORCE = Option("force", "f", "", "do not ask, do it")

COLUMNS = {"Repository": "REPOSITORY", "Tag": "TAG", "ID": "IMAGE ID", "CreatedSince": "CREATED", "Size": "SIZE"}


def images(words: list[str]) -> int:
    """`coso images`."""
    options = (
        Option("all", "a", "", "nameless ones of builds too (they are always shown here)"),
        Option("digests", "", "", "show digests"),
        FILTER,
        FORMAT,
        NO_TRUNC,
        QUIET,
    )
    given = read_words(options, words, "coso images [OPTIONS] [REPOSITORY[:TAG]]", most=1)
    if given is None:
        return 0
    filters = Filters(given.all("filter"), ("dangling", "label", "before", "since", "reference"))
    rows = [row for image in _chosen(filters, given.rest) for row in _rows(image, given)]
    if given.rest:
        wanted = parse_name(given.rest[0])
        name = familiar(wanted.whole).rpartition(":")[0]
        tag = wanted.tag if ":" in given.rest[0].rpartition("/")[2] else ""
        rows = [row for row in rows if row["Repository"] == name and tag in ("", row["Tag"])]
    columns = dict(COLUMNS)
    if given.on("digests"):
        columns = {"Repository": "REPOSITORY", "Tag": "TAG", "Digest": "DIGEST", **columns}
    table.show(rows, columns, given.last("format"), quiet="ID" if given.on("quiet") else "")
    return 0


def _chosen(filters: Filters, _: tuple[str, ...]) -> list[store.Image]:
    found = sorted(store.images(), key=lambda image: created_of(image), reverse=True)
    for word in filters.all("before"):
        limit = created_of(store.find(word))
        found = [image for image in found if created_of(image) < limit]
    for word in filters.all("since"):
        limit = created_of(store.find(word))
        found = [image for image in found if created_of(image) > limit]
    if filters.all("dangling"):
        wanted = filters.last("dangling") in ("true", "1")
        found = [image for image in found if (not image.names) == wanted]
    if filters.all("reference"):
        from fnmatch import fnmatch

        patterns = filters.all("reference")
        found = [
            image
            for image in found
            if any(fnmatch(familiar(n), p) or fnmatch(split(n)[0], p) for n in image.names for p in patterns)
        ]
    return [image for image in found if filters.labels_fit(image.settings.get("Labels") or {})]


def created_of(image: store.Image) -> float:
    """When an image was made, in seconds; 0 where it does not say."""
    return seconds_of(str(image.config.get("created") or ""))


def _rows(image: store.Image, given: Words) -> list[dict[str, Any]]:
    number = f"sha256:{image.id}" if given.on("no-trunc") else image.id[:12]
    created = created_of(image)
    size = store.size_of(image)
    digest = next((origin.partition("@")[2] for origin in image.origins), "<none>")
    rows = []
    for name in image.names or ("",):
        repository, tag = split(name) if name else ("<none>", "<none>")
        rows.append(
            {
                "Repository": repository,
                "Tag": tag,
                "ID": number,
                "Digest": digest,
                "CreatedSince": table.ago(created) if created > 0 else "N/A",
                "CreatedAt": str(image.config.get("created") or ""),
                "Size": table.size(size),
                "VirtualSize": table.size(size),
                "Containers": "N/A",
                "SharedSize": "N/A",
                "UniqueSize": "N/A",
            }
        )
    return rows


def rmi(words: list[str]) -> int:
    """`coso rmi`."""
    options = (FORCE, Option("no-prune", "", "", "keep nameless parents (there are none here)"))
    given = read_words(options, words, "coso rmi [OPTIONS] IMAGE [IMAGE …]", least=1)
    if given is None:
        return 0
    status = 0
    for word in given.rest:
        try:
            done = tidy.remove(word, force=given.on("force"))
        except Exception as error:
            from coso.cli.main import say

            status = say(error)
            continue
        for name in done.untagged:
            sys.stdout.write(f"Untagged: {name}\n")
        for digest in done.deleted:
            sys.stdout.write(f"Deleted: sha256:{digest}\n")
    return 1 if status else 0


def tag(words: list[str]) -> int:
    """`coso tag`."""
    given = read_words((), words, "coso tag SOURCE_IMAGE[:TAG] TARGET_IMAGE[:TAG]", 2, 2)
    if given is None:
        return 0
    image, wanted = store.find(given.rest[0]), parse_name(given.rest[1])
    if wanted.digest:
        raise UsageError(f"{given.rest[1]!r} has a digest, which no image can be given")
    store.tag(image.listed_type, image.listed, wanted.whole)
    return 0


def history(words: list[str]) -> int:
    """`coso history`."""
    human = Option("human", "H", "", "sizes and times as people say them")
    given = read_words((FORMAT, human, NO_TRUNC, QUIET), words, "coso history [OPTIONS] IMAGE", 1, 1)
    if given is None:
        return 0
    image = store.find(given.rest[0])
    sizes = [store.layer_size(diff_id) for diff_id in image.diff_ids]
    rows = []
    for entry in image.config.get("history") or [{}]:
        size = 0 if entry.get("empty_layer") or not sizes else sizes.pop(0)
        created = seconds_of(str(entry.get("created") or ""))
        text = str(entry.get("created_by") or "")
        whole = given.on("no-trunc")
        rows.append(
            {
                "ID": "<missing>",
                "CreatedSince": (table.ago(created) if created > 0 else "N/A"),
                "CreatedAt": str(entry.get("created") or ""),
                "CreatedBy": text if whole or len(text) <= 45 else f"{text[:44]}…",
                "Size": table.size(size) if given.on("human", True) else str(size),
                "Comment": str(entry.get("comment") or ""),
            }
        )
    rows.reverse()
    rows[0]["ID"] = f"sha256:{image.id}" if given.on("no-trunc") else image.id[:12]
    columns = {"ID": "IMAGE", "CreatedSince": "CREATED", "CreatedBy": "CREATED BY", "Size": "SIZE"}
    table.show(rows, columns | {"Comment": "COMMENT"}, given.last("format"), quiet="ID" if given.on("quiet") else "")
    return 0


def save(words: list[str]) -> int:
    """`coso save`."""
    options = (
        Option("output", "o", "FILE", "write to a file, or a directory with --format oci-dir"),
        Option("format", "", "|".join(FORMATS), "oci-archive carries Docker's list too (default)"),
    )
    given = read_words(options, words, "coso save [OPTIONS] IMAGE [IMAGE …]", least=1)
    if given is None:
        return 0
    kind, output = given.last("format", "oci-archive"), given.last("output")
    if kind not in FORMATS:
        raise UsageError(f"--format {kind!r} is not known", hint=f"there are {', '.join(FORMATS)}")
    from coso.images import archive

    chosen = _to_save(given.rest)
    if kind == "oci-dir":
        if not output:
            raise UsageError("--format oci-dir needs --output DIRECTORY")
        archive.save(chosen, output)
        return 0
    if not output:
        if sys.stdout.isatty():
            raise UsageError("an archive would go to the terminal", hint="give -o FILE, or let it go to a pipe")
        archive.save(chosen, sys.stdout.buffer, kind)
        sys.stdout.buffer.flush()
        return 0
    beside = f"{output}.{os.getpid()}"
    try:
        with open(beside, "wb") as file:
            archive.save(chosen, file, kind)
        os.rename(beside, output)
    finally:
        if os.path.exists(beside):
            os.unlink(beside)
    return 0


def _to_save(words: tuple[str, ...]) -> list[tuple[store.Image, list[str]]]:
    """Images with the names that were asked for: one by its id takes none along."""
    chosen: dict[str, tuple[store.Image, list[str]]] = {}
    for word in words:
        image = store.find(word)
        entry = chosen.setdefault(image.digest, (image, []))
        entry[1].extend(name for name in image.names if name == parse_or_none(word))
    return list(chosen.values())


def parse_or_none(word: str) -> str:
    """The kept name that a word is, `""` where it is none."""
    try:
        return parse_name(word).whole
    except UsageError:
        return ""


def load(words: list[str]) -> int:
    """`coso load`."""
    options = (Option("input", "i", "FILE", "read a file or directory in place of standard input"), QUIET)
    given = read_words(options, words, "coso load [OPTIONS]", most=0)
    if given is None:
        return 0
    path = given.last("input")
    if not path and sys.stdin.isatty():
        raise UsageError("an archive is wanted, and standard input is a terminal", hint="coso load -i FILE")
    from coso.images import archive

    for name in archive.load(path, None if path else sys.stdin.buffer):
        kind = "Loaded image ID" if name.startswith("sha256:") else "Loaded image"
        sys.stdout.write(f"{kind}: {name}\n")
    return 0


def import_(words: list[str]) -> int:
    """`coso import`."""
    options = (
        Option("change", "c", "INSTRUCTION", "apply CMD, ENV and the like to the image", repeated=True),
        Option("message", "m", "TEXT", "a comment in its history"),
        Option("platform", "", "OS/ARCH", "only linux/amd64 can be said"),
    )
    given = read_words(options, words, "coso import [OPTIONS] FILE|- [NAME[:TAG]]", 1, 2)
    if given is None:
        return 0
    if given.last("platform", store.PLATFORM) != store.PLATFORM:
        raise UsageError(f"--platform {given.last('platform')!r}: only {store.PLATFORM} runs here")
    from coso.images import archive
    from coso.images.instructions import changed

    settings = changed({}, given.all("change"))
    name = given.rest[1] if len(given.rest) > 1 else ""
    if given.rest[0] == "-":
        digest = archive.import_tree(sys.stdin.buffer, name, settings, given.last("message"), now())
    else:
        with open(given.rest[0], "rb") as file:
            digest = archive.import_tree(file, name, settings, given.last("message"), now())
    sys.stdout.write(f"{digest}\n")
    return 0


def prune(words: list[str]) -> int:
    """`coso image prune`."""
    options = (Option("all", "a", "", "all that no container uses, not only nameless ones"), FORCE, FILTER_LONG)
    given = read_words(options, words, "coso image prune [OPTIONS]", most=0)
    if given is None:
        return 0
    if given.all("filter"):
        raise UsageError("image prune has no filters here", hint="coso rmi $(coso images -q --filter …)")
    what = "all images without at least one container" if given.on("all") else "all dangling images"
    if not table.ask(f"This will remove {what}.", force=given.on("force")):
        return 0
    gone, freed = tidy.prune(every=given.on("all"))
    if gone:
        sys.stdout.write("Deleted Images:\n")
    for image in gone:
        sys.stdout.write("".join(f"untagged: {familiar(name)}\n" for name in image.names))
        sys.stdout.write(f"deleted: sha256:{image.id}\n")
    sys.stdout.write(f"\nTotal reclaimed space: {table.size(freed)}\n" if gone else "Total reclaimed space: 0B\n")
    return 0


FILTER_LONG = Option("filter", "", "KEY=VALUE", "as of images", repeated=True)
