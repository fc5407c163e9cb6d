"""`coso compose …`: projects that a compose file describes; `coso up` and `coso down` for short."""

from __future__ import annotations

import os
import sys

from coso.cli import compose_services as services
from coso.cli.commands import COMPOSE
from coso.cli.compose_common import Asked, load, protect, tell
from coso.errors import PrivilegeError, UsageError
from coso.flags import HELP as HELP_OPTION
from coso.flags import Option, Words, parse, read_words, usage
from coso.services import needs, state
from coso.services.consistency import check_scale
from coso.services.plan import How, plan, shown, wanted

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Callable

    from coso.services.places import Map

GLOBAL = (
    Option("file", "f", "FILE", "compose file; several are laid over each other (default compose.yaml)", repeated=True),
    Option("project-name", "p", "NAME", "name of the project (default that in the file, else the directory's)"),
    Option("profile", "", "NAME", "switch on the services of a profile; * for all", repeated=True),
    Option("env-file", "", "FILE", "variables (default .env beside the file)", repeated=True),
    Option("project-directory", "", "DIRECTORY", "where relative paths start (default that of the first file)"),
    Option("ignore-unsupported", "", "", "warn of keys that are not carried out, and go on"),
    Option("dry-run", "", "", "say what would be done, and do nothing"),
)
HELP = """coso compose [OPTIONS] COMMAND …: the services of a compose file

  coso compose up -d --wait            make and start all, and wait until they are well
  coso compose logs -f web             what a service says
  coso compose exec web sh             a shell in it
  coso compose up -d --scale web=3     three of it
  coso compose down -v                 take all away, volumes too

"""
TIME = Option(
    "timeout", "t", "SECONDS", "how long a container may take to end (default its stop_grace_period, else 10)"
)
UP = (
    Option("detach", "d", "", "do not stay to show output"),
    Option("wait", "", "", "wait until all run, and are healthy where that is checked; does not stay"),
    Option("wait-timeout", "", "SECONDS", "how long to wait"),
    Option("scale", "", "SERVICE=NUMBER", "how many containers of a service", repeated=True),
    Option("build", "", "", "build images even where they are there"),
    Option("no-build", "", "", "build none"),
    Option("pull", "", "always|missing|never", "when to pull images"),
    Option("force-recreate", "", "", "make containers anew though nothing has changed"),
    Option("always-recreate-deps", "", "", "with --force-recreate, those they depend on too"),
    Option("no-recreate", "", "", "leave containers that are there as they are"),
    Option("no-deps", "", "", "leave out services that the named ones depend on"),
    Option("no-start", "", "", "make containers, and start none"),
    Option("remove-orphans", "", "", "remove containers whose service is in the file no more"),
    Option("quiet-pull", "", "", "pull without a word"),
    Option("timestamps", "", "", "show when each line of output came"),
    Option("no-log-prefix", "", "", "leave the names away from output"),
    TIME,
)


def main(words: list[str]) -> int:
    """Carry out `coso compose …` and return the exit status."""
    from coso import flags

    if flags.collected is not None:
        flags.collected.append(("coso compose [OPTIONS] COMMAND", GLOBAL))
        return 0
    given = parse((*GLOBAL, HELP_OPTION), words, "coso compose")
    if given.on("help") or not given.rest:
        lines = "".join(f"  {name:<10} {text}\n" for name, text in COMPOSE.items())
        sys.stdout.write(f"{HELP}{lines}\n{usage((*GLOBAL, HELP_OPTION))}")
        return 0 if given.on("help") else 125
    name, *rest = given.rest
    if name not in COMMANDS:
        from difflib import get_close_matches

        near = get_close_matches(name, COMMANDS, 1)
        raise UsageError(
            f"coso compose has no command {name!r}", hint=f"{near[0]!r} perhaps?" if near else "coso compose --help"
        )
    return _run(name, given, rest)


def _run(name: str, asked: Words, words: list[str]) -> int:
    options, carry_out = COMMANDS[name]
    is_short = name in SHORT
    given = read_words(
        (*options, *GLOBAL) if is_short else options,
        words,
        f"coso {'' if is_short else 'compose '}{name} [OPTIONS]{USAGE.get(name, ' [SERVICE …]')}",
        anywhere=name not in ("exec", "run"),
    )
    if given is None:
        return 0
    if is_short:
        # What stands before the command may stand after it too.
        both = {option.name: [*asked.all(option.name), *given.all(option.name)] for option in GLOBAL}
        asked = Words({option: texts for option, texts in both.items() if texts}, ())
    elif asked.on("dry-run"):
        raise UsageError(f"--dry-run is for up and down, not for {name}")
    if name != "config" and os.geteuid() != 0:
        raise PrivilegeError(
            f"coso compose {name} needs root: services meet on networks, which an ordinary user cannot make",
            hint="run it with sudo",
        )
    if name != "config":
        from coso.engine.adopt import adopt

        adopt()
    return carry_out(Asked(asked), given)


