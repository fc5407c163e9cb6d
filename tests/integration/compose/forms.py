"""A case for every form of interpolation, merge, extends and include: files, and the words of the command line."""

from __future__ import annotations

Case = tuple[dict[str, str], tuple[str, ...]]


def _one(text: str) -> str:
    return f"services:\n  a:\n    image: {text}\n"


INTERPOLATION = {
    "plain": "x$SET",
    "braces": "x${SET}y",
    "unset": '"x${UNSET}"',
    "default-colon-unset": "x${UNSET:-default}",
    "default-colon-empty": "x${EMPTY:-default}",
    "default-unset": "x${UNSET-default}",
    "default-empty": "x${EMPTY-default}",
    "default-of-nothing": "x${UNSET:-}",
    "alternative-colon-set": "x${SET:+other}",
    "alternative-colon-empty": "x${EMPTY:+other}",
    "alternative-empty": "x${EMPTY+other}",
    "alternative-unset": "x${UNSET+other}",
    "error-colon-set": "x${SET:?wanted}",
    "error-set": "x${SET?wanted}",
    "error-empty": "x${EMPTY?wanted}",
    "nested": "x${UNSET:-${SET:-deep}}",
    "nested-twice": "x${UNSET:-a${EMPTY:-b${SET}}c}",
    "nested-in-alternative": "x${SET:+${NUMBER}}",
    "two": "${SET}/${NUMBER}:$SET",
    "dollar": "x$$SET",
    "dollar-braces": "x$${SET}",
    "default-with-colon": "${UNSET:-registry:5000/x}",
    "default-with-spaces": '"${UNSET:-a b}"',
    "default-with-dash": "${UNSET:-a-b}",
    "adjacent": "x$SET$NUMBER",
    "underscore": "${_UNSET:-x}",
    "dot-after": "x$SET.y",
}
TYPES = """
services:
  a:
    image: x
    scale: ${NUMBER}
    privileged: ${FLAG}
    mem_limit: ${SIZE}
    ports: ["${NUMBER}000:80", {target: "${NUMBER}", published: "${NUMBER}"}]
    environment: {A: "${NUMBER}", B: $FLAG}
    healthcheck: {retries: "${NUMBER}", interval: "${NUMBER}s", test: "echo ${SET} $$HOME"}
    ulimits: {nofile: "${NUMBER}"}
    labels: ["a=${SET}", "b=${UNSET:-$NUMBER}"]
    command: echo "${SET}" '$SET' $$SET
    read_only: ${UNSET:-false}
    cpus: ${UNSET:-1.5}
    build: {context: "./${SET}", args: {X: "${NUMBER}", SET: , UNSET: }}
networks: {default: {internal: "${FLAG}", name: "n-${SET}"}}
"""
DOTENV = """# a comment
PLAIN=one
export EXPORTED=two
QUOTED="three $PLAIN ${UNSET:-four}"
SINGLE='$PLAIN'
SPACED = five
INLINE=six # comment
HASH=seven#eight
EMPTY_ONE=
MULTI="line one
line two"
ESCAPED="a\\tb\\nc"
REF=${PLAIN}-${QUOTED}
SET=from the file
URL=http://x/?a=b&c=d
COLON: nine
"""
USES_DOTENV = """
services:
  a:
    image: x
    environment:
      - PLAIN
      - EXPORTED
      - QUOTED
      - SINGLE
      - SPACED
      - INLINE
      - HASH
      - EMPTY_ONE
      - MULTI
      - ESCAPED
      - REF
      - SET
      - URL
      - COLON
      - UNSET
"""
BASE = """
services:
  a:
    image: one
    command: run one
    entrypoint: [enter]
    environment: {A: "1", B: "2"}
    labels: [x=1, y=2]
    ports: ["80:80", "81:81"]
    volumes: ["./one:/one", "data:/data:ro", "/anonymous"]
    expose: [1000]
    dns: 1.1.1.1
    dns_search: [one.example]
    tmpfs: /tmp
    cap_add: [NET_ADMIN]
    devices: ["/dev/a:/dev/x"]
    depends_on: [b]
    networks: [front]
    healthcheck: {test: check one, interval: 5s, retries: 3}
    logging: {driver: json-file, options: {max-size: 1m}}
    ulimits: {nofile: 10, nproc: {soft: 1, hard: 2}}
    sysctls: {net.a: 1}
    extra_hosts: ["h:1.1.1.1"]
    secrets: [s]
    configs: [{source: c, target: /c}]
    build: {context: ./one, args: {X: "1"}, target: t}
    deploy: {resources: {limits: {cpus: "1", memory: 1g}}, labels: {q: "1"}}
    security_opt: [a]
    env_file: [one.env]
    restart: always
  b: {image: b}
networks: {front: {driver: bridge}, back: }
volumes: {data: {labels: {v: "1"}}}
secrets: {s: {file: ./s}, t: {file: ./t}}
configs: {c: {content: one}}
"""
ABOVE = """
services:
  a:
    image: two
    command: [run, two]
    entrypoint: null
    environment: [B=3, C=4]
    labels: {y: "3", z: "4"}
    ports: ["80:80", "127.0.0.1:82:82"]
    volumes: ["./two:/one", "other:/other"]
    expose: ["1001"]
    dns: [2.2.2.2]
    dns_search: two.example
    tmpfs: [/run]
    cap_add: [SYS_TIME]
    devices: ["/dev/b:/dev/x", "/dev/c"]
    depends_on: {c: {condition: service_healthy}}
    networks: {back: {aliases: [q]}}
    healthcheck: {test: [CMD, check, two], timeout: 1s}
    logging: {options: {max-file: "2"}}
    ulimits: {nproc: 7}
    sysctls: [net.b=2]
    extra_hosts: {h: 2.2.2.2, i: 3.3.3.3}
    secrets: [t, {source: s, target: elsewhere}]
    configs: [{source: c, target: /d}]
    build: {args: [Y=2], target: u}
    deploy: {resources: {limits: {memory: 2g}, reservations: {cpus: "0.5"}}, labels: [r=2]}
    security_opt: [b]
    env_file: two.env
  c: {image: c}
networks: {back: {internal: true}, front: {labels: {n: "1"}}}
volumes: {other: , data: {labels: {w: "2"}}}
configs: {c: {content: two}}
"""
ENVS = {"one.env": "FROM_ONE=1\nA=file\n", "two.env": "FROM_TWO=2\nFROM_ONE=changed\n"}
TWO = ("-f", "base.yaml", "-f", "above.yaml")


