"""The same for asyncio: `await coso.aio.run(…)`, `async with coso.aio.container(…) as c`.

The loop itself waits for answers. What only takes a moment, such as a file
that is put inside, is done in a thread of the loop's pool.
"""

from __future__ import annotations

import asyncio
from contextlib import asynccontextmanager
from functools import partial
from typing import TYPE_CHECKING

from coso.api import client, completed
from coso.api import container as plain

if TYPE_CHECKING:
    from collections.abc import AsyncIterator, Callable, Mapping
    from typing import Any, TypeVar, Unpack

    from coso.api.client import Starter, Talk
    from coso.api.completed import Command, Completed, Json, Request
    from coso.api.words import Options

    Found = TypeVar("Found")


async def run(
    image: str,
    command: Command = (),
    *,
    input: bytes | str | None = None,  # noqa: A002
    timeout: float | None = None,
    check: bool = False,
    starter: Starter | None = None,
    **options: Unpack[Options],
) -> Completed:
    """As `coso.run`. When the task is cancelled the container is killed."""
    done = await _complete(
        completed.run_request(image, command, options, reads=input is not None), input, timeout, starter
    )
    return done.check() if check else done


async def _complete(
    request: Request, given: bytes | str | None, seconds: float | None, starter: Starter | None
) -> Completed:
    begun = starter if starter else await asyncio.to_thread(client.of_this_process)
    with completed.Files(given) as files:
        talk = begun.ask(request, files.streams)
        try:
            async with asyncio.timeout(seconds):
                start = await _hear(talk, "start")
                end = await _hear(talk, "end")
        except TimeoutError:
            raise completed.timed_out(request, seconds) from None
        finally:
            begun.leave(talk)
        return completed.completed(request, files, start, end)


async def _hear(talk: Talk, kind: str) -> Json:
    """The next answer, for which the loop waits."""
    loop = asyncio.get_running_loop()
    while (answer := talk.hear(kind, 0)) is None:
        ready = loop.create_future()
        loop.add_reader(talk.fileno(), _settle, ready)
        try:
            await ready
        finally:
            loop.remove_reader(talk.fileno())
    return answer


def _settle(ready: asyncio.Future[None]) -> None:
    if not ready.done():
        ready.set_result(None)


class Container:
    """A container that runs; `sync` is the same for threads, and has what takes no time: name, ip, ports, logs."""

    def __init__(self, sync: plain.Container, starter: Starter) -> None:
        self.sync = sync
        self._starter = starter

    def __repr__(self) -> str:
        return f"<coso.aio.Container {self.sync.id}>"

    async def exec(
        self,
        command: Command,
        *,
        env: Mapping[str, str] | None = None,
        user: str | int = "",
        workdir: str = "",
        privileged: bool = False,
        input: bytes | str | None = None,  # noqa: A002
        timeout: float | None = None,
        check: bool = False,
    ) -> Completed:
        """Run a command inside. Raises CosoError."""
        request = self.sync.exec_request(command, env, user, workdir, privileged, reads=input is not None)
        done = await _complete(request, input, timeout, self._starter)
        return done.check() if check else done

    async def put(self, path: str, data: bytes | str, *, mode: int = 0o644, owner: tuple[int, int] = (0, 0)) -> None:
        """Write a file inside. Raises CosoError."""
        await asyncio.to_thread(self.sync.put, path, data, mode=mode, owner=owner)

    async def get(self, path: str) -> bytes:
        """What a file inside holds. Raises CosoError."""
        return await asyncio.to_thread(self.sync.get, path)

    async def wait(self) -> int:
        """Wait for its end; its exit status."""
        return await asyncio.to_thread(self.sync.wait)

    async def wait_for(
        self,
        *,
        port: int | None = None,
        log: str | None = None,
        health: bool | Command = False,
        until: Callable[[plain.Container], object] | None = None,
        timeout: float = 30.0,
    ) -> Container:
        """Wait until all of these hold. Raises TimeoutExpiredError with the last of its log."""
        wait = partial(self.sync.wait_for, port=port, log=log, health=health, until=until, timeout=timeout)
        await asyncio.to_thread(wait)
        return self

    async def stop(self, timeout: float = plain.DEFAULT_STOP_SECONDS) -> int:
        """Ask it to end, and kill it after `timeout` seconds; its exit status."""
        return await asyncio.to_thread(self.sync.stop, timeout)


@asynccontextmanager
async def container(
    image: str, command: Command = (), *, starter: Starter | None = None, **options: Unpack[Options]
) -> AsyncIterator[Container]:
    """A container for the time of a block; else as `coso.container`."""
    begun = starter if starter else await asyncio.to_thread(client.of_this_process)
    begin: Callable[[], Any] = partial(plain.container, image, command, starter=begun, **options)
    one: plain.Container = await asyncio.to_thread(begin)
    try:
        yield Container(one, begun)
    finally:
        await asyncio.to_thread(one.close)
