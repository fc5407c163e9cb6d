"""Fifty compose files that must be refused: what is in them, and a word of what must be said."""

from __future__ import annotations


def _service(text: str) -> str:
    return f"services:\n  web:\n    image: t\n{text}"


BAD: dict[str, tuple[str, str]] = {
    "empty": ("", "services"),
    "no-mapping": ("- a\n- b\n", "a mapping at the top"),
    "no-yaml": ("services:\n  web: [\n", "no YAML"),
    "tab": ("services:\n\tweb: {image: t}\n", "no YAML"),
    "key-twice": ("services:\n  a: {image: t}\n  a: {image: u}\n", "stands here twice"),
    "unknown-top": ("service:\n  a: {image: t}\n", "'services' perhaps"),
    "unknown-key": (_service("    comand: x\n"), "'command' perhaps"),
    "unknown-build-key": (_service("    build: {contxt: .}\n"), "'context' perhaps"),
    "unknown-network-key": ("services: {a: {image: t}}\nnetworks: {n: {drivr: x}}\n", "'driver' perhaps"),
    "services-list": ("services:\n  - web\n", "a mapping is wanted"),
    "service-nothing": ("services:\n  web:\n", "a mapping is wanted"),
    "service-text": ("services:\n  web: nginx\n", "a mapping is wanted"),
    "service-name": ("services:\n  'a b': {image: t}\n", "is no name"),
    "image-number": ("services:\n  web: {image: 5}\n", "a text is wanted"),
    "nothing-to-run": ("services:\n  web: {command: x}\n", "neither an image nor a build"),
    "port-word": (_service("    ports: [http]\n"), "is no port"),
    "port-large": (_service('    ports: ["70000:80"]\n'), "no range of ports"),
    "port-ranges": (_service('    ports: ["80-82:80-81"]\n'), "ports of the host lead to"),
    "port-protocol": (_service('    ports: ["80:80/icmp"]\n'), "is no protocol"),
    "port-key": (_service("    ports: [{target: 80, publised: 80}]\n"), "'published' perhaps"),
    "volume-undefined": (_service('    volumes: ["data:/data"]\n'), "not among the volumes"),
    "volume-type": (_service("    volumes: [{type: disk, target: /x}]\n"), "is not one of"),
    "volume-no-target": (_service("    volumes: [{type: volume, source: x}]\n"), "needs a target"),
    "volume-colons": (_service('    volumes: ["a:b:c:d"]\n'), "is no mount"),
    "network-undefined": (_service("    networks: [front]\n"), "not among the networks"),
    "network-and-mode": (_service("    network_mode: host\n    networks: [default]\n"), "exclude each other"),
    "secret-undefined": (_service("    secrets: [s]\n"), "not among the secrets"),
    "secret-no-source": ("services: {a: {image: t}}\nsecrets: {s: {labels: {a: b}}}\n", "one of file, environment"),
    "config-two-sources": ("services: {a: {image: t}}\nconfigs: {c: {file: ./x, content: y}}\n", "one of file"),
    "depends-undefined": (_service("    depends_on: [db]\n"), "there is no service 'db'"),
    "depends-condition": (_service("    depends_on: {db: {condition: ready}}\n  db: {image: t}\n"), "is not one of"),
    "depends-itself": (_service("    depends_on: [web]\n"), "in a circle"),
    "cycle": ("services:\n  a: {image: t, depends_on: [b]}\n  b: {image: t, depends_on: [a]}\n", "in a circle"),
    "cycle-of-links": (
        "services:\n  a: {image: t, links: [b]}\n  b: {image: t, network_mode: 'service:a'}\n",
        "circle",
    ),
    "variable-wanted": (_service("    command: ${NOT_THERE:?give it}\n"), "give it"),
    "variable-brace": (_service("    command: ${NOT_THERE\n"), "not closed"),
    "variable-name": (_service("    command: ${1A}\n"), "no variable's name"),
    "duration": (_service("    stop_grace_period: ten\n"), "is no duration"),
    "size": (_service("    mem_limit: much\n"), "is no size"),
    "whole": (_service("    cpu_shares: some\n"), "a whole number is wanted"),
    "flag": (_service("    privileged: maybe\n"), "true or false is wanted"),
    "restart": (_service("    restart: sometimes\n"), "no restart policy"),
    "health-test": (_service("    healthcheck: {test: [curl, x]}\n"), "NONE, CMD or CMD-SHELL"),
    "extra-host": (_service("    extra_hosts: [host]\n"), "is not NAME=ADDRESS"),
    "env-file": (_service("    env_file: nowhere.env\n"), "there is no file"),
    "limits-differ": (
        _service("    mem_limit: 1g\n    deploy: {resources: {limits: {memory: 2g}}}\n"),
        "and 2147483648 in",
    ),
    "name-and-replicas": (_service("    container_name: x\n    deploy: {replicas: 2}\n"), "cannot have one name"),
    "one-name-twice": (
        "services:\n  a: {image: t, container_name: x}\n  b: {image: t, container_name: x}\n",
        "has the name 'x' too",
    ),
    "extends-missing": ("services:\n  a: {extends: b}\n", "there is no service 'b'"),
    "extends-file": ("services:\n  a: {extends: {file: nowhere.yaml, service: b}}\n", "there is no file"),
    "extends-circle": ("services:\n  a: {extends: b}\n  b: {extends: a}\n", "in a circle"),
    "include-missing": ("include: [nowhere.yaml]\nservices: {a: {image: t}}\n", "there is no file"),
    "project-name": ("name: Not A Name\nservices: {a: {image: t}}\n", "is no name of a project"),
    "same-port-twice": (
        "services:\n  a: {image: t, ports: ['8098:80']}\n  b: {image: t, ports: ['8098:81']}\n",
        "8098",
    ),
    "unsupported": (_service("    gpus: all\n"), "not carried out"),
    "unsupported-deploy": (_service("    deploy: {placement: {constraints: [x]}}\n"), "not carried out"),
    "unsupported-policy": (_service("    pull_policy: daily\n"), "not carried out"),
    "unsupported-delay": (_service("    deploy: {restart_policy: {delay: 5s}}\n"), "not carried out"),
    "external-network": (
        _service("    networks: [n]\n") + "networks: {n: {external: true, name: far}}\n",
        "there is no network 'far'",
    ),
    "external-volume": (
        _service("    volumes: ['v:/v']\n") + "volumes: {v: {external: true, name: store}}\n",
        "there is no volume 'store'",
    ),
    "no-such-directory": (
        _service("    volumes: [{type: bind, source: ./nowhere, target: /x}]\n"),
        "there is no",
    ),
    "no-such-container": (_service("    network_mode: 'container:nobody'\n"), "nobody"),
    "capability": (
        "services:\n  a: {image: t}\n  web: {image: t, depends_on: [a], cap_add: [FLY]}\n",
        "FLY",
    ),
    "security-option": (
        "services:\n  a: {image: t}\n  web: {image: t, depends_on: [a], security_opt: [safe=yes]}\n",
        "safe=yes",
    ),
    "missing-image": (
        _service("    pull_policy: never\n").replace("image: t", "image: test/nowhere:1"),
        "test/nowhere",
    ),
    "missing-dockerfile": ("services:\n  a: {build: ./nowhere}\n", "nowhere"),
}
