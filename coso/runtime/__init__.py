"""From a Spec to a process: plan steps, execute them, undo them.

`start` is the parent's side, `child` the container's first process; a file
per namespace (user, pid, mount, uts, ipc, net, cgroup, time) says what each
side does for it.  May import coso.spec, coso.kernel, coso.cgroups and
coso.steps; never coso.cli.
"""
