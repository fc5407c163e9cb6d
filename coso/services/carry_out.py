"""`up`: a plan is carried out, each container as soon as what it waits for is there, several at a time."""

from __future__ import annotations

import os
from functools import partial
from time import monotonic

from coso.engine import control, events, make, record, volumes
from coso.engine.health import settings_of
from coso.errors import CosoError
from coso.flags import Words
from coso.images import blobs
from coso.services import container, grants, state
from coso.services.places import Map
from coso.services.plan import CREATE, KEEP, RECREATE, REMOVE, RESTART, START
from coso.worker import FINISHED, Worker, all_at_once, wait_for

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Callable

    from coso.engine.record import Record
    from coso.images.source import Source
    from coso.services.plan import Action, Plan
    from coso.services.project import Project

    Tell = Callable[[str, str], None]
    Resolve = Callable[[str], Source]

LOOK_SECONDS = 0.05
HEALTHY, COMPLETED = "service_healthy", "service_completed_successfully"


class Up:
    """A plan on its way; `resolve` finds an image, `tell` says what happens to what."""

    def __init__(self, project: Project, plan: Plan, resolve: Resolve, tell: Tell, *, start: bool = True) -> None:
        self._project, self._plan = project, plan
        self._resolve, self._tell, self._start = resolve, tell, start
        self._left = {service: [one for one in plan.actions if one.service == service] for service in plan.order}
        self._workers: dict[Worker, Action] = {}
        self._done: set[str] = set()
        self._failed: dict[str, CosoError] = {}
        self._told: set[tuple[str, str]] = set()

    def run(self, until: float | None = None) -> None:
        """Carry out everything. Raises the first CosoError, once all that was begun has ended."""
        self._remove_changed_networks()
        make_networks(self._project, (*self._plan.networks, *self._plan.changed_networks), self._tell)
        make_volumes(self._project, self._plan.volumes, self._tell)
        try:
            self._run(until)
        except KeyboardInterrupt:
            # What is begun is finished, so that whoever stops it finds all of it.
            while self._workers:
                self._take_ends()
            raise

    def _run(self, until: float | None) -> None:
        begun: set[str] = set()
        while len(self._done) + len(self._failed) < len(self._plan.order):
            for service in self._plan.order:
                if service not in begun and not self._failed and self._may_begin(service):
                    begun.add(service)
                    self._begin(service)
            self._take_ends()
            if not self._workers and (self._failed or (until and monotonic() > until)):
                break
        while self._workers:
            self._take_ends()
        for error in self._failed.values():
            raise error
        if len(self._done) < len(self._plan.order):
            raise CosoError("time is up", hint="--wait-timeout SECONDS gives more")

    def _remove_changed_networks(self) -> None:
        """Make way for networks that are made anew: nothing is on them then."""
        from cosonet import manage

        for key in self._plan.changed_networks:
            on_it = [
                one for one in self._plan.actions if key in (self._project.services[one.service].get("networks") or ())
            ]
            all_at_once([partial(stop, self._project, one.existing) for one in on_it if one.existing])
            name = self._project.model["networks"][key]["name"]
            manage.remove(name)
            self._tell(f"Network {name}", "Removed")

    def _may_begin(self, service: str) -> bool:
        """Whether all that a service waits for is there; marks it as failed where that will never be."""
        for name, how in (self._project.services[service].get("depends_on") or Map()).items():
            if name not in self._plan.order:
                continue
            try:
                count = sum(action.service == name and action.kind != REMOVE for action in self._plan.actions)
                if name not in self._done:
                    return False
                if self._start and not is_met(self._project, name, how["condition"], count):
                    return False
            except CosoError as error:
                if how["required"]:
                    self._failed[service] = CosoError(f"{service} waits for {name}: {error.message}", hint=error.hint)
                    return False
                if (name, service) not in self._told:
                    self._told.add((name, service))
                    self._tell(f"Service {name}", f"is not there, and {service} goes on without it")
        return True

    def _begin(self, service: str) -> None:
        for action in self._left[service]:
            if action.kind == KEEP:
                self._tell(
                    f"Container {action.name}", "Running" if action.existing and action.existing.is_alive else "Exists"
                )
                continue
            try:
                # Here, where it is known which ports of a range others have got.
                options = self._options_of(action)
            except CosoError as error:
                self._failed.setdefault(service, error)
                break
            self._workers[Worker(partial(self._carry_out, action, options), FINISHED)] = action
        self._finish(service)

    def _options_of(self, action: Action) -> dict[str, list[str]]:
        if action.kind not in (CREATE, RECREATE):
            return {}
        return container.options_of(self._project, action.service, action.number, id_of(self._project))

    def _take_ends(self) -> None:
        for worker in wait_for(list(self._workers), LOOK_SECONDS):
            action = self._workers.pop(worker)
            try:
                worker.finish()
            except CosoError as error:
                self._failed.setdefault(action.service, error)
            self._finish(action.service)

    def _finish(self, service: str) -> None:
        if all(action.service != service for action in self._workers.values()) and service not in self._failed:
            self._done.add(service)

    def _carry_out(self, action: Action, options: dict[str, list[str]]) -> None:
        """One action, in a process of its own."""
        what = f"Container {action.name}"
        old = action.existing
        if action.kind == REMOVE and old:
            stop_and_remove(self._project, old, self._tell)
            return
        anonymous: dict[str, str] = {}
        if action.kind == RECREATE and old:
            self._tell(what, "Recreate")
            anonymous = _anonymous_of(old)
            stop(self._project, old)
            control.remove(record.find(old.id))
        if action.kind in (CREATE, RECREATE):
            container.make_sources(self._project.services[action.service])
            make_with(self._project, action.service, options, self._resolve, anonymous)
            self._tell(what, "Created" if action.kind == CREATE else "Recreated")
        if action.kind == RESTART and old:
            stop(self._project, old)
        if self._start and action.kind in (CREATE, RECREATE, START, RESTART):
            begin(self._project, record.find(action.name))
            self._tell(what, "Restarted" if action.kind == RESTART else "Started")


