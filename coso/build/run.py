"""RUN: its command, its mounts, and where it runs; and downloads of ADD."""

from __future__ import annotations

import os
import posixpath
from collections.abc import Callable
from hashlib import sha256

from coso.build import cache, context, tree
from coso.build.cache import Layer
from coso.build.context import Tree
from coso.build.dockerfile import DOCUMENT, Instruction
from coso.errors import CosoError
from coso.images import blobs, layers, store
from coso.images import instructions as changes
from coso.kernel.path import open_in_root
from coso.spec import Mount
from coso.state import IMAGES, make_directories
from coso.value import value

KINDS = ("cache", "bind", "tmpfs", "secret")
SCRIPT = "/dev/coso-script"
CONNECT_SECONDS, READ_SECONDS = 10, 60


@value
class Command:
    """A RUN with all that it may refer to: the image's settings, arguments, options of the build, secrets by id."""

    instruction: Instruction
    settings: store.Json
    arguments: dict[str, str]
    given: dict[str, str]
    options: dict[str, list[str]]
    secrets: dict[str, str]
    quiet: bool = False


def carry_out(
    wanted: Command, diff_ids: list[str], files: Tree, layers_of: Callable[[str], list[str]], clamp: int | None
) -> Layer:
    """The layer that a RUN makes. Raises CosoError when its command fails."""
    blobs.make_store()
    place = f"{IMAGES}/:{os.getpid()}-{os.urandom(4).hex()}"
    os.mkdir(place, 0o755)
    try:
        args, mounts = _command(wanted, place)
        for text in [text for name, text in wanted.instruction.flags if name == "mount"]:
            mounts.append(_mount(text, wanted, place, files, layers_of))
        settings = _settings(wanted)
        options = {**wanted.options, "security-opt": ["no-new-privileges=false"]}
        network = wanted.instruction.flag("network")
        if network not in ("", "default", "none", "host"):
            raise wanted.instruction.wrong(f"--network={network} is not known", "default, none and host are")
        if network in ("none", "host"):
            options["network"] = [network]
        if wanted.instruction.flag("security") not in ("", "sandbox"):
            raise wanted.instruction.wrong(
                "--security=insecure is not offered", "nothing is built with the host's rights"
            )
        return tree.run(diff_ids, args, settings, options, tuple(mounts), clamp=clamp, quiet=wanted.quiet)
    except CosoError as error:
        if error.message.startswith("line "):
            raise
        raise CosoError(
            f"line {wanted.instruction.line}: {wanted.instruction.original}: {error.message}",
            cause=error.cause,
            hint=error.hint,
        ) from None
    finally:
        layers.discard(place)


def _settings(wanted: Command) -> store.Json:
    """What a RUN's container takes of the image: variables, user and directory."""
    variables = {**wanted.given, **wanted.arguments}
    variables |= dict(item.partition("=")[::2] for item in wanted.settings.get("Env") or ())
    found: store.Json = {"Env": [f"{name}={text}" for name, text in variables.items()]}
    for name in ("User", "WorkingDir"):
        if wanted.settings.get(name):
            found[name] = wanted.settings[name]
    return found


def _command(wanted: Command, place: str) -> tuple[tuple[str, ...], list[Mount]]:
    """The words to run; a here document without a command is a script of its own."""
    instruction = wanted.instruction
    documents = instruction.documents
    shell = [*(wanted.settings.get("Shell") or changes.SHELL)]
    if not documents:
        return tuple(changes.command_of(wanted.settings, instruction.text)), []
    if DOCUMENT.sub("", instruction.text).strip():
        text = instruction.text + "\n" + "".join(f"{item.text}{item.name}\n" for item in documents)
        return (*shell, text), []
    script = "".join(item.text for item in documents)
    if not script.startswith("#!"):
        return (*shell, script), []
    with open(f"{place}/script", "w", encoding="utf-8") as file:
        file.write(script)
    os.chmod(f"{place}/script", 0o755)
    return (SCRIPT,), [Mount(SCRIPT, "bind", f"{place}/script", ("bind", "idmap", "rro"))]


