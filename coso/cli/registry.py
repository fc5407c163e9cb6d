"""`coso pull`, `push`, `login` and `logout`: images and registries."""

from __future__ import annotations

import getpass
import sys
from typing import TYPE_CHECKING, TextIO

from coso.cli.table import QUIET
from coso.errors import UsageError
from coso.flags import Option, read_words
from coso.images import auth, blobs, registries, store
from coso.images.reference import DOCKER_HUB, familiar, parse

if TYPE_CHECKING:
    pass

PLATFORM = Option("platform", "", "OS/ARCH[/VARIANT]", f"which of an image's platforms (default {store.PLATFORM})")
TLS = Option("tls-verify", "", "", "=false: a registry without TLS, or with a certificate nobody vouches for")
ALL_TAGS = "every tag of a repository is more than anybody waits for; name the tags"


def pull(words: list[str]) -> int:
    """`coso pull`."""
    options = (
        Option("all-platforms", "", "", "every platform of the image, so that it can be pushed whole"),
        Option("all-tags", "a", "", "(not offered)"),
        Option("disable-content-trust", "", "", "as with Docker: signatures are not looked at"),
        PLATFORM,
        QUIET,
        TLS,
    )
    given = read_words(options, words, "coso pull [OPTIONS] NAME[:TAG|@DIGEST]", 1, 1)
    if given is None:
        return 0
    if given.on("all-tags"):
        raise UsageError("--all-tags is not offered", cause=ALL_TAGS)
    bring(
        given.rest[0],
        platform=given.last("platform"),
        every=given.on("all-platforms"),
        insecure=not given.on("tls-verify", True),
        quiet=given.on("quiet"),
        stream=sys.stdout,
    )
    return 0


def bring(
    word: str,
    *,
    platform: str = "",
    every: bool = False,
    insecure: bool = False,
    quiet: bool = False,
    stream: TextIO | None = None,
) -> store.Image:
    """Pull an image and say so as Docker does, on a stream (standard error where none is given)."""
    from coso.images.transfer import pull as fetch
    from coso.images.transfer import quietly

    out = stream or sys.stderr
    wanted = registries.resolve(word)
    before = store.find_or_none(wanted.whole)
    if not quiet:
        # In full, so that nobody is left to guess whose image a short name gets.
        out.write(f"{wanted.wanted}: Pulling from {wanted.name}\n")
        out.flush()
    with _Bars(out is sys.stdout or sys.stderr.isatty(), quiet) as bars:
        image = fetch(wanted, platform=platform, every=every, insecure=insecure, tell=bars.tell if bars.on else quietly)
    if quiet:
        out.write(f"{wanted.whole}\n")
        return image
    news = before is None or before.listed != image.listed
    digest = next((origin.partition("@")[2] for origin in image.origins), image.digest)
    state = "Downloaded newer image" if news else "Image is up to date"
    out.write(f"Digest: {digest}\nStatus: {state} for {familiar(wanted.whole)}\n{wanted.whole}\n")
    return image


def push(words: list[str]) -> int:
    """`coso push`."""
    options = (
        Option("all-tags", "a", "", "every tag of the repository that is here"),
        Option("disable-content-trust", "", "", "as with Docker: nothing is signed"),
        QUIET,
        TLS,
    )
    given = read_words(options, words, "coso push [OPTIONS] NAME[:TAG]", 1, 1)
    if given is None:
        return 0
    from coso.images.transfer import push as send
    from coso.images.transfer import quietly

    first = parse(given.rest[0])
    names = [first.whole]
    if given.on("all-tags"):
        names = [name for image in store.images() for name in image.names if name.startswith(f"{first.name}:")]
    for name in names:
        image, wanted = store.find(name), parse(name)
        if not given.on("quiet"):
            sys.stdout.write(f"The push refers to repository [{wanted.name}]\n")
            sys.stdout.flush()
        with _Bars(True, given.on("quiet")) as bars:
            insecure = not given.on("tls-verify", True)
            digest = send(image, wanted, insecure=insecure, tell=bars.tell if bars.on else quietly)
        size = len(blobs.read_blob(digest))
        sys.stdout.write(f"{name}\n" if given.on("quiet") else f"{wanted.tag}: digest: {digest} size: {size}\n")
    return 0


class _Bars:
    """A bar for each blob on its way, on a terminal; elsewhere a line when a blob is done."""

    def __init__(self, wanted: bool, quiet: bool) -> None:
        self.on = wanted and not quiet
        self._live = self.on and sys.stdout.isatty()
        self._tasks: dict[str, int] = {}
        self._done: set[str] = set()

    def __enter__(self) -> _Bars:
        if self._live:
            from rich.progress import BarColumn, DownloadColumn, Progress, TextColumn, TransferSpeedColumn

            columns = (TextColumn("{task.description}"), BarColumn(), DownloadColumn(), TransferSpeedColumn())
            self._progress = Progress(*columns)
            self._progress.start()
        return self

    def __exit__(self, *_: object) -> None:
        if self._live:
            self._progress.stop()

    def tell(self, digest: str, there: int, size: int, act: str) -> None:
        """Take note of how far a blob is."""
        short = digest.removeprefix("sha256:")[:12]
        if self._live:
            if digest not in self._tasks:
                self._tasks[digest] = self._progress.add_task(short, total=size)
            self._progress.update(self._tasks[digest], completed=there, description=f"{short} {act}")  # type: ignore[arg-type]
        elif act in ("done", "there already") and digest not in self._done:
            self._done.add(digest)
            sys.stdout.write(f"{short}: {'Layer already exists' if act == 'there already' else 'Complete'}\n")


def login(words: list[str]) -> int:
    """`coso login`."""
    options = (
        Option("username", "u", "NAME", "user"),
        Option("password", "p", "TEXT", "password (others see it in the list of processes)"),
        Option("password-stdin", "", "", "read the password from standard input"),
        TLS,
    )
    given = read_words(options, words, "coso login [OPTIONS] [REGISTRY]", most=1)
    if given is None:
        return 0
    from coso.images.registry import Registry

    name = given.rest[0].removeprefix("https://").rstrip("/") if given.rest else DOCKER_HUB
    user = given.last("username")
    if not user:
        user = input("Username: ") if sys.stdin.isatty() else ""
    if not user:
        raise UsageError("a user name is wanted", hint="coso login -u NAME --password-stdin")
    if given.on("password-stdin"):
        password = sys.stdin.read().rstrip("\r\n")
    elif given.last("password"):
        sys.stderr.write("WARNING! Using --password via the CLI is insecure. Use --password-stdin.\n")
        password = given.last("password")
    elif sys.stdin.isatty():
        password = getpass.getpass("Password: ")
    else:
        raise UsageError("a password is wanted, and standard input is no terminal", hint="give --password-stdin")
    endpoint = registries.Endpoint(
        registries.HUB_HOST if name == DOCKER_HUB else name,
        "",
        not given.on("tls-verify", True) or registries.is_loopback(name),
    )
    Registry(endpoint).log_in(user, password)
    place = auth.keep(name, user, password)
    sys.stderr.write(f"The password is kept in {place}\n")
    sys.stdout.write("Login Succeeded\n")
    return 0


def logout(words: list[str]) -> int:
    """`coso logout`."""
    given = read_words((), words, "coso logout [REGISTRY]", most=1)
    if given is None:
        return 0
    name = given.rest[0].removeprefix("https://").rstrip("/") if given.rest else DOCKER_HUB
    known = auth.forget(name)
    sys.stdout.write(f"Removing login credentials for {name}\n" if known else f"Not logged in to {name}\n")
    return 0
