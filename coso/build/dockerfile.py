"""Reading a Dockerfile: lines become instructions (Docker's Dockerfile reference).

No library reads here documents and flags: those that exist stop at the
language of 2015.
"""

from __future__ import annotations

import re

from coso.errors import UsageError
from coso.value import replace, value

NAMES = (
    "ADD ARG CMD COPY ENTRYPOINT ENV EXPOSE FROM HEALTHCHECK LABEL MAINTAINER ONBUILD RUN SHELL STOPSIGNAL USER VOLUME "
    "WORKDIR"
).split()
# In these alone variables are replaced; a shell inside does it for the others.
EXPANDED = frozenset("ADD COPY ENV EXPOSE FROM LABEL STOPSIGNAL USER VOLUME WORKDIR ONBUILD ARG".split())
WITH_DOCUMENTS = ("RUN", "COPY", "ADD")
DOCUMENT = re.compile(r"<<(-?)(['\"]?)([A-Za-z_][A-Za-z0-9_.]*)\2")
DIRECTIVE = re.compile(r"#\s*([a-zA-Z][a-zA-Z0-9]*)\s*=\s*(.+?)\s*$")
FLAG = re.compile(r"--([\w-]+)(?:=(\S*))?\s*")
VARIABLE = re.compile(r"[A-Za-z_][A-Za-z0-9_]*")


@value
class Document:
    """A here document: its name, its lines as they stand, and whether variables in it are replaced."""

    name: str
    text: str
    expands: bool = True


@value
class Instruction:
    """One instruction: its name, its flags without dashes, the rest, and the line it begins at."""

    name: str
    text: str
    flags: tuple[tuple[str, str], ...] = ()
    documents: tuple[Document, ...] = ()
    line: int = 0

    @property
    def original(self) -> str:
        """The instruction as it is shown."""
        flags = "".join(f" --{name}={text}" if text else f" --{name}" for name, text in self.flags)
        return f"{self.name}{flags} {self.text}".rstrip()

    def flag(self, name: str, default: str = "") -> str:
        """The value of a flag, or the default."""
        return dict(self.flags).get(name, default)

    def wrong(self, why: str, hint: str = "") -> UsageError:
        """The error for an instruction that cannot be carried out."""
        return UsageError(f"line {self.line}: {self.name}: {why}", hint=hint)


def read(text: str) -> list[Instruction]:
    """The instructions of a Dockerfile; raises UsageError that names the line."""
    lines = text.replace("\r\n", "\n").split("\n")
    escape = _escape(lines)
    found = []
    at = 0
    while at < len(lines):
        stripped = lines[at].strip()
        if not stripped or stripped.startswith("#"):
            at += 1
            continue
        first = at + 1
        words, at = _joined(lines, at, escape)
        instruction = _instruction(words, first)
        if instruction.name in WITH_DOCUMENTS:
            instruction, at = _with_documents(instruction, lines, at)
        found.append(instruction)
    if not found:
        raise UsageError("the Dockerfile has no instructions")
    return found


def _escape(lines: list[str]) -> str:
    """The escape character, which a directive at the top may change."""
    for line in lines:
        found = DIRECTIVE.match(line.strip())
        if not found:
            break
        if found[1].lower() == "escape":
            if found[2] not in ("\\", "`"):
                raise UsageError(f"line 1: the escape character is {found[2]!r}", hint="\\ and ` can be it")
            return found[2]
    return "\\"


def _joined(lines: list[str], at: int, escape: str) -> tuple[str, int]:
    """A line with those it continues on; comments between them are left out."""
    parts: list[str] = []
    while at < len(lines):
        line = lines[at].rstrip()
        at += 1
        if parts and (not line.strip() or line.lstrip().startswith("#")):
            continue
        if not line.endswith(escape):
            parts.append(line)
            break
        parts.append(line[:-1])
    return "".join(parts).strip(), at


