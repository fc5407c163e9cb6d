"""What is done to containers that are there: `stop`, `restart`, `kill`, `pause`, `rm`, `rename`, `wait`, `update` …"""

from __future__ import annotations

import sys

from coso.cli import table
from coso.cli.create import each
from coso.cli.select import Filters
from coso.engine import control, record, volumes
from coso.engine.adopt import adopt
from coso.engine.record import Record, size_of
from coso.errors import CosoError, UsageError
from coso.flags import Option, Words, read_words
from coso.times import moment, seconds_of

TIME = Option("timeout", "t", "SECONDS", "how long to wait before killing (default 10; -1 for ever)")
ELDER = Option("time", "", "SECONDS", "as --timeout")
SIGNAL = Option("signal", "s", "SIGNAL", "signal to send")
FORCE = Option("force", "f", "", "do not ask, do it")


def _seconds(given: Words) -> int | None:
    text = given.last("timeout") or given.last("time")
    if not text:
        return None
    if not text.removeprefix("-").isdecimal():
        raise UsageError(f"--timeout {text!r} is not a number of seconds")
    return int(text)


def stop(words: list[str]) -> int:
    """`coso stop`."""
    given = read_words((TIME, ELDER, SIGNAL), words, "coso stop [OPTIONS] CONTAINER [CONTAINER …]", least=1)
    if given is None:
        return 0
    adopt()
    seconds = _seconds(given)
    return each(given.rest, lambda one: control.stop(one, seconds, given.last("signal")))


def restart(words: list[str]) -> int:
    """`coso restart`."""
    given = read_words((TIME, ELDER, SIGNAL), words, "coso restart [OPTIONS] CONTAINER [CONTAINER …]", least=1)
    if given is None:
        return 0
    adopt()
    seconds = _seconds(given)

    def act(one: Record) -> None:
        if not one.is_kept or one.config.get("remove"):
            raise CosoError(f"the container {one.name or one.id} goes with its process, and cannot be started again")
        control.stop(one, seconds, given.last("signal"))
        end = control.start(record.find(one.id))
        if end:
            end.close()

    return each(given.rest, act)


def kill(words: list[str]) -> int:
    """`coso kill`."""
    given = read_words((SIGNAL,), words, "coso kill [OPTIONS] CONTAINER [CONTAINER …]", least=1)
    if given is None:
        return 0
    adopt()
    return each(given.rest, lambda one: control.kill(one, given.last("signal", "KILL")))


def pause(words: list[str]) -> int:
    """`coso pause`."""
    given = read_words((), words, "coso pause CONTAINER [CONTAINER …]", least=1)
    return each(given.rest, control.pause) if given else 0


def unpause(words: list[str]) -> int:
    """`coso unpause`."""
    given = read_words((), words, "coso unpause CONTAINER [CONTAINER …]", least=1)
    return each(given.rest, control.unpause) if given else 0


def rm(words: list[str]) -> int:
    """`coso rm`."""
    options = (FORCE, Option("volumes", "v", "", "its nameless volumes too"), Option("link", "l", "", "(not offered)"))
    given = read_words(options, words, "coso rm [OPTIONS] CONTAINER [CONTAINER …]", least=1)
    if given is None:
        return 0
    if given.on("link"):
        raise UsageError("--link is not offered: containers find each other by name on a network")
    adopt()
    force = given.on("force")
    found = [word for word in given.rest if not force or _is_there(word)]
    return each(tuple(found), lambda one: control.remove(one, force=force, with_volumes=given.on("volumes")))


def _is_there(word: str) -> bool:
    try:
        record.find(word)
    except CosoError as error:
        # As with Docker: with --force it is no failure that there is nothing to remove.
        sys.stderr.write(f"coso: {error.message}\n")
        return False
    return True


def rename(words: list[str]) -> int:
    """`coso rename`."""
    given = read_words((), words, "coso rename CONTAINER NEW_NAME", 2, 2)
    if given:
        control.rename(record.find(given.rest[0]), given.rest[1])
    return 0


def wait(words: list[str]) -> int:
    """`coso wait`."""
    given = read_words((), words, "coso wait CONTAINER [CONTAINER …]", least=1)
    if given is None:
        return 0
    adopt()

    def act(one: Record) -> None:
        sys.stdout.write(f"{control.wait(one)}\n")
        sys.stdout.flush()

    return each(given.rest, act, say_name=False)


UPDATES = (
    "memory memory-swap memory-reservation cpus cpu-shares cpu-period cpu-quota cpuset-cpus cpuset-mems pids-limit "
    "blkio-weight cpu-rt-runtime cpu-rt-period restart"
).split()


def update(words: list[str]) -> int:
    """`coso update`."""
    from coso.options import OPTIONS

    options = tuple(option for option in OPTIONS if option.name in UPDATES)
    given = read_words(options, words, "coso update [OPTIONS] CONTAINER [CONTAINER …]", least=1)
    if given is None:
        return 0
    if not given.options:
        raise UsageError("nothing is to be changed", hint="see `coso update --help`")
    from coso.engine.update import update as change

    return each(given.rest, lambda one: change(one, given))


def prune(words: list[str]) -> int:
    """`coso container prune`."""
    options = (FORCE, Option("filter", "", "until=SPAN|label=NAME", "only what fits", repeated=True))
    given = read_words(options, words, "coso container prune [OPTIONS]", most=0)
    if given is None:
        return 0
    if not table.ask("This will remove all stopped containers.", force=given.on("force")):
        return 0
    gone, freed = prune_ended(Filters(given.all("filter"), ("until", "label")))
    if gone:
        sys.stdout.write("Deleted Containers:\n" + "".join(f"{name}\n" for name in gone) + "\n")
    sys.stdout.write(f"Total reclaimed space: {table.size(freed)}\n")
    return 0


def prune_ended(filters: Filters) -> tuple[list[str], int]:
    """Remove containers that do not run; their ids, and the bytes that became free."""
    adopt()
    until = [moment(text, "filter until") for text in filters.all("until")]
    gone, freed = [], 0
    for one in record.every():
        if one.status not in ("created", "exited", "dead") or not filters.labels_fit(one.labels):
            continue
        if until and seconds_of(str(one.config["created"])) > min(until):
            continue
        freed += size_of(one)
        control.remove(one)
        gone.append(one.id)
    return gone, freed


def remove_unused_volumes(*, every: bool) -> list[str]:
    """Remove volumes that no container uses and nobody has named, with `every` named ones too; their names."""
    used = volumes.users()
    gone = []
    for known in volumes.every():
        if known["name"] not in used and (every or known.get("anonymous")):
            volumes.remove(known["name"])
            gone.append(known["name"])
    return gone
