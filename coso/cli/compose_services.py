"""`coso compose` on services that are there: `ps logs exec run start stop restart kill rm …`."""

from __future__ import annotations

import os
import sys
from functools import partial
from time import sleep

from coso.cli import compose_images as images
from coso.cli import compose_output as output
from coso.cli import compose_watch, table
from coso.cli.compose_common import Asked, load, protect, tell
from coso.engine import control, record
from coso.errors import CosoError, UsageError
from coso.flags import Option, Words
from coso.services import container, down, needs, state
from coso.services.carry_out import begin, id_of, make_networks, make_volumes, make_with, stop_and_remove
from coso.services.consistency import replicas
from coso.services.plan import missing_networks, missing_volumes, wanted
from coso.worker import all_at_once

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Callable

    from coso.engine.record import Record
    from coso.services.places import Map
    from coso.services.project import Project

prepare, resolver = images.prepare, images.resolver
stay, stopped_by_signals, wait_until_well = output.stay, output.stopped_by_signals, output.wait_until_well


def _listed(asked: Asked, given: Words, *, every: bool = True) -> tuple[Project, list[Record]]:
    """The project, and the containers of the services that are named, or of all."""
    project = load(asked, (), only_name=True)
    found = state.containers(project.name)
    for name in given.rest:
        if name not in project.services and not any(state.service_of(one) == name for one in found):
            raise UsageError(f"there is no service {name!r}", hint=f"there are: {', '.join(project.services)}")
    found = [one for one in found if not given.rest or state.service_of(one) in given.rest]
    return project, found if every else [one for one in found if one.is_alive or one.status == "restarting"]


def one_of(project: Project, service: str, number: int = 1) -> Record:
    """A container of a service that runs. Raises CosoError."""
    for one in state.of_service(project.name, service):
        if state.number_of(one) == number:
            return one
    raise CosoError(f"the service {service} has no container {number}", hint="coso compose up -d")


def remove_one(project: Project, one: Record | None, given: Words) -> None:
    """Stop and remove a container."""
    if one:
        stop_and_remove(project, one, tell, _seconds(given))


def _seconds(given: Words) -> int | None:
    text = given.last("timeout")
    if text and not text.isdecimal():
        raise UsageError(f"--timeout {text!r} is not a number of seconds")
    return int(text) if text else None


def _index(given: Words) -> int:
    text = given.last("index", "1")
    if not text.isdecimal():
        raise UsageError(f"--index {text!r} is not a number")
    return int(text)


def _ps(asked: Asked, given: Words) -> int:
    from coso.cli.ps import row_of

    _, listed = _listed(asked, given, every=given.on("all"))
    if given.on("services"):
        sys.stdout.write("".join(f"{name}\n" for name in dict.fromkeys(state.service_of(one) for one in listed)))
        return 0
    rows = []
    for one in listed:
        row = {**row_of(one, whole=False, with_size=False), "Service": state.service_of(one), "Name": one.name}
        rows.append(row | {"Health": state.health_of(one), "ExitCode": one.state.get("exitCode", 0)})
    columns = {"Name": "NAME", "Image": "IMAGE", "Service": "SERVICE", "RunningFor": "CREATED", "Status": "STATUS"}
    table.show(rows, {**columns, "Ports": "PORTS"}, given.last("format"), quiet="ID" if given.on("quiet") else "")
    return 0


def _logs(asked: Asked, given: Words) -> int:
    _, listed = _listed(asked, given)
    children = output.show(listed, given, follow=given.on("follow"))
    try:
        for child in children:
            os.waitpid(child, 0)
    except KeyboardInterrupt:
        for child in children:
            os.kill(child, 9)
        return 130
    return 0


def _exec(asked: Asked, given: Words) -> int:
    from coso.cli.exec import main as run_inside

    if len(given.rest) < 2:
        raise UsageError("a service and a command are wanted", hint="coso compose exec SERVICE COMMAND …")
    project = load(asked, (), only_name=True)
    one = one_of(project, given.rest[0], _index(given))
    words = [f"--{name}={text}" for name in ("env", "user", "workdir") for text in given.all(name)]
    words += [f"--{name}" for name in ("detach", "privileged") if given.on(name)]
    if not given.on("detach"):
        words += ["--interactive"] + (["--tty"] if os.isatty(0) and os.isatty(1) and not given.on("no-tty") else [])
    return run_inside([*words, one.id, *given.rest[1:]])


