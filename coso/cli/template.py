"""`--format`: the part of Go's text/template that people use with Docker's commands.

Fields (`{{.State.Status}}`), `index`, `json`, `join`, `split`, `len`, `lower`,
`upper`, `title`, `truncate`, `pad`, `println`, `printf`, comparisons, `and`, `or`, `not`, pipes,
parentheses, `if`, `range`, `with`, variables, and `{{-` `-}}` that eat space.
"""

from __future__ import annotations

import json
import re

from coso.errors import UsageError

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Callable, Iterator
    from typing import Any

    Scope = dict[str, Any]

ACTION = re.compile(r"\{\{(- )?((?:\"(?:[^\"\\]|\\.)*\"|`[^`]*`|[^}\"`]|\}(?!\}))*?)( -)?\}\}", re.DOTALL)
TOKEN = re.compile(
    r"\s*(?:(\"(?:[^\"\\]|\\.)*\")|(`[^`]*`)|(-?\d+(?:\.\d+)?)|((?:\$\w*)?(?:\.\w+)+|\$\w*|\.)|(\w+)|(:=|[(),|=]))"
)
MISSING = "<no value>"


class Nothing:
    """A field that is not there."""


Tokens = list[tuple[str, str]]


def render(template: str, item: object) -> str:
    """The text of a template for one value; raises UsageError for a template that is none."""
    return "".join(_run(_parse(_pieces(template), template), item, {"$": item}))


def _pieces(template: str) -> list[tuple[str, str]]:
    """Text and actions, in order."""
    pieces: list[tuple[str, str]] = []
    at, trim = 0, False
    for found in ACTION.finditer(template):
        text = template[at : found.start()]
        text = text.lstrip() if trim else text
        pieces.append(("text", text.rstrip() if found[1] else text))
        if not found[2].strip().startswith("/*"):
            pieces.append(("action", found[2].strip()))
        at, trim = found.end(), bool(found[3])
    rest = template[at:]
    if "{{" in rest:
        raise UsageError(f"--format {template!r}: {{{{ without }}}}")
    pieces.append(("text", rest.lstrip() if trim else rest))
    return pieces


def _parse(pieces: list[tuple[str, str]], template: str) -> list[Any]:
    """Nested blocks: text, ("print", tokens), (word, tokens, body, otherwise)."""
    root: list[Any] = []
    stack: list[tuple[list[Any], list[Any] | None]] = [(root, None)]
    for kind, text in pieces:
        body = stack[-1][0]
        word, _, rest = text.partition(" ")
        if kind == "text":
            body.append(text)
        elif word in ("if", "range", "with"):
            block: list[Any] = [word, rest, [], []]
            body.append(block)
            stack.append((block[2], block))
        elif word == "else":
            block_of = stack.pop()[1] if len(stack) > 1 else None
            if block_of is None:
                raise UsageError(f"--format {template!r}: else without if")
            if rest.strip():
                inner_word, _, inner_rest = rest.strip().partition(" ")
                inner: list[Any] = [inner_word, inner_rest, [], []]
                block_of[3].append(inner)
                # One `end` closes the whole chain.
                stack.append((inner[2], inner))
            else:
                stack.append((block_of[3], block_of))
        elif word == "end":
            if len(stack) == 1:
                raise UsageError(f"--format {template!r}: end without if or range")
            stack.pop()
        else:
            body.append(("print", text))
    if len(stack) > 1:
        raise UsageError(f"--format {template!r}: {stack[-1][1][0] if stack[-1][1] else 'if'} without end")
    return root


def _run(nodes: list[Any], item: object, scope: Scope) -> Iterator[str]:
    for node in nodes:
        if isinstance(node, str):
            yield node
        elif node[0] == "print":
            yield from _print(node[1], item, scope)
        elif node[0] == "range":
            yield from _range(node, item, scope)
        else:
            found = _evaluate(_tokens(node[1]), item, scope)
            inner = found if node[0] == "with" else item
            yield from _run(node[2] if _is_true(found) else node[3], inner if _is_true(found) else item, scope)