def _instruction(words: str, line: int) -> Instruction:
    name, _, rest = words.partition(" ") if " " in words else words.partition("\t")
    name = name.upper()
    if name not in NAMES:
        from difflib import get_close_matches

        close = get_close_matches(name, NAMES, 1)
        hint = f"did you mean {close[0]}?" if close else ""
        raise UsageError(f"line {line}: there is no instruction {name}", hint=hint)
    rest = rest.strip()
    flags = []
    has_flags = name not in ("HEALTHCHECK", "ONBUILD", "CMD", "ENTRYPOINT")
    while has_flags and (found := FLAG.match(rest)):
        flags.append((found[1], found[2] or ""))
        rest = rest[found.end() :]
    if not rest and name not in ("CMD", "ENTRYPOINT"):
        raise UsageError(f"line {line}: {name} has nothing after it")
    return Instruction(name, rest, tuple(flags), (), line)


def _with_documents(instruction: Instruction, lines: list[str], at: int) -> tuple[Instruction, int]:
    """Take in the here documents that an instruction begins."""
    documents = []
    for found in DOCUMENT.finditer(_outside_quotes(instruction.text)):
        body: list[str] = []
        while True:
            if at >= len(lines):
                raise instruction.wrong(f"the here document {found[3]} has no end")
            line = lines[at].lstrip("\t") if found[1] else lines[at]
            at += 1
            if line == found[3]:
                break
            body.append(line)
        documents.append(Document(found[3], "".join(f"{line}\n" for line in body), not found[2]))
    return replace(instruction, documents=tuple(documents)), at


def _outside_quotes(text: str) -> str:
    """The text with what is in quotes blanked out, but for the quotes of a here document's name."""
    return re.sub(r"(?<!<<)(?<!<<-)(\"(?:[^\"\\]|\\.)*\"|'[^']*')", lambda found: " " * len(found[0]), text)


def expand(text: str, variables: dict[str, str], instruction: Instruction) -> str:
    """Replace `$name`, `${name}`, `${name:-word}` and `${name:+word}`, but in single quotes; raises UsageError."""
    result, at, quote = "", 0, ""
    while at < len(text):
        letter = text[at]
        if letter == "\\" and at + 1 < len(text) and quote != "'":
            # What a later reader of quotes takes away stays; a dollar is taken for itself now.
            result += text[at + 1] if text[at + 1] == "$" else text[at : at + 2]
            at += 2
            continue
        if letter in "'\"":
            quote = "" if quote == letter else quote or letter
        if letter != "$" or quote == "'" or at + 1 >= len(text):
            result += letter
            at += 1
            continue
        found, at = _variable(text, at, variables, instruction)
        result += found
    return result


def _variable(text: str, at: int, variables: dict[str, str], instruction: Instruction) -> tuple[str, int]:
    """The value of the variable that begins here, and where the text goes on."""
    if text[at + 1] != "{":
        found = VARIABLE.match(text, at + 1)
        return (variables.get(found[0], ""), found.end()) if found else ("$", at + 1)
    end, depth = at + 2, 1
    while end < len(text) and depth:
        depth += {"{": 1, "}": -1}.get(text[end], 0)
        end += 1
    if depth:
        raise instruction.wrong(f"${{ without }} in {text!r}")
    inside = text[at + 2 : end - 1]
    named = VARIABLE.match(inside)
    if not named:
        raise instruction.wrong(f"{inside!r} is no variable")
    name, rest = named[0], inside[named.end() :]
    known = variables.get(name)
    if not rest:
        return known or "", end
    return _modified(name, known, rest, variables, instruction), end


def _modified(name: str, known: str | None, rest: str, variables: dict[str, str], instruction: Instruction) -> str:
    is_there = known is not None
    if rest.startswith(":"):
        is_there, rest = bool(known), rest[1:]
    kind, word = rest[:1], expand(rest[1:], variables, instruction)
    if kind == "-":
        return known or "" if is_there else word
    if kind == "+":
        return word if is_there else ""
    if kind == "?":
        if not is_there:
            raise instruction.wrong(f"{name}: {word or 'it has no value'}")
        return known or ""
    raise instruction.wrong(f"${{{name}{rest}}} is not understood", hint="${name:-word} and ${name:+word} are")
