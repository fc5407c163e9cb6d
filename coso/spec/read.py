"""From config.json to a Spec (OCI runtime specification 1.2, config.md).

Everything is checked that can be known without a look at the machine.  What
the specification does not know is left out; what it calls wrong, or what
could only fail later or harm the host, is a SpecError that names the field.
"""

from __future__ import annotations

import os

from coso.spec import Hook, Hooks, Mount, Process, Root, Spec
from coso.spec.fields import Fields, parse, shown
from coso.spec.read_linux import linux, mappings
from coso.spec.read_process import environment, process

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Callable

__all__ = ["parse", "process_from", "read"]

# __NEW_UTS_LEN of the kernel (uname(2))
LONGEST_NAME = 64
LONGEST_TIMEOUT = 0x7FFFFFFF
HOOKS = {
    "prestart": "prestart",
    "createRuntime": "create_runtime",
    "createContainer": "create_container",
    "startContainer": "start_container",
    "poststart": "poststart",
    "poststop": "poststop",
}


def _silent(_: str) -> None:
    pass


def read(
    text: bytes | str,
    *,
    bundle: str,
    warn: Callable[[str], None] | None = None,
    ignored: Callable[[str], None] | None = None,
) -> Spec:
    """The Spec of a config.json, whose bundle is the absolute path `bundle`.  Raises SpecError.

    `warn` gets a sentence for whatever is accepted with a shake of the head,
    `ignored` the name of each field that coso does not know.
    """
    warn = warn or _silent
    fields = Fields(parse(text))
    _check_version(fields)
    spec = Spec(
        # "REQUIRED when start is called": a container may be made without one.
        process=fields.maybe("process", lambda part: process(part, warn)) or Process((), cwd="/"),
        root=_root(fields.part("root"), bundle),
        hostname=_host(fields, "hostname"),
        domainname=_host(fields, "domainname"),
        mounts=tuple(_mount(item, bundle, warn) for item in fields.parts("mounts")),
        hooks=_hooks(fields.part_or("hooks")),
        annotations=_annotations(fields),
        **linux(fields.part_or("linux")),
    )
    _check_together(fields, spec)
    if ignored:
        for name in fields.unknown():
            ignored(name)
    return spec


def process_from(data: dict[str, object], *, warn: Callable[[str], None] | None = None) -> Process:
    """The Process of the file of `exec --process`, after `parse`.  Raises SpecError."""
    return process(Fields(data), warn or _silent)


def _check_version(fields: Fields) -> None:
    version = fields.text("ociVersion")
    # https://semver.org: what follows - or + is no part of the three numbers.
    core = version.partition("+")[0].partition("-")[0]
    numbers = core.split(".")
    plain = len(numbers) == 3 and all(n.isascii() and n.isdecimal() and (n == "0" or n[0] != "0") for n in numbers)
    rest = version[len(core) :]
    if not plain or not all(c.isascii() and (c.isalnum() or c in "-+.") for c in rest) or rest in ("-", "+"):
        raise fields.wrong("ociVersion", f"a version such as 1.2.0 is wanted, not {shown(version)}")
    if numbers[0] != "1":
        raise fields.wrong("ociVersion", f"{shown(version)} is not supported; every 1.x is")


def _root(fields: Fields, bundle: str) -> Root:
    path = fields.text("path")
    if not path:
        raise fields.wrong("path", "missing")
    return Root(os.path.join(bundle, path), fields.flag_or("readonly", False))


def _host(fields: Fields, field: str) -> str:
    name = fields.text_or(field)
    if len(name.encode()) > LONGEST_NAME:
        raise fields.wrong(field, f"longer than {LONGEST_NAME} bytes: {shown(name)}")
    return name


def _mount(fields: Fields, bundle: str, warn: Callable[[str], None]) -> Mount:
    options = tuple(option for option in fields.texts("options") if option)
    mount = Mount(
        destination=_destination(fields, warn),
        type=fields.text_or("type"),
        source=fields.text_or("source"),
        options=options,
        uid_mappings=mappings(fields, "uidMappings"),
        gid_mappings=mappings(fields, "gidMappings"),
    )
    for name, given, other in (
        ("uidMappings", mount.uid_mappings, mount.gid_mappings),
        ("gidMappings", mount.gid_mappings, mount.uid_mappings),
    ):
        if other and not given:
            raise fields.wrong(name, "missing; uidMappings and gidMappings are given together")
    if mount.type != "bind" and not {"bind", "rbind"} & set(options):
        if mount.uid_mappings or {"idmap", "ridmap"} & set(options):
            raise fields.wrong("uidMappings", "only what a bind mount shows can have its owners mapped")
        return mount
    if not mount.source:
        raise fields.wrong("source", "missing; a bind mount has one")
    source = os.path.join(bundle, mount.source)
    return Mount(mount.destination, mount.type, source, options, mount.uid_mappings, mount.gid_mappings)


def _destination(fields: Fields, warn: Callable[[str], None]) -> str:
    path = fields.text("destination")
    if not path:
        raise fields.wrong("destination", "missing")
    if not path.startswith("/"):
        warn(f"{fields.name('destination')}: {shown(path)} is relative, which is deprecated; taken from /")
    # `..` stays: what it means depends on symbolic links inside.
    return "/" + "/".join(part for part in path.split("/") if part not in ("", "."))


def _hooks(fields: Fields) -> Hooks:
    return Hooks(**{name: tuple(_hook(item) for item in fields.parts(field)) for field, name in HOOKS.items()})


def _hook(fields: Fields) -> Hook:
    args = fields.texts("args")
    if args and not args[0]:
        raise fields.wrong("args[0]", "empty; the name of the program is wanted")
    return Hook(
        path=fields.path("path"),
        args=args,
        env=environment(fields),
        timeout=fields.number_or("timeout", 1, LONGEST_TIMEOUT, None),
    )


def _annotations(fields: Fields) -> tuple[tuple[str, str], ...]:
    pairs = fields.pairs("annotations")
    if any(not key for key, _ in pairs):
        raise fields.wrong("annotations", "an empty key")
    return pairs


def _check_together(fields: Fields, spec: Spec) -> None:
    """What one part asks of another."""
    present = {*spec.namespaces, *(item.type for item in spec.joined)}
    for name in ("hostname", "domainname"):
        if getattr(spec, name) and "uts" not in present:
            raise fields.wrong(name, "needs a uts namespace; it would rename the host")
    for index, mount in enumerate(spec.mounts):
        mapped = {"idmap", "ridmap"} & set(mount.options) and not mount.uid_mappings
        if mapped and "user" not in present:
            raise fields.wrong(
                f"mounts[{index}].options", "idmap needs uidMappings and gidMappings, or a user namespace"
            )
