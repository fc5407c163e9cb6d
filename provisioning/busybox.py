"""The embedded default: a rootfs from Debian's busybox-static, where no Alpine mirror can be reached.

apt verifies the package against Debian's signed lists.
"""

from __future__ import annotations

import os
import shutil
import subprocess
import tempfile

from coso.errors import ProvisionError
from provisioning.system import run

PACKAGE = "busybox-static"
DIRECTORIES = tuple("bin dev etc home mnt proc root run sbin sys tmp usr/bin usr/sbin var/log".split())
FILES = {
    "etc/passwd": "root:x:0:0:root:/root:/bin/sh\nnobody:x:65534:65534:nobody:/:/bin/false\n",
    "etc/group": "root:x:0:root\ntty:x:5:\nnobody:x:65534:\n",
    "etc/profile": "export PS1='\\h:\\w\\$ '\n",
}


def build(target: str) -> None:
    """Fill an existing, empty directory. Raises ProvisionError."""
    with tempfile.TemporaryDirectory(prefix="coso-busybox-") as work:
        program = _download(work)
        for directory in DIRECTORIES:
            os.makedirs(os.path.join(target, directory), exist_ok=True)
        os.chmod(os.path.join(target, "tmp"), 0o1777)
        os.chmod(os.path.join(target, "root"), 0o700)
        shutil.copy(program, os.path.join(target, "bin/busybox"))
        os.chmod(os.path.join(target, "bin/busybox"), 0o755)
        for applet in run(program, "--list-full").split():
            link = os.path.join(target, applet)
            os.makedirs(os.path.dirname(link), exist_ok=True)
            if not os.path.lexists(link):
                os.symlink("/bin/busybox", link)
        for name, text in (FILES | {"etc/os-release": _os_release(program)}).items():
            with open(os.path.join(target, name), "w") as file:
                file.write(text)


def version() -> str:
    """The version of busybox that apt would install, as os-release shall name it."""
    for line in run("apt-cache", "policy", PACKAGE).splitlines():
        name, _, text = line.strip().partition(": ")
        if name == "Candidate" and text != "(none)":
            return text.partition(":")[2].partition("-")[0] or text.partition("-")[0]
    run("apt-get", "update")
    return "unknown" if "Candidate" not in run("apt-cache", "policy", PACKAGE) else version()


def _os_release(program: str) -> str:
    first = subprocess.run([program], capture_output=True, text=True, check=False).stdout.split()
    number = first[1].removeprefix("v") if len(first) > 1 else "unknown"
    return f'ID=busybox\nVERSION_ID={number}\nPRETTY_NAME="busybox {number} (from Debian)"\n'


def _download(work: str) -> str:
    """The verified package, unpacked; the path of its program."""
    words = ("apt-get", "-o", "APT::Sandbox::User=root", "download", PACKAGE)
    done = _in(work, *words)
    if done.returncode:
        run("apt-get", "update")
        done = _in(work, *words)
    packages = [name for name in os.listdir(work) if name.endswith(".deb")]
    if done.returncode or not packages:
        raise ProvisionError(
            f"Debian's {PACKAGE} cannot be downloaded: {done.stderr.strip().splitlines()[-1:]}",
            hint="see `apt-get update`, or name an Alpine mirror with --mirror",
        )
    run("dpkg-deb", "--extract", os.path.join(work, packages[0]), os.path.join(work, "tree"))
    return os.path.join(work, "tree/bin/busybox")


def _in(directory: str, *words: str) -> subprocess.CompletedProcess[str]:
    try:
        return subprocess.run(words, cwd=directory, capture_output=True, text=True, check=False)
    except FileNotFoundError:
        raise ProvisionError(
            "the embedded default needs apt-get, which is not here",
            hint="name an Alpine mirror with --mirror (file:///… works too)",
        ) from None
