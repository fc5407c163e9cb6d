"""`coso build`, and `builder prune`."""

from __future__ import annotations

import os
import sys

from coso.build import cache, context, dockerfile, ignore
from coso.build.context import Tree
from coso.build.dockerfile import Instruction
from coso.build.stage import Stage, Wishes
from coso.cli import table
from coso.cli.containers import FORCE
from coso.errors import UsageError
from coso.flags import Option, Words, read_words
from coso.images import blobs, registries, store, tidy
from coso.images import instructions as changes
from coso.images.reference import familiar, parse
from coso.options import OPTIONS as RUN_OPTIONS

NAMES = ("Dockerfile", "Containerfile")
LIMITS = "memory memory-swap cpus cpu-shares cpu-period cpu-quota cpuset-cpus cpuset-mems shm-size ulimit dns".split()
OPTIONS = (
    Option("file", "f", "FILE", "the Dockerfile (default Dockerfile in the context; - for standard input)"),
    Option("tag", "t", "NAME[:TAG]", "name of the image", repeated=True),
    Option("build-arg", "", "NAME[=VALUE]", "value for an ARG; without a value, the host's variable", repeated=True),
    Option("target", "", "STAGE", "stop at this stage"),
    Option("no-cache", "", "", "do every instruction anew"),
    Option("pull", "", "", "pull base images even where they are here"),
    Option("label", "", "NAME=VALUE", "a label of the image", repeated=True),
    Option("secret", "", "id=NAME,src=FILE", "a file for RUN --mount=type=secret", repeated=True),
    Option("network", "", "NAME|none|host", "network of RUN"),
    Option("add-host", "", "NAME:ADDRESS", "one more line of /etc/hosts of RUN", repeated=True),
    Option("iidfile", "", "FILE", "write the image's id to a file"),
    Option("platform", "", "OS/ARCH", "only linux/amd64 is built here"),
    Option("progress", "", "auto|plain", "(one form of output is all there is)"),
    Option("quiet", "q", "", "print the image's id only"),
    Option("rm", "", "", "(no containers of builds are ever kept)"),
    Option("force-rm", "", "", "(as --rm)"),
    *(option for option in RUN_OPTIONS if option.name in LIMITS),
)


def build(words: list[str]) -> int:
    """`coso build`."""
    given = read_words(OPTIONS, words, "coso build [OPTIONS] DIRECTORY|-", 1, 1)
    if given is None:
        return 0
    if given.last("platform", store.PLATFORM) != store.PLATFORM:
        raise UsageError(f"--platform {given.last('platform')!r}: only {store.PLATFORM} is built here")
    names = [parse(text).whole for text in given.all("tag")]
    text, tree = _read(given)
    instructions = dockerfile.read(text)
    # Nothing of what it is made from, nor of what is made, is swept away meanwhile.
    lock = blobs.locked("use", shared=True)
    image = _Build(given, tree, instructions).run()
    for name in names or [""]:
        store.tag(store.OCI_MANIFEST, image.digest, name)
    os.close(lock)
    if given.last("iidfile"):
        with open(given.last("iidfile"), "w") as file:
            file.write(f"sha256:{image.id}")
    if given.on("quiet"):
        sys.stdout.write(f"sha256:{image.id}\n")
        return 0
    sys.stdout.write(f"Successfully built {image.id[:12]}\n")
    sys.stdout.write("".join(f"Successfully tagged {familiar(name)}\n" for name in names))
    return 0


def _read(given: Words) -> tuple[str, Tree]:
    """The Dockerfile and the context; raises UsageError."""
    place, file = given.rest[0], given.last("file")
    if place == "-":
        # A Dockerfile alone: it has nothing to copy from.
        empty = os.open("/proc/self/fdinfo", os.O_RDONLY | os.O_DIRECTORY | os.O_CLOEXEC)
        return sys.stdin.read(), Tree(empty, ignore.patterns("*"))
    if not os.path.isdir(place):
        raise UsageError(f"there is no directory {place}", hint="coso build [OPTIONS] DIRECTORY")
    if file == "-":
        return sys.stdin.read(), context.of_directory(place)
    path = file or next((p for p in (os.path.join(place, n) for n in NAMES) if os.path.exists(p)), "")
    if not path:
        raise UsageError(f"there is no Dockerfile in {place}", hint="name it: -f FILE")
    try:
        with open(path, encoding="utf-8") as opened:
            return opened.read(), context.of_directory(place, path)
    except (OSError, UnicodeDecodeError) as error:
        raise UsageError(f"{path} cannot be read: {getattr(error, 'strerror', error)}") from None


