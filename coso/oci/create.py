"""`create`: a container up to the moment when its command may go; and `run`, which goes on to its end."""

from __future__ import annotations

import os

from coso import steps
from coso.errors import CosoError, MissingError, SpecError
from coso.kernel.process import is_limited, start_time
from coso.oci import notify
from coso.oci.console import check_console, hand_out
from coso.oci.store import Place, State, replace_file
from coso.runtime import channel, hooks
from coso.runtime.container import Container
from coso.runtime.ready import close, explained, load, take_over
from coso.runtime.start import prepare
from coso.spec import Spec
from coso.spec.read import read
from coso.value import replace, value

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Callable

    from coso.runtime.journal import Journal

    Warn = Callable[[str], None]


@value
class Wishes:
    """What the command line says besides the configuration."""

    bundle: str = "."
    config: str = ""
    console_socket: str = ""
    pid_file: str = ""
    pidfd_socket: str = ""
    preserve_fds: int = 0
    no_pivot: bool = False
    no_new_keyring: bool = False
    cgroup_manager: str = "cgroupfs"
    notify: str = ""


def read_bundle(wishes: Wishes, warn: Callable[[str], None] | None = None) -> tuple[Spec, bytes]:
    """The specification in a bundle, and its text; raises CosoError."""
    bundle = os.path.abspath(wishes.bundle)
    path = os.path.join(bundle, wishes.config or "config.json")
    try:
        with open(path, "rb") as file:
            text = file.read()
    except OSError as error:
        raise MissingError(
            f"{path} cannot be read: {error.strerror}", hint="`coso-oci spec` writes an example there"
        ) from None
    spec = replace(read(text, bundle=bundle, warn=warn), systemd=wishes.cgroup_manager == "systemd")
    present = {*spec.namespaces, *(item.type for item in spec.joined)}
    if "user" in present and "mount" not in present:
        raise SpecError("linux.namespaces: a user namespace needs a mount namespace beside it, to mount in")
    if warn:
        _warn_of_what_cannot_be(spec, warn)
    if not os.path.isdir(spec.root.path):
        raise MissingError(f"root.path: {spec.root.path} is no directory")
    return spec, text


def _warn_of_what_cannot_be(spec: Spec, warn: Callable[[str], None]) -> None:
    """Say what is left out because the kernel, or this version of it, does not have it."""
    sets = spec.process.capabilities
    if lacking := set(sets.ambient) - (set(sets.permitted) & set(sets.inheritable)):
        names = ", ".join(sorted(lacking))
        warn(f"process.capabilities.ambient: {names} cannot be raised: not both permitted and inheritable")


def create(root: str, container_id: str, wishes: Wishes, warn: Callable[[str], None] | None = None) -> None:
    """Make a container and leave its process waiting for `start`; a failure leaves nothing.

    Raises CosoError.
    """
    place = Place(root, container_id)
    spec, text = read_bundle(wishes, warn)
    check_console(spec.process.terminal, wishes.console_socket)
    spec = with_own_rights(notify.shown(spec, wishes.notify, place.notify))
    held = place.claim()
    container = make(place, held, spec, text, wishes, outlives=True, warn=warn)
    container.ours.send("wait")
    close(container)
    held.close()


def with_own_rights(spec: Spec) -> Spec:
    """What is left to do once this process has the rights that its caller can get; all of it for root."""
    if not is_limited():
        return spec
    from coso.runtime import rootless

    return rootless.enter(spec)


def listening() -> int:
    """How many sockets this very process was started with by socket activation (sd_listen_fds(3))."""
    text = os.environ.get("LISTEN_FDS", "0")
    return int(text) if text.isdecimal() and os.environ.get("LISTEN_PID") == str(os.getpid()) else 0


def make(
    place: Place, held: Journal, spec: Spec, text: bytes, wishes: Wishes, *, outlives: bool, warn: Warn | None = None
) -> Container:
    """Bring a container up to the moment when its command may go, and write down its state."""
    take_over()
    os.umask(0o022)
    os.chdir(wishes.bundle)
    container = Container(spec, held, *channel.pair())
    container.clamps = True
    container.warn = warn or container.warn
    try:
        load(spec)
        _configure(container, place, wishes, outlives=outlives)
        replace_file(place.config, text.decode())
        prepare(container)
        hand_out(container, wishes)
        place.write(_state(container, wishes))
        return container
    except (steps.FailedStep, OSError) as failure:
        _give_up(container, place)
        raise explained(container, failure) from failure
    except BaseException:
        _give_up(container, place)
        raise


def _give_up(container: Container, place: Place) -> None:
    """Take everything back, and let the hooks of the end run where others have run (runtime.md, "Lifecycle")."""
    close(container)
    place.remove(container.journal)
    if container.pid:
        container.pid = 0
        for hook in container.spec.hooks.poststop:
            try:
                hooks.run_all("poststop", (hook,), hooks.state_of(container, "stopped"))
            except CosoError as error:
                container.warn(error.message)


def _configure(container: Container, place: Place, wishes: Wishes, *, outlives: bool) -> None:
    container.bundle = wishes.bundle
    container.directory = place.rootfs
    container.no_pivot, container.no_new_keyring = wishes.no_pivot, wishes.no_new_keyring
    container.preserved, container.listening = wishes.preserve_fds, listening()
    container.cgroup = _cgroup_path(container.spec, place.id, wishes.cgroup_manager)
    if not container.has("mount") or not container.has("user"):
        os.makedirs(place.rootfs, exist_ok=True)
    if wishes.notify:
        os.makedirs(place.notify, 0o755, exist_ok=True)
    if outlives:
        container.gate = channel.gate(place.gate)


def _cgroup_path(spec: Spec, container: str, manager: str) -> str:
    """The container's group, relative to a hierarchy's root; `""` where groups are left alone."""
    if manager == "disabled":
        return ""
    if manager == "systemd":
        return ""  # systemd's answer says where.
    return spec.cgroups_path.strip("/") or container


def _state(container: Container, wishes: Wishes) -> State:
    import time

    now = time.time_ns()
    day = time.strftime("%Y-%m-%dT%H:%M:%S", time.gmtime(now // 10**9))
    return State(
        container.id,
        container.pid,
        start_time(container.pid),
        container.bundle,
        f"{day}.{now % 10**9:09}Z",
        container.cgroup,
        dict(container.spec.annotations),
        wishes.no_pivot,
        container.unit,
        bool(container.spec.process.args),
        wishes.notify,
        [point for point in ("poststart", "poststop") if getattr(container.spec.hooks, point)],
    )