def _print(text: str, item: object, scope: Scope) -> Iterator[str]:
    tokens = _tokens(text)
    if len(tokens) > 2 and tokens[0][1].startswith("$") and tokens[1][1] in (":=", "="):
        scope[tokens[0][1]] = _evaluate(tokens[2:], item, scope)
        return
    yield shown(_evaluate(tokens, item, scope))


def _range(node: list[Any], item: object, scope: Scope) -> Iterator[str]:
    tokens = _tokens(node[1])
    names: list[str] = []
    operators = [at for at, token in enumerate(tokens) if token[1] == ":="]
    if operators:
        names = [text for _, text in tokens[: operators[0]] if text.startswith("$")]
        tokens = tokens[operators[0] + 1 :]
    found = _evaluate(tokens, item, scope)
    if isinstance(found, dict):
        pairs: list[tuple[Any, Any]] = sorted(found.items())
    else:
        pairs = list(enumerate(found)) if isinstance(found, (list, tuple)) else []
    if not pairs:
        yield from _run(node[3], item, scope)
    for key, value in pairs:
        inner = dict(scope)
        if names:
            inner |= {names[-1]: value, **({names[0]: key} if len(names) > 1 else {})}
        yield from _run(node[2], value, inner)


def _tokens(text: str) -> Tokens:
    tokens, at = [], 0
    while at < len(text.rstrip()):
        found = TOKEN.match(text, at)
        if not found:
            raise UsageError(f"--format: {text[at:]!r} is not understood")
        kind = ("string", "raw", "number", "field", "word", "sign")[(found.lastindex or 1) - 1]
        tokens.append((kind, found[found.lastindex or 0]))
        at = found.end()
    return tokens


def _evaluate(tokens: Tokens, item: object, scope: Scope) -> Any:
    """The value of a pipeline: each part's value becomes the next one's last argument."""
    parts: list[Tokens] = [[]]
    depth = 0
    for token in tokens:
        depth += {"(": 1, ")": -1}.get(token[1], 0) if token[0] == "sign" else 0
        if token == ("sign", "|") and depth == 0:
            parts.append([])
        else:
            parts[-1].append(token)
    found: list[Any] = []
    for part in parts:
        found = [_call(part, item, scope, found)]
    return found[0]


def _call(tokens: Tokens, item: object, scope: Scope, piped: list[Any]) -> Any:
    if not tokens:
        raise UsageError("--format: an empty action")
    if tokens[0][0] == "word" and tokens[0][1] not in ("true", "false", "nil"):
        arguments = [*_arguments(tokens[1:], item, scope), *piped]
        name = tokens[0][1]
        if name not in FUNCTIONS:
            raise UsageError(f"--format: there is no function {name!r}", hint=f"there are {', '.join(FUNCTIONS)}")
        try:
            return FUNCTIONS[name](*arguments)
        except (TypeError, ValueError, IndexError, KeyError, AttributeError) as error:
            raise UsageError(f"--format: {name} cannot be applied here: {error}") from None
    found = _arguments(tokens, item, scope)
    if len(found) != 1:
        raise UsageError("--format: a function is missing before its arguments")
    return found[0]


def _arguments(tokens: Tokens, item: object, scope: Scope) -> list[Any]:
    found: list[Any] = []
    at = 0
    while at < len(tokens):
        kind, text = tokens[at]
        at += 1
        if (kind, text) == ("sign", "("):
            end = _closing(tokens, at)
            inner = _evaluate(tokens[at:end], item, scope)
            at = end + 1
            if at < len(tokens) and tokens[at][0] == "field" and tokens[at][1].startswith("."):
                inner = _field(inner, tokens[at][1])
                at += 1
            found.append(inner)
        elif kind == "string":
            found.append(json.loads(text))
        elif kind == "raw":
            found.append(text[1:-1])
        elif kind == "number":
            found.append(float(text) if "." in text else int(text))
        elif kind == "word":
            found.append({"true": True, "false": False, "nil": None}.get(text, text))
        else:
            found.append(_variable_or_field(text, item, scope))
    return found


