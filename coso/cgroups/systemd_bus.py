"""A connection to systemd's manager over D-Bus, as org.freedesktop.systemd1(5) describes it.

jeepney makes and reads the messages; it knows no systemd.  The system's bus is
asked, or where none runs systemd's own socket, which speaks the same without a
bus between.
"""

from __future__ import annotations

import os
import time

from coso.errors import LimitError

TYPE_CHECKING = False
if TYPE_CHECKING:
    from typing import Any

    from coso.cgroups.systemd import Property

    Message = Any

SERVICE, PLACE = "org.freedesktop.systemd1", "/org/freedesktop/systemd1"
MANAGER = f"{SERVICE}.Manager"
NO_SUCH_UNIT, UNIT_EXISTS = f"{SERVICE}.NoSuchUnit", f"{SERVICE}.UnitExists"
PATIENCE = 30.0


class CallError(LimitError):
    """systemd's own answer to a call; `name` is that of the D-Bus error."""

    def __init__(self, member: str, name: str, text: str) -> None:
        super().__init__(
            f"systemd refuses {member}: {text or name}",
            hint="see `journalctl -b` for its reasons, or leave --systemd-cgroup out",
        )
        self.name = name


def addresses(*, user: bool) -> list[tuple[str, bool]]:
    """The sockets to try, and whether there is a bus behind each (org.freedesktop.systemd1(5), systemd.special(7))."""
    if not user:
        return [("/run/dbus/system_bus_socket", True), ("/run/systemd/private", False)]
    runtime = os.environ.get("XDG_RUNTIME_DIR", f"/run/user/{os.geteuid()}")
    given = os.environ.get("DBUS_SESSION_BUS_ADDRESS", "")
    # One of several, with a guid behind it: unix:path=/run/user/1000/bus,guid=…;…
    path = given.partition(";")[0].partition(",")[0].removeprefix("unix:path=")
    found = [(path, True)] if given.startswith("unix:path=") else []
    return [*found, (f"{runtime}/bus", True), (f"{runtime}/systemd/private", False)]


