"""`coso compose watch`: changes of source files go into containers as they happen (compose-spec, develop.md)."""

from __future__ import annotations

import os
import sys
from fnmatch import fnmatch
from time import sleep

from coso.build import ignore
from coso.cli import compose_images as images
from coso.cli.compose_common import tell
from coso.engine import one_file, record
from coso.errors import CosoError, UsageError
from coso.flags import Option, Words
from coso.services import state
from coso.services.carry_out import Up, begin, stop
from coso.services.inside import run_hook
from coso.services.plan import How, plan, wanted

TYPE_CHECKING = False
if TYPE_CHECKING:
    from coso.services.places import Map
    from coso.services.project import Project

    Stamps = dict[str, tuple[int, int]]

OPTIONS = (
    Option("no-up", "", "", "do not start the services first"),
    Option("quiet", "", "", "without a word"),
)
LOOK_SECONDS = 0.3


def watch(project: Project, names: tuple[str, ...], given: Words) -> int:
    """Look for changes until somebody interrupts. Raises CosoError."""
    order = wanted(project, names, with_dependencies=True)
    rules = [
        (name, rule) for name in order for rule in (project.services[name].get("develop") or {}).get("watch") or ()
    ]
    if not rules:
        raise UsageError(
            "no service has anything to watch", hint="develop: {watch: [{path: ./src, action: sync, target: /src}]}"
        )
    if not given.on("no-up"):
        images.prepare(project, order, Words({}, ()))
        Up(project, plan(project, names, How()), images.resolver(given), tell).run()
    seen = [_stamps(rule) for _, rule in rules]
    for (service, rule), stamps in zip(rules, seen, strict=True):
        if rule.get("initial_sync") and rule["action"].startswith("sync"):
            _sync(project, service, rule, set(stamps), set())
    sys.stderr.write("coso: watching; Ctrl-C ends\n")
    while True:
        sleep(LOOK_SECONDS)
        for number, (service, rule) in enumerate(rules):
            now = _stamps(rule)
            changed = {path for path in now if seen[number].get(path) != now[path]}
            gone = set(seen[number]) - set(now)
            if changed or gone:
                seen[number] = now
                try:
                    _carry_out(project, service, rule, changed, gone)
                except CosoError as error:
                    sys.stderr.write(f"coso: {error}\n")  # The next change may mend it.


def _stamps(rule: Map) -> Stamps:
    """Size and time of every file that a rule is about."""
    top = rule["path"]
    found: Stamps = {}
    if os.path.isfile(top):
        about = os.stat(top)
        return {top: (about.st_mtime_ns, about.st_size)}
    patterns = ignore.patterns("\n".join(rule.get("ignore") or ()))
    for above, directories, names in os.walk(top):
        directories[:] = [name for name in directories if name != ".git"]
        for name in names:
            path = f"{above}/{name}"
            within = os.path.relpath(path, top)
            wanted_here = rule.get("include") or ()
            if ignore.is_left_out(within, patterns) or (
                wanted_here and not any(fnmatch(within, one) for one in wanted_here)
            ):
                continue
            try:
                about = os.lstat(path)
            except FileNotFoundError:
                continue
            found[path] = (about.st_mtime_ns, about.st_size)
    return found


def _carry_out(project: Project, service: str, rule: Map, changed: set[str], gone: set[str]) -> None:
    tell(f"Service {service}", f"{len(changed) + len(gone)} files have changed: {rule['action']}")
    action = rule["action"]
    if action == "rebuild":
        images.build(project, service, quiet=True)
        found = plan(project, (service,), How(), with_dependencies=False)
        Up(project, found, images.resolver(Words({}, ())), tell).run()
        return
    if action.startswith("sync"):
        _sync(project, service, rule, changed, gone)
    for one in state.of_service(project.name, service):
        if action in ("restart", "sync+restart"):
            stop(project, one)
            begin(project, record.find(one.id))
        elif action == "sync+exec":
            run_hook(record.find(one.id), rule["exec"])


def _sync(project: Project, service: str, rule: Map, changed: set[str], gone: set[str]) -> None:
    """Copy changed files into every container of a service, and remove those that are gone."""
    for one in state.of_service(project.name, service):
        for path in sorted(changed):
            one_file.put_file(one, _target(rule, path), path)
        if gone:
            one_file.remove(one, [_target(rule, path) for path in sorted(gone)])


def _target(rule: Map, path: str) -> str:
    within = os.path.relpath(path, rule["path"])
    return str(rule["target"]) if within == "." else f"{rule['target'].rstrip('/')}/{within}"