class _Build:
    """A build on its way: stages by name and number, each built when somebody needs it."""

    def __init__(self, given: Words, tree: Tree, instructions: list[Instruction]) -> None:
        self._given = given
        self._count, self._done = 0, 0
        self._quiet = given.on("quiet")
        self._arguments = dict(_argument(text) for text in given.all("build-arg"))
        self._scope: dict[str, str] = {}
        self._stages: list[tuple[str, Instruction, list[Instruction]]] = []
        self._built: dict[int, Stage] = {}
        self._wishes = self._wishes_of(tree)
        self._split(instructions)

    def _wishes_of(self, tree: Tree) -> Wishes:
        given = self._given
        epoch = self._arguments.get("SOURCE_DATE_EPOCH") or os.environ.get("SOURCE_DATE_EPOCH", "")
        if epoch and not epoch.isdecimal():
            raise UsageError(f"SOURCE_DATE_EPOCH {epoch!r} is not a number of seconds")
        taken = {"network", "add-host", *LIMITS}
        secrets = dict(_secret(text) for text in given.all("secret"))
        labels = dict(text.partition("=")[::2] for text in given.all("label"))
        options = {name: texts for name, texts in given.options.items() if name in taken}
        clamp = int(epoch) if epoch else None
        uses_cache = not given.on("no-cache")
        return Wishes(
            tree, self._arguments, options, secrets, labels, clamp, uses_cache, self._fetch, self._tell, self._quiet
        )

    def _split(self, instructions: list[Instruction]) -> None:
        for instruction in instructions:
            if instruction.name == "FROM":
                words = dockerfile.expand(instruction.text, self._scope, instruction).split()
                if len(words) not in (1, 3) or (len(words) == 3 and words[1].upper() != "AS"):
                    raise instruction.wrong("it is not FROM IMAGE or FROM IMAGE AS NAME")
                self._stages.append((words[2].lower() if len(words) == 3 else "", instruction, []))
            elif self._stages:
                self._stages[-1][2].append(instruction)
            elif instruction.name == "ARG":
                for word in changes.split_words(instruction.text):
                    name, _, text = word.partition("=")
                    text = dockerfile.expand(changes.unquoted(text), self._scope, instruction)
                    self._scope[name] = self._arguments.get(name, text)
            else:
                raise instruction.wrong("the first instruction is FROM, or ARG before it")
        if not self._stages:
            raise UsageError("the Dockerfile has no FROM")

    def run(self) -> store.Image:
        """Build the stage that is wanted and what it needs."""
        target = self._given.last("target")
        at = len(self._stages) - 1
        if target:
            found = self._number(target.lower())
            if found is None:
                raise UsageError(f"the Dockerfile has no stage {target!r}")
            at = found
        needed = sorted(self._needed(at))
        self._count = sum(len(self._stages[number][2]) + 1 for number in needed)
        for number in needed:
            self._stage(number)
        return store.load(self._stage(at).finish())

    def _needed(self, at: int) -> set[int]:
        """The stages that one is made from, itself included."""
        _, first, body = self._stages[at]
        names = [dockerfile.expand(first.text, self._scope, first).split()[0]]
        for instruction in body:
            names += [text for name, text in instruction.flags if name == "from"]
            mounts = [text for name, text in instruction.flags if name == "mount"]
            names += [part[5:] for text in mounts for part in text.split(",") if part.startswith("from=")]
        found = {at}
        for name in names:
            number = self._number(name.lower())
            if number is not None and number < at:
                found |= self._needed(number)
        return found

    def _number(self, name: str) -> int | None:
        names = [name_of for name_of, _, _ in self._stages]
        if name in names:
            return len(names) - 1 - names[::-1].index(name)
        return int(name) if name.isdecimal() and int(name) < len(names) else None

    def _stage(self, at: int) -> Stage:
        if at not in self._built:
            _, first, body = self._stages[at]
            stage = Stage(self._wishes, lambda name: self._earlier(name, at), self._scope)
            words = dockerfile.expand(first.text, self._scope, first).split()
            self._step(first)
            platform = first.flag("platform", store.PLATFORM)
            if platform not in (store.PLATFORM, "$BUILDPLATFORM", "$TARGETPLATFORM"):
                raise first.wrong(f"--platform={platform}: only {store.PLATFORM} is built here")
            for instruction in stage.begin(words[0]):
                stage.carry_out(instruction)
            for instruction in body:
                self._step(instruction)
                stage.carry_out(instruction)
            self._built[at] = stage
        return self._built[at]

    def _earlier(self, name: str, at: int) -> Stage | None:
        found = self._number(name.lower())
        return self._stage(found) if found is not None and found < at else None

    def _step(self, instruction: Instruction) -> None:
        self._done += 1
        self._tell(f"Step {self._done}/{self._count} : {instruction.original}\n")

    def _tell(self, text: str) -> None:
        if not self._quiet:
            sys.stdout.write(text)
            sys.stdout.flush()

    def _fetch(self, name: str) -> store.Image:
        """A base image, pulled where it is not here; the rootfs of fs-setup counts as one."""
        found = None if self._given.on("pull") else store.find_or_none(name)
        if found is not None:
            return found
        from coso.cli.rootfs_image import of_setup

        own = None if self._given.on("pull") else of_setup(name)
        if own is not None:
            return own
        from coso.cli.registry import bring

        bring(registries.resolve(name).whole, quiet=self._quiet)
        return store.find(registries.resolve(name).whole)


def _argument(text: str) -> tuple[str, str]:
    name, equals, content = text.partition("=")
    return name, content if equals else os.environ.get(name, "")


def _secret(text: str) -> tuple[str, str]:
    fields = dict(part.partition("=")[::2] for part in text.split(","))
    name, path = fields.get("id", ""), fields.get("src") or fields.get("source") or ""
    if not name or not os.path.isfile(path):
        raise UsageError(f"--secret {text!r} is not id=NAME,src=FILE, or there is no such file")
    return name, os.path.abspath(path)


def prune(words: list[str]) -> int:
    """`coso builder prune`."""
    given = read_words((FORCE, Option("all", "a", "", "(always all)")), words, "coso builder prune [OPTIONS]", most=0)
    if given is None:
        return 0
    if not table.ask("This will remove all build cache.", force=given.on("force")):
        return 0
    before = tidy.disk_usage()
    cache.prune()
    tidy.sweep()
    sys.stdout.write(f"Total reclaimed space: {table.size(max(0, before - tidy.disk_usage()))}\n")
    return 0