def __getattr__(name: str) -> Callable[[list[str]], int]:
    """`coso compose up` is found as `up` here, and so on."""
    if name not in COMMANDS:
        raise AttributeError(name)
    return lambda words: _run(name, Words({}, ()), words)


def _config(asked: Asked, given: Words) -> int:
    """`coso compose config`."""
    from coso.services.show import as_yaml, shown

    project = load(asked, given.rest, check=False)
    wanted(project, given.rest)
    tree = shown(project)
    if given.on("services"):
        sys.stdout.write("".join(f"{name}\n" for name in project.services))
    elif given.on("volumes") or given.on("networks"):
        part = "volumes" if given.on("volumes") else "networks"
        sys.stdout.write("".join(f"{name}\n" for name in tree.get(part) or ()))  # type: ignore[attr-defined]
    elif given.on("images"):
        from coso.services.container import image_of

        sys.stdout.write("".join(f"{image_of(project, name)}\n" for name in project.services))
    elif given.on("profiles"):
        found = {name for one in project.services.values() for name in one.get("profiles") or ()}
        sys.stdout.write("".join(f"{name}\n" for name in sorted(found)))
    elif given.on("hash"):
        from coso.services.container import hash_of

        sys.stdout.write("".join(f"{name} {hash_of(project, name)}\n" for name in project.services))
    elif not given.on("quiet"):
        form = given.last("format", "yaml")
        if form not in ("yaml", "json"):
            raise UsageError(f"--format {form!r} is not yaml or json")
        if form == "json":
            import json

            text = json.dumps(tree, indent=2) + "\n"
        else:
            text = as_yaml(tree)
        _write(text, given.last("output"))
    return 0


def _write(text: str, path: str) -> None:
    if not path:
        sys.stdout.write(text)
        return
    with open(path, "w", encoding="utf-8") as file:
        file.write(text)


def _up(asked: Asked, given: Words) -> int:
    """`coso compose up`."""
    from time import monotonic

    from coso.services.carry_out import Up

    project = load(asked, given.rest)
    how = How(
        force=given.on("force-recreate"),
        no_recreate=given.on("no-recreate"),
        always_deps=given.on("always-recreate-deps"),
        remove_orphans=given.on("remove-orphans"),
        start=not given.on("no-start"),
        scales=_scales(given, project.services),
    )
    names = given.rest
    order = wanted(project, names, with_dependencies=not given.on("no-deps"))
    protect(project)
    needs.check(project, order)
    if not asked.dry_run:
        services.prepare(project, order, given)
    found = plan(project, names, how, with_dependencies=not given.on("no-deps"))
    if asked.dry_run:
        sys.stdout.write(shown(found, project))
        return 0
    resolve = services.resolver(given)
    needs.try_out(project, found.actions, resolve)
    if found.orphans and not how.remove_orphans:
        orphans = ", ".join(one.name for one in found.orphans)
        sys.stderr.write(f"coso: containers of services that are in the file no more: {orphans}; --remove-orphans\n")
    in_front = not (given.on("detach") or given.on("wait") or given.on("no-start"))
    seconds = _seconds(given, "wait-timeout")
    until = monotonic() + seconds if seconds is not None else None
    for orphan in found.orphans if how.remove_orphans else ():
        services.remove_one(project, orphan.existing, given)
    with services.stopped_by_signals(project, found.order if in_front else ()):
        Up(project, found, resolve, tell, start=how.start).run(until)
        if given.on("wait"):
            services.wait_until_well(project, order, until)
    if not in_front:
        return 0
    shown_services = [name for name in order if project.services[name].get("attach", True)]
    return services.stay(project, shown_services, given)


def _scales(given: Words, known: Map) -> dict[str, int]:
    found = {}
    for text in given.all("scale"):
        name, _, number = text.partition("=")
        if name not in known or not number.isdecimal():
            raise UsageError(f"--scale {text!r} is not SERVICE=NUMBER", hint=f"services are: {', '.join(known)}")
        found[name] = int(number)
        check_scale(known[name], name, found[name])
    return found


