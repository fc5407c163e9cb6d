"""`coso completion` and `coso man`: made from the tables that commands are read by, so that nothing is forgotten."""

from __future__ import annotations

import os
import sys

from coso import __version__, flags
from coso.cli import commands
from coso.errors import UsageError
from coso.flags import Option, read_words

SHELLS = ("bash", "zsh", "fish")
# What the words of a command are, for completion: names of containers, or of images.
OF_CONTAINERS = (
    "attach commit cp diff exec export inspect kill logs pause port rename restart rm start stats stop top "
    "unpause update wait"
).split()
OF_IMAGES = "run create rmi tag history save push".split()
LISTS = {
    "containers": "coso ps -a --format '{{.Names}}' 2>/dev/null",
    "images": "coso images --format '{{.Repository}}:{{.Tag}}' 2>/dev/null",
}


def tables() -> dict[str, tuple[str, str, tuple[Option, ...]]]:
    """Every command's help, usage line and options."""
    found = {}
    for _, name, path, text in commands.TABLE:
        if path == "run:main":
            from coso.options import OPTIONS

            found[name] = (text, "coso run [OPTIONS] [IMAGE] [COMMAND …]", OPTIONS)
            continue
        if path.partition(":")[0] in ("network", "oci", "verify", "gc", "documents"):
            found[name] = (text, f"coso {name}", ())
            continue
        flags.collected = []
        try:
            commands.load(name)(["--help"])
            usage_line, options = flags.collected[0]
        finally:
            flags.collected = None
        found[name] = (text, usage_line, options)
    return found


def completion(words: list[str]) -> int:
    """Print the completion script of a shell."""
    line = f"coso completion {'|'.join(SHELLS)}"
    text = "\nbash: coso completion bash > /etc/bash_completion.d/coso\nzsh:  coso completion zsh > ~/.zfunc/_coso\n"
    text += "fish: coso completion fish > ~/.config/fish/completions/coso.fish\n"
    given = read_words((), words, line, 1, 1, text=text)
    if given is None:
        return 0
    if given.rest[0] not in SHELLS:
        raise UsageError(f"there is no completion for {given.rest[0]!r}", hint=f"there is for {', '.join(SHELLS)}")
    sys.stdout.write({"bash": _bash, "zsh": _zsh, "fish": _fish}[given.rest[0]]())
    return 0


def _words_of(options: tuple[Option, ...]) -> list[str]:
    return [f"--{option.name}" for option in options] + [f"-{option.letter}" for option in options if option.letter]


def _names(name: str) -> str:
    last = name.rpartition(" ")[2]
    return "containers" if last in OF_CONTAINERS else "images" if last in OF_IMAGES else ""


def _bash() -> str:
    known = tables()
    tops = sorted({name.partition(" ")[0] for name in known})
    cases = []
    for name, (_, _, options) in known.items():
        kind = _names(name)
        names = f" $({LISTS[kind]})" if kind else ""
        cases.append(f'        "{name}") words="{" ".join(_words_of(options))}"; names="{names}" ;;')
    for above in sorted(commands.ABOVE):
        cases.append(f'        "{above}") words="{" ".join(commands.below(above))}"; names="" ;;')
    return (
        "# bash completion of coso, made by `coso completion bash`\n"
        "_coso() {\n"
        '    local word="${COMP_WORDS[COMP_CWORD]}" words names command="${COMP_WORDS[1]}"\n'
        "    if [ $COMP_CWORD -eq 1 ]; then\n"
        f'        COMPREPLY=($(compgen -W "{" ".join(tops)}" -- "$word"))\n'
        "        return\n    fi\n"
        f'    case " {" ".join(sorted(commands.ABOVE))} " in\n'
        '        *" $command "*) [ $COMP_CWORD -gt 2 ] && command="$command ${COMP_WORDS[2]}" ;;\n'
        "    esac\n"
        '    case "$command" in\n' + "\n".join(cases) + "\n    esac\n"
        '    case "$word" in\n'
        '        -*) COMPREPLY=($(compgen -W "$words" -- "$word")) ;;\n'
        '        *) [ -n "$names" ] || names="$words"\n'
        '           COMPREPLY=($(compgen -W "$(eval echo "$names")" -- "$word")) ;;\n'
        "    esac\n"
        '    [ ${#COMPREPLY[@]} -gt 0 ] || COMPREPLY=($(compgen -f -- "$word"))\n'
        "}\n"
        "complete -F _coso coso\n"
    )


def _quoted(text: str) -> str:
    return text.replace("'", "’").replace("[", "(").replace("]", ")").replace(":", "\\:")