def make_networks(project: Project, keys: tuple[str, ...], tell: Tell) -> None:
    """Define the networks that are missing. Raises CosoError."""
    from cosonet import manage

    for key in keys:
        one = project.model["networks"][key]
        pools = (one.get("ipam") or {}).get("config") or ()
        options: dict[str, list[str]] = {
            "label": [f"{name}={text}" for name, text in (one.get("labels") or {}).items()],
            "subnet": [pool["subnet"] for pool in pools if "subnet" in pool],
            "gateway": [pool["gateway"] for pool in pools if "gateway" in pool],
            "ip-range": [pool["ip_range"] for pool in pools if "ip_range" in pool],
            "opt": [f"{name}={text}" for name, text in container.network_options(one).items()],
            "driver": [one["driver"]] if one.get("driver") else [],
        }
        options["label"] += [f"{name}={text}" for name, text in state.labels_of_network(project, key).items()]
        for option, name in (("internal", "internal"), ("ipv6", "enable_ipv6")):
            if one.get(name) and not (option == "ipv6" and any(":" in text for text in options["subnet"])):
                options[option] = ["true"]
        manage.create(one["name"], Words({name: texts for name, texts in options.items() if texts}, ()))
        tell(f"Network {one['name']}", "Created")


def make_volumes(project: Project, keys: tuple[str, ...], tell: Tell) -> None:
    """Make the volumes that are missing."""
    for key in keys:
        one = project.model["volumes"][key]
        volumes.create(one["name"], {**(one.get("labels") or {}), **state.labels_of_volume(project.name, key)})
        tell(f"Volume {one['name']}", "Created")


def id_of(project: Project) -> Callable[[str], str]:
    """Finds the first container of a service, for another that shares something with it."""

    def find(service: str) -> str:
        found = state.of_service(project.name, service)
        if not found:
            raise CosoError(f"the service {service} has no container")
        return found[0].id

    return find


