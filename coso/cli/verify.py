"""`coso verify`: prove the isolation of a container."""

from __future__ import annotations

import fnmatch
import os
import sys

from coso.cli.flags import Option, parse, usage
from coso.errors import PrivilegeError, UsageError
from coso.spec.defaults import ROOTFS
from coso.verify import report
from coso.verify.checks import CHECKS, Check

OPTIONS = (
    Option("rootfs", "", "PATH", f"root filesystem (default {ROOTFS})"),
    Option("checks", "", "GLOB", "only the checks whose id matches: 'ipc-*'", repeated=True),
    Option("list", "", "", "print the checks and run none"),
    Option("format", "", "|".join(report.FORMATS), "form of the report (default terminal)"),
    Option("output", "o", "FILE", "write the report there"),
    Option("help", "h", "", "print this"),
)

HELP = """coso verify [OPTIONS]

Tries to get out of a container of coso in every way listed, and says what it saw.
The exit status is 0 only if everything held; a check is skipped only where the
kernel lacks what it would try.

"""


def main(words: list[str]) -> int:
    """Run the checks and report; 1 when one of them did not hold."""
    given = parse(OPTIONS, words, "coso verify")
    if given.on("help"):
        sys.stdout.write(HELP + usage(OPTIONS) + "\n")
        return 0
    if given.rest:
        raise UsageError(f"unexpected word {given.rest[0]!r}", hint="see `coso verify --help`")
    checks = _chosen(given.all("checks"))
    form = given.last("format", "terminal")
    if form not in report.FORMATS:
        raise UsageError(f"--format {form!r} is not known", hint=f"one of {', '.join(report.FORMATS)}")
    if given.on("list"):
        for check in checks:
            sys.stdout.write(f"{check.id:<22} {check.severity:<7} {check.title}  [{check.source}]\n")
        return 0
    if os.geteuid() != 0:
        raise PrivilegeError("coso verify needs root", hint="run it with sudo")
    from coso.images.rootfs import check as check_rootfs
    from coso.verify.run import verify

    rootfs = given.last("rootfs", ROOTFS)
    check_rootfs(rootfs)
    results = verify(checks, rootfs)
    text = report.FORMATS[form](results)
    if output := given.last("output"):
        with open(output, "w", encoding="utf-8") as file:
            file.write(text)
    else:
        sys.stdout.write(text)
    return 1 if any(result.result in ("fail", "error") for result in results) else 0


def _chosen(globs: list[str]) -> list[Check]:
    chosen = [check for check in CHECKS if not globs or any(fnmatch.fnmatchcase(check.id, glob) for glob in globs)]
    if not chosen:
        raise UsageError(f"no check matches {', '.join(globs)}", hint="see `coso verify --list`")
    return chosen
