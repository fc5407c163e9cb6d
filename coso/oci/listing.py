"""`list` and `ps`: what there is, as tables for people and as JSON for programs."""

from __future__ import annotations

import os

from coso.cgroups import hierarchies, members
from coso.errors import CosoError, UsageError
from coso.oci.control import state_json
from coso.oci.store import Place, all_places
from coso.spawn import find, spawn

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Callable


def listing(root: str, form: str, *, quiet: bool, warn: Callable[[str], None]) -> str:
    """The containers below a root, one line each, or a JSON array."""
    _check_form(form)
    rows = []
    for place in all_places(root):
        try:
            state = place.read()
            rows.append(state_json(place, state, place.status(state)) | {"owner": _owner(place)})
        except (CosoError, OSError) as error:
            warn(str(error))
    if quiet:
        return "".join(f"{row['id']}\n" for row in rows)
    if form == "json":
        import json

        return json.dumps(rows or None) + "\n"
    return _table(
        ("ID", "PID", "STATUS", "BUNDLE", "CREATED", "OWNER"),
        [tuple(str(row[key]) for key in ("id", "pid", "status", "bundle", "created", "owner")) for row in rows],
    )


def _owner(place: Place) -> str:
    import pwd

    uid = os.stat(place.path).st_uid
    try:
        return pwd.getpwuid(uid).pw_name
    except KeyError:
        return f"#{uid}"


def processes(place: Place, form: str, options: list[str]) -> str:
    """The processes of a container: a JSON array of numbers, or what ps(1) says of them."""
    _check_form(form)
    state = place.read()
    numbers = members.processes(state.cgroup, hierarchies())
    if form == "json":
        import json

        return json.dumps(numbers) + "\n"
    ps = find("ps")
    if not ps:
        raise CosoError("there is no ps(1) on this machine", hint="install procps, or give --format json")
    status, said = spawn([ps, *(options or ["-ef"])])
    if status != 0:
        raise CosoError(f"ps failed with status {status}: {said.strip()}")
    head, *lines = said.splitlines()
    if "PID" not in head.split():
        raise UsageError("ps prints no PID column with these options")
    column = head.split().index("PID")
    kept = [line for line in lines if line.split()[column] in {str(number) for number in numbers}]
    return "\n".join([head, *kept]) + "\n"


def _check_form(form: str) -> None:
    if form not in ("table", "json"):
        raise UsageError(f"--format {form!r} is not known", hint="table or json")


def _table(head: tuple[str, ...], rows: list[tuple[str, ...]]) -> str:
    widths = [max(len(row[column]) for row in (head, *rows)) for column in range(len(head))]
    lines = ("   ".join(text.ljust(width) for text, width in zip(row, widths, strict=True)) for row in (head, *rows))
    return "".join(f"{line.rstrip()}\n" for line in lines)
