"""A stream that a thread reads ahead, so that it is decompressed and hashed on one processor while files are made."""

from __future__ import annotations

import threading
from queue import Queue

TYPE_CHECKING = False
if TYPE_CHECKING:
    from typing import Protocol

    class Source(Protocol):
        """What can be read from."""

        def read(self, size: int) -> bytes:
            """Read on."""


BLOCK, MOST_BLOCKS = 1 << 18, 16


class ReadAhead:
    """Reads a stream in blocks; used as a context, at whose end the thread has ended too."""

    def __init__(self, source: Source) -> None:
        self._source = source
        self._blocks: Queue[bytes | BaseException] = Queue(MOST_BLOCKS)
        self._is_over = self._is_unwanted = False
        self._thread = threading.Thread(target=self._fill, daemon=True)

    def __enter__(self) -> ReadAhead:
        self._thread.start()
        return self

    def __exit__(self, *_: object) -> None:
        self._is_unwanted = True
        while self._thread.is_alive():
            # It may wait for room.
            if not self._blocks.empty():
                self._blocks.get()
            self._thread.join(0.001)

    def _fill(self) -> None:
        block: bytes | BaseException = b"..."
        while block and not self._is_unwanted and not isinstance(block, BaseException):
            try:
                block = self._source.read(BLOCK)
            except BaseException as error:
                block = error
            self._blocks.put(block)

    def read(self, _: int = -1) -> bytes:
        """The next block, however much is asked for; nothing at the end. Raises what reading has raised."""
        if self._is_over:
            return b""
        block = self._blocks.get()
        if isinstance(block, BaseException):
            raise block
        self._is_over = not block
        return block

    def drain(self) -> None:
        """Read to the end."""
        while self.read():
            pass
