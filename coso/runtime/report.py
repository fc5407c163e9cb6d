"""How what went wrong in a first process comes to be an error of the runtime: as words over the channel."""

from __future__ import annotations

from coso.errors import CosoError, StartError

TYPE_CHECKING = False
if TYPE_CHECKING:
    from coso.runtime.container import Container


def report(container: Container, step: str, error: BaseException | None) -> None:
    """Tell the parent what went wrong, as words."""
    if isinstance(error, CosoError):
        number = getattr(error, "errno", 0)
        words = (step, number, type(error).__name__, error.message, error.cause, error.hint)
    elif isinstance(error, OSError):
        place = f" on {error.filename}" if error.filename else ""
        words = (step, error.errno or 0, "OSError", f"{error.strerror}{place}", "", "")
    elif isinstance(error, MemoryError):
        said = "there is no memory left on the way to the command"
        words = (step, 0, "MemoryError", said, "a limit of process.rlimits is too small to start in", "")
    else:
        words = (step, 0, type(error).__name__, f"{type(error).__name__}: {error}", "this is a fault of coso", "")
    container.theirs.send("error", *words)


def error_from(container: str, words: list[str]) -> CosoError:
    """The error that a child reported, in the parent."""
    from coso import errors

    step, number, kind, message, cause, hint = (*words, "", "", "", "", "", "")[:6]
    wanted = getattr(errors, kind, None)
    if isinstance(wanted, type) and issubclass(wanted, StartError):
        return wanted(container, step, message, number=int(number), cause=cause, hint=hint)
    return StartError(container, step, f"cannot {step}: {message}", number=int(number), cause=cause, hint=hint)
