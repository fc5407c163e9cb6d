"""What instructions change in an image's configuration: those of a Dockerfile, of `commit` and `import --change`.

The keys are those of the image specification (config.md, "config"), which are Docker's.
"""

from __future__ import annotations

import copy
import json
import posixpath
import shlex
from typing import Any

from coso.errors import UsageError

Settings = dict[str, Any]
SHELL = ["/bin/sh", "-c"]
CHANGES = "CMD ENTRYPOINT ENV EXPOSE HEALTHCHECK LABEL ONBUILD SHELL STOPSIGNAL USER VOLUME WORKDIR".split()


def changed(settings: Settings, texts: list[str]) -> Settings:
    """Settings after `--change` instructions; raises UsageError."""
    settings = copy.deepcopy(settings)
    for text in texts:
        name, _, rest = text.strip().partition(" ")
        if name.upper() not in CHANGES:
            raise UsageError(f"--change {text!r}: {name} cannot be applied", hint=f"there are {', '.join(CHANGES)}")
        apply(settings, name.upper(), rest.strip())
    return settings


def apply(settings: Settings, name: str, text: str) -> None:
    """Change settings by one instruction whose variables are replaced already; raises UsageError."""
    APPLY[name](settings, text)


def exec_form(text: str) -> list[str] | None:
    """The words of `["a", "b"]`; None for anything else, which is for a shell."""
    if not text.startswith("["):
        return None
    try:
        found = json.loads(text)
    except ValueError:
        return None
    return found if isinstance(found, list) and all(isinstance(word, str) for word in found) else None


def command_of(settings: Settings, text: str) -> list[str]:
    """The command of a shell or exec form."""
    words = exec_form(text)
    return words if words is not None else [*(settings.get("Shell") or SHELL), text]


def _cmd(settings: Settings, text: str) -> None:
    settings["Cmd"] = command_of(settings, text)


def _entrypoint(settings: Settings, text: str) -> None:
    settings["Entrypoint"] = command_of(settings, text) if text not in ("", "[]") else None
    # A command that an image below has set was for another entrypoint.
    if not settings.get("_cmd_is_own"):
        settings["Cmd"] = None


def pairs(text: str, name: str) -> list[tuple[str, str]]:
    """`a=b "c"=d`, or in the old form `a b c` as one name and the rest; raises UsageError."""
    words = split_words(text)
    if not words:
        raise UsageError(f"{name} needs NAME=VALUE")
    if "=" not in words[0]:
        first, _, rest = text.partition(" ")
        if not rest.strip():
            raise UsageError(f"{name} {text!r} has no value", hint=f"write it as {name} NAME=VALUE")
        return [(first, unquoted(rest.strip()))]
    found = []
    for word in words:
        key, equals, value = word.partition("=")
        if not equals or not key:
            raise UsageError(f"{name} {text!r}: {word!r} is not NAME=VALUE")
        found.append((unquoted(key), unquoted(value)))
    return found


def split_words(text: str) -> list[str]:
    """Words, with quotes and backslashes still in them."""
    words: list[str] = []
    word, quote, at = "", "", 0
    while at < len(text):
        letter = text[at]
        if letter == "\\" and quote != "'" and at + 1 < len(text):
            word += text[at : at + 2]
            at += 2
            continue
        if quote:
            quote = "" if letter == quote else quote
        elif letter in "'\"":
            quote = letter
        elif letter.isspace():
            if word:
                words.append(word)
            word = ""
            at += 1
            continue
        word += letter
        at += 1
    return [*words, word] if word else words


def unquoted(word: str) -> str:
    """A word without its quotes and backslashes."""
    text, quote, at = "", "", 0
    while at < len(word):
        letter = word[at]
        if letter == "\\" and quote != "'" and at + 1 < len(word):
            following = word[at + 1]
            text += following if not quote or following in '"\\$' else letter + following
            at += 2
            continue
        if quote and letter == quote:
            quote = ""
        elif not quote and letter in "'\"":
            quote = letter
        else:
            text += letter
        at += 1
    return text


def _env(settings: Settings, text: str) -> None:
    for name, value in pairs(text, "ENV"):
        set_variable(settings, name, value)


