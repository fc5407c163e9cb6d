"""The same command lines through docker, podman and coso: exit status and shape of the output side by side.

`docs/differences.md` says which commands and options are the same; here that is held.
"""

from __future__ import annotations

import re
import subprocess
from pathlib import Path

import pytest

from coso import flags
from coso.cli import commands
from coso.options import OPTIONS
from tests.integration.conftest import ROOT, Coso
from tests.integration.containers.conftest import IMAGE, remove_all
from tests.integration.engines.conftest import Place

NONE = "--network none"
# A line each, in this order; I is the image.  Behind `#`: whom coso is like where docker and podman differ,
# or `own` with the section of docs/differences.md that says why.
SCRIPT = f"""
run --rm {NONE} I true
run --rm {NONE} I sh -c 'echo out; echo err >&2; exit 42'
run --rm {NONE} I false
run --rm {NONE} I nosuch
run --rm {NONE} I /etc
run --nosuchflag I
run --rm {NONE} --entrypoint echo I word
run --rm {NONE} -e A=1 -w /tmp -u nobody I sh -c 'echo $A $PWD $(id -u)'
run --rm {NONE} --hostname h I hostname
run --rm {NONE} --read-only I touch /x
run --rm {NONE} --tmpfs /t I sh -c 'echo x > /t/x && cat /t/x'
run --rm {NONE} -v /nowhere-at-all-of-this:relative I true # podman
run --rm {NONE} --memory 64m --cpus 0.5 --pids-limit 50 I true
run --rm {NONE} --cap-drop ALL I true
run --rm {NONE} --ulimit nofile=100:200 I sh -c 'ulimit -n; ulimit -Hn'
run --rm {NONE} --label a=b --stop-signal INT --stop-timeout 3 I true
run --rm {NONE} --init I true
run --rm {NONE} --sysctl net.core.somaxconn=100 I cat /proc/sys/net/core/somaxconn
run --rm {NONE} --shm-size 1m I sh -c "df -k /dev/shm | tail -1 | tr -s ' ' | cut -d' ' -f2"
run --rm {NONE} --mount type=tmpfs,dst=/m I sh -c 'mount | grep -c " /m "'
run --rm {NONE} --restart always I true # podman
run -d {NONE} --name aa I sh -c 'echo said; sleep 100'
run -d {NONE} --name aa I true # podman
ps -q
ps
ps --format '{{{{.Names}}}} {{{{.Image}}}} {{{{.State}}}}'
ps -a --filter name=aa --format '{{{{.ID}}}}'
ps --filter status=exited -q
ps --no-trunc -q
container ls -q
inspect -f '{{{{.State.Status}}}} {{{{.State.Running}}}} {{{{.Path}}}} {{{{.RestartCount}}}}' aa
inspect -f '{{{{.Config.Tty}}}} {{{{.HostConfig.Memory}}}}' aa
inspect nosuch # podman
exec aa echo hi
exec aa sh -c 'exit 3'
exec -e B=2 -w /tmp aa sh -c 'echo $B $PWD'
exec -u nobody aa id -u
exec aa nosuch # podman
exec nosuch true # podman
logs aa
logs --tail 1 aa
logs nosuch # podman
top aa -o pid,comm # own top
port aa
stats --no-stream --format '{{{{.Name}}}}' aa
pause aa
pause aa # podman
exec aa true # podman
unpause aa
unpause aa # podman
rename aa bb
rename nosuch cc # podman
diff bb
cp bb:/etc/alpine-release copied # own cp
update --memory 128m --memory-swap 128m bb
stop -t 0 bb
stop bb
start bb
restart -t 0 bb
kill bb
wait bb
kill bb # podman
rm bb
rm bb # podman
rm -f bb
create {NONE} --name cc I sh -c 'echo created; exit 5'
start -a cc
wait cc
ps -a --format '{{{{.Names}}}} {{{{.State}}}}'
commit -m text cc committed:1
run --rm {NONE} committed:1 true
history --format '{{{{.Comment}}}}' committed:1 # own history
tag committed:1 committed:2
tag nosuch:1 x # podman
images -q committed
images --format '{{{{.Tag}}}}' committed
rmi committed:2
rmi nosuch # podman
image inspect -f '{{{{.Os}}}} {{{{.Architecture}}}} {{{{json .Config.Cmd}}}}' I
image rm committed:1
rm -v cc
volume create vv
volume create vv # own volume-create
volume ls -q
volume ls --format '{{{{.Name}}}} {{{{.Driver}}}}'
volume inspect -f '{{{{.Name}}}} {{{{.Driver}}}}' vv
volume inspect nosuch # podman
run --rm {NONE} -v vv:/v I sh -c 'echo x > /v/x'
run --rm {NONE} -v vv:/v:ro I sh -c 'cat /v/x'
run --rm {NONE} -v vv:/v:ro I touch /v/y
volume rm vv
volume rm vv # podman
run -d {NONE} --name rr --rm I sleep 100
rm -f rr
run --name kk {NONE} I true
container prune -f # own prune
image prune -f # own prune
volume prune -f # own prune
nosuchcommand # podman
"""
LINES = [line for line in SCRIPT.strip().splitlines() if line]
# `docker COMMAND --help` of these has an entry each; the issue of what exists is Docker's.
NAMED = (
    "run create start stop restart kill pause unpause rm ps logs attach exec top stats inspect cp diff rename wait "
    "port update events info version pull push images rmi tag history load save import export commit build login logout"
).split()
GROUPS = ("image prune", "container prune", "system df", "system prune", "volume create", "volume ls", "volume inspect")
GROUPS += ("volume rm", "volume prune")