def _run(asked: Asked, given: Words) -> int:
    """`coso compose run`: another container of a service, with another command."""
    if not given.rest:
        raise UsageError("a service is wanted", hint="coso compose run SERVICE [COMMAND …]")
    service, *command = given.rest
    project = load(asked, (service,))
    wanted(project, (service,))
    protect(project)
    needs.check(project, (service,))
    if not given.on("no-deps"):
        _start_dependencies(asked, project, service)
    images.prepare(project, (service,), given)
    make_networks(project, missing_networks(project, (service,)), tell)
    make_volumes(project, missing_volumes(project, (service,)), tell)
    container.make_sources(project.services[service])
    options = container.options_of(project, service, 1, id_of(project), one_off=not given.on("service-ports"))
    options["label"] += [f"{container.ONE_OFF}=True"]
    options["name"] = [given.last("name") or f"{project.name}-{service}-run-{os.urandom(6).hex()}"]
    terminal = os.isatty(0) and os.isatty(1) and not given.on("no-tty")
    for name in ("env", "label", "volume", "publish", "user", "workdir", "entrypoint", "cap-add", "cap-drop"):
        if given.all(name):
            many = name not in ("user", "workdir", "entrypoint")
            options[name] = [*(options.get(name, []) if many else []), *given.all(name)]
    detached = given.on("detach")
    options.pop("tty", None)
    options |= {"interactive": ["true"]} if not detached else {}
    options |= {"tty": ["true"]} if terminal and not detached else {}
    options |= {"rm": ["true"]} if given.on("rm") else {}
    options.pop("restart", None)
    made = make_with(project, service, options, images.resolver(given), None, tuple(command) if command else None)
    one = record.find(made)
    if detached:
        begin(project, one)
        sys.stdout.write(f"{one.name}\n")
        return 0
    from coso.cli.create import start_in_front

    return start_in_front(one)


def _start_dependencies(asked: Asked, project: Project, service: str) -> None:
    from coso.services.carry_out import Up
    from coso.services.plan import How, plan

    depends = project.services[service].get("depends_on") or ()
    names = tuple(name for name in depends if name in project.services)
    if not names:
        return
    order = wanted(project, names)
    images.prepare(project, order, Words({}, ()))
    Up(project, plan(project, names, How()), images.resolver(Words({}, ())), tell).run()
    from coso.services.carry_out import is_met

    for name in names:
        how = project.services[service]["depends_on"][name]
        try:
            while not is_met(project, name, how["condition"], replicas(project.services[name])):
                sleep(0.05)
        except CosoError:
            if how["required"]:
                raise


def _each(act: Callable[[Project, Record, Words], None], *, alive: bool, said: str) -> Callable[[Asked, Words], int]:
    """A command that does something to every container of the services."""

    def carry_out(asked: Asked, given: Words) -> int:
        project, listed = _listed(asked, given)
        for one in listed:
            if one.is_alive == alive:
                act(project, one, given)
                tell(f"Container {one.name}", said)
        return 0

    return carry_out


def _start(asked: Asked, given: Words) -> int:
    project, listed = _listed(asked, given)
    if not listed:
        raise CosoError("there are no containers to start", hint="coso compose up -d")
    protect(project)

    def act(one: Record) -> None:
        begin(project, one)
        tell(f"Container {one.name}", "Started")

    for group in reversed(down.waves(project, listed)):
        all_at_once([partial(act, one) for one in group if not one.is_alive and one.status != "restarting"])
    if given.on("wait"):
        services = tuple(dict.fromkeys(state.service_of(one) for one in listed))
        output.wait_until_well(project, services, None)
    return 0


def _stop(asked: Asked, given: Words) -> int:
    project, listed = _listed(asked, given)
    down.stop_all(project, listed, tell, _seconds(given))
    return 0


def _restart(asked: Asked, given: Words) -> int:
    services = load(asked, (), only_name=True).services
    named = list(given.rest)
    # The list grows as it is gone through: those that are to start again with one of them come too.
    for name in named:
        named += [other for other, one in services.items() if _restarts_with(one, name) and other not in named]
    again = Words(given.options, tuple(named))
    _stop(asked, again)
    return _start(asked, again)


def _restarts_with(service: Map, other: str) -> bool:
    return bool(((service.get("depends_on") or {}).get(other) or {}).get("restart"))


def _kill(asked: Asked, given: Words) -> int:
    signal = given.last("signal", "KILL")
    return _each(lambda _, one, __: control.kill(one, signal), alive=True, said="Killed")(asked, given)


def _rm(asked: Asked, given: Words) -> int:
    project, listed = _listed(asked, given)
    if given.on("stop"):
        down.stop_all(project, listed, tell, None)
        listed = [record.find(one.id) for one in listed]
    gone = [one for one in listed if not one.is_alive and one.status != "restarting"]
    names = ", ".join(one.name for one in gone)
    if not gone or not table.ask(f"Remove {names}?", force=given.on("force")):
        return 0
    for one in gone:
        control.remove(one, with_volumes=given.on("volumes"))
        tell(f"Container {one.name}", "Removed")
    return 0


def _top(asked: Asked, given: Words) -> int:
    from coso.cli.output import top

    _, listed = _listed(asked, given, every=False)
    for one in listed:
        sys.stdout.write(f"{one.name}\n")
        top([one.id])
        sys.stdout.write("\n")
    return 0


def _port(asked: Asked, given: Words) -> int:
    from coso.cli.network import port

    if len(given.rest) != 2:
        raise UsageError("a service and a port are wanted", hint="coso compose port SERVICE PORT")
    project = load(asked, (), only_name=True)
    one = one_of(project, given.rest[0], _index(given))
    number = given.rest[1] if "/" in given.rest[1] else f"{given.rest[1]}/{given.last('protocol', 'tcp')}"
    return port([one.name, number])