def set_variable(settings: Settings, name: str, value: str) -> None:
    """Set a variable in place of its earlier value."""
    known = list(settings.get("Env") or [])
    places = [at for at, item in enumerate(known) if item.partition("=")[0] == name]
    if places:
        known[places[0]] = f"{name}={value}"
    else:
        known.append(f"{name}={value}")
    settings["Env"] = known


def _label(settings: Settings, text: str) -> None:
    settings["Labels"] = {**(settings.get("Labels") or {}), **dict(pairs(text, "LABEL"))}


def _expose(settings: Settings, text: str) -> None:
    ports = dict(settings.get("ExposedPorts") or {})
    for word in text.split():
        number, _, kind = word.partition("/")
        first, _, last = number.partition("-")
        if not first.isdecimal() or (last and not last.isdecimal()) or kind.lower() not in ("", "tcp", "udp", "sctp"):
            raise UsageError(f"EXPOSE {word!r} is no port", hint="80, 53/udp, 8000-8010")
        for port in range(int(first), int(last or first) + 1):
            ports[f"{port}/{kind.lower() or 'tcp'}"] = {}
    settings["ExposedPorts"] = ports


def _volume(settings: Settings, text: str) -> None:
    places = exec_form(text)
    if places is None:
        places = [unquoted(word) for word in split_words(text)]
    settings["Volumes"] = {**(settings.get("Volumes") or {}), **{place: {} for place in places}}


def _user(settings: Settings, text: str) -> None:
    settings["User"] = text


def _workdir(settings: Settings, text: str) -> None:
    settings["WorkingDir"] = posixpath.normpath(posixpath.join(settings.get("WorkingDir") or "/", unquoted(text)))


def _shell(settings: Settings, text: str) -> None:
    words = exec_form(text)
    if not words:
        raise UsageError(f"SHELL {text!r} is no list of words", hint='SHELL ["/bin/bash", "-c"]')
    settings["Shell"] = words


def _stopsignal(settings: Settings, text: str) -> None:
    settings["StopSignal"] = text


def _onbuild(settings: Settings, text: str) -> None:
    settings["OnBuild"] = [*(settings.get("OnBuild") or []), text]


def _healthcheck(settings: Settings, text: str) -> None:
    from coso.times import duration

    check: Settings = {}
    names = {"interval": "Interval", "timeout": "Timeout", "start-period": "StartPeriod"}
    while text.startswith("--"):
        option, _, text = text.partition(" ")
        name, _, value = option[2:].partition("=")
        if name == "retries" and value.isdecimal():
            check["Retries"] = int(value)
        elif name in names:
            check[names[name]] = int(duration(value, name) * 1_000_000_000)
        elif name == "start-interval":
            check["StartInterval"] = int(duration(value, name) * 1_000_000_000)
        else:
            raise UsageError(f"HEALTHCHECK has no option {option}")
        text = text.strip()
    kind, _, rest = text.partition(" ")
    if kind.upper() == "NONE":
        settings["Healthcheck"] = {"Test": ["NONE"]}
        return
    if kind.upper() != "CMD" or not rest.strip():
        raise UsageError(f"HEALTHCHECK {text!r} is neither CMD nor NONE")
    words = exec_form(rest.strip())
    settings["Healthcheck"] = {"Test": ["CMD", *words] if words is not None else ["CMD-SHELL", rest.strip()], **check}


def shell_words(text: str) -> list[str]:
    """Words as a shell splits them; raises UsageError for a quote without end."""
    try:
        return shlex.split(text)
    except ValueError as error:
        raise UsageError(f"{text!r} cannot be split into words: {error}") from None


APPLY = {
    "CMD": _cmd,
    "ENTRYPOINT": _entrypoint,
    "ENV": _env,
    "EXPOSE": _expose,
    "HEALTHCHECK": _healthcheck,
    "LABEL": _label,
    "ONBUILD": _onbuild,
    "SHELL": _shell,
    "STOPSIGNAL": _stopsignal,
    "USER": _user,
    "VOLUME": _volume,
    "WORKDIR": _workdir,
}
