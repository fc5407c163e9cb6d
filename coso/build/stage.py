"""A stage of a Dockerfile: from a base image, instruction by instruction, to the image that it makes."""

from __future__ import annotations

import copy
import os
import posixpath
from collections.abc import Callable

from coso import quickjson
from coso.build import cache, context, dockerfile, place, run, tree
from coso.build.cache import Layer
from coso.build.context import Tree
from coso.build.dockerfile import Instruction
from coso.errors import UsageError
from coso.images import archive, blobs, store
from coso.images import instructions as changes
from coso.times import now, written
from coso.value import replace, value

# Build arguments that are there without ARG, and in no layer's key (Docker's predefined ARGs).
PREDEFINED = {f"{word}_proxy" for word in ("http", "https", "ftp", "no", "all")}
PREDEFINED |= {name.upper() for name in PREDEFINED}
ADDRESSES = ("http://", "https://")
PLATFORM_ARGS = {
    "TARGETPLATFORM": "linux/amd64",
    "TARGETOS": "linux",
    "TARGETARCH": "amd64",
    "TARGETVARIANT": "",
    "BUILDPLATFORM": "linux/amd64",
    "BUILDOS": "linux",
    "BUILDARCH": "amd64",
}


@value
class Wishes:
    """What a build is asked for besides its Dockerfile; `clamp` is SOURCE_DATE_EPOCH."""

    context: Tree
    arguments: dict[str, str]
    options: dict[str, list[str]]
    secrets: dict[str, str]
    labels: dict[str, str]
    clamp: int | None
    uses_cache: bool
    fetch: Callable[[str], store.Image]
    tell: Callable[[str], None]
    quiet: bool = False


