"""`./dev invoke bench`: coso beside its peers, case by case, in one go; ratios, and where others are better.

With `--write DIRECTORY` what was found is kept there, for people and for
programs: README.md, results.json, and a picture of each case.
"""

from __future__ import annotations

import argparse
import os
import sys
from importlib import import_module
from pathlib import Path

PARTS = ("start", "library", "many", "images", "services", "network")


def main() -> int:
    """Measure and report."""
    parser = argparse.ArgumentParser(prog="python -m benchmarks", description=__doc__)
    parser.add_argument("--runs", type=int, default=30)
    parser.add_argument("--rootfs", default="/tmp/coso/rootfs")
    parser.add_argument("--only", default=",".join(PARTS), help=f"parts, with commas between: {', '.join(PARTS)}")
    parser.add_argument("--write", default="", metavar="DIRECTORY")
    given = parser.parse_args()
    parts = given.only.split(",")
    if set(parts) - set(PARTS):
        parser.error(f"--only {given.only}: the parts are {', '.join(PARTS)}")
    if os.geteuid() != 0:
        print("benchmarks need root", file=sys.stderr)
        return 1
    if not Path(given.rootfs).is_dir():
        print(f"there is no rootfs at {given.rootfs}: run `invoke fs-setup`", file=sys.stderr)
        return 1
    from benchmarks import ground, report

    results = []
    with ground.ground(given.rootfs) as place:
        where = report.machine()
        for part in parts:
            for result in import_module(f"benchmarks.cases.{part}").results(place, given.runs):
                print(report.table(result), flush=True)
                results.append(result)
    print(report.targets(results))
    if given.write:
        report.write(results, where, Path(given.write))
    return 0


if __name__ == "__main__":
    sys.exit(main())