def shape(text: str) -> str:
    """An output without what differs from one run to the next: ids, times, sizes, widths of columns, quoting."""
    text = re.sub(r"\b(sha256:)?[0-9a-f]{12,64}\b", "ID", text)
    text = re.sub(r"localhost/|docker\.io/(library/)?", "", text)
    text = re.sub(r"\b(Up )?(About an? \w+|Less than a second|\d+ \w+)( ago)?\b", "TIME", text)
    text = re.sub(r"(\"[^\"]*\"|sh -c echo said\S*( \S+)?)", "COMMAND", text)
    text = re.sub(r"[ \t]+", " ", text)
    return "\n".join(line.strip() for line in text.strip().splitlines())


def _run_all(prefix: str, place: Place) -> list[tuple[int, str]]:
    found = []
    for line in LINES:
        words = re.sub(r"\bI\b", IMAGE, line.rpartition(" # ")[0] if " # " in line else line)
        done = place.sh(f"{prefix} {words}")
        found.append((done.rc, shape(done.stdout)))
    return found


def test_the_same_words_have_the_same_effect(
    coso: Coso, alpine: str, peers: dict[str, str], place: Place, programs: Path
) -> None:
    outcomes = {name: _run_all(words, place) for name, words in peers.items()}
    environment = f"env COSO_NETWORK={programs}/cosonet"
    outcomes["coso"] = _run_all(f"{environment} {programs}/coso", place)
    remove_all(coso)
    said = (ROOT / "docs/differences.md").read_text()
    wrong = []
    for number, line in enumerate(LINES):
        mark = line.rpartition(" # ")[2] if " # " in line else "docker"
        ours, docker, podman = (outcomes[name][number] for name in ("coso", "docker", "podman"))
        if mark.startswith("own "):
            if f"`{mark[4:]}`" not in said:
                wrong.append((line, "no word of it in docs/differences.md"))
            continue
        # What coso refuses itself has status 125, as mostly with podman; Docker's client has 1.
        refused = (docker[0], podman[0], *([125] if docker[0] and podman[0] else []))
        fits = ours == docker if mark == "docker" else ours[0] in refused
        if not fits:
            wrong.append((line, {"coso": ours, "docker": docker, "podman": podman}))
    assert wrong == []


def _rows() -> dict[tuple[str, str], tuple[str, str]]:
    """docs/differences.md's tables: what is said of a command's option, and why."""
    found = {}
    command = ""
    for line in (ROOT / "docs/differences.md").read_text().splitlines():
        if line.startswith("### `"):
            command = line.split("`")[1]
        cells = [cell.strip() for cell in line.strip("|").split("|")]
        if line.startswith("| `--") and len(cells) == 3:
            for name in re.findall(r"`--([\w-]+)`", cells[0]):
                found[command, name] = (cells[1], cells[2])
    return found


def _options_of(command: str) -> set[str]:
    if command == "run":
        return {option.name for option in OPTIONS}
    flags.collected = []
    try:
        commands.load(command)(["--help"])
        return {option.name for option in flags.collected[0][1]} if flags.collected else set()
    finally:
        flags.collected = None


@pytest.mark.parametrize("command", [*NAMED, *GROUPS])
def test_every_option_of_docker_has_its_word(command: str, peers: dict[str, str]) -> None:
    assert command in commands.PATHS
    shown = subprocess.run(["docker", *command.split(), "--help"], capture_output=True, text=True, check=True).stdout
    theirs = set(re.findall(r"^\s+(?:-\w, )?\s*--([\w-]+)", shown, re.MULTILINE)) - {"help"}
    rows, ours = _rows(), _options_of(command) if command != "port" else set()
    for name in sorted(theirs):
        said, why = rows.get((command, name), ("", ""))
        if not said:
            assert name in ours, f"docs/differences.md has no word of {command} --{name}"
            continue
        assert said in ("same", "differs", "absent"), (command, name)
        assert (name in ours) == (said != "absent"), (command, name, said)
        assert said == "same" or why, f"{command} --{name}: no reason is given"