def _over(base: str, above: str) -> Case:
    return {"base.yaml": base, "above.yaml": above, **ENVS}, TWO


MERGES: dict[str, Case] = {
    "everything": _over(BASE, ABOVE),
    "reset": _over(
        BASE,
        "services: {a: {ports: !reset [], environment: {A: !reset null}, command: !reset null, env_file: !reset []}}",
    ),
    "override": _over(
        BASE,
        'services: {a: {ports: !override ["90:90"], volumes: !override ["./x:/x"], environment: !override {Z: "1"}}}',
    ),
    "logging-driver": _over(BASE, "services: {a: {logging: {driver: syslog, options: {tag: x}}}}"),
    "new-service": _over(BASE, "services: {d: {image: d, networks: [back]}}"),
    "empty-service": _over(BASE, "services: {b: {labels: {a: b}}}"),
    "documents": ({"compose.yaml": f"{BASE}---\nservices: {{a: {{image: later}}}}\n", **ENVS}, ()),
    "override-file": (
        {"compose.yaml": BASE, "compose.override.yaml": "services: {a: {image: overridden}}", **ENVS},
        (),
    ),
    "health-disabled": _over(BASE, "services: {a: {healthcheck: {disable: true}}}"),
    "ports-long": _over(BASE, 'services: {a: {ports: [{target: 80, published: "80", mode: host}]}}'),
    "volume-long": _over(BASE, "services: {a: {volumes: [{type: tmpfs, target: /one}]}}"),
    "depends-short": _over(
        "services: {a: {image: a, depends_on: {b: {condition: service_healthy}}}, b: {image: b}}",
        "services: {a: {depends_on: [b]}}",
    ),
    "name": _over("name: first\nservices: {a: {image: a}}", "name: second"),
    "merge-keys": (
        {
            "compose.yaml": (
                "x-one: &one {restart: always, environment: &env {A: '1', B: '2'}}\n"
                "x-two: &two {init: true, restart: 'no'}\n"
                "services:\n  a:\n    <<: [*one, *two]\n    image: a\n    environment: {<<: *env, B: '3'}\n"
            )
        },
        (),
    ),
}
EXTENDS: dict[str, Case] = {
    "same-file": (
        {
            "compose.yaml": "services:\n  a: {extends: b, command: x}\n  b: {image: b, environment: {A: '1'}, ports: ['1:1']}\n"
        },
        (),
    ),
    "other-file": (
        {
            "compose.yaml": (
                "services:\n  a:\n    extends: {file: sub/common.yaml, service: base}\n"
                "    environment: {B: '2'}\n    volumes: ['./here:/here']\n"
            ),
            "sub/common.yaml": (
                "services:\n  base: {image: b, environment: {A: '1', B: '1'}, volumes: ['./there:/there'], build: .,"
                " env_file: base.env}\n"
            ),
            "sub/base.env": "E=1\n",
        },
        (),
    ),
    "chain": (
        {
            "compose.yaml": "services:\n  a: {extends: {file: one.yaml, service: b}, labels: {z: '1'}}\n",
            "one.yaml": "services:\n  b: {extends: c, labels: {y: '1'}}\n  c: {extends: {file: two.yaml, service: d}}\n",
            "two.yaml": "services:\n  d: {image: d, labels: {x: '1'}, command: [d]}\n",
        },
        (),
    ),
    "depends": (
        {
            "compose.yaml": "services:\n  a: {extends: b}\n  b: {image: b, depends_on: [c], networks: [n]}\n  c: {image: c}\nnetworks: {n: }\n"
        },
        (),
    ),
    "over-two-files": (
        {
            "base.yaml": "services:\n  a: {extends: b, labels: {q: '1'}}\n  b: {image: b, labels: {q: '0', r: '0'}}\n",
            "above.yaml": "services:\n  a: {labels: {r: '2'}}\n",
        },
        TWO,
    ),
    "override-tag": (
        {"compose.yaml": "services:\n  a: {extends: b, ports: !override ['2:2']}\n  b: {image: b, ports: ['1:1']}\n"},
        (),
    ),
    "reset-tag": (
        {"compose.yaml": "services:\n  a: {extends: b, ports: !reset []}\n  b: {image: b, ports: ['1:1']}\n"},
        (),
    ),
}
PART = "services:\n  p:\n    image: p:${TAG:-none}\n    volumes: ['./data:/data', 'named:/named']\nvolumes: {named: }\n"
INCLUDES: dict[str, Case] = {
    "short": (
        {
            "compose.yaml": "include: [part/compose.yaml]\nservices: {a: {image: a, depends_on: [p]}}\n",
            "part/compose.yaml": PART,
        },
        (),
    ),
    "env": (
        {
            "compose.yaml": "include: [part/compose.yaml]\nservices: {a: {image: a}}\n",
            "part/compose.yaml": PART,
            "part/.env": "TAG=inner\n",
        },
        (),
    ),
    "env-of-the-outer-first": (
        {
            "compose.yaml": "include: [part/compose.yaml]\nservices: {a: {image: a}}\n",
            "part/compose.yaml": PART,
            "part/.env": "TAG=inner\n",
            ".env": "TAG=outer\n",
        },
        (),
    ),
    "long": (
        {
            "compose.yaml": (
                "include:\n  - path: [part/compose.yaml, part/more.yaml]\n    project_directory: elsewhere\n"
                "    env_file: other.env\nservices: {a: {image: a}}\n"
            ),
            "part/compose.yaml": PART,
            "part/more.yaml": "services: {p: {labels: {more: '1'}}}\n",
            "elsewhere/.keep": "",
            "other.env": "TAG=other\n",
        },
        (),
    ),
    "nested": (
        {
            "compose.yaml": "include: [one/compose.yaml]\nservices: {a: {image: a}}\n",
            "one/compose.yaml": "include: [two/compose.yaml]\nservices: {b: {image: b, volumes: ['./x:/x']}}\n",
            "one/two/compose.yaml": "services: {c: {image: c, volumes: ['./y:/y']}}\n",
        },
        (),
    ),
    "networks": (
        {
            "compose.yaml": "include: [part.yaml]\nservices: {a: {image: a, networks: [n]}}\n",
            "part.yaml": "services: {p: {image: p, networks: [n]}}\nnetworks: {n: {driver: bridge}}\n",
        },
        (),
    ),
}
CASES: dict[str, Case] = {
    **{f"interpolation-{name}": ({"compose.yaml": _one(text)}, ()) for name, text in INTERPOLATION.items()},
    "interpolation-types": ({"compose.yaml": TYPES}, ()),
    "interpolation-dotenv": ({"compose.yaml": USES_DOTENV, ".env": DOTENV}, ()),
    "interpolation-env-file": (
        {"compose.yaml": USES_DOTENV, "one": DOTENV, "two": "PLAIN=again\nREF=$PLAIN\n"},
        ("--env-file", "one", "--env-file", "two"),
    ),
    "env-file": (
        {"compose.yaml": "services: {a: {image: x, env_file: e, environment: {PLAIN: own}}}\n", "e": DOTENV},
        (),
    ),
    "env-file-raw": (
        {
            "compose.yaml": "services: {a: {image: x, env_file: [{path: e, format: raw}]}}\n",
            "e": "A=$SET 'x' # y\nB=\n",
        },
        (),
    ),
    **{f"merge-{name}": case for name, case in MERGES.items()},
    **{f"extends-{name}": case for name, case in EXTENDS.items()},
    **{f"include-{name}": case for name, case in INCLUDES.items()},
    "interpolation-lone-dollar": (
        {"compose.yaml": _one("x") + "    labels: {a: '^https://x/(.*)$', b: '$1', c: 'a$ b', d: '$(x)'}\n"},
        (),
    ),
    "dotenv-comments": (
        {
            "compose.yaml": _one("x") + "    env_file: v.env\n",
            "v.env": "A=#fff\nB= #c\nC=x#y\nD=x #c\nE=x\t#c\nH==x\n1I=x\nJ: #k\nK=a # b # c\n",
        },
        (),
    ),
    "nought-says-something": (
        {
            "compose.yaml": "services: {a: {image: x, user: '0', cpuset: '0', hostname: '0', ports: ['0:80'],"
            " ulimits: {core: 0}, mem_limit: 0, secrets: [{source: s, uid: '0', gid: '0'}]}}\n"
            "secrets: {s: {file: ./s}}\n"
        },
        (),
    ),
    "numbers-as-texts": (
        {
            "compose.yaml": _one("x")
            + "    environment: {A: 1000000.0, B: 1e5, C: 1e20, D: 0.00001, E: 0x10, F: 1.50}\n"
        },
        (),
    ),
    "texts-that-look-like-numbers": (
        {"compose.yaml": _one("x") + "    environment: {A: '1e3', B: '0o14', C: '08', D: '0123456789', E: 'null'}\n"},
        (),
    ),
    "build-without-a-context": ({"compose.yaml": "services: {a: {build: {dockerfile: D}}}\n"}, ()),
    "build-of-an-extended-file": (
        {
            "compose.yaml": "services: {a: {extends: {file: sub/b.yaml, service: b}}}\n",
            "sub/b.yaml": "services: {b: {build: {dockerfile: D}}}\n",
        },
        (),
    ),
    "include-under-an-override": (
        {
            "compose.yaml": "include: [part/compose.yaml]\n",
            "over.yaml": "services: {p: {environment: {A: over}}}\n",
            "part/compose.yaml": "services: {p: {image: x, environment: {A: part, B: part}}}\n",
        },
        ("-f", "compose.yaml", "-f", "over.yaml"),
    ),
    "include-with-variables-of-its-own": (
        {
            "compose.yaml": "include: [part/compose.yaml]\n",
            "part/compose.yaml": "services: {p: {image: 'x:${TAG}', environment: [TAG]}}\n",
            "part/.env": "TAG=inner\n",
        },
        (),
    ),
    "profile-off-without-its-env-file": (
        {"compose.yaml": _one("x") + "  b: {image: x, profiles: [p], env_file: nowhere.env}\n"},
        (),
    ),
    "nothing-over-something": (
        {
            "compose.yaml": "services: {a: {image: x, environment: {SET: one, B: two}, build: {context: ., args: {SET: q}}}}\n",
            "over.yaml": "services: {a: {environment: [SET], build: {args: [SET]}}}\n",
        },
        ("-f", "compose.yaml", "-f", "over.yaml"),
    ),
    "tags-at-the-top": (
        {
            "compose.yaml": "services: {a: {image: x, networks: [n], depends_on: [b]}, b: {image: x}}\nnetworks: {n: }\n",
            "over.yaml": "networks: !override {n: {internal: true}}\nservices: {a: {depends_on: {b: !reset null}}}\n",
        },
        ("-f", "compose.yaml", "-f", "over.yaml"),
    ),
    "compose-file-of-the-env-file": (
        {"other.yaml": _one("x"), ".env": "COMPOSE_FILE=other.yaml\nCOMPOSE_PROJECT_NAME=chosen\n"},
        (),
    ),
    "required-no-more": (
        {
            "compose.yaml": "services: {a: {image: x, depends_on: {b: {condition: service_started, required: false}}},"
            " b: {image: x, profiles: [p]}}\n"
        },
        (),
    ),
    "nothing-where-there-may-be": (
        {
            "compose.yaml": "services: {a: {image: x, deploy: , develop: , healthcheck: {test: [], interval: '0'},"
            " expose: ['80', 80], ports: ['80/'], restart: '', logging: {}, blkio_config: {}, networks: {n: {}}}}\n"
            "networks: {n: }\n"
        },
        (),
    ),
}
