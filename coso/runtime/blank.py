"""A container that is there before it is known what for: its first process waits, in namespaces of its own.

Half of a start does not depend on what is to run: the range of ids, the
control groups, the clone, the maps.  Who starts many containers has that done
for the next one while nobody waits (coso.api.ahead), and gives it its Spec later.
Where the next one is expected to be like the last, it is made up to its
root, and only its command is open.
"""

from __future__ import annotations

import os
from _pickle import dumps, loads  # The C half: the other imports much that is of use for unusual objects.

from coso import cgroups, steps
from coso.errors import CosoError
from coso.kernel.process import is_limited, start_time
from coso.runtime import cgroup, channel, handover, journal, mount, plan, process, root, security, start
from coso.runtime.container import Container
from coso.runtime.ready import take_over
from coso.spec import Hooks, Resources, Spec
from coso.value import replace

TYPE_CHECKING = False
if TYPE_CHECKING:
    from coso.runtime.cloner import Cloner

# With less there might be no room for what the process that waits has touched by then.
LEAST_MEMORY = 32 << 20


def make(spec: Spec, cloner: Cloner, *, rooted: bool = False) -> Container:
    """Begin a container like this one, up to where it matters what it is for. Raises CosoError and OSError.

    With `rooted`, up to where its command matters: its process is in its root already.
    """
    spec = common(spec)
    container = Container(spec, journal.create(), *channel.pair())
    container.rooted = rooted
    container.stamps = _stamps(spec) if rooted else ()
    take_over()
    try:
        steps.execute(plan.before_clone(spec), container)
        cloner.clone(container)
        container.theirs.close()
        container.journal.record("kill", str(container.pid), str(start_time(container.pid)))
        steps.execute(plan.ids(spec), container)
        handover.give_ids(container)
        if rooted:
            start.give_root(container)
            message = container.ours.receive()
            if message is None or message[0] != "rooted":
                raise CosoError("a container could not be made ahead of its time")
    except BaseException:
        start.end(container)
        raise
    return container


def can_be_rooted(spec: Spec) -> bool:
    """Whether a container's root can be made before anybody asks for it: of nothing that changes in the meantime."""
    wanted = spec.process
    labelled = wanted.apparmor_profile or wanted.selinux_label or spec.mount_label
    shows = any(mount.shows_host(item) for item in spec.mounts)
    fixed = spec.root.overlay and spec.root.layers and not spec.root.kept
    return bool(fixed and _is_plain(spec) and not (labelled or shows or wanted.terminal))


def _is_plain(spec: Spec) -> bool:
    special = spec.joined or spec.uid_mappings or spec.systemd or spec.cgroups_path or spec.net_devices
    return not special and "time" not in spec.namespaces and spec.hooks == Hooks() and not is_limited()


def common(spec: Spec) -> Spec:
    """A Spec without what is settled only when a container is asked for: command, name, limits and networks.

    A container that waits must have none of them: its name would be taken, its limits stay for the next one.
    """
    return replace(
        spec,
        process=replace(spec.process, args=(), env=(), oom_score_adj=None),
        resources=Resources(),
        name="",
        network="none",
        network_words=(),
        networks_more=(),
    )


def fits(container: Container, spec: Spec) -> bool:
    """Whether a container can become one with this Spec."""
    memory = spec.resources.memory
    roomy = not memory.disable_oom_killer and not 0 < (memory.limit or 0) < LEAST_MEMORY
    if container.rooted:
        return roomy and container.spec == common(spec) and container.stamps == _stamps(spec)
    return roomy and _is_plain(spec) and spec.namespaces == container.spec.namespaces and not spec.root.kept


def _stamps(spec: Spec) -> tuple[tuple[int, int, int], ...]:
    """What tells whether the directories below a root, and the host's resolvers, are still those they were."""
    found = []
    for path in (*(f"{spec.root.path}/{name}" for name in spec.root.layers), "/etc/resolv.conf"):
        try:
            seen = os.stat(path)
            found.append((seen.st_dev, seen.st_ino, seen.st_ctime_ns))
        except OSError:
            found.append((0, 0, 0))
    return tuple(found)


def fill(container: Container, spec: Spec) -> None:
    """Give a container its Spec, and its process this one's standard streams. Raises steps.FailedStep and OSError."""
    container.become(spec)
    steps.execute(plan.name(spec), container)
    if spec.process.oom_score_adj is not None:
        steps.execute([process.OOM], container)
    if spec.resources != Resources():
        made = cgroups.create(
            container.cgroup, container.hierarchies, spec.resources, container.journal.record, existing=True
        )
        for fd in (*made.tasks, made.unified):
            if fd >= 0:
                os.close(fd)
    cgroup.hand_over(container)
    if container.rooted:
        root.tell(container)
    container.filter, container.filter_flags = security.filter_for(spec)
    fd = os.memfd_create("spec", os.MFD_CLOEXEC)
    try:
        asked = spec.process if container.rooted else spec
        os.write(fd, dumps((asked, container.filter, container.filter_flags)))
        container.ours.send("spec", fds=(fd, 0, 1, 2))
    finally:
        os.close(fd)


def receive(container: Container) -> None:
    """In the first process: wait for what `fill` sends; the end of the conversation is the end."""
    message = container.theirs.receive()
    if message is None:
        os._exit(0)
    fd, *streams = message[2]
    data = os.pread(fd, os.fstat(fd).st_size, 0)
    asked, container.filter, container.filter_flags = loads(data)
    os.close(fd)
    for number, stream in enumerate(streams):
        os.dup2(stream, number)
        os.close(stream)
    container.become(replace(container.spec, process=asked) if container.rooted else asked)