class Manager:
    """An open connection to the manager."""

    def __init__(self, *, user: bool = False) -> None:
        from jeepney.low_level import Parser

        self._socket, on_bus = _connect(addresses(user=user))
        self._parser = Parser()
        self._serial = 0
        self._owner = ""
        self._jobs: dict[str, str] = {}
        if on_bus:
            self._call("Hello", bus=True)
            rule = f"type='signal',sender='{SERVICE}',path='{PLACE}',interface='{MANAGER}',member='JobRemoved'"
            self._call("AddMatch", "s", (rule,), bus=True)
        # Until somebody subscribes, the manager keeps its signals to itself.
        self._call("Subscribe")

    def __enter__(self) -> Manager:
        return self

    def __exit__(self, *_: object) -> None:
        self._socket.close()

    def start(self, unit: str, properties: list[Property]) -> None:
        """StartTransientUnit, and wait until it is done."""
        words: tuple[object, ...] = (unit, "replace", properties, [])
        try:
            job = self._call("StartTransientUnit", "ssa(sv)a(sa(sv))", words)[0]
        except CallError as error:
            if error.name != UNIT_EXISTS:
                raise
            # What is left of an earlier one that failed is kept until somebody has seen it.
            self._forget(unit)
            job = self._call("StartTransientUnit", "ssa(sv)a(sa(sv))", words)[0]
        result = self._wait(job)
        if result != "done":
            self._forget(unit)
            raise LimitError(f"systemd could not start {unit}: {result}", hint=f"see `journalctl -u {unit}`")

    def is_running(self, unit: str) -> bool:
        """Whether there is such a unit, and it has not ended or failed (ActiveState)."""
        try:
            place = self._call("GetUnit", "s", (unit,))[0]
        except CallError as error:
            if error.name != NO_SUCH_UNIT:
                raise
            return False
        words = (f"{SERVICE}.Unit", "ActiveState")
        state = self._call("Get", "ss", words, place=place, interface="org.freedesktop.DBus.Properties")[0][1]
        return state not in ("inactive", "failed")

    def stop(self, unit: str) -> None:
        """StopUnit, wait until it is done, and forget that it failed, if it did."""
        try:
            job = self._call("StopUnit", "ss", (unit, "replace"))[0]
        except CallError as error:
            if error.name != NO_SUCH_UNIT:
                raise
            return
        self._wait(job)
        self._forget(unit)

    def set_properties(self, unit: str, properties: list[Property]) -> None:
        """SetUnitProperties, at run time only: a transient unit has no file to keep them in."""
        self._call("SetUnitProperties", "sba(sv)", (unit, True, properties))

    def group(self, unit: str) -> str:
        """The path of a unit's group in every hierarchy, without slash in front (ControlGroup)."""
        place = self._call("GetUnit", "s", (unit,))[0]
        kind = "Slice" if unit.endswith(".slice") else "Scope"
        words = (f"{SERVICE}.{kind}", "ControlGroup")
        path: str = self._call("Get", "ss", words, place=place, interface="org.freedesktop.DBus.Properties")[0][1]
        if not path:
            raise LimitError(f"systemd has made no control group for {unit}")
        return path.removeprefix("/")

    def _forget(self, unit: str) -> None:
        try:
            self._call("ResetFailedUnit", "s", (unit,))
        except CallError:
            pass  # It has not failed, or is gone already.

    def _wait(self, job: str) -> str:
        """How a job ended; what JobRemoved said of it may have come before the answer that named it."""
        end = time.monotonic() + PATIENCE
        while job not in self._jobs:
            self._receive(end)
        return self._jobs.pop(job)

    def _call(
        self,
        member: str,
        signature: str = "",
        words: tuple[object, ...] = (),
        *,
        bus: bool = False,
        place: str = PLACE,
        interface: str = MANAGER,
    ) -> tuple[Any, ...]:
        """Call a method of the manager, or of the bus itself, and return what it answers."""
        from jeepney import DBusAddress, HeaderFields, MessageType, new_method_call

        address = DBusAddress(place, SERVICE, interface)
        if bus:
            address = DBusAddress("/org/freedesktop/DBus", "org.freedesktop.DBus", "org.freedesktop.DBus")
        message = new_method_call(address, member, signature or None, words)
        self._serial += 1
        self._socket.sendall(message.serialise(serial=self._serial))
        end = time.monotonic() + PATIENCE
        while True:
            answer = self._receive(end)
            if answer.header.fields.get(HeaderFields.reply_serial) == self._serial:
                break
        if answer.header.message_type is MessageType.error:
            name = answer.header.fields.get(HeaderFields.error_name, "")
            raise CallError(member, name, str(answer.body[0]) if answer.body else "")
        if not bus:
            self._owner = answer.header.fields.get(HeaderFields.sender, "")
        return tuple(answer.body)

    def _receive(self, end: float) -> Message:
        """The next message; jobs that have ended are noted on the way."""
        from jeepney import HeaderFields, MessageType

        while (message := self._parser.get_next_message()) is None:
            self._socket.settimeout(max(0.001, end - time.monotonic()))
            try:
                data = self._socket.recv(65536)
            except TimeoutError:
                data = b""
            if not data:
                raise LimitError("systemd does not answer", hint="see `systemctl status`")
            self._parser.add_data(data, fds=[])
        fields = message.header.fields
        # On a bus anybody may send anything; the bus says who did.
        mine = fields.get(HeaderFields.sender, "") == self._owner
        if (
            message.header.message_type is MessageType.signal
            and fields.get(HeaderFields.member) == "JobRemoved"
            and mine
        ):
            _, job, _, result = message.body
            self._jobs[job] = result
        return message


def _connect(places: list[tuple[str, bool]]) -> tuple[Any, bool]:
    from jeepney.io.blocking import prep_socket

    for path, on_bus in places:
        try:
            return prep_socket(path), on_bus
        except (OSError, ValueError):  # ValueError: jeepney's word for a refused authentication.
            continue
    raise LimitError(
        "systemd cannot be reached",
        cause=f"nobody answers at {' nor at '.join(path for path, _ in places)}",
        hint="leave --systemd-cgroup out where systemd does not run",
    )
