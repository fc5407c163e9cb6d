"""What the words of `exec` change in the container's own process."""

from __future__ import annotations

from coso.errors import UsageError
from coso.kernel.capability import NUMBERS
from coso.spec import Capabilities, Process, User
from coso.value import replace

TYPE_CHECKING = False
if TYPE_CHECKING:
    from coso.flags import Words


def changed(own: Process, given: Words) -> Process:
    """The process that `exec` asks for by words; raises UsageError."""
    return replace(
        own,
        args=given.rest[1:],
        terminal=given.on("tty"),
        console_size=None,
        cwd=given.last("cwd", own.cwd),
        env=own.env + tuple(_variable(text) for text in given.all("env")),
        user=_user(own.user, given),
        capabilities=_capabilities(own.capabilities, given.all("cap")),
        no_new_privileges=given.on("no-new-privs", own.no_new_privileges),
        apparmor_profile=given.last("apparmor", own.apparmor_profile),
        selinux_label=given.last("process-label", own.selinux_label),
    )


def _variable(text: str) -> str:
    if "=" not in text or text.startswith("="):
        raise UsageError(f"--env {text!r} is not NAME=VALUE")
    return text


def _user(own: User, given: Words) -> User:
    more = tuple(_number("additional-gids", text) for text in given.all("additional-gids"))
    text = given.last("user")
    if not text:
        return replace(own, additional_gids=own.additional_gids + more)
    uid, colon, gid = text.partition(":")
    group = _number("user", gid) if colon else own.gid
    return replace(own, uid=_number("user", uid), gid=group, additional_gids=more)


def _number(option: str, text: str) -> int:
    if not text.isdecimal() or int(text) >= 0xFFFFFFFF:
        raise UsageError(f"--{option} {text!r} is not a number", hint="names are the engine's to look up")
    return int(text)


def _capabilities(own: Capabilities, names: list[str]) -> Capabilities:
    for name in names:
        if name not in NUMBERS:
            raise UsageError(f"--cap {name!r} is no capability", hint="written as CAP_NET_ADMIN; see capabilities(7)")
    more = tuple(names)
    # A user other than root keeps them over execve by the ambient set alone, which needs the inheritable one.
    return Capabilities(
        own.bounding + more,
        own.effective + more,
        own.permitted + more,
        own.inheritable + more if more else own.inheritable,
        own.ambient + more if more else own.ambient,
    )
