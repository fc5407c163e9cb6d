"""`coso verify`: prove the isolation of containers, of coso's or of another runtime's."""

from __future__ import annotations

import fnmatch
import os
import signal
import sys
from contextlib import AbstractContextManager, nullcontext

from coso.errors import PrivilegeError, UsageError
from coso.flags import Option, Words, parse, usage
from coso.spec.defaults import ROOTFS
from coso.verify import report
from coso.verify.checks import CHECKS, Check
from coso.verify.drivers import DRIVERS, Driver
from coso.verify.report import Report

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Sequence
    from typing import TextIO

    from coso.verify.run import Observer, Result

OPTIONS = (
    Option("runtime", "", "NAME", f"what starts the containers (default coso): {', '.join(DRIVERS)}"),
    Option("compare", "", "NAME,NAME…", "several runtimes side by side"),
    Option("rootfs", "", "PATH", f"root filesystem (default {ROOTFS}); other runtimes get a copy"),
    Option("checks", "", "GLOB", "only the checks whose id matches: 'ipc-*'", repeated=True),
    Option("list", "", "", "print the checks and run none"),
    Option("format", "", "|".join(report.FORMATS), "form of the report (default terminal)"),
    Option("output", "o", "FILE", "write the report there"),
    Option("help", "h", "", "print this"),
)
SIDE_BY_SIDE = ("terminal", "json", "junit", "html")

HELP = """coso verify [OPTIONS]

Tries to get out of containers in every way listed, and says what it saw. Everything
happens in a network and a mount namespace apart from the machine's. The exit status is 0
only if everything held; a check is skipped only where the kernel lacks what it would try,
or where another runtime cannot make the container that it needs.

"""


def main(words: list[str]) -> int:
    """Run the checks and report; 1 when one of them did not hold."""
    given = parse(OPTIONS, words, "coso verify")
    if given.on("help"):
        sys.stdout.write(HELP + usage(OPTIONS) + "\n")
        return 0
    checks, drivers, form = _asked(given)
    if given.on("list"):
        for check in checks:
            sys.stdout.write(f"{check.id:<22} {check.severity:<7} {check.title}  [{check.source}]\n")
        return 0
    if os.geteuid() != 0:
        raise PrivilegeError("coso verify needs root", hint="run it with sudo")
    from coso.images.rootfs import check as check_rootfs

    rootfs = os.path.abspath(given.last("rootfs", ROOTFS))
    with _output(given.last("output")) as file:
        check_rootfs(rootfs)
        reports = _carry_out(checks, drivers, rootfs)
        file.write(report.FORMATS[form](reports))
    return 0 if all(item.held() for item in reports) else 1


def _asked(given: Words) -> tuple[list[Check], list[Driver], str]:
    """What the words ask for; UsageError for what makes no sense."""
    if given.rest:
        raise UsageError(f"unexpected word {given.rest[0]!r}", hint="see `coso verify --help`")
    checks = _chosen(given.all("checks"))
    form = given.last("format", "terminal")
    if form not in report.FORMATS:
        raise UsageError(f"--format {form!r} is not known", hint=f"one of {', '.join(report.FORMATS)}")
    if {"runtime", "compare"} <= given.options.keys():
        raise UsageError("--runtime and --compare: one of the two", hint="--compare takes several names")
    option = "compare" if "compare" in given.options else "runtime"
    names = [name.strip() for name in given.last(option, "coso").split(",")] if option == "compare" else []
    names = names or [given.last("runtime", "coso")]
    for name in names:
        if name not in DRIVERS:
            raise UsageError(f"--{option} {name!r} is not known", hint=f"one of {', '.join(DRIVERS)}")
    if option == "compare" and form not in SIDE_BY_SIDE:
        raise UsageError(f"--format {form} shows one runtime", hint=f"one of {', '.join(SIDE_BY_SIDE)}")
    return checks, [DRIVERS[name] for name in dict.fromkeys(names)], form


def _output(path: str) -> AbstractContextManager[TextIO]:
    """Open the report's place before anything is done, so that no run is for nothing."""
    if not path:
        return nullcontext(sys.stdout)
    try:
        return open(path, "w", encoding="utf-8")
    except OSError as error:
        raise UsageError(f"--output {path} cannot be written: {error.strerror}") from None


def _carry_out(checks: list[Check], drivers: list[Driver], rootfs: str) -> list[Report]:
    from coso.verify import lab
    from coso.verify.run import verify

    # A termination unwinds like Ctrl-C, so that other runtimes' daemons and mounts go.
    signal.signal(signal.SIGTERM, signal.default_int_handler)
    lab.enter()
    reports = []
    with lab.state():
        for driver in drivers:
            if (why := driver.lacking()) and len(drivers) > 1:
                reports.append(Report(driver.name, "", (), why))
                continue
            version = driver.version()
            results: Sequence[Result] = verify(checks, rootfs, driver=driver, observe=_progress(driver, len(checks)))
            reports.append(Report(driver.name, version, results))
    return reports


def _progress(driver: Driver, total: int) -> Observer | None:
    """A line on a terminal that counts."""
    if not sys.stderr.isatty():
        return None
    done = 0

    def observe(result: Result) -> None:
        nonlocal done
        done += 1
        line = f"{driver.name}: {done} of {total}  {result.check.id}" if done < total else ""
        sys.stderr.write(f"\r\x1b[K{line}")
        sys.stderr.flush()

    return observe


def _chosen(globs: list[str]) -> list[Check]:
    chosen = [check for check in CHECKS if not globs or any(fnmatch.fnmatchcase(check.id, glob) for glob in globs)]
    if not chosen:
        raise UsageError(f"no check matches {', '.join(globs)}", hint="see `coso verify --list`")
    return chosen
