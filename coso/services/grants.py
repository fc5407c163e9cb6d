"""Secrets and configs: a file of the host is mounted as it is, all else is written into the new container.

Source: compose-spec, 08-configs.md, 09-secrets.md.
"""

from __future__ import annotations

from coso.errors import CosoError, MissingError
from coso.services.places import Map, plain

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Iterator

    from coso.engine.record import Record
    from coso.services.project import Project

PARTS = (("secrets", "/run/secrets"), ("configs", ""))
MODE = "0444"


def _granted(project: Project, service: str) -> Iterator[tuple[str, str, Map, Map]]:
    """What a service is given: what messages call it, where it is to be, how it is asked for, and what it is."""
    for part, default in PARTS:
        for grant in project.services[service].get(part) or ():
            source = grant["source"]
            target = str(grant.get("target") or source)
            yield (
                f"{part}.{source}",
                target if target.startswith("/") else f"{default}/{target}",
                grant,
                project.model[part][source],
            )


def _is_mounted(grant: Map, about: Map) -> bool:
    """Whether the host's own file will do: it has the owner and mode it has."""
    return bool(about.get("file")) and not any(grant.get(key) is not None for key in ("uid", "gid", "mode"))


def mounts(project: Project, service: str) -> list[str]:
    """What is mounted, as `--mount` has it."""
    return [
        f"type=bind,source={about['file']},target={target},readonly"
        for _, target, grant, about in _granted(project, service)
        if _is_mounted(grant, about)
    ]


def put(project: Project, service: str, one: Record) -> None:
    """Write all the others into a container that has not begun. Raises CosoError."""
    from coso.engine import one_file

    for name, target, grant, about in _granted(project, service):
        if not _is_mounted(grant, about):
            owner = (_number(grant, "uid", name), _number(grant, "gid", name))
            mode = int(str(grant.get("mode") or MODE), 8)
            one_file.put(one, target, content(project, name, about), mode, owner)


def are_written(project: Project, service: str) -> bool:
    """Whether some are written into a container after it was made."""
    return any(not _is_mounted(grant, about) for _, _, grant, about in _granted(project, service))


def check(project: Project, service: str) -> None:
    """Raise CosoError for what cannot be had on this machine."""
    for name, _, grant, about in _granted(project, service):
        _number(grant, "uid", name), _number(grant, "gid", name)
        content(project, name, about)


def signature(project: Project, service: str) -> list[object]:
    """What, when it changes, asks for another container."""
    import hashlib

    return [
        [target, plain(grant), plain(about)]
        if _is_mounted(grant, about)
        else [target, plain(grant), hashlib.sha256(content(project, name, about)).hexdigest()]
        for name, target, grant, about in _granted(project, service)
    ]


def content(project: Project, name: str, about: Map) -> bytes:
    """What a secret or a config holds. Raises MissingError."""
    if about.get("file"):
        try:
            with open(about["file"], "rb") as file:
                return file.read()
        except OSError as error:
            raise MissingError(f"{name}: cannot read {about['file']}: {error.strerror}") from None
    if "environment" in about:
        if about["environment"] not in project.variables:
            raise MissingError(f"{name}: the variable {about['environment']} is not set")
        return project.variables[about["environment"]].encode()
    return str(about.get("content") or "").encode()


def _number(grant: Map, key: str, name: str) -> int:
    text = str(grant.get(key) or "0")
    if not text.isdecimal():
        raise CosoError(f"{name}: {key} {text!r} is not a number")
    return int(text)
