"""bubblewrap: the sandbox that its manual recommends, with a writable root."""

from __future__ import annotations

from coso.spawn import find
from coso.verify.drivers import host
from coso.verify.drivers.model import Driver, Wish, asked, capability, refusal

# What --unshare-all stands for; a namespace is shared by naming all others.
NAMESPACES = {
    "userns": "--unshare-user-try",
    "ipc": "--unshare-ipc",
    "pid": "--unshare-pid",
    "network": "--unshare-net",
    "uts": "--unshare-uts",
    "cgroupns": "--unshare-cgroup-try",
}


def command(wish: Wish, name: str, scratch: str) -> list[str]:
    """The words of bwrap."""
    shared, more = set(), []
    for option, text in asked(wish):
        match option, text:
            case (("userns" | "ipc" | "pid" | "network" | "uts" | "cgroupns"), "host"):
                shared.add(option)
            case "cap-add", _:
                more += ["--cap-add", capability(text)]
            case "workdir", _:
                more += ["--chdir", text]
            case "hostname", _:
                more += ["--hostname", text]
            case ("network", "none") | ("security-opt", "seccomp=unconfined") | ("interactive", _):
                pass  # It is so in any case.
            case _:
                raise refusal("bwrap", option, text)
    apart = [word for key, word in NAMESPACES.items() if key not in shared] if shared else ["--unshare-all"]
    words = [find("bwrap") or "bwrap", *apart, "--die-with-parent", "--new-session", "--bind", wish.rootfs, "/"]
    words += ["--proc", "/proc", "--dev", "/dev"]
    for path, inside, read_only in wish.volumes:
        words += ["--ro-bind" if read_only else "--bind", path, inside]
    return [*words, *more, "--", *wish.command]


def remove(name: str, scratch: str) -> None:
    """Nothing to do: --die-with-parent has ended the sandbox, and it has no state."""


DRIVER = Driver("bwrap", host.absence("bwrap"), command, remove, host.version("bwrap"))
