"""What the words of `run` and `create` name as the root: an image, or with -rootfs a directory."""

from __future__ import annotations

from coso.errors import DownloadError, MissingError, UsageError
from coso.images import rootfs, source
from coso.images.source import Source
from coso.spec import defaults

TYPE_CHECKING = False
if TYPE_CHECKING:
    from coso.flags import Words


def source_and_command(given: Words) -> tuple[Source, tuple[str, ...]]:
    """The root, and the command after it; raises CosoError."""
    path, rest = given.last("rootfs"), given.rest
    if path or not rest:
        found, command = source.of_rootfs(path or defaults.ROOTFS), rest
    else:
        found, command = _image(given, rest[0]), rest[1:]
    if command and not command[0]:
        raise UsageError("the command is empty")
    return found, command


def _image(given: Words, word: str) -> Source:
    platform, quiet = given.last("platform"), given.on("quiet")

    def fetch(wanted: str) -> None:
        import sys

        from coso.cli.registry import bring
        from coso.images import registries, store
        from coso.images.reference import familiar
        from coso.runtime.rootless import as_root

        if store.find_or_none(wanted) is None and not quiet:
            sys.stderr.write(f"Unable to find image '{familiar(registries.resolve(wanted).whole)}' locally\n")
            sys.stderr.flush()

        def act() -> None:
            bring(wanted, platform=platform, quiet=quiet)

        as_root(act)

    try:
        return source.resolve(word, fetch, pull=given.last("pull", "missing"), platform=platform)
    except (DownloadError, MissingError) as error:
        raise type(error)(error.message, cause=error.cause, hint=_hint(word)) from None


def _hint(word: str) -> str:
    """What to do when an image is neither here nor to be had."""
    name, _, version = word.partition(":")
    if name in rootfs.NAMES:
        wanted = f" --version {version}" if version and name == "alpine" else ""
        return f"run `invoke fs-setup --source {name}{wanted}`, or look at this machine's network"
    return (
        "`coso images` lists what is here; look at the name, and at this machine's network. "
        f"For a command in the default rootfs: `coso run -rootfs {defaults.ROOTFS} -- {word} …`"
    )
