"""Carry a list of resources out, or take a recorded list back."""

from __future__ import annotations

from collections.abc import Callable, Iterable

from coso.errors import CosoError, from_os_error
from provisioning import record
from provisioning.resource import Change, Fine, Resource, Result, Skip

Tell = Callable[[Result], None]


def apply(setup: str, resources: Iterable[Resource], tell: Tell, *, check: bool = False) -> list[Result]:
    """Bring each resource to its state, in order, and stop at the first failure.

    With `check` nothing is touched; the results say what would change.
    """
    results = []
    for resource in resources:
        result = _apply_one(setup, resource, check)
        results.append(result)
        tell(result)
        if result.status == "failed":
            break
    return results


def _apply_one(setup: str, resource: Resource, check: bool) -> Result:
    def result(status: str, message: str = "", change: Change | None = None, hint: str = "") -> Result:
        return Result(resource.kind, resource.label, status, message, change, hint)

    try:
        plan = resource.plan(resource.inspect())
        if isinstance(plan, Skip):
            return result("skipped", plan.reason)
        if isinstance(plan, Fine):
            return result("ok", plan.note)
        if not check:
            number = record.write(setup, resource, plan)
            try:
                resource.apply(plan)
            except BaseException:
                # A resource that fails has left things as they were: there is nothing to undo.
                record.drop_last(setup, number)
                raise
        return result("changed", "; ".join(filter(None, (plan.sentence, plan.note))), plan)
    except CosoError as error:
        return _failed(resource, error)
    except OSError as error:
        return _failed(resource, from_os_error(error, resource.kind, str(error.filename or resource.label)))


def _failed(resource: Resource, error: CosoError) -> Result:
    message = f"{error.message} (likely cause: {error.cause})" if error.cause else error.message
    return Result(resource.kind, resource.label, "failed", message, None, error.hint)


def undo(setup: str, kinds: dict[str, type], tell: Tell, *, check: bool = False) -> list[Result]:
    """Undo the recorded changes of a set-up, last first; the record shrinks with each one undone.

    What cannot be undone stays recorded, and the rest is undone all the same.
    """
    entries = record.read(setup)
    results = []
    failed = 0
    for number in range(len(entries) - 1, -1, -1):
        kind, fields, change = entries[number]
        resource: Resource = kinds[kind](**fields)
        try:
            done = "would be undone" if check else resource.undo(change)
            result = Result(kind, resource.label, "changed" if done else "ok", done or "is as it was before", change)
            if not check and not failed:
                record.drop_last(setup, number)
        except (CosoError, OSError) as error:
            failed += 1
            result = Result(kind, resource.label, "failed", str(error))
        results.append(result)
        tell(result)
    return results
