"""The commands of `coso-oci`: from words to the operations of coso.oci."""

from __future__ import annotations

import os
import stat
import sys

from coso.errors import CosoError, UsageError
from coso.flags import Option, Words

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Collection

    from coso.cli.oci import Caller, Command
    from coso.oci.create import Wishes
    from coso.oci.store import Place
    from coso.spec import Process

CREATE = (
    Option("bundle", "b", "DIR", "the bundle (default the current directory)"),
    Option("config", "f", "FILE", "the configuration (default config.json in the bundle)"),
    Option("console-socket", "", "PATH", "send the terminal's master over this socket"),
    Option("pid-file", "", "FILE", "write the number of the container's process there"),
    Option("pidfd-socket", "", "PATH", "send a descriptor of the container's process over this socket"),
    Option("preserve-fds", "", "N", "pass so many descriptors after standard error on"),
    Option("no-pivot", "", "", "move the root into place instead of pivot_root, as an initial ramfs needs"),
    Option("no-new-keyring", "", "", "keep the caller's session keyring"),
    Option("no-subreaper", "", "", "accepted; coso-oci never is one"),
)
RUN = (
    *CREATE,
    Option("detach", "d", "", "return when the command has started"),
    Option("keep", "", "", "keep the container's state after its end"),
)
EXEC = (
    Option("process", "p", "FILE", "the process, as in config.json"),
    Option("console-socket", "", "PATH", "send the terminal's master over this socket"),
    Option("pid-file", "", "FILE", "write the number of the process there"),
    Option("pidfd-socket", "", "PATH", "send a descriptor of the process over this socket"),
    Option("no-subreaper", "", "", "accepted; coso-oci never is one"),
    Option("preserve-fds", "", "N", "pass so many descriptors after standard error on"),
    Option("detach", "d", "", "return when the command has started"),
    Option("tty", "t", "", "give the command a terminal"),
    Option("cwd", "", "DIR", "working directory"),
    Option("env", "e", "NAME=VALUE", "environment variable", repeated=True),
    Option("user", "u", "UID[:GID]", "user and group"),
    Option("additional-gids", "g", "GID", "a supplementary group", repeated=True),
    Option("cap", "c", "NAME", "add a capability", repeated=True),
    Option("apparmor", "", "PROFILE", "AppArmor profile"),
    Option("process-label", "", "LABEL", "SELinux label"),
    Option("no-new-privs", "", "", "set no_new_privs"),
    Option("cgroup", "", "PATH", "a group below the container's"),
    Option("ignore-paused", "", "", "do it in a paused container too"),
)


def _place(caller: Caller, container: str) -> Place:
    from coso.oci.store import Place

    return Place(caller.root, container)


def _wishes(caller: Caller, given: Words) -> Wishes:
    from coso.oci.create import Wishes

    return Wishes(
        # The working directory changes to it.
        bundle=os.path.abspath(given.last("bundle", ".")),
        config=given.last("config"),
        console_socket=_absolute(given.last("console-socket")),
        pid_file=_absolute(given.last("pid-file")),
        pidfd_socket=_absolute(given.last("pidfd-socket")),
        preserve_fds=_preserved(given),
        no_pivot=given.on("no-pivot"),
        no_new_keyring=given.on("no-new-keyring"),
        cgroup_manager=caller.manager,
        notify=os.environ.get("NOTIFY_SOCKET", ""),
    )


def _absolute(path: str) -> str:
    """The working directory changes to the bundle before it is used."""
    return os.path.abspath(path) if path else ""


def _preserved(given: Words) -> int:
    """How many descriptors are passed on: those asked for, and those of socket activation (sd_listen_fds(3))."""
    text = given.last("preserve-fds", "0")
    from coso.oci.create import listening

    if not text.isdecimal() or int(text) > 1024:
        raise UsageError(f"--preserve-fds {text!r} is not a number of descriptors")
    number = int(text) + listening()
    for fd in range(3, 3 + number):
        try:
            os.fstat(fd)
        except OSError:
            # A descriptor of the runtime's own would come to have this number, and reach the container.
            raise UsageError(f"--preserve-fds: descriptor {fd} is not open") from None
    return number


def create(caller: Caller, given: Words) -> int:
    """Make a container; its command waits for start"""
    from coso.oci.create import create

    _protect_from_bundle(given)
    caller.spare_the_container()
    create(caller.root, given.rest[0], _wishes(caller, given), caller.warn)
    return 0


