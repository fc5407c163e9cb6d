"""What only podman has: pods, a user namespace for each container, and containers of ordinary users."""

from __future__ import annotations

import shlex
from collections.abc import Iterator

import pytest

from tests.integration.engines.conftest import SERVE, Place, words
from tests.integration.engines.engines import Docker

testinfra_hosts = ["local://"]
pytestmark = pytest.mark.parametrize("engine", ["podman"], indirect=True)

SHARED = ("net", "ipc", "uts")
LOOK = f"for name in {' '.join(SHARED)} mnt; do readlink /proc/self/ns/$name; done"


@pytest.fixture
def pod(engine: Docker) -> Iterator[str]:
    """A pod without a way out."""
    done = engine("pod create --name=pod --network=none --infra-image=coso-engines --infra-command='sleep 1000'")
    assert done.rc == 0, done.stderr
    yield "pod"
    engine("pod rm --force --time=0 pod")


def test_containers_of_a_pod_share_namespaces(engine: Docker, pod: str) -> None:
    assert engine.start("member", f"--pod={pod}", "exec sleep 1000").rc == 0
    one, two = words(engine.exec("member", "", f"sh -c '{LOOK}'")), words(engine.run(f"--pod={pod}", LOOK))
    assert one[:3] == two[:3] and one[3] != two[3]


def test_containers_of_a_pod_meet_on_loopback(engine: Docker, pod: str) -> None:
    assert engine.start("server", f"--pod={pod}", SERVE).rc == 0
    fetch = "for i in 1 2 3 4 5 6 7 8 9; do nc 127.0.0.1 80 && exit; sleep 0.2; done"
    assert words(engine.run(f"--pod={pod}", fetch)) == ["served"]


def test_a_pod_is_stopped_and_starts_again(engine: Docker, pod: str) -> None:
    assert engine.start("member", f"--pod={pod}", "exec sleep 1000").rc == 0
    assert engine(f"pod stop --time=0 {pod}").rc == 0
    assert engine.status("member") == "exited"
    assert engine(f"pod start {pod}").rc == 0
    assert engine.status("member") == "running"


@pytest.fixture
def subordinates(place: Place) -> Iterator[None]:
    """Ids that podman may give away, for the time of a test."""
    place.ok("for f in /etc/subuid /etc/subgid; do touch $f; cp $f $(basename $f); done")
    place.ok("for f in /etc/subuid /etc/subgid; do echo containers:2000000:1000000 >> $f; done")
    yield
    place.ok("for f in /etc/subuid /etc/subgid; do cat $(basename $f) > $f; done")


def test_a_user_namespace_of_its_own(engine: Docker, subordinates: None) -> None:
    found = words(engine.run("--userns=auto", "id -u; cat /proc/self/uid_map; touch /file; stat -c %u /file"))
    assert found[:2] == ["0", "0"] and int(found[2]) >= 2000000 and found[-1] == "0"


def test_ids_as_they_are_said(engine: Docker, place: Place) -> None:
    options = "--uidmap=0:3000000:1000 --gidmap=0:3000000:1000"
    place.ok("mkdir -p owned && chown 3000005:3000005 owned")
    found = words(engine.run(f"{options} --volume={place.directory}/owned:/owned", "stat -c '%u %g' /owned; id -u"))
    assert found == ["5", "5", "0"]


USER = 65534
AS_USER = """
set -e
echo nobody:300000:65536 > users-ids
for file in /etc/subuid /etc/subgid; do touch $file; mount --bind users-ids $file; done
mkdir -p user/run
chown -R {user}:{user} user
chmod 700 user/run
podman() {{
    setpriv --reuid={user} --regid={user} --clear-groups env --ignore-environment PATH="$PATH" HOME=$PWD/user \\
        XDG_RUNTIME_DIR=$PWD/user/run CONTAINERS_CONF="${{CONTAINERS_CONF-}}" \\
        podman --runtime={runtime} --cgroup-manager=cgroupfs "$@"
}}
tar -C rootfs -c . | podman import - users >&2
podman run --rm --network=none users sh -c 'id -u; cat /proc/self/uid_map'
podman run --detach --name=life --network=none users sh -c 'trap "exit 7" TERM; while :; do sleep 0.1; done' >&2
podman exec life sh -c 'echo $$ | grep -v "^1$" >&2; id -u'
podman stop life >&2
podman inspect --format='{{{{.State.ExitCode}}}}' life
podman rm life >&2
podman unshare rm -rf user/.local user/run
"""


def test_an_ordinary_user_has_containers_too(engine: Docker, place: Place, runtime: str) -> None:
    script = AS_USER.format(user=USER, runtime=runtime)
    place.ok(f"printf %s {shlex.quote(script)} > as-user; chmod 755 . rootfs")
    found = words(place.sh("unshare --mount sh as-user"))
    assert found == ["0", "0", str(USER), "1", "1", "300000", "65536", "0", "7"], found
