"""What the library makes of its arguments; no containers."""

from __future__ import annotations

import os

import pytest

from coso.api.client import error_from
from coso.api.completed import Completed, words
from coso.api.runner import said
from coso.api.words import LEFT_OUT, PLURALS, Options, words_of
from coso.errors import CommandFailedError, CommandNotFoundError, CosoError, MissingError, UsageError
from coso.options import OPTIONS


def test_the_options_are_those_of_coso_run() -> None:
    names = {option.name.replace("-", "_") for option in OPTIONS} - {name.replace("-", "_") for name in LEFT_OUT}
    assert set(Options.__annotations__) == names | set(PLURALS)


@pytest.mark.parametrize(
    ("options", "expected"),
    [
        ({"memory": "64m"}, {"memory": ["64m"]}),
        ({"memory": 1 << 20}, {"memory": ["1048576"]}),
        ({"read_only": True, "init": False, "user": None}, {"read-only": ["true"]}),
        ({"env": {"A": "b", "C": 1}}, {"env": ["A=b", "C=1"]}),
        ({"env": ["A=b"]}, {"env": ["A=b"]}),
        ({"ports": {8080: 80}}, {"publish": ["8080:80"]}),
        ({"ports": [80, "127.0.0.1:1:2/udp"]}, {"publish": ["80", "127.0.0.1:1:2/udp"]}),
        ({"volumes": {"/a": "/b:ro", "data": "/c"}}, {"volume": ["/a:/b:ro", "data:/c"]}),
        ({"volumes": ["./a:/b"]}, {"volume": [f"{os.getcwd()}/a:/b"]}),
        ({"labels": {"a": "b"}}, {"label": ["a=b"]}),
        ({"cap_add": "NET_RAW"}, {"cap-add": ["NET_RAW"]}),
        ({"tmpfs": {"/t": "size=1m"}}, {"tmpfs": ["/t:size=1m"]}),
    ],
)
def test_options_become_words(options: dict[str, object], expected: dict[str, list[str]]) -> None:
    assert words_of(options) == expected


@pytest.mark.parametrize(
    ("options", "told"),
    [
        ({"memry": "1m"}, "'memory' perhaps"),
        ({"read_only": "yes"}, "a switch"),
        ({"memory": ["1m", "2m"]}, "takes one value"),
        ({"detach": True}, "there is no option"),
        ({"userns": "host"}, "for `coso run`"),
    ],
)
def test_options_that_make_no_sense(options: dict[str, object], told: str) -> None:
    with pytest.raises(UsageError) as caught:
        words_of(options)
    assert told in str(caught.value)


def test_a_variable_without_a_value_has_that_of_this_process(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("COLOUR", "blue")
    assert words_of({"env": ["COLOUR"]}) == {"env": ["COLOUR=blue"]}


def test_a_text_is_the_shells() -> None:
    assert words("echo $HOME") == ("/bin/sh", "-c", "echo $HOME")
    assert words(["echo", "a b"]) == ("echo", "a b")


def test_errors_cross_processes_as_what_they_are() -> None:
    for error in (
        MissingError("there is no image 'x'", cause="a typo", hint="coso pull x"),
        CommandNotFoundError("id", "execute", "x: not found", number=2),
        UsageError("no"),
    ):
        again = error_from(said(error))
        assert type(again) is type(error)
        assert str(again) == str(error)
        assert again.exit_status == error.exit_status
    assert type(error_from({"kind": "Nonsense", "message": "m", "about": {}})) is CosoError


def test_a_failure_has_what_was_said() -> None:
    failed = Completed(("x",), 3, b"out", b"line\nreason\n", 1.0, 2.0)
    with pytest.raises(CommandFailedError, match="status 3: line\nreason") as caught:
        failed.check()
    assert (caught.value.status, caught.value.stdout) == (3, "out")
    assert Completed(("x",), 0, b"", b"", 1.0, 2.0).check().status == 0