def _protect_from_bundle(given: Words) -> None:
    """Keep the interpreter's binary out of reach of a container whose root is the host's.

    That takes another start of it, so it comes before anything else is read.
    """
    own: set[str] = set()
    uids: list[tuple[int, int]] = []
    try:
        with open(os.path.join(given.last("bundle", "."), given.last("config") or "config.json"), "rb") as file:
            # What comes through a pipe can be read only once.
            text = file.read() if stat.S_ISREG(os.fstat(file.fileno()).st_mode) else b""
        if b'"uidMappings"' in text:
            from coso import quickjson

            linux = quickjson.loads(text.decode())["linux"]
            uids = [(int(item["hostID"]), int(item["size"])) for item in linux["uidMappings"]]
            own = {item["type"] for item in linux["namespaces"] if not item.get("path")}
    except (OSError, ValueError, KeyError, TypeError, AttributeError, RecursionError):
        pass  # What is wrong with it is said by whoever reads it.
    _protect(own, uids)


def _protect(namespaces: Collection[str], uids: list[tuple[int, int]]) -> None:
    from coso.runtime.protect import is_exposed, protect_interpreter

    if is_exposed(namespaces, uids):
        protect_interpreter()


def run(caller: Caller, given: Words) -> int:
    """Make a container, start it, and wait for its end"""
    from coso.oci.run import run

    _protect_from_bundle(given)
    return run(
        caller.root,
        given.rest[0],
        _wishes(caller, given),
        caller.warn,
        detach=given.on("detach"),
        keep=given.on("keep"),
    )


def start(caller: Caller, given: Words) -> int:
    """Let the command of a created container go"""
    from coso.oci.control import start

    start(_place(caller, given.rest[0]), caller.warn)
    return 0


def state(caller: Caller, given: Words) -> int:
    """Print the state of a container"""
    import json

    from coso.oci.control import state_json

    place = _place(caller, given.rest[0])
    known = place.read()
    sys.stdout.write(json.dumps(state_json(place, known, place.status(known)), indent=2) + "\n")
    return 0


def kill(caller: Caller, given: Words) -> int:
    """Send a signal to a container (default TERM)"""
    from coso.oci.control import kill

    kill(_place(caller, given.rest[0]), given.rest[1] if len(given.rest) > 1 else "TERM", everyone=given.on("all"))
    return 0


def delete(caller: Caller, given: Words) -> int:
    """Remove what is left of a container"""
    from coso.oci.control import delete

    delete(_place(caller, given.rest[0]), caller.warn, force=given.on("force"))
    return 0


def pause(caller: Caller, given: Words) -> int:
    """Freeze every process of a container"""
    from coso.oci.control import pause

    pause(_place(caller, given.rest[0]))
    return 0


def resume(caller: Caller, given: Words) -> int:
    """Let a paused container go on"""
    from coso.oci.control import resume

    resume(_place(caller, given.rest[0]))
    return 0


def execute(caller: Caller, given: Words) -> int:
    """Run another process in a running container"""
    from coso.oci.control import saved_spec
    from coso.oci.execute import ExecWishes, execute

    place = _place(caller, given.rest[0])
    place.read()
    spec = saved_spec(place)
    wanted = _process(given, spec.process)
    _protect(spec.namespaces, [(item.host_id, item.size) for item in spec.uid_mappings])
    wishes = ExecWishes(
        console_socket=given.last("console-socket"),
        pid_file=given.last("pid-file"),
        pidfd_socket=given.last("pidfd-socket"),
        preserve_fds=_preserved(given),
        detach=given.on("detach"),
        cgroup=given.last("cgroup"),
        ignore_paused=given.on("ignore-paused"),
    )
    caller.spare_the_container()
    return execute(place, spec, wanted, wishes, lambda text: caller.say("info", text))


def _process(given: Words, own: Process) -> Process:
    """The process asked for: a file, or the container's own with what the words change."""
    if file := given.last("process"):
        from coso.spec.read import parse, process_from
        from coso.value import replace

        try:
            with open(file, "rb") as opened:
                tree = parse(opened.read())
            wanted = process_from(tree)
            return wanted if "capabilities" in tree else replace(wanted, capabilities=own.capabilities)
        except (OSError, ValueError) as error:
            raise CosoError(f"--process {file} cannot be read: {error}") from None
    from coso.oci.words import changed

    if len(given.rest) < 2:
        raise UsageError("coso-oci exec takes CONTAINER COMMAND …, or --process FILE CONTAINER")
    return changed(own, given)


def listing(caller: Caller, given: Words) -> int:
    """List containers"""
    from coso.oci.listing import listing

    sys.stdout.write(listing(caller.root, given.last("format", "table"), quiet=given.on("quiet"), warn=caller.warn))
    return 0


def processes(caller: Caller, given: Words) -> int:
    """List the processes of a container"""
    from coso.oci.listing import processes

    sys.stdout.write(processes(_place(caller, given.rest[0]), given.last("format", "table"), list(given.rest[1:])))
    return 0


def update(caller: Caller, given: Words) -> int:
    """Change the limits of a container"""
    from coso.oci.update import update, wanted

    update(_place(caller, given.rest[0]), wanted(given, LIMITS))
    return 0


