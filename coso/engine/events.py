"""What happens to containers, a line of JSON each in `<RUN>/engine/events`, for `coso events` to tell."""

from __future__ import annotations

import os
from time import sleep, time_ns

from coso import quickjson
from coso.state import ENGINE, make_directories

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Iterator

    from coso.engine.record import Json

FILE = f"{ENGINE}/events"
MOST_BYTES = 1 << 20
LOOK_SECONDS = 0.1


def tell(act: str, container: str, config: Json, **more: str) -> None:
    """Write down that something has happened to a container, with its labels."""
    about = {"image": config.get("image", ""), "name": config.get("name", "")}
    tell_of("container", act, container, {**(config.get("labels") or {}), **about, **more})


def tell_of(kind: str, act: str, what: str, more: Json) -> None:
    """Write down that something has happened; that it cannot be told is no reason to fail."""
    nanoseconds = time_ns()
    event = {
        "status": act,
        "id": what,
        "Type": kind,
        "Action": act,
        "Actor": {"ID": what, "Attributes": more},
        "scope": "local",
        "time": nanoseconds // 1_000_000_000,
        "timeNano": nanoseconds,
    }
    try:
        make_directories(ENGINE)
        fd = os.open(FILE, os.O_CREAT | os.O_WRONLY | os.O_APPEND | os.O_CLOEXEC, 0o600)
        try:
            # One write to the end of a file is never mixed with another (write(2), O_APPEND).
            os.write(fd, f"{quickjson.dumps(event)}\n".encode())
            if os.fstat(fd).st_size > MOST_BYTES:
                os.rename(FILE, f"{FILE}.1")
        finally:
            os.close(fd)
    except OSError:
        return


def read() -> Iterator[Json]:
    """What is known of the past, the oldest first."""
    for path in (f"{FILE}.1", FILE):
        try:
            with open(path, encoding="utf-8") as file:
                for line in file:
                    yield quickjson.loads(line)
        except (FileNotFoundError, ValueError):
            continue


def follow() -> Iterator[Json | None]:
    """What happens from now on; None now and then, for who waits for a moment."""
    file = open(FILE, encoding="utf-8") if os.path.exists(FILE) else None
    if file:
        file.seek(0, os.SEEK_END)
    rest = ""
    while True:
        if file is None and os.path.exists(FILE):
            file = open(FILE, encoding="utf-8")
        while file and (text := file.readline()):
            rest += text
            if rest.endswith("\n"):
                yield quickjson.loads(rest)
                rest = ""
        if file and (not os.path.exists(FILE) or os.stat(FILE).st_ino != os.fstat(file.fileno()).st_ino):
            file.close()
            file = None
            continue
        yield None
        sleep(LOOK_SECONDS)
