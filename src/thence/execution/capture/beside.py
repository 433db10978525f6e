"""Copying large files beside the run: a thread does it while the program goes on."""

import os
import shutil
from collections.abc import Callable
from concurrent.futures import Future, ThreadPoolExecutor
from contextlib import AbstractContextManager
from pathlib import Path

from thence.execution.capture.keeper import Keeper, Kept

__all__ = ["Copying"]


class Copying:
    """Copies that are underway, by the path of the file; one is made at a time.

    Args:
        keeper: Makes them.
        folder: Where it makes them.
        spare_bytes: A copy that would leave less of the disk free is not made.
        quietly: What the thread works in.
    """

    def __init__(
        self,
        keeper: Keeper,
        folder: Path,
        spare_bytes: int,
        quietly: Callable[[], AbstractContextManager[None]],
    ) -> None:
        self._keeper = keeper
        self._folder = folder
        self._spare = spare_bytes
        self._quietly = quietly
        self._pool: ThreadPoolExecutor | None = None
        self._underway: dict[str, Future[Kept | None]] = {}

    def begin(self, path: str, number: int, then: Callable[[], None]) -> None:
        """Copy a file soon.

        Args:
            path: Of the file.
            number: A reserved one, of the copy.
            then: Called in the thread when it is made; must not wait for anything.
        """
        if self._pool is None:
            self._pool = ThreadPoolExecutor(1, "thence-copy")
        try:
            future = self._pool.submit(self._copy, path, number)
        except RuntimeError:
            return  # the interpreter is at its end: the file is looked at again with the rest
        self._underway[path] = future
        future.add_done_callback(lambda _: then())

    def is_of(self, path: str) -> bool:
        """Whether a copy of the file is underway, or made and not yet taken."""
        return path in self._underway

    def finished(self) -> tuple[str, ...]:
        """The files whose copies are made and not yet taken."""
        if not self._underway:
            return ()
        return tuple(path for path, future in [*self._underway.items()] if future.done())

    def take(self, path: str) -> Kept | None:
        """What became of a copy, when it is made; None where none could be made."""
        return self._underway.pop(path).result()

    def close(self) -> None:
        """Wait for all copies, and end the thread."""
        if self._pool is not None:
            self._pool.shutdown()

    def _copy(self, path: str, number: int) -> Kept | None:
        with self._quietly():
            try:
                size = os.stat(path).st_size
                if shutil.disk_usage(self._folder).free - size < self._spare:
                    return None
                return self._keeper.keep(path, number=number)
            except Exception:  # a bug of ours must not end the run
                return None
