"""A container to be: a bundle directory with a plain config, and the runtime's commands on it."""

from __future__ import annotations

import json
import os
import signal
import subprocess
import time
from collections.abc import Callable, Sequence
from copy import deepcopy
from pathlib import Path
from typing import Any

from tests.integration.oci import groups
from tests.integration.oci.runtime import Done, Runtime

Config = dict[str, Any]

# What every runtime that was tried accepts; a test of its own asks for 1.2.
VERSION = "1.0.2"
PATH = "PATH=/usr/local/sbin:/usr/local/bin:/usr/sbin:/usr/bin:/sbin:/bin"
CAPABILITIES = ("CAP_AUDIT_WRITE", "CAP_KILL", "CAP_NET_BIND_SERVICE")
SETS = ("bounding", "effective", "permitted", "inheritable", "ambient")
NAMESPACES = ("pid", "mount", "ipc", "uts", "network")
# The first id outside of a container with a user namespace, and how many there are.
FIRST_ID, IDS = 100_000, 65_536

MOUNTS: tuple[Config, ...] = (
    {"destination": "/proc", "type": "proc", "source": "proc"},
    {
        "destination": "/dev",
        "type": "tmpfs",
        "source": "tmpfs",
        "options": ["nosuid", "strictatime", "mode=755", "size=65536k"],
    },
    {
        "destination": "/dev/pts",
        "type": "devpts",
        "source": "devpts",
        "options": ["nosuid", "noexec", "newinstance", "ptmxmode=0666", "mode=0620", "gid=5"],
    },
    {
        "destination": "/dev/shm",
        "type": "tmpfs",
        "source": "shm",
        "options": ["nosuid", "noexec", "nodev", "mode=1777", "size=65536k"],
    },
    {"destination": "/sys", "type": "sysfs", "source": "sysfs", "options": ["nosuid", "noexec", "nodev", "ro"]},
)


def default() -> Config:
    """What the tests start from, as `runc spec` writes it: five namespaces, few capabilities, no filter."""
    return {
        "ociVersion": VERSION,
        "process": {
            "terminal": False,
            "user": {"uid": 0, "gid": 0},
            "args": ["true"],
            "env": [PATH],
            "cwd": "/",
            "capabilities": {kind: list(CAPABILITIES) for kind in ("bounding", "effective", "permitted")},
            "noNewPrivileges": True,
        },
        "root": {"path": "rootfs", "readonly": False},
        "hostname": "oci",
        "mounts": deepcopy(list(MOUNTS)),
        "linux": {
            "resources": {"devices": [{"allow": False, "access": "rwm"}]},
            "namespaces": [{"type": kind} for kind in NAMESPACES],
        },
    }


