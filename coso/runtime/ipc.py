"""The IPC namespace, and the keyring: queues, semaphores and keys of one's own (ipc_namespaces(7), keyrings(7))."""

from __future__ import annotations

from coso.kernel.process import CLONE_NEWIPC, join_new_session_keyring
from coso.runtime.container import Container
from coso.steps import Step

FLAG = CLONE_NEWIPC


def leave_keyring(container: Container) -> None:
    """Join an empty session keyring, unless the caller wants to keep its own."""
    if not container.no_new_keyring:
        join_new_session_keyring()


KEYRING = Step(
    "leave the keyring",
    "join an empty session keyring",
    "keyctl(KEYCTL_JOIN_SESSION_KEYRING)",
    "keyrings have no namespace: without this the container could read the caller's keys",
    "keyrings(7), session-keyring(7)",
    leave_keyring,
)
