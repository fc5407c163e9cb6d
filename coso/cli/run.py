"""`coso run`: from words to a running container."""

from __future__ import annotations

import os
import sys

from coso.cli.flags import Option, parse, usage
from coso.errors import UsageError
from coso.runtime.start import run
from coso.spec import defaults
from coso.spec.build import spec_from

OPTIONS = (
    Option("rootfs", "", "PATH", f"root filesystem, never written to (default {defaults.ROOTFS})"),
    Option("name", "", "NAME", "name of the container, for other commands and on its network"),
    Option("network", "", "NAME|PATH|none|host|container:NAME", "network, or helper called as PATH -pid PID"),
    Option("ip", "", "ADDRESS", "address in the network"),
    Option("ip6", "", "ADDRESS", "address of version 6 in the network"),
    Option("mac-address", "", "ADDRESS", "Ethernet address"),
    Option("network-alias", "", "NAME", "one more name on the network", repeated=True),
    Option("publish", "p", "[IP:]HOST:PORT[/udp]", "lead a port of the host (127.0.0.1) inside", repeated=True),
    Option("dns", "", "ADDRESS", "resolver, in place of the host's", repeated=True),
    Option("dns-search", "", "DOMAIN", "search domain, in place of the host's", repeated=True),
    Option("dns-option", "", "OPTION", "option of resolv.conf, in place of the host's", repeated=True),
    Option("add-host", "", "NAME:ADDRESS", "one more line of /etc/hosts", repeated=True),
    Option("hostname", "", "NAME", "host name inside (default the container's id)"),
    Option("memory", "m", "SIZE", "memory limit, swap included: 64m, 1g"),
    Option("cpus", "", "NUMBER", "CPU limit: 0.5, 2"),
    Option("pids-limit", "", "NUMBER", "most processes at a time"),
    Option("read-only", "", "", "forbid writes to the root"),
    Option("user", "u", "NAME|UID[:GROUP]", "user of the command (default root)"),
    Option("workdir", "w", "PATH", "working directory (default /)"),
    Option("env", "e", "NAME[=VALUE]", "environment variable; without a value, the host's", repeated=True),
    Option("volume", "v", "HOST:CONTAINER[:ro]", "show a file or directory of the host", repeated=True),
    Option("tty", "t", "", "give the command a terminal"),
    Option("interactive", "i", "", "pass standard input on"),
    Option("init", "", "", "put a small reaper before the command as process 1"),
    Option("rm", "", "", "remove the container at its end (always so, for now)"),
    Option("cap-add", "", "NAME", "add a capability, or ALL", repeated=True),
    Option("cap-drop", "", "NAME", "drop a capability, or ALL", repeated=True),
    Option("security-opt", "", "OPTION", "no-new-privileges=false, seccomp=unconfined", repeated=True),
    Option("ulimit", "", "NAME=SOFT[:HARD]", "resource limit: nofile=1024:4096", repeated=True),
    Option("pid", "", "host", "share the host's PID namespace"),
    Option("uts", "", "host", "share the host's name"),
    Option("ipc", "", "host", "share the host's IPC namespace"),
    Option("userns", "", "host", "no user namespace: root inside is root outside"),
    Option("cgroupns", "", "host", "share the host's cgroup namespace"),
    Option("mountns", "", "host", "share the host's mount namespace (needs --userns=host)"),
    Option("monotonic", "", "SECONDS", "shift the monotonic clock, in a time namespace"),
    Option("boottime", "", "SECONDS", "shift the boot-time clock, in a time namespace"),
    Option("explain", "", "", "print each step: what, the kernel call, why, the man page, microseconds"),
    Option("help", "h", "", "print this"),
)

HELP = """coso run [OPTIONS] [IMAGE] [COMMAND …]

With --rootfs there is no IMAGE, and every word after the options is the command.
Without it the first word is an image: the rootfs that `invoke fs-setup` made, alpine
or busybox. With no word at all, a shell in the default rootfs. One dash or two, both work.

"""


def main(words: list[str]) -> int:
    """Run a container and return its exit status."""
    given = parse(OPTIONS, words, "coso run")
    if given.on("help"):
        sys.stdout.write(HELP + usage(OPTIONS) + "\n")
        return 0
    rootfs, command = _root_and_command(given.last("rootfs"), given.rest)
    joined = _joined_network(given.last("network"))
    spec = spec_from(given, rootfs, command, on_terminal=os.isatty(0), joined_network=joined)
    if spec.namespaces.count("user") == 0:
        from coso.runtime.protect import protect_interpreter

        protect_interpreter()
    if given.on("explain"):
        from coso.runtime.explain import explainer

        return run(spec, explain=explainer())
    return run(spec)


def _joined_network(text: str) -> str:
    """The namespace that `container:NAME` stands for, `""` for everything else."""
    kind, colon, name = text.partition(":")
    if kind != "container" or not colon:
        return ""
    from coso.runtime.running import find

    return f"/proc/{find(name).pid}/ns/net"


def _root_and_command(rootfs: str, rest: tuple[str, ...]) -> tuple[str, tuple[str, ...]]:
    from coso.images.rootfs import check, resolve

    if rootfs or not rest:
        path, command = rootfs or defaults.ROOTFS, rest
    else:
        path, command = resolve(rest[0]), rest[1:]
    if command and not command[0]:
        raise UsageError("the command is empty")
    check(path)
    return os.path.abspath(path), command
