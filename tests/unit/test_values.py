"""Values, errors and the public surface."""

from __future__ import annotations

import pytest

import coso
from coso import errors
from coso.spec import Mount, Network, Resources
from coso.value import replace


def test_a_value_cannot_be_assigned_to() -> None:
    with pytest.raises(AttributeError, match="frozen"):
        Resources(pids=1).pids = 2  # type: ignore[misc]


def test_a_value_names_a_missing_and_an_unknown_field() -> None:
    with pytest.raises(TypeError, match="missing field 'destination'"):
        Mount(type="tmpfs")  # type: ignore[call-arg]
    with pytest.raises(TypeError, match="unexpected or repeated field 'size'"):
        Mount("/x", "tmpfs", "x", size=1)  # type: ignore[call-arg]


def test_values_with_equal_fields_are_equal_and_a_copy_can_differ() -> None:
    assert Resources(network=Network(1)) == Resources(network=Network(1))
    assert replace(Resources(network=Network(1)), pids=3) == Resources(network=Network(1), pids=3)
    assert Resources() != Mount("/", "t", "s")


def test_the_public_names_are_these() -> None:
    assert coso.__all__ == [
        "CommandFailedError",
        "Completed",
        "Compose",
        "Container",
        "CosoError",
        "Image",
        "MissingError",
        "Network",
        "Options",
        "Starter",
        "TimeoutExpiredError",
        "UsageError",
        "__version__",
        "aio",
        "build_image",
        "compose",
        "container",
        "find",
        "image",
        "network",
        "pull_image",
        "run",
    ]
    for name in coso.__all__:
        assert getattr(coso, name)
    with pytest.raises(AttributeError):
        coso.nothing  # noqa: B018


def test_every_error_is_in_the_tree_that_the_module_draws() -> None:
    tree = errors.__doc__ or ""
    names = [n for n, c in vars(errors).items() if isinstance(c, type) and issubclass(c, errors.CosoError)]
    assert [name for name in names if name not in tree] == []


def test_an_error_says_what_why_and_what_to_do() -> None:
    error = errors.KernelError("mount", 1, "/x", cause="no right", hint="run as root")
    assert str(error).splitlines() == [
        "mount on /x: Operation not permitted [EPERM]",
        "  likely cause: no right",
        "  what to do: run as root",
    ]