def _zsh() -> str:
    known = tables()
    lines = ["#compdef coso", "# made by `coso completion zsh`", "_coso() {", "  local -a commands"]
    tops = {name: text for name, (text, _, _) in known.items() if " " not in name}
    tops |= dict.fromkeys(commands.ABOVE, "commands below")
    lines.append("  commands=(" + " ".join(f"'{name}:{_quoted(text)}'" for name, text in sorted(tops.items())) + ")")
    lines += ["  if (( CURRENT == 2 )); then _describe command commands; return; fi"]
    lines += ['  local command="${words[2]}"']
    above = "|".join(sorted(commands.ABOVE))
    lines += [f'  case "$command" in {above}) (( CURRENT > 3 )) && command="$command ${{words[3]}}";; esac']
    lines += ['  case "$command" in']
    for name, (_, _, options) in known.items():
        kind = _names(name)
        rest = f"'*:name:($({LISTS[kind].replace(chr(39), chr(34))}))'" if kind else "'*:file:_files'"
        given = " ".join(f"'--{o.name}[{_quoted(o.help)}]{':value:' if o.argument else ''}'" for o in options)
        lines.append(f'    "{name}") _arguments {given} {rest} ;;')
    for name in sorted(commands.ABOVE):
        lines.append(f"    {name}) compadd {' '.join(commands.below(name))} ;;")
    return "\n".join([*lines, "  esac", "}", '_coso "$@"']) + "\n"


def _fish() -> str:
    known = tables()
    lines = ["# made by `coso completion fish`", "complete -c coso -f"]
    for name, (text, _, options) in known.items():
        first, _, second = name.partition(" ")
        if not second:
            lines.append(f"complete -c coso -n __fish_use_subcommand -a {first} -d '{_quoted(text)}'")
            condition = f"__fish_seen_subcommand_from {first}"
        else:
            condition = f"__fish_seen_subcommand_from {first}"
            lines.append(f"complete -c coso -n '{condition}' -a {second} -d '{_quoted(text)}'")
            condition += f"; and __fish_seen_subcommand_from {second}"
        for option in options:
            letter = f" -s {option.letter}" if option.letter else ""
            letter += " -r" if option.argument else ""
            lines.append(f"complete -c coso -n '{condition}' -l {option.name}{letter} -d '{_quoted(option.help)}'")
        if kind := _names(name):
            command = LISTS[kind].replace("'", '"')
            lines.append(f"complete -c coso -n '{condition}' -a '({command})'")
    return "\n".join(lines) + "\n"


def man(words: list[str]) -> int:
    """Write the manual pages."""
    line = "coso man DIRECTORY"
    given = read_words((), words, line, 1, 1, text="\nas in: coso man /usr/local/share/man/man1\n")
    if given is None:
        return 0
    directory = given.rest[0]
    os.makedirs(directory, exist_ok=True)
    known = tables()
    pages = {"coso": _overview(known)}
    pages |= {f"coso-{name.replace(' ', '-')}": _page(name, *about) for name, about in known.items()}
    for name, text in pages.items():
        with open(os.path.join(directory, f"{name}.1"), "w", encoding="utf-8") as file:
            file.write(text)
    sys.stdout.write(f"{len(pages)} pages in {directory}\n")
    return 0


def _roff(text: str) -> str:
    """Text as roff takes it: no line may begin with a request, no backslash or hyphen with a meaning of its own."""
    text = text.replace("\\", "\\e").replace("-", "\\-").replace("…", "...")
    text = "".join(letter if letter.isascii() else f"\\[u{ord(letter):04X}]" for letter in text)
    return "\n".join(f"\\&{line}" if line.startswith((".", "'")) else line for line in text.split("\n"))


def _head(name: str, text: str) -> str:
    return (
        f'.TH {name.upper().replace(" ", "-")} 1 "" "coso {__version__}"\n.SH NAME\n{_roff(name)} \\- {_roff(text)}\n'
    )


def _page(name: str, text: str, usage_line: str, options: tuple[Option, ...]) -> str:
    page = _head(f"coso-{name.replace(' ', '-')}", text)
    page += f".SH SYNOPSIS\n.B {_roff(usage_line)}\n"
    if options:
        page += ".SH OPTIONS\n"
    for option in options:
        letter = f"\\fB\\-{option.letter}\\fR, " if option.letter else ""
        argument = f" \\fI{_roff(option.argument)}\\fR" if option.argument else ""
        page += f".TP\n{letter}\\fB\\-\\-{_roff(option.name)}\\fR{argument}\n{_roff(option.help)}\n"
    if not options:
        page += f".SH DESCRIPTION\nSee\n.B coso {_roff(name)} \\-\\-help\n"
    return page + ".SH SEE ALSO\n.BR coso (1)\n"


def _overview(known: dict[str, tuple[str, str, tuple[Option, ...]]]) -> str:
    page = _head("coso", "disposable, isolated containers, without a daemon")
    page += ".SH SYNOPSIS\n.B coso\n.I COMMAND\n[\\fIOPTIONS\\fR]\n.SH COMMANDS\n"
    for name, (text, _, _) in known.items():
        page += f".TP\n.BR coso\\-{_roff(name.replace(' ', '-'))} (1)\n{_roff(text)}\n"
    page += (
        ".SH EXIT STATUS\nThat of the command; 125 when coso itself failed, 126 when the command cannot be executed, "
    )
    return page + "127 when there is no such command.\n"
