"""The virtual machine of the tests: brought up with all it needs, tested over SSH, and taken away.

Vagrant does the work, and the programs beside vagrant/Vagrantfile what Vagrant
needs of this machine.  Each function may be called twice.
"""

from __future__ import annotations

import glob
import json
import os
import shutil
import subprocess
import sys
import tomllib
import urllib.parse

from coso.errors import MissingError, ProvisionError
from coso.launcher import ROOT

STATE = f"{ROOT}/.vagrant"
CACHE = f"{ROOT}/vagrant/.cache"
SSH_CONFIG = f"{STATE}/ssh-config"
TESTS = "tests/integration/test_machine.py"
ENGINE_TESTS = "tests/integration/engines"
BOX = "coso-VAGRANTSLASH-debian12"
# The guest's interpreter and the oldest C libraries that its wheels may ask for.
GUEST = "--only-binary=:all: --implementation=cp --python-version=3.11".split()
GUEST += [f"--platform={name}_x86_64" for name in ("manylinux2014", "manylinux_2_17", "manylinux_2_28")]


def up() -> int:
    """Build the box, start libvirt where nothing else does, fetch the guest's wheels, and bring the guest up."""
    _must(f"{ROOT}/vagrant/build-box")
    _must(f"{ROOT}/vagrant/libvirt-host", "start")
    _download_wheels()
    _must("vagrant", "up", *_plain())
    return 0


def test(junit: str = "", *, every_engine_test: bool = False) -> int:
    """Run the tests of a machine and of engines against the guest, with this very tree in it; return pytest's status.

    Of the engines' tests those that are the same for all; the others take an emulated guest ten minutes more.
    """
    host = guest()
    if not host:
        raise MissingError("no virtual machine is up", hint="bring one up: ./dev invoke vm-up")
    _must("vagrant", "rsync", *_plain())
    report = [f"--junit-xml={os.path.abspath(junit)}"] if junit else []
    engines = ENGINE_TESTS if every_engine_test else f"{ENGINE_TESTS}/test_engines.py"
    return _run(sys.executable, "-m", "pytest", TESTS, engines, f"--hosts={host}", *report)


def down() -> int:
    """Remove the guest, the copies of its box, and the libvirt that `up` started; the built box stays in the cache."""
    status = 0
    if shutil.which("vagrant") and _machines():
        status = _run("vagrant", "destroy", "--force", *_plain())
    _forget_box()
    status = _run(f"{ROOT}/vagrant/libvirt-host", "stop") or status
    if status == 0 or not os.path.exists("/run/libvirt/libvirt-sock"):
        shutil.rmtree(STATE, ignore_errors=True)
    return status


def guest() -> str:
    """Where testinfra finds the guest, `""` when none is up; without one this costs no time."""
    if not _machines() or not shutil.which("vagrant"):
        return ""
    done = subprocess.run(["vagrant", "ssh-config"], cwd=ROOT, capture_output=True, text=True, check=False)
    if done.returncode:
        return ""
    # One connection for all commands; the path of a socket can have 107 bytes, of which ssh wants 17.
    control = f"{STATE}/ssh"
    shared = f"  ControlPath {control}\n" if len(control) < 90 else ""
    with open(SSH_CONFIG, "w") as file:
        file.write(done.stdout.rstrip() + "\n" + shared)
    return f"ssh://default?sudo=true&ssh_config={urllib.parse.quote(SSH_CONFIG)}"


def hang_up() -> None:
    """End the connection that testinfra keeps to the guest."""
    if os.path.exists(f"{STATE}/ssh"):
        subprocess.run(["ssh", "-F", SSH_CONFIG, "-O", "exit", "default"], capture_output=True, check=False)


def _machines() -> list[str]:
    return glob.glob(f"{STATE}/machines/*/*/id")


def _forget_box() -> None:
    """Remove the copies of the built box that Vagrant and libvirt keep."""
    if shutil.which("vagrant") and os.path.exists(os.path.expanduser(f"~/.vagrant.d/boxes/{BOX}")):
        _run("vagrant", "box", "remove", "coso/debian12", "--all", "--force", *_plain())
    if shutil.which("virsh") and os.path.exists(f"{CACHE}/box/box.json"):
        with open(f"{CACHE}/box/box.json") as file:
            version = json.load(file)["versions"][0]["version"]
        volume = f"{BOX}_vagrant_box_image_{version}_box.img"
        words = ["virsh", "-c", "qemu:///system", "vol-delete", "--pool", "default", volume]
        subprocess.run(words, capture_output=True, check=False)  # It is there only after an `up`.


def _download_wheels() -> None:
    """Have wheels for the guest at hand, which may have no way to a package index."""
    with open(f"{ROOT}/pyproject.toml", "rb") as file:
        project = tomllib.load(file)
    # hatchling asks for editables when it makes an editable installation.
    wanted = [*project["project"]["dependencies"], *project["build-system"]["requires"], "editables"]
    wheels, stamp = f"{CACHE}/wheels", f"{CACHE}/wheels/wanted.json"
    if os.path.exists(stamp):
        with open(stamp) as file:
            if json.load(file) == wanted:
                return
    shutil.rmtree(wheels, ignore_errors=True)
    _must(sys.executable, "-m", "pip", "download", "-qq", f"--dest={wheels}", *GUEST, *wanted)
    with open(stamp, "w") as file:
        json.dump(wanted, file)


def _plain() -> list[str]:
    return [] if sys.stdout.isatty() else ["--no-tty"]


def _run(*words: str) -> int:
    """Run a program in the project with its output shown; return its exit status."""
    print("+", " ".join(words).replace(f"{ROOT}/", ""), flush=True)
    return subprocess.run(words, cwd=ROOT, check=False).returncode


def _must(*words: str) -> None:
    if status := _run(*words):
        name = " ".join(words[:2]).replace(f"{ROOT}/", "")
        raise ProvisionError(f"{name} ended with status {status}", hint="see its words above, and vagrant/README.md")