def _mount(text: str, wanted: Command, place: str, files: Tree, layers_of: Callable[[str], list[str]]) -> Mount:
    """The mount of `--mount=type=…` (Docker's Dockerfile reference)."""
    fields = dict(part.partition("=")[::2] for part in text.split(","))
    kind = fields.pop("type", "bind")
    target = fields.pop("target", "") or fields.pop("dst", "") or fields.pop("destination", "")
    if kind not in KINDS:
        raise wanted.instruction.wrong(f"--mount=type={kind} is not offered", f"there are {', '.join(KINDS)}")
    if not target and kind != "secret":
        raise wanted.instruction.wrong(f"--mount={text} has no target")
    target = posixpath.join(wanted.settings.get("WorkingDir") or "/", target)
    readonly = ("ro" in fields or fields.get("readonly") in ("", "true")) and "rw" not in fields
    if kind == "tmpfs":
        size = (f"size={fields['size']}",) if fields.get("size") else ()
        return Mount(target, "tmpfs", "tmpfs", ("nosuid", "nodev", *size))
    if kind == "cache":
        return _cache(fields, target, readonly=readonly)
    if kind == "secret":
        return _secret(fields, target, wanted)
    source = _source(fields, place, files, layers_of)
    # What is written there is thrown away with the copy, when rw is asked for; never is it the context itself.
    return Mount(target, "bind", source, ("bind", "idmap", *(() if "rw" in fields else ("rro",))))


def shown(instruction: Instruction, files: Tree, layers_of: Callable[[str], list[str]]) -> str:
    """A hash of what the bind mounts of a RUN show."""
    known = []
    for text in [text for name, text in instruction.flags if name == "mount"]:
        fields = dict(part.partition("=")[::2] for part in text.split(","))
        if fields.get("type", "bind") != "bind":
            continue
        if of := fields.get("from"):
            known += layers_of(of)
        else:
            known.append(context.digest(files, context.find(files, fields.get("source") or fields.get("src") or "/")))
    return "\0".join(known)


def _cache(fields: dict[str, str], target: str, *, readonly: bool) -> Mount:
    """A directory that builds share: named by its id, else by where it is."""
    directory = f"{cache.MOUNTS}/{sha256((fields.get('id') or target).encode()).hexdigest()[:32]}"
    if not os.path.isdir(directory):
        make_directories(cache.MOUNTS)
        os.makedirs(directory, 0o755, exist_ok=True)
        os.chmod(directory, int(fields.get("mode", "0755"), 8))
        os.chown(directory, int(fields.get("uid", "0")), int(fields.get("gid", "0")))
    return Mount(target, "bind", directory, ("bind", "idmap", *(("rro",) if readonly else ())))


def _secret(fields: dict[str, str], target: str, wanted: Command) -> Mount:
    name = fields.get("id") or posixpath.basename(target)
    path = wanted.secrets.get(name)
    if path is None:
        if fields.get("required") in ("", "true"):
            raise wanted.instruction.wrong(f"the secret {name!r} is not given", f"--secret id={name},src=FILE")
        path = "/dev/null"
    place = target if fields.get("target") or target != "/" else f"/run/secrets/{name}"
    return Mount(place, "bind", path, ("bind", "idmap", "rro"))


def _source(fields: dict[str, str], place: str, files: Tree, layers_of: Callable[[str], list[str]]) -> str:
    """A directory with a copy of what a bind mount shows: of the context, or of an earlier stage or image."""
    path = fields.get("source") or fields.get("src") or "/"
    copied = f"{place}/bind-{os.urandom(4).hex()}"
    os.mkdir(copied, 0o755)
    if of := fields.get("from"):
        tree.copy_out(layers_of(of), path, copied)
        return copied
    from coso.build import place as placing

    target = os.open(copied, os.O_RDONLY | os.O_DIRECTORY | os.O_CLOEXEC)
    found = context.find(files, path)
    placing.copy(files, found, target, "/", placing.Wish())
    os.close(open_in_root(target, "/"))
    os.close(target)
    only = found[0]
    return copied if only.inside else f"{copied}/{posixpath.basename(only.path)}"


def download(address: str, instruction: Instruction) -> bytes:
    """What ADD fetches from an address; checked against --checksum. Raises CosoError."""
    import requests

    try:
        answer = requests.get(address, timeout=(CONNECT_SECONDS, READ_SECONDS))
    except requests.RequestException as error:
        raise instruction.wrong(f"{address} cannot be fetched: {error}") from None
    if answer.status_code != 200:
        raise instruction.wrong(f"{address}: the server answers {answer.status_code} {answer.reason}")
    wanted = instruction.flag("checksum")
    found = f"sha256:{sha256(answer.content).hexdigest()}"
    if wanted and wanted != found:
        raise instruction.wrong(f"{address} is {found}, and should be {wanted}")
    return answer.content
