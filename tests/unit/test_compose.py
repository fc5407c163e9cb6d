"""Compose files read: places in messages, order, what is not carried out; no root, no containers."""

from __future__ import annotations

from pathlib import Path

import pytest

from coso.errors import ConfigError, UsageError
from coso.services import support
from coso.services.container import command_of, hash_of, options_of
from coso.services.plan import ordered, wanted
from coso.services.project import Project, Wish, load
from coso.services.show import as_yaml, shown

ROOT = Path(__file__).parents[2]
SHOP = """
services:
  web: {image: w, depends_on: [api], ports: ["8080:80"], networks: [front]}
  api: {image: a, depends_on: {db: {condition: service_healthy}}, networks: [front, back]}
  db: {image: "d:${TAG:-1}", command: serve --all, entrypoint: [/entry, -v], networks: [back]}
  tool: {image: t, profiles: [tools], depends_on: [db]}
networks: {front: , back: {internal: true}}
"""


def project(tmp_path: Path, text: str, **wish: tuple[str, ...]) -> Project:
    file = tmp_path / "compose.yaml"
    file.write_text(text)
    return load(Wish(files=(str(file),), name="shop", **wish), lambda _: None)  # type: ignore[arg-type]


def nobody(name: str) -> str:
    return f"<{name}>"


def test_each_service_comes_after_those_it_depends_on(tmp_path: Path) -> None:
    found = project(tmp_path, SHOP)
    assert ordered(found) == ("db", "api", "web")
    assert wanted(found, ("api",)) == ("db", "api")
    assert wanted(found, ("api",), with_dependencies=False) == ("api",)
    with pytest.raises(UsageError, match="no service 'wep'"):
        wanted(found, ("wep",))


def test_profiles_switch_services_on(tmp_path: Path) -> None:
    assert "tool" not in project(tmp_path, SHOP).services
    assert "tool" in project(tmp_path, SHOP, profiles=("tools",)).services
    # Whoever is named is switched on.
    assert "tool" in project(tmp_path, SHOP, services=("tool",)).services


def test_a_container_gets_the_options_of_its_service(tmp_path: Path) -> None:
    found = project(tmp_path, SHOP)
    options = options_of(found, "web", 2, nobody)
    assert options["name"] == ["shop-web-2"]
    assert options["publish"] == ["8080:80/tcp"]
    assert options["network"] == ["name=shop_front,alias=web"]
    assert {"com.docker.compose.project=shop", "com.docker.compose.service=web"} <= set(options["label"])
    options = {}
    assert command_of(found.services["db"], options) == ("-v", "serve", "--all")
    assert options == {"entrypoint": ["/entry"]}


def test_the_network_with_a_way_out_is_the_first(tmp_path: Path) -> None:
    options = options_of(project(tmp_path, SHOP), "api", 1, nobody)
    assert [text.partition(",")[0] for text in options["network"]] == ["name=shop_front", "name=shop_back"]


@pytest.mark.parametrize(
    ("old", "new", "is_other"),
    [
        ("image: w", "image: x", True),
        ("networks: [front]}", "networks: [front], x-note: y}", False),
        ('"8080:80"', '"8081:80"', True),
        ("depends_on: [api]", "depends_on: [api, db]", False),
        ("image: w", "image: w, restart: always", True),
        ("image: w", "image: w, deploy: {replicas: 3}", False),
        ("image: w", "image: w, deploy: {restart_policy: {condition: none}}", True),
    ],
)
def test_what_asks_for_another_container(tmp_path: Path, old: str, new: str, is_other: bool) -> None:
    before = hash_of(project(tmp_path, SHOP), "web")
    assert (hash_of(project(tmp_path, SHOP.replace(old, new, 1)), "web") != before) == is_other


def test_a_message_names_file_line_column_and_key(tmp_path: Path) -> None:
    with pytest.raises(ConfigError) as caught:
        project(tmp_path, "services:\n  web:\n    image: w\n    ports: [80, http]\n")
    assert str(caught.value).startswith(f"{tmp_path}/compose.yaml:4:17: services.web.ports[1]")


def test_what_is_shown_reads_the_same_again(tmp_path: Path) -> None:
    once = as_yaml(shown(project(tmp_path, SHOP)))
    assert "image: d:1" in once
    assert as_yaml(shown(project(tmp_path, once))) == once


def test_what_is_not_carried_out_is_refused_and_told(tmp_path: Path) -> None:
    found = project(tmp_path, "services:\n  web: {image: w, gpus: all, storage_opt: {size: 1g}}\n")
    with pytest.raises(ConfigError, match=r"services\.web\.gpus: this is not carried out"):
        support.refuse(found, None)
    told: list[str] = []
    support.refuse(found, told.append)
    assert [text.partition(" ")[0] for text in told] == ["services.web.gpus", "services.web.storage_opt"]


def test_the_document_names_every_key_that_is_not_carried_out() -> None:
    document = (ROOT / "docs/compose.md").read_text()
    tables = (support.SERVICE, support.DEPLOY, support.RESOURCES, support.NETWORK_OF_SERVICE)
    tables += (support.NETWORK, support.IPAM, support.POOL, support.VOLUME)
    keys = [key for table in tables for key, reason in table.items() if reason]
    keys += [f"build.{key}" for key in support.BUILD]
    assert [
        key for key in keys if f"{key}`" not in document and f"{key}:" not in document and f"`{key} " not in document
    ] == []