def _events(asked: Asked, given: Words) -> int:
    from coso.cli.output import events

    project = load(asked, (), only_name=True)
    words = ["--filter", f"label={container.PROJECT}={project.name}"]
    words += ["--format", "json"] if given.on("json") else []
    for name in ("since", "until"):
        words += [f"--{name}", given.last(name)] if given.last(name) else []
    return events(words)


def _wait(asked: Asked, given: Words) -> int:
    """`coso compose wait`: until the services have ended; the last exit status."""
    project, listed = _listed(asked, given)
    code = 0
    for one in listed:
        code = control.wait(one)
        sys.stdout.write(f"{code}\n")
        if given.on("down-project"):
            down.take_down(project, state.containers(project.name), tell)
            down.remove_networks(project, tell)
            break
    return code


def _watch(asked: Asked, given: Words) -> int:
    project = load(asked, given.rest)
    protect(project)
    return compose_watch.watch(project, given.rest, given)


def _images(asked: Asked, given: Words) -> int:
    _, listed = _listed(asked, given)
    rows = [
        {"Container": one.name, "Image": one.config.get("image"), "ID": str(one.config.get("imageId"))[:12]}
        for one in listed
    ]
    columns = {"Container": "CONTAINER", "Image": "IMAGE", "ID": "IMAGE ID"}
    table.show(rows, columns, "", quiet="ID" if given.on("quiet") else "")
    return 0


TIME = Option("timeout", "t", "SECONDS", "how long a container may take to end")
NO_TTY = Option("no-tty", "T", "", "give it no terminal")
INDEX = Option("index", "", "NUMBER", "which of the service's containers (default 1)")
QUIET = Option("quiet", "q", "", "only ids")
PS = (
    Option("all", "a", "", "those too that do not run"),
    QUIET,
    Option("services", "", "", "print the names of the services"),
    Option("format", "", "TEMPLATE", "json, or a Go template"),
)
LOGS = (
    Option("follow", "f", "", "stay, and show what comes"),
    Option("tail", "n", "NUMBER", "only so many lines from the end of each (default all)"),
    Option("timestamps", "t", "", "show when each line came"),
    Option("no-log-prefix", "", "", "leave the names away"),
    Option("no-color", "", "", "no colours"),
)
COMMON = (
    Option("detach", "d", "", "do not wait for its end"),
    Option("env", "e", "NAME[=VALUE]", "environment variable", repeated=True),
    Option("user", "u", "NAME|UID[:GROUP]", "user"),
    Option("workdir", "w", "PATH", "working directory"),
    NO_TTY,
)
RUN = (
    *COMMON,
    Option("rm", "", "", "remove it at its end"),
    Option("name", "", "NAME", "its name"),
    Option("no-deps", "", "", "do not start what the service depends on"),
    Option("service-ports", "P", "", "publish the service's ports"),
    Option("publish", "p", "[IP:]HOST:PORT", "publish a port", repeated=True),
    Option("volume", "v", "SOURCE:PATH", "one more mount", repeated=True),
    Option("label", "l", "KEY=VALUE", "one more label", repeated=True),
    Option("entrypoint", "", "PROGRAM", "in place of the service's"),
    Option("cap-add", "", "NAME", "add a capability", repeated=True),
    Option("cap-drop", "", "NAME", "drop a capability", repeated=True),
    Option("build", "", "", "build the image even where it is there"),
    Option("quiet-pull", "", "", "pull without a word"),
)
RM = (
    Option("force", "f", "", "do not ask"),
    Option("stop", "s", "", "stop them first"),
    Option("volumes", "v", "", "remove their nameless volumes too"),
)
EVENTS = (
    Option("json", "", "", "as JSON"),
    Option("since", "", "MOMENT|SPAN", "what has happened since"),
    Option("until", "", "MOMENT|SPAN", "up to when"),
)
COMMANDS: dict[str, tuple[tuple[Option, ...], Callable[[Asked, Words], int]]] = {
    "ps": (PS, _ps),
    "logs": (LOGS, _logs),
    "exec": ((*COMMON, INDEX, Option("privileged", "", "", "every capability")), _exec),
    "run": (RUN, _run),
    "start": ((Option("wait", "", "", "wait until all are well"),), _start),
    "stop": ((TIME,), _stop),
    "restart": ((TIME,), _restart),
    "build": (images.BUILD, images.build_all),
    "pull": (images.PULL, images.pull_all),
    "top": ((), _top),
    "events": (EVENTS, _events),
    "port": ((INDEX, Option("protocol", "", "tcp|udp", "protocol (default tcp)")), _port),
    "kill": ((Option("signal", "s", "SIGNAL", "signal (default KILL)"),), _kill),
    "rm": (RM, _rm),
    "pause": ((), _each(lambda _, one, __: control.pause(one), alive=True, said="Paused")),
    "unpause": ((), _each(lambda _, one, __: control.unpause(one), alive=True, said="Unpaused")),
    "images": ((QUIET,), _images),
    "wait": ((Option("down-project", "", "", "take all down then"),), _wait),
    "watch": (compose_watch.OPTIONS, _watch),
}
