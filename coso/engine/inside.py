"""Another process in a container that runs: `exec`, and the commands of health checks."""

from __future__ import annotations

from coso.engine import stored
from coso.errors import CosoError
from coso.kernel.process import is_limited
from coso.oci import execute as oci
from coso.oci.store import State
from coso.runtime.supervise import supervise
from coso.spec import User
from coso.value import replace

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Callable

    from coso.engine.record import Record
    from coso.runtime.container import Container
    from coso.spec import Process, Spec


def state_of(one: Record) -> State:
    """A container as the OCI runtime's commands know one."""
    state = one.state
    cgroup = str(state.get("cgroup") or "")
    return State(one.id, one.pid, int(state["ticks"]), one.directory, "", cgroup, {})


def spec_of(one: Record) -> Spec:
    """How a container that runs was made; raises CosoError."""
    if one.is_kept:
        return stored.spec_of(one)
    from coso.flags import Words
    from coso.spec.build import spec_from

    options = {name: texts for name, texts in one.options.items() if name not in ("volume", "mount", "volumes-from")}
    words = Words(options, ())
    settings = {**one.settings, "Volumes": None}
    return spec_from(
        words, "/", tuple(one.config["args"]), on_terminal=True, settings=settings, joined=stored.joined_of(one)
    )


def run_inside(one: Record, words: tuple[str, ...]) -> int:
    """Run a command as the container's own is run, with this process's output; its exit status."""
    spec = spec_of(one)
    process = replace(spec.process, args=words, terminal=False, interactive=False)
    try:
        return execute(one, spec, process, detach=False)
    except CosoError as error:
        import sys

        sys.stderr.write(f"{error.message}\n")
        sys.stderr.flush()
        return error.exit_status


def process_of(
    spec: Spec, args: tuple[str, ...], *, variables: dict[str, str], user: str, directory: str, privileged: bool
) -> Process:
    """Another process as the container's own, but for these; `""` leaves user and directory as they are."""
    process = spec.process
    capabilities = process.capabilities
    if privileged:
        from coso.kernel.capability import NUMBERS

        every = tuple(NUMBERS)
        capabilities = replace(capabilities, bounding=every, effective=every, permitted=every)
    known = dict(item.partition("=")[::2] for item in process.env)
    return replace(
        process,
        args=args,
        env=tuple(f"{name}={text}" for name, text in {**known, **variables}.items()),
        cwd=directory or process.cwd,
        user=User(user) if user else process.user,
        terminal=False,
        interactive=False,
        capabilities=capabilities,
        init=False,
        oom_score_adj=None,
    )


def execute(
    one: Record, spec: Spec, process: Process, *, detach: bool, stay: Callable[[Container], int] = supervise
) -> int:
    """Run a process in a container; its exit status, or 0 at once with `detach`. Raises CosoError."""
    if is_limited():
        spec = replace(spec, limited=True)
    if one.status != "running":
        raise CosoError(f"the container {one.name or one.id} is {one.status}", hint=f"coso start {one.name or one.id}")

    def warn(text: str) -> None:
        import sys

        sys.stderr.write(f"coso: {text}\n")

    return oci.run_inside(state_of(one), spec, process, oci.ExecWishes(detach=detach), warn, stay)
