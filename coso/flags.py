"""Reading the words of a command line, without argparse (9 ms).

A table says which options exist.  One dash and two mean the same (`-rootfs`,
`--rootfs`), a value follows as the next word or after `=`, and single letters
without a value may be joined (`-it`).  Options end at the first other word,
where what follows may be a command line of its own.
"""

from __future__ import annotations

from coso.errors import UsageError
from coso.value import value


@value
class Option:
    """One option: its long name, its letter, its value's name (`""` for a switch), and a line of help."""

    name: str
    letter: str
    argument: str
    help: str
    repeated: bool = False


@value
class Words:
    """What was said: options by long name, and the words after them."""

    options: dict[str, list[str]]
    rest: tuple[str, ...]

    def last(self, name: str, default: str = "") -> str:
        """The value given last, or the default."""
        return self.options.get(name, [default])[-1]

    def all(self, name: str) -> list[str]:
        """Every value given, in order."""
        return self.options.get(name, [])

    def on(self, name: str, default: bool = False) -> bool:
        """Whether a switch is on; `--switch=false` turns it off."""
        return self.options[name][-1] == "true" if name in self.options else default


def parse(table: tuple[Option, ...], words: list[str], program: str, *, anywhere: bool = False) -> Words:
    """Split words into options and the rest; raise UsageError for an option that does not exist.

    With `anywhere`, options may follow other words too.
    """
    by_name = {option.name: option for option in table}
    # Of two the first has the letter: `-h` is a host name where there is one, else help.
    by_letter = {option.letter: option for option in reversed(table) if option.letter}
    found: dict[str, list[str]] = {}
    rest: list[str] = []
    place = 0
    while place < len(words):
        word = words[place]
        if word == "--":
            place += 1
            break
        if not word.startswith("-") or word == "-":
            if not anywhere:
                break
            rest.append(word)
            place += 1
            continue
        place += 1
        name, equals, text = word.lstrip("-").partition("=")
        option = by_name.get(name) or (by_letter.get(name) if not word.startswith("--") else None)
        if option is None:
            _joined(word, by_letter, by_name, found, program)
            continue
        if option.argument and not equals:
            if place == len(words):
                raise UsageError(f"{word} needs a value: {option.argument}", hint=f"see `{program} --help`")
            text = words[place]
            place += 1
        _keep(found, option, text if option.argument or equals else "true")
    return Words(found, (*rest, *words[place:]))


HELP = Option("help", "h", "", "print this")
# Whoever makes man pages and completions asks for the tables themselves, by way of --help.
collected: list[tuple[str, tuple[Option, ...]]] | None = None


def read_words(
    options: tuple[Option, ...],
    words: list[str],
    usage_line: str,
    least: int = 0,
    most: int | None = None,
    *,
    anywhere: bool = True,
    text: str = "",
) -> Words | None:
    """The words of a command; None when its help was asked for and printed. Raises UsageError for too few or many.

    `usage_line` begins with the command's words; `text` is more help, examples first of all.
    """
    table = (*options, HELP)
    if collected is not None:
        collected.append((usage_line, table))
        return None
    program = " ".join(word for word in usage_line.partition(" [")[0].split() if word.islower())
    given = parse(table, words, program, anywhere=anywhere)
    if given.on("help"):
        import sys

        sys.stdout.write(f"{usage_line}\n\n{usage(table)}\n{text}")
        return None
    if len(given.rest) < least or (most is not None and len(given.rest) > most):
        wanted = f"{least}" if most == least else f"at least {least}" if most is None else f"{least} to {most}"
        raise UsageError(f"{program} takes {wanted} words, {len(given.rest)} given", hint=f"usage: {usage_line}")
    return given


def _keep(found: dict[str, list[str]], option: Option, text: str) -> None:
    if not option.argument and text not in ("true", "false"):
        raise UsageError(f"--{option.name} is a switch: it takes true or false, not {text!r}")
    if option.name in found and option.argument and not option.repeated:
        raise UsageError(f"--{option.name} is given twice: {found[option.name][0]!r} and {text!r}")
    found.setdefault(option.name, []).append(text)


def _joined(
    word: str,
    by_letter: dict[str, Option],
    by_name: dict[str, Option],
    found: dict[str, list[str]],
    program: str,
) -> None:
    """Several letters in one word (`-it`); of one that takes a value, that is the rest (`-p8080:80`)."""
    letters = word[1:]
    options: list[tuple[Option | None, str]] = []
    for place, letter in enumerate(letters):
        option = by_letter.get(letter)
        takes = bool(option and option.argument)
        options.append((option, letters[place + 1 :] if takes else "true"))
        if takes:
            break
    if word.startswith("--") or not all(option and text for option, text in options):
        from difflib import get_close_matches

        close = get_close_matches(word.lstrip("-").partition("=")[0], by_name, 1)
        hint = f"did you mean --{close[0]}?" if close else f"see `{program} --help`"
        raise UsageError(f"{program} has no option {word}", hint=hint)
    for option, text in options:
        if option:
            _keep(found, option, text.removeprefix("=") if option.argument else text)


def usage(table: tuple[Option, ...]) -> str:
    """The options as lines of help."""
    lines = []
    for option in table:
        letter = f"-{option.letter}, " if option.letter else "    "
        argument = f" {option.argument}" if option.argument else ""
        lines.append(f"{f'  {letter}--{option.name}{argument}':31} {option.help}")
    return "\n".join(lines)
