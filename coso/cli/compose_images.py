"""Images of a compose project: pulled, built, and found for each service."""

from __future__ import annotations

import os
import sys
import tempfile

from coso.cli.compose_common import Asked, load, tell
from coso.errors import CosoError, UsageError
from coso.flags import Option
from coso.images import source, store
from coso.services import grants
from coso.services.container import image_of
from coso.services.limits import ulimit
from coso.services.plan import wanted

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Callable

    from coso.flags import Words
    from coso.images.source import Source
    from coso.services.places import Map
    from coso.services.project import Project

POLICIES = {"missing": "missing", "if_not_present": "missing", "always": "always", "never": "never", "build": "never"}


def resolver(given: Words) -> Callable[[str], Source]:
    """Finds an image that is here by now."""

    def resolve(name: str) -> Source:
        return source.resolve(name, _not_here, pull="missing")

    return resolve


def _not_here(name: str) -> None:
    raise CosoError(f"the image {name} is not here", hint=f"coso pull {name}")


def prepare(project: Project, order: tuple[str, ...], given: Words) -> None:
    """Pull and build what services want, before anything is made. Raises CosoError."""
    built = {image_of(project, service) for service in order if project.services[service].get("build")}
    # What is built first need not be looked for elsewhere by those who only use it.
    for service in sorted(order, key=lambda name: not project.services[name].get("build")):
        one = project.services[service]
        name = image_of(project, service)
        here = store.find_or_none(name) is not None
        if given.last("pull", "missing") not in POLICIES:
            raise UsageError(f"--pull {given.last('pull')!r} is not known", hint="always, missing and never are")
        policy = given.last("pull") or str(one.get("pull_policy") or "missing")
        wants_build = given.on("build") or policy == "build" or (not here and not _is_pulled(one, policy))
        if one.get("build") and wants_build and not given.on("no-build"):
            build(project, service)
        elif not one.get("build") and name in built and store.find_or_none(name):
            continue
        elif not one.get("build") or one.get("image"):
            pull(name, policy if policy in POLICIES else "missing", quiet=given.on("quiet-pull"))


def _is_pulled(one: Map, policy: str) -> bool:
    """Whether an image that is built is rather taken from a registry."""
    return not one.get("build") or (bool(one.get("image")) and policy == "always")


def pull(name: str, policy: str, *, quiet: bool) -> None:
    """Bring an image here, as the policy says. Raises CosoError."""
    from coso.cli.registry import bring

    source.resolve(name, lambda wanted: _bring(bring, wanted, quiet), pull=POLICIES[policy])


def _bring(bring: Callable[..., object], name: str, quiet: bool) -> None:
    bring(name, quiet=quiet)


def build(project: Project, service: str, more: tuple[str, ...] = (), *, quiet: bool = False) -> None:
    """Build the image of a service. Raises CosoError."""
    from coso.cli.build import build as build_image

    one = project.services[service]["build"]
    words = ["-t", image_of(project, service), *more]
    for tag in one.get("tags") or ():
        words += ["-t", tag]
    for name, text in (one.get("args") or {}).items():
        words += ["--build-arg", f"{name}={text}"]
    for name, text in (one.get("labels") or {}).items():
        words += ["--label", f"{name}={text}"]
    for name, addresses in (one.get("extra_hosts") or {}).items():
        words += [word for address in addresses for word in ("--add-host", f"{name}:{address}")]
    for key, option in (("target", "--target"), ("network", "--network"), ("shm_size", "--shm-size")):
        words += [option, str(one[key])] if one.get(key) else []
    for key, option in (("no_cache", "--no-cache"), ("pull", "--pull")):
        words += [option] if one.get(key) else []
    for name, limit in (one.get("ulimits") or {}).items():
        words += ["--ulimit", ulimit(name, limit)]
    tell(f"Image {image_of(project, service)}", "Building")
    with tempfile.TemporaryDirectory() as place:
        words += _secrets(project, one, place)
        if "dockerfile_inline" in one:
            path = f"{place}/Dockerfile"
            with open(path, "w", encoding="utf-8") as file:
                file.write(one["dockerfile_inline"])
        else:
            path = os.path.join(one["context"], one.get("dockerfile", "Dockerfile"))
        out = sys.stdout
        try:
            # What a build says is no answer of this command.
            sys.stdout = sys.stderr
            status = build_image([*words, *(["-q"] if quiet else []), "-f", path, one["context"]])
        finally:
            sys.stdout = out
    if status:
        raise CosoError(f"the image of {service} cannot be built")
    tell(f"Image {image_of(project, service)}", "Built")


def _secrets(project: Project, one: Map, place: str) -> list[str]:
    """The secrets of a build; those of variables become files in a directory that only root reads."""
    words = []
    for number, grant in enumerate(one.get("secrets") or ()):
        about = project.model["secrets"][grant["source"]]
        name = grant.get("target") or grant["source"]
        path = about.get("file")
        if not path:
            path = f"{place}/secret-{number}"
            with open(path, "wb") as file:
                file.write(grants.content(project, f"secrets.{grant['source']}", about))
        words += ["--secret", f"id={name},src={path}"]
    return words


def build_all(asked: Asked, given: Words) -> int:
    """`coso compose build`."""
    project = load(asked, given.rest)
    more = [f"--{name}" for name in ("no-cache", "pull") if given.on(name)]
    more += [word for text in given.all("build-arg") for word in ("--build-arg", text)]
    for service in wanted(project, given.rest, with_dependencies=False):
        if project.services[service].get("build"):
            build(project, service, tuple(more), quiet=given.on("quiet"))
    return 0


def pull_all(asked: Asked, given: Words) -> int:
    """`coso compose pull`."""
    project = load(asked, given.rest)
    for service in wanted(project, given.rest, with_dependencies=given.on("include-deps") or not given.rest):
        one = project.services[service]
        if not one.get("image") or (one.get("build") and given.on("ignore-buildable")):
            continue
        try:
            policy = given.last("policy", "always")
            pull(one["image"], policy if policy in POLICIES else "always", quiet=given.on("quiet"))
        except CosoError:
            if not given.on("ignore-pull-failures") and not one.get("build"):
                raise
    return 0


PULL = (
    Option("quiet", "q", "", "without a word"),
    Option("include-deps", "", "", "of what the services depend on, too"),
    Option("ignore-buildable", "", "", "leave out what can be built"),
    Option("ignore-pull-failures", "", "", "go on after an error"),
    Option("policy", "", "always|missing", "when to pull (default always)"),
)
BUILD = (
    Option("build-arg", "", "NAME=VALUE", "an argument of the build", repeated=True),
    Option("no-cache", "", "", "use nothing of earlier builds"),
    Option("pull", "", "", "pull newer base images"),
    Option("quiet", "q", "", "without a word"),
)