def make_with(
    project: Project,
    service: str,
    options: dict[str, list[str]],
    resolve: Resolve,
    anonymous: dict[str, str] | None = None,
    command: tuple[str, ...] | None = None,
) -> str:
    """Make a container of a service with these options; its id. Raises CosoError."""
    words = container.command_of(project.services[service], options, command)
    claim = blobs.locked("use", shared=True)
    try:
        source = resolve(container.image_of(project, service))
        options["mount"] = [_as_before(text, anonymous or {}) for text in options.get("mount", [])]
        taken = {text.partition("target=")[2].partition(",")[0] for text in options["mount"]}
        for place in (source.settings or {}).get("Volumes") or ():
            if anonymous and place in anonymous and place not in taken:
                options.setdefault("mount", []).append(f"type=volume,target={place},source={anonymous[place]}")
        found = make.create(Words(options, ()), source, words)
    finally:
        os.close(claim)
    events.tell("create", found, record.stored_config(found))
    try:
        grants.put(project, service, record.find(found))
    except BaseException:
        # Without what it is granted it must not be taken for one that is ready.
        control.remove(record.find(found))
        raise
    return found


def _as_before(text: str, anonymous: dict[str, str]) -> str:
    """A mount; where it asks for a volume without a name, that of the container before."""
    place = text.partition("target=")[2].partition(",")[0]
    nameless = text.startswith("type=volume,") and ",source=" not in text
    return f"{text},source={anonymous[place]}" if nameless and place in anonymous else text


def _anonymous_of(old: Record) -> dict[str, str]:
    nameless = set(old.config.get("anonymous") or ())
    return {
        item["destination"]: item["source"] for item in old.config.get("mounts") or () if item["source"] in nameless
    }


def begin(project: Project, one: Record) -> None:
    """Start a container, and then run its hooks. Raises CosoError."""
    end = control.start(one)
    if end:
        end.close()
        hooks(project, one, "post_start")


def hooks(project: Project, one: Record, key: str) -> None:
    """Run what a service wants run in its container at its start, or before its end. Raises CosoError."""
    from coso.services.inside import run_hook

    service = project.services.get(state.service_of(one)) or Map()
    for hook in service.get(key) or ():
        status = run_hook(record.find(one.id), hook)
        if status:
            raise CosoError(f"{key} of {one.name} ended with status {status}: {' '.join(hook['command'])}")


def stop(project: Project, one: Record, seconds: int | None = None) -> None:
    """Stop a container, its hooks first. Raises CosoError."""
    if one.is_alive:
        try:
            hooks(project, one, "pre_stop")
        except CosoError:
            pass  # It is to end all the same.
    control.stop(one, seconds)


def stop_and_remove(
    project: Project, one: Record, tell: Tell, seconds: int | None = None, *, with_volumes: bool = False
) -> None:
    """End a container and take it away."""
    what = f"Container {one.name}"
    if one.is_alive or one.status == "restarting":
        stop(project, one, seconds)
        tell(what, "Stopped")
    if record.read(one.id):
        control.remove(record.find(one.id), force=True, with_volumes=with_volumes)
    tell(what, "Removed")


def is_met(project: Project, service: str, condition: str, count: int) -> bool:
    """Whether a service of `count` containers is as another waits for it to be. Raises CosoError if it never will."""
    if not count:
        return True
    found = state.of_service(project.name, service)
    if condition == COMPLETED:
        for one in found:
            if one.is_alive or one.status in ("created", "restarting") or control.is_watched(one.id):
                return False
            if one.state.get("exitCode"):
                raise CosoError(f"{one.name} ended with status {one.state['exitCode']}", hint=f"coso logs {one.name}")
        return bool(found)
    return len(found) >= count and all(is_well(one, must_be_healthy=condition == HEALTHY) for one in found)


def is_well(one: Record, *, must_be_healthy: bool) -> bool:
    """Whether a container runs, and is healthy where that is asked for. Raises CosoError when it never will be."""
    if not must_be_healthy:
        return one.is_alive or one.status == "restarting" or one.status == "exited"
    health = state.health_of(one)
    if one.status == "exited" and not control.is_watched(one.id):
        raise CosoError(f"{one.name} ended with status {one.state.get('exitCode')}", hint=f"coso logs {one.name}")
    if health == "unhealthy":
        raise CosoError(f"{one.name} is unhealthy", hint=f"coso inspect -f '{{{{json .State.Health}}}}' {one.name}")
    if one.is_alive and not settings_of(one):
        raise CosoError(f"{one.name} has no health check", hint="give its service a healthcheck")
    return one.is_alive and health == "healthy"
