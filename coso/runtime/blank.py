"""A container that is there before it is known what for: its first process waits, in namespaces of its own.

Half of a start does not depend on what is to run: the range of ids, the
control groups, the clone, the maps.  Who starts many containers has that done
for the next one while nobody waits (coso.api.runner), and gives it its Spec later.
"""

from __future__ import annotations

import os
import pickle

from coso import cgroups, steps
from coso.kernel.process import is_limited, start_time
from coso.runtime import cgroup, channel, child, handover, journal, plan, start
from coso.runtime.container import Container
from coso.spec import Hooks, Spec

# With less there might be no room for what the process that waits has touched by then.
LEAST_MEMORY = 32 << 20


def make(spec: Spec) -> Container:
    """Begin a container like this one, up to where it matters what it is for. Raises CosoError and OSError."""
    container = Container(spec, journal.create(), *channel.pair())
    start.take_over()
    try:
        steps.execute(plan.before_clone(spec), container)
        steps.execute([plan.clone(spec, child.run_blank)], container)
        container.theirs.close()
        container.journal.record("kill", str(container.pid), str(start_time(container.pid)))
        steps.execute(plan.ids(spec), container)
        handover.give_ids(container)
    except BaseException:
        start.end(container)
        raise
    return container


def fits(container: Container, spec: Spec) -> bool:
    """Whether a container can become one with this Spec."""
    memory = spec.resources.memory
    plain = not (spec.joined or spec.uid_mappings or spec.systemd or spec.cgroups_path or spec.net_devices)
    roomy = not memory.disable_oom_killer and not 0 < (memory.limit or 0) < LEAST_MEMORY
    return (
        plain
        and roomy
        and spec.namespaces == container.spec.namespaces
        and spec.hooks == Hooks()
        and not spec.root.kept
        and not is_limited()
    )


def fill(container: Container, spec: Spec) -> None:
    """Give a container its Spec, and its process this one's standard streams. Raises steps.FailedStep and OSError."""
    before = container.spec.resources
    container.become(spec)
    steps.execute(plan.name(spec), container)
    if spec.resources != before:
        made = cgroups.create(
            container.cgroup, container.hierarchies, spec.resources, container.journal.record, existing=True
        )
        for fd in (*made.tasks, made.unified):
            if fd >= 0:
                os.close(fd)
    cgroup.hand_over(container)
    fd = os.memfd_create("spec", os.MFD_CLOEXEC)
    try:
        os.write(fd, pickle.dumps((spec, container.filter, container.filter_flags)))
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
    spec, container.filter, container.filter_flags = pickle.loads(data)
    os.close(fd)
    for number, stream in enumerate(streams):
        os.dup2(stream, number)
        os.close(stream)
    container.become(spec)
