"""The table of commands, and what is made from it: help, completions, manual pages; and the language of --format."""

from __future__ import annotations

import subprocess
from pathlib import Path

import pytest

from coso.cli import commands, documents, table
from coso.cli.main import main
from coso.cli.template import render
from coso.errors import UsageError
from coso.spawn import find


def test_every_command_can_be_loaded_and_says_how_it_is_used() -> None:
    known = documents.tables()
    assert set(known) == set(commands.PATHS)
    for name, (text, usage_line, _) in known.items():
        assert text and usage_line.startswith("coso "), name
        assert callable(commands.load(name))


def test_completions_are_scripts_that_their_shells_read(capsys: pytest.CaptureFixture[str], tmp_path: Path) -> None:
    for shell in documents.SHELLS:
        assert main(["completion", shell]) == 0
        script = tmp_path / shell
        script.write_text(capsys.readouterr().out)
        assert "--network" in script.read_text() or shell == "fish"
        if find(shell):
            subprocess.run([shell, "-n", str(script)], check=True)
    line = f". {tmp_path}/bash; COMP_WORDS=(coso volume ''); COMP_CWORD=2; _coso; echo ${{COMPREPLY[@]}}"
    done = subprocess.run(["bash", "-c", line], capture_output=True, text=True, check=True)
    assert {"create", "ls", "rm", "prune", "inspect"} <= set(done.stdout.split())


def test_manual_pages_are_read_without_a_warning(tmp_path: Path) -> None:
    assert main(["man", str(tmp_path)]) == 0
    assert {"coso.1", "coso-run.1", "coso-volume-create.1"} <= {path.name for path in tmp_path.iterdir()}
    if not find("groff"):
        pytest.skip("groff is not installed")
    for page in ("coso.1", "coso-run.1"):
        words = ["groff", "-man", "-Tascii", "-ww", str(tmp_path / page)]
        done = subprocess.run(words, capture_output=True, text=True, check=True)
        assert "warning" not in done.stderr
        assert done.stdout


def test_a_command_that_is_nearly_one_is_suggested(capsys: pytest.CaptureFixture[str]) -> None:
    assert main(["imagse"]) == 125
    assert "did you mean `coso images`?" in capsys.readouterr().err
    assert main(["volume", "creat"]) == 125
    assert "did you mean `volume create`?" in capsys.readouterr().err
    assert main([]) == 0
    assert "What to do next" in capsys.readouterr().out


DATA = {
    "State": {"Status": "running", "Pid": 3, "Health": None},
    "Nets": {"b": {"IP": "2"}, "a": {"IP": "1"}},
    "Ports": {"80/tcp": [{"HostPort": "8080"}]},
    "List": ["x", "y"],
    "Empty": [],
    "Yes": True,
}


@pytest.mark.parametrize(
    ("template", "text"),
    [
        ("{{.State.Status}}", "running"),
        ("{{ .State.Pid }}-{{.Yes}}", "3-true"),
        ("{{json .Nets.a}}", '{"IP":"1"}'),
        ("{{range .Nets}}{{.IP}} {{end}}", "1 2 "),
        ("{{range $name, $net := .Nets}}{{$name}}={{$net.IP}};{{end}}", "a=1;b=2;"),
        ('{{(index (index .Ports "80/tcp") 0).HostPort}}', "8080"),
        ('{{index .Ports "81/tcp"}}', ""),
        ("{{if .Empty}}a{{else if .Yes}}b{{else}}c{{end}}", "b"),
        ('{{if eq .State.Status "running"}}up{{end}}', "up"),
        ("{{if and .Yes (not .Empty)}}both{{end}}", "both"),
        ('{{join .List ","}} {{.List}} {{len .List}}', "x,y [x y] 2"),
        ("{{.State.Status | upper | printf `<%s>`}}", "<RUNNING>"),
        ("{{with .State}}{{.Pid}}{{end}}", "3"),
        ("{{.Nothing}}", "<no value>"),
        ("a {{- .Yes -}} b", "atrueb"),
        ("{{/* a comment */}}x", "x"),
        ("{{.State}}", "map[Health:<nil> Pid:3 Status:running]"),
    ],
)
def test_templates_mean_what_they_mean_to_docker(template: str, text: str) -> None:
    assert render(template, DATA) == text


@pytest.mark.parametrize(
    "template", ["{{", "{{if .Yes}}", "{{end}}", "{{nothing .Yes}}", "{{.State.Pid.More}}", "{{(.Yes}}"]
)
def test_a_template_that_is_none_is_refused(template: str) -> None:
    with pytest.raises(UsageError):
        render(template, DATA)


def test_sizes_and_spans_are_said_as_docker_says_them() -> None:
    assert [table.size(n) for n in (0, 999, 7_794_323, 1_500_000_000)] == ["0B", "999B", "7.79MB", "1.5GB"]
    spans = [table.span(n) for n in (0.2, 1, 59, 61, 150, 4000, 90_000, 200_000, 1_300_000)]
    assert spans[:6] == ["Less than a second", "1 second", "59 seconds", "About a minute", "2 minutes", "About an hour"]
    assert spans[6:] == ["25 hours", "2 days", "2 weeks"]