def events(caller: Caller, given: Words) -> int:
    """Print what a container uses"""
    from coso.oci.update import events

    events(_place(caller, given.rest[0]), once=given.on("stats"), seconds=_seconds(given.last("interval", "5s")))
    return 0


def _seconds(text: str) -> float:
    """Seconds of a time as engines write it: `5s`, `500ms`, `1m30s`."""
    import re

    if not re.fullmatch(r"([0-9.]+(ms|s|m|h))+|[0-9.]+", text):
        raise UsageError(f"--interval {text!r} is no time", hint="write it as 5s, 500ms or 1m30s")
    factors = {"ms": 0.001, "s": 1, "m": 60, "h": 3600, "": 1}
    try:
        seconds = sum(float(number) * factors[unit] for number, unit in re.findall(r"([0-9.]+)(ms|s|m|h|)", text))
    except ValueError:
        seconds = 0.0
    if seconds <= 0:
        raise UsageError(f"--interval {text!r} is no time to wait", hint="write it as 5s, 500ms or 1m30s")
    return seconds


def spec(caller: Caller, given: Words) -> int:
    """Write an example config.json"""
    import json

    from coso.spec.example import example

    path = os.path.join(given.last("bundle", "."), "config.json")
    try:
        with open(path, "x", encoding="utf-8") as file:
            file.write(json.dumps(example(rootless=given.on("rootless")), indent="\t") + "\n")
    except OSError as error:
        raise CosoError(f"{path} cannot be written: {error.strerror}") from None
    return 0


def features(_: Caller, given: Words) -> int:
    """Print what this runtime can do"""
    import json

    from coso.spec.features import features

    sys.stdout.write(json.dumps(features(), indent=2) + "\n")
    return 0


def unsupported(_: Caller, given: Words) -> int:
    """Not supported: coso has no CRIU"""
    raise CosoError(
        "checkpoint and restore are not supported", cause="coso does not drive CRIU yet", hint="use crun or runc"
    )


# Option of update, and the field of linux.resources that it stands for.
LIMITS = {
    "blkio-weight": ("blockIO", "weight"),
    "cpu-burst": ("cpu", "burst"),
    "cpu-idle": ("cpu", "idle"),
    "cpu-period": ("cpu", "period"),
    "cpu-quota": ("cpu", "quota"),
    "cpu-rt-period": ("cpu", "realtimePeriod"),
    "cpu-rt-runtime": ("cpu", "realtimeRuntime"),
    "cpu-share": ("cpu", "shares"),
    "cpu-shares": ("cpu", "shares"),
    "cpuset-cpus": ("cpu", "cpus"),
    "cpuset-mems": ("cpu", "mems"),
    "kernel-memory": ("memory", "kernel"),
    "kernel-memory-tcp": ("memory", "kernelTCP"),
    "memory": ("memory", "limit"),
    "memory-reservation": ("memory", "reservation"),
    "memory-swap": ("memory", "swap"),
    "pids-limit": ("pids", "limit"),
}
UPDATE = (
    Option("resources", "r", "FILE", "the limits as JSON, - for standard input"),
    *(Option(name, "", "VALUE", f"linux.resources {'.'.join(field)}") for name, field in LIMITS.items()),
)
EVENTS = (
    Option("stats", "", "", "print once and end"),
    Option("interval", "", "TIME", "time between two lines (default 5s)"),
)
FORMAT = Option("format", "f", "table|json", "form of the list (default table)")
CRIU = tuple(Option(name, "", "PATH", "not supported") for name in ("image-path", "work-path", "parent-path", "bundle"))
COMMANDS: dict[str, tuple[tuple[Option, ...], str, Command]] = {
    "create": (CREATE, "CONTAINER", create),
    "start": ((), "CONTAINER", start),
    "run": (RUN, "CONTAINER", run),
    "exec": (EXEC, "CONTAINER [COMMAND] […]", execute),
    "state": ((), "CONTAINER", state),
    "kill": ((Option("all", "a", "", "to every process of the container"),), "CONTAINER [SIGNAL]", kill),
    "delete": ((Option("force", "f", "", "kill it first if it runs"),), "CONTAINER", delete),
    "list": ((FORMAT, Option("quiet", "q", "", "only the ids")), "", listing),
    "ps": ((FORMAT,), "CONTAINER [OPTIONS-OF-PS] […]", processes),
    "pause": ((), "CONTAINER", pause),
    "resume": ((), "CONTAINER", resume),
    "update": (UPDATE, "CONTAINER", update),
    "events": (EVENTS, "CONTAINER", events),
    "spec": (
        (Option("bundle", "b", "DIR", "where to write it"), Option("rootless", "", "", "for a user without privilege")),
        "",
        spec,
    ),
    "features": ((), "", features),
    "checkpoint": (CRIU, "CONTAINER", unsupported),
    "restore": (CRIU, "CONTAINER", unsupported),
}