class Stage:
    """A stage being built."""

    def __init__(self, wishes: Wishes, others: Callable[[str], Stage | None], scope: dict[str, str]) -> None:
        self.wishes = wishes
        self._others = others
        self._global = scope
        self._arguments: dict[str, str] = {}
        self.settings: store.Json = {}
        self.config: store.Json = {"architecture": "amd64", "os": "linux"}
        self.described: list[store.Json] = []
        self.diff_ids: list[str] = []
        self.history: list[store.Json] = []
        self.key = ""

    # --- what others use of it

    def begin(self, base: str) -> list[Instruction]:
        """Take over an earlier stage, an image or `scratch`; the instructions that it wants to be done first."""
        other = self._others(base)
        if other is not None:
            for name in ("described", "diff_ids", "history"):
                setattr(self, name, list(getattr(other, name)))
            self.settings, self.config = copy.deepcopy(other.settings), copy.deepcopy(other.config)
            self.key = other.key
        elif base == "scratch":
            self.key = cache.key_of("scratch", str(self.wishes.clamp))
        else:
            self._take_image(self.wishes.fetch(base))
        self.settings.pop("_cmd_is_own", None)
        wanted = self.settings.pop("OnBuild", None) or []
        return [dockerfile.read(text)[0] for text in wanted]

    def _take_image(self, image: store.Image) -> None:
        self.described, self.diff_ids = list(image.manifest["layers"]), list(image.diff_ids)
        self.settings = copy.deepcopy(image.settings)
        kept = ("architecture", "os", "variant", "author")
        self.config = {name: image.config[name] for name in kept if name in image.config}
        self.history = list(image.config.get("history") or [])
        self.key = cache.key_of("image", image.id, str(self.wishes.clamp))

    def finish(self) -> str:
        """Write the image into the store; the digest of its manifest."""
        if self.wishes.labels:
            self.settings["Labels"] = {**(self.settings.get("Labels") or {}), **self.wishes.labels}
        settings = {name: text for name, text in self.settings.items() if not name.startswith("_")}
        config = {
            "created": self._now(),
            **self.config,
            "config": settings,
            "rootfs": {"type": "layers", "diff_ids": self.diff_ids},
            "history": self.history,
        }
        return archive.add_manifest(blobs.add_blob(quickjson.dumps(config).encode()), self.described)

    def _now(self) -> str:
        return now() if self.wishes.clamp is None else written(self.wishes.clamp * 1_000_000_000)

    # --- instructions

    def carry_out(self, instruction: Instruction) -> None:
        """Do one instruction; raises CosoError."""
        if instruction.name in dockerfile.EXPANDED and instruction.name != "ONBUILD":
            text = dockerfile.expand(instruction.text, self.variables(), instruction)
            flags = tuple((k, dockerfile.expand(v, self.variables(), instruction)) for k, v in instruction.flags)
            instruction = replace(instruction, text=text, flags=flags)
        handler = getattr(self, f"_{instruction.name.lower()}", None)
        try:
            if handler:
                handler(instruction)
            else:
                self._check_flags(instruction)
                changes.apply(self.settings, instruction.name, instruction.text)
                self._note(instruction)
        except UsageError as error:
            if error.message.startswith("line "):
                raise
            raise instruction.wrong(error.message, error.hint) from None

    def variables(self) -> dict[str, str]:
        """What `$name` is replaced by: arguments, and over them the image's own variables."""
        own = dict(item.partition("=")[::2] for item in self.settings.get("Env") or ())
        return {**self._arguments, **own}

    def _check_flags(self, instruction: Instruction, *known: str) -> None:
        for name, _ in instruction.flags:
            if name not in known:
                raise instruction.wrong(f"there is no flag --{name}", f"there are {', '.join(known) or 'none'}")

    def _note(self, instruction: Instruction) -> None:
        """An instruction that changes no file: a line of history, and another key for what follows."""
        self.history.append({"created": self._now(), "created_by": instruction.original, "empty_layer": True})
        self.key = cache.key_of(self.key, instruction.original)

    def _layer(self, instruction: Instruction, key: str, make: Callable[[], Layer]) -> None:
        """An instruction that may change files: from an earlier build, or made now."""
        lock = blobs.locked("use", shared=True)
        try:
            found = cache.look_up(key) if self.wishes.uses_cache else None
            if found:
                self.wishes.tell(" ---> Using cache\n")
            else:
                found = make()
                cache.keep(key, found)
        finally:
            os.close(lock)
        entry: store.Json = {"created": self._now(), "created_by": instruction.original}
        if found.described is None:
            entry["empty_layer"] = True
        else:
            self.described.append(found.described)
            self.diff_ids.append(found.diff_id)
        self.history.append(entry)
        self.key = key

    def _arg(self, instruction: Instruction) -> None:
        for word in changes.split_words(instruction.text):
            name, equals, text = word.partition("=")
            if name in self.wishes.arguments:
                self._arguments[name] = self.wishes.arguments[name]
            elif equals:
                self._arguments[name] = changes.unquoted(text)
            elif name in self._global:
                self._arguments[name] = self._global[name]
            elif name in PLATFORM_ARGS:
                self._arguments[name] = PLATFORM_ARGS[name]
        self._note(instruction)

    def _maintainer(self, instruction: Instruction) -> None:
        self.config["author"] = instruction.text
        self._note(instruction)

    def _cmd(self, instruction: Instruction) -> None:
        changes.apply(self.settings, "CMD", instruction.text)
        self.settings["_cmd_is_own"] = True
        self._note(instruction)

    def _workdir(self, instruction: Instruction) -> None:
        changes.apply(self.settings, "WORKDIR", instruction.text)
        path = str(self.settings["WorkingDir"])
        key = cache.key_of(self.key, instruction.original)
        clamp = self.wishes.clamp
        self._layer(
            instruction,
            key,
            lambda: tree.changed(self.diff_ids, lambda root, _: place.make_directory(root, path), clamp=clamp),
        )

    def _run(self, instruction: Instruction) -> None:
        self._check_flags(instruction, "mount", "network", "security")
        given = {name: self.wishes.arguments[name] for name in PREDEFINED if name in self.wishes.arguments}
        about = self.wishes
        wanted = run.Command(
            instruction, self.settings, self._arguments, given, about.options, about.secrets, about.quiet
        )
        documents = "".join(item.text for item in instruction.documents)
        arguments = "\0".join(f"{name}={text}" for name, text in sorted(self._arguments.items()))
        shown = run.shown(instruction, self.wishes.context, self.layers_of)
        key = cache.key_of(self.key, instruction.original, documents, arguments, shown)
        clamp = self.wishes.clamp
        self._layer(
            instruction, key, lambda: run.carry_out(wanted, self.diff_ids, self.wishes.context, self.layers_of, clamp)
        )

    def _copy(self, instruction: Instruction) -> None:
        self._check_flags(instruction, "from", "chown", "chmod", "link")
        self._place(instruction, unpacks=False)

    def _add(self, instruction: Instruction) -> None:
        self._check_flags(instruction, "chown", "chmod", "link", "checksum")
        self._place(instruction, unpacks=True)

    def _place(self, instruction: Instruction, *, unpacks: bool) -> None:
        words = changes.exec_form(instruction.text) or [
            changes.unquoted(word) for word in changes.split_words(instruction.text)
        ]
        *sources, target = words
        sources = [word for word in sources if not dockerfile.DOCUMENT.fullmatch(word)]
        texts = self._texts(instruction, sources if unpacks else [])
        paths = [word for word in sources if not (unpacks and word.startswith(ADDRESSES))]
        if not paths and not texts:
            raise instruction.wrong("a source and a place are wanted")
        target = self._absolute(target)
        mode, chown, of = _mode(instruction), instruction.flag("chown"), instruction.flag("from")
        beside = self.layers_of(of) if of else None
        if beside is not None:
            hashed = cache.key_of(*beside)
        else:
            found = [item for word in paths for item in context.find(self.wishes.context, word)]
            hashed = context.digest(self.wishes.context, found)
        contents = "".join(f"{name}\0{cache.key_of(data.decode('latin-1'))}\0" for name, data, _ in texts)
        key = cache.key_of(self.key, instruction.original, target, hashed, contents)

        def act(root: int, other: int) -> None:
            wish = place.Wish(place.owner_of(root, chown), mode, unpacks, self.wishes.clamp)
            for name, data, default in texts:
                place.write_file(root, target, name, data, wish, default)
            if paths:
                source = self.wishes.context if other < 0 else Tree(other, [])
                place.copy(source, [item for word in paths for item in context.find(source, word)], root, target, wish)

        clamp = self.wishes.clamp
        self._layer(instruction, key, lambda: tree.changed(self.diff_ids, act, clamp=clamp, beside=beside))

    def _texts(self, instruction: Instruction, sources: list[str]) -> list[tuple[str, bytes, int]]:
        """What comes from no file: here documents, and what ADD downloads; names, contents and modes."""
        found = []
        for item in instruction.documents:
            text = dockerfile.expand(item.text, self.variables(), instruction) if item.expands else item.text
            found.append((item.name, text.encode(), 0o644))
        for address in sources:
            if address.startswith(ADDRESSES):
                name = posixpath.basename(address.partition("?")[0])
                found.append((name, run.download(address, instruction), 0o600))
        return found

    def _absolute(self, target: str) -> str:
        whole = posixpath.join(self.settings.get("WorkingDir") or "/", target)
        return posixpath.normpath(whole) + ("/" if target.endswith(("/", "/.")) or target in (".", "..") else "")

    def layers_of(self, name: str) -> list[str]:
        """The layers of an earlier stage or an image; raises CosoError."""
        other = self._others(name)
        return other.diff_ids if other is not None else self.wishes.fetch(name).diff_ids


def _mode(instruction: Instruction) -> int | None:
    text = instruction.flag("chmod")
    if not text:
        return None
    try:
        return int(text, 8) & 0o7777
    except ValueError:
        raise instruction.wrong(f"--chmod {text!r} is no mode", "0755, 644") from None