def _closing(tokens: Tokens, at: int) -> int:
    depth = 1
    for place in range(at, len(tokens)):
        depth += {"(": 1, ")": -1}.get(tokens[place][1], 0) if tokens[place][0] == "sign" else 0
        if depth == 0:
            return place
    raise UsageError("--format: ( without )")


def _variable_or_field(text: str, item: object, scope: Scope) -> Any:
    if not text.startswith("$"):
        return _field(item, text)
    name, dot, rest = text.partition(".")
    if name not in scope:
        raise UsageError(f"--format: there is no variable {name}")
    return _field(scope[name], f".{rest}") if dot else scope[name]


def _field(item: Any, path: str) -> Any:
    for name in filter(None, path.split(".")):
        if isinstance(item, Nothing) or item is None:
            return Nothing()
        if not isinstance(item, dict):
            raise UsageError(f"--format: {name} is a field of nothing that has fields")
        if name not in item:
            if getattr(item, "strict", False):
                raise UsageError(f"--format: there is no field .{name}", hint=f"there are {', '.join(item)}")
            return Nothing()
        item = item[name]
    return item


class Row(dict):  # type: ignore[type-arg]  # to say of what would take an import of `typing`
    """A row of a table: asking for a field that it lacks is an error."""

    strict = True


class Headings(Row):
    """Headings in place of values, for fields of a row that is not there too."""

    strict = False

    def __missing__(self, name: str) -> str:
        return name.upper()

    def __contains__(self, name: object) -> bool:
        return True


def shown(value: object) -> str:
    """A value as Go prints it."""
    if isinstance(value, Nothing):
        return MISSING
    if isinstance(value, bool):
        return "true" if value else "false"
    if value is None:
        return "<nil>"
    if isinstance(value, (list, tuple)):
        return f"[{' '.join(shown(item) for item in value)}]"
    if isinstance(value, dict):
        return f"map[{' '.join(f'{key}:{shown(value[key])}' for key in sorted(value))}]"
    return str(value)


def _is_true(value: object) -> bool:
    return not isinstance(value, Nothing) and bool(value)


def _index(item: Any, *keys: Any) -> Any:
    for key in keys:
        if isinstance(item, dict):
            item = item.get(key, "")
        elif item is None or isinstance(item, Nothing):
            return Nothing()
        else:
            item = item[key]
    return item


def _json(value: object) -> str:
    return json.dumps(None if isinstance(value, Nothing) else value, ensure_ascii=False, separators=(",", ":"))


def _printf(form: str, *values: object) -> str:
    texts = [value if type(value) in (int, float) else shown(value) for value in values]
    return re.sub(r"%(-?\d*)v", r"%\1s", form).replace("%q", '"%s"') % tuple(texts)


FUNCTIONS: dict[str, Callable[..., Any]] = {
    "and": lambda *a: next((v for v in a if not _is_true(v)), a[-1]),
    "eq": lambda a, *b: any(a == other for other in b),
    "ge": lambda a, b: a >= b,
    "gt": lambda a, b: a > b,
    "index": _index,
    "join": lambda parts, by="": by.join(shown(part) for part in parts or []),
    "json": _json,
    "le": lambda a, b: a <= b,
    "len": lambda a: 0 if isinstance(a, Nothing) or a is None else len(a),
    "lower": lambda a: str(a).lower(),
    "lt": lambda a, b: a < b,
    "ne": lambda a, b: a != b,
    "not": lambda a: not _is_true(a),
    "or": lambda *a: next((v for v in a if _is_true(v)), a[-1]),
    "pad": lambda a, before, after: " " * before + str(a) + " " * after if a else a,
    "print": lambda *a: "".join(shown(v) for v in a),
    "printf": _printf,
    "println": lambda *a: " ".join(shown(v) for v in a) + "\n",
    "slice": lambda a, begin=0, end=None: a[begin:end],
    "split": lambda a, by: str(a).split(by),
    "title": lambda a: str(a).title(),
    "truncate": lambda a, length: str(a)[:length],
    "upper": lambda a: str(a).upper(),
}
