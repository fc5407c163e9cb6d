"""`coso compose config` says the same as Docker Compose: files as people publish them, and every form of each rule."""

from __future__ import annotations

import shutil
from pathlib import Path

import pytest
import yaml

from tests.integration.compose.conftest import DATA, OURS, config, differences, write
from tests.integration.compose.forms import CASES

FILES = sorted(path.name for path in (DATA / "files").glob("*.yaml"))
BESIDE = {"django.env": 'A=1\nSECRET="x y" # c\n', ".env": "DOMAIN=from.env\n"}


def compare(directory: Path, docker_compose: str, *options: str) -> None:
    ours, theirs = config(OURS, directory, *options), config([docker_compose], directory, *options)
    assert theirs.returncode == 0, theirs.stderr
    assert ours.returncode == 0, ours.stderr
    assert list(differences(yaml.safe_load(ours.stdout), yaml.safe_load(theirs.stdout))) == []
    # What is printed says the same when it is read again.
    (directory / "again.yaml").write_text(ours.stdout)
    profiles = options if "--profile" in options else ()
    again = config(OURS, directory, "-f", "again.yaml", *profiles)
    assert again.stdout == ours.stdout, again.stderr


@pytest.mark.parametrize("profiles", ["", "*"])
@pytest.mark.parametrize("name", FILES)
def test_a_file_as_people_publish_it_says_the_same(
    name: str, profiles: str, docker_compose: str, tmp_path: Path
) -> None:
    directory = write(tmp_path / "project", BESIDE)
    shutil.copy(DATA / "files" / name, directory / "compose.yaml")
    compare(directory, docker_compose, *(("--profile", profiles) if profiles else ()))


@pytest.mark.parametrize("case", list(CASES))
def test_every_form_of_a_rule_says_the_same(case: str, docker_compose: str, tmp_path: Path) -> None:
    files, options = CASES[case]
    compare(write(tmp_path / "project", files), docker_compose, *options)