def _seconds(given: Words, option: str) -> int | None:
    text = given.last(option)
    if not text:
        return None
    if not text.isdecimal():
        raise UsageError(f"--{option} {text!r} is not a number of seconds")
    return int(text)


def _down(asked: Asked, given: Words) -> int:
    """`coso compose down`."""
    from coso.services import down

    if given.last("rmi", "all") not in ("all", "local"):
        raise UsageError(f"--rmi {given.last('rmi')!r} is not all or local")
    project = load(asked, (), only_name=True)
    there = state.containers(project.name, one_off=True)
    mine = [one for one in there if state.service_of(one) in project.services or not project.services]
    orphans = [one for one in there if one not in mine]
    if orphans and not given.on("remove-orphans"):
        names = ", ".join(one.name for one in orphans)
        sys.stderr.write(f"coso: containers of services that are in the file no more: {names}; --remove-orphans\n")
    listed = there if given.on("remove-orphans") else mine
    if given.rest:
        listed = [one for one in listed if state.service_of(one) in given.rest]
    if asked.dry_run:
        sys.stdout.write("".join(f"container  {one.name}: remove\n" for one in listed))
        if not given.rest:
            sys.stdout.write("".join(f"network    {name}: remove\n" for name in state.networks(project.name)))
            volumes = state.volumes_of(project.name) if given.on("volumes") else []
            sys.stdout.write("".join(f"volume     {name}: remove\n" for name in volumes))
        return 0
    down.take_down(project, listed, tell, _seconds(given, "timeout"), with_volumes=given.on("volumes"))
    if given.rest:
        return 0
    down.remove_networks(project, tell)
    if given.on("volumes"):
        down.remove_volumes(project, tell)
    if given.last("rmi"):
        down.remove_images(project, tell, every=given.last("rmi") == "all")
    return 0


def _ls(asked: Asked, given: Words) -> int:
    """`coso compose ls`."""
    from coso.cli import table
    from coso.services.container import FILES, PROJECT

    rows: dict[str, dict[str, object]] = {}
    for one in state.containers():
        row = rows.setdefault(
            one.labels[PROJECT], {"Name": one.labels[PROJECT], "ConfigFiles": one.labels.get(FILES, "")}
        )
        counts = row.setdefault("counts", {})
        assert isinstance(counts, dict)
        counts[one.status] = counts.get(one.status, 0) + 1
    found = []
    for row in rows.values():
        counts = row.pop("counts")
        assert isinstance(counts, dict)
        if given.on("all") or "running" in counts:
            row["Status"] = ", ".join(f"{status}({count})" for status, count in sorted(counts.items()))
            found.append(row)
    columns = {"Name": "NAME", "Status": "STATUS", "ConfigFiles": "CONFIG FILES"}
    if given.last("format") == "json":
        import json

        sys.stdout.write(json.dumps(found) + "\n")
        return 0
    table.show(found, columns, quiet="Name" if given.on("quiet") else "")
    return 0


USAGE = {
    "exec": " SERVICE COMMAND …",
    "run": " SERVICE [COMMAND …]",
    "port": " SERVICE PORT[/PROTOCOL]",
    "ls": "",
    "watch": " [SERVICE …]",
}
CONFIG = (
    Option("format", "", "yaml|json", "form (default yaml)"),
    Option("output", "o", "FILE", "write to a file"),
    Option("quiet", "q", "", "only check"),
    Option("services", "", "", "print the names of the services"),
    Option("volumes", "", "", "print the names of the volumes"),
    Option("networks", "", "", "print the names of the networks"),
    Option("images", "", "", "print the images"),
    Option("profiles", "", "", "print the profiles"),
    Option("hash", "", "", "print what says whether a service has changed"),
)
DOWN = (
    Option("volumes", "v", "", "remove volumes too, but for external ones"),
    Option("remove-orphans", "", "", "remove containers whose service is in the file no more"),
    Option("rmi", "", "all|local", "remove images too: all, or those without a name of their own"),
    TIME,
)
LS = (
    Option("all", "a", "", "those too that do not run"),
    Option("quiet", "q", "", "only names"),
    Option("format", "", "table|json", "form of the list"),
)
# `coso up` is `coso compose up`; only these are not the name of a command for containers or images.
SHORT = ("up", "down")
COMMANDS: dict[str, tuple[tuple[Option, ...], Callable[[Asked, Words], int]]] = {
    "up": (UP, _up),
    "down": (DOWN, _down),
    "config": (CONFIG, _config),
    "ls": (LS, _ls),
    **services.COMMANDS,
}