class Bundle:
    """A bundle in a directory of its own; change `config`, then create or run it."""

    def __init__(self, runtime: Runtime, directory: Path, template: Path, name: str) -> None:
        self.runtime, self.path, self.id = runtime, directory, name
        self.rootfs = directory / "rootfs"
        self.config = default()
        directory.mkdir(mode=0o755)
        # Of the files only links: they cost less, and no test writes to one.
        subprocess.run(["cp", "-al", str(template), str(self.rootfs)], check=True)
        self.rootfs.chmod(0o755)

    # What it is to be.

    @property
    def process(self) -> Config:
        """The part `process` of the config."""
        return self.config["process"]  # type: ignore[no-any-return]

    @property
    def linux(self) -> Config:
        """The part `linux` of the config."""
        return self.config["linux"]  # type: ignore[no-any-return]

    @property
    def resources(self) -> Config:
        """The part `linux.resources` of the config."""
        return self.linux["resources"]  # type: ignore[no-any-return]

    def sh(self, script: str) -> Bundle:
        """Its command is a script of busybox's shell."""
        self.process["args"] = ["/bin/sh", "-c", script]
        return self

    def grant(self, *capabilities: str) -> Bundle:
        """More capabilities for its command."""
        for kind in ("bounding", "effective", "permitted"):
            self.process["capabilities"][kind] += capabilities
        return self

    def mount(self, destination: str, source: str | Path = "", *options: str, kind: str = "bind") -> Config:
        """One more mount; gives its entry."""
        if kind == "bind" and not {"bind", "rbind"} & set(options):
            options = ("bind", *options)
        entry = {"destination": destination, "type": kind, "source": str(source) or kind, "options": list(options)}
        self.config["mounts"].append(entry)
        return entry

    def namespace(self, kind: str, path: str = "") -> Bundle:
        """A new namespace, or with a path one that exists, in place of what was said of that kind before."""
        self.without(kind)
        self.linux["namespaces"].append({"type": kind, **({"path": path} if path else {})})
        return self

    def without(self, kind: str) -> Bundle:
        """No namespace of this kind."""
        self.linux["namespaces"] = [item for item in self.linux["namespaces"] if item["type"] != kind]
        return self

    def own_users(self) -> Bundle:
        """A user namespace in which root is an ordinary user outside, who owns the root filesystem's directories."""
        self.namespace("user")
        mapping = [{"containerID": 0, "hostID": FIRST_ID, "size": IDS}]
        self.linux.update(uidMappings=mapping, gidMappings=list(mapping))
        for directory, _, _ in os.walk(self.rootfs):
            os.chown(directory, FIRST_ID, FIRST_ID)
        return self

    def write(self) -> None:
        """Write config.json."""
        (self.path / "config.json").write_text(json.dumps(self.config, indent=1))

    # The runtime's commands.

    def create(self, *flags: str, **more: Any) -> Done:
        """Create it; its output is in `printed()`."""
        return self._begin("create", *flags, **more)

    def detach(self, *flags: str, **more: Any) -> Done:
        """Create and start it and go on."""
        return self._begin("run", "--detach", *flags, **more)

    def _begin(self, *words: str, **more: Any) -> Done:
        self.write()
        keep = self.path / "container"
        return self.runtime(*words, "--bundle", str(self.path), self.id, keep=keep, **more)

    def run(self, *flags: str, **more: Any) -> Done:
        """Run it to its end."""
        self.write()
        return self.runtime("run", *flags, "--bundle", str(self.path), self.id, **more)

    def output(self, script: str, **more: Any) -> str:
        """What a script of its shell prints."""
        return self.sh(script).run(**more).ok().out.strip()

    def up(self, script: str = "exec sleep 100") -> Bundle:
        """Create and start it with a script, and see it running."""
        self.sh(script).create().ok()
        self.start().ok()
        return self

    def start(self) -> Done:
        """Start it."""
        return self.runtime("start", self.id)

    def exec(self, *words: str, flags: Sequence[str] = (), **more: Any) -> Done:
        """Run a command in it."""
        return self.runtime("exec", *flags, self.id, *words, **more)

    def kill(self, *words: str) -> Done:
        """Send it a signal."""
        return self.runtime("kill", self.id, *words)

    def delete(self, *flags: str) -> Done:
        """Delete it."""
        return self.runtime("delete", *flags, self.id)

    def state(self) -> Config:
        """Its state."""
        return json.loads(self.runtime("state", self.id).ok().out)  # type: ignore[no-any-return]

    def status(self) -> str:
        """The word for its state, `""` when there is no such container."""
        done = self.runtime("state", self.id)
        return str(json.loads(done.out)["status"]) if done.status == 0 else ""

    @property
    def pid(self) -> int:
        """The process id of its command, outside."""
        return int(self.state()["pid"])

    def ended(self) -> Bundle:
        """Wait for its end."""
        assert eventually(lambda: self.status() == "stopped"), f"it is still {self.status()}"
        return self

    def printed(self) -> str:
        """What a created or detached one has printed up to now."""
        return (self.path / "container.out").read_text(errors="replace")

    def prints(self, text: str) -> bool:
        """Whether it comes to print something."""
        return eventually(lambda: text in self.printed())

    def refused(self, *flags: str) -> str:
        """The complaint when this cannot be run; and nothing is left of it."""
        done = self.run(*flags)
        assert done.status != 0, f"it was accepted: {done.out}"
        assert done.err.strip(), "no word of the cause"
        assert eventually(lambda: not self.traces(), 2), self.traces()
        return done.err

    # What is outside.

    def proc(self, name: str) -> str:
        """A file of /proc about its command."""
        return Path(f"/proc/{self.pid}/{name}").read_text()

    def traces(self) -> list[str]:
        """What of it is on the machine: state, control groups, mounts."""
        found = [f"state {path}" for path in self.runtime.root.glob("**/*") if self.id in path.name]
        found += [f"cgroup {path}" for path in groups.named(self.id)]
        found += [f"mount {point}" for point in mounts() if point.startswith(f"{self.path}/")]
        return found

    def clean(self) -> None:
        """End it, whatever state it is in."""
        if self.traces():
            self.delete("--force")
        pids = {pid for group in groups.named(self.id) for pid in groups.members(group)}
        for pid in pids:
            os.kill(pid, signal.SIGKILL)


def mounts() -> list[str]:
    """The mount points of this session's mount namespace."""
    return [line.split()[4] for line in Path("/proc/self/mountinfo").read_text().splitlines()]


def eventually(holds: Callable[[], object], seconds: float = 5.0) -> bool:
    """Whether something comes to hold in time."""
    end = time.monotonic() + seconds
    while time.monotonic() < end:
        if holds():
            return True
        time.sleep(0.02)
    return bool(holds())


def fields(text: str) -> dict[str, str]:
    """The lines `Name: value` of a file such as /proc/self/status."""
    pairs = (line.partition(":") for line in text.splitlines() if ":" in line)
    return {name.strip(): value.strip() for name, _, value in pairs}


def alive(pid: int) -> bool:
    """Whether a process runs; a zombie does not."""
    try:
        return ") Z " not in Path(f"/proc/{pid}/stat").read_text()
    except (FileNotFoundError, ProcessLookupError):
        return False
