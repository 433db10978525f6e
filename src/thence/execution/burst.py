"""Writing many small things together: at once where they are few, some times a second where many.

What is added while nothing was written for a quarter of a second is written before `add` returns,
so a program that logs once an epoch loses nothing when it is killed. What comes sooner waits for a
thread that writes all of it together, a quarter of a second later at most. It is also written
before a fork, so that no child has it too, and when the process ends, by `os._exit` as well. Forked
workers, which pools end by a signal, write at once. Only a process that is killed, or replaced by
exec, loses what waited.
"""

import atexit
import contextlib
import os
import threading
import time
import weakref
from collections import deque
from collections.abc import Callable, Sequence
from typing import Any, Generic, TypeVar

__all__ = ["EVERY_S", "Burst", "flush_all"]

EVERY_S = 0.25
_MOST = 50_000
# Who ends a process does not wait for a disk that hangs.
_PATIENCE_S = 2.0

T = TypeVar("T")


class Burst(Generic[T]):
    """Gathers what is written.

    Args:
        write: Writes things in their order; called by one thread at a time. Does not raise.
        every_s: How long a thing waits at most.
    """

    def __init__(self, write: Callable[[Sequence[Any]], None], *, every_s: float = EVERY_S) -> None:
        self._write = write
        self._every_s = every_s
        self._waiting: deque[T] = deque()
        self._written_s = float("-inf")
        self._renew()
        _known.add(self)
        _watch_exits()

    def _renew(self) -> None:
        self._lock = threading.RLock()
        self._wake = threading.Event()
        self._thread: threading.Thread | None = None

    def add(self, thing: T) -> None:
        """Have a thing written soon; from any thread."""
        self._waiting.append(thing)
        if self._thread is not None and len(self._waiting) < _MOST:
            return
        if time.monotonic() - self._written_s >= self._every_s or len(self._waiting) >= _MOST:
            self.write(())
        else:
            self._begin()

    def write(self, things: Sequence[Any]) -> None:
        """Write what waits, and after that these."""
        with self._lock:
            ready: list[Any] = []
            with contextlib.suppress(IndexError):
                while True:
                    ready.append(self._waiting.popleft())
            ready.extend(things)
            if ready:
                self._write(ready)
                self._written_s = time.monotonic()

    def _begin(self) -> None:
        with self._lock:
            if self._thread is not None:
                return
            thread = threading.Thread(target=self._work, name="thence-log", daemon=True)
            self._thread = thread
            try:
                thread.start()
            except RuntimeError:  # the interpreter is at its end
                self._thread = None
                self.write(())

    def _work(self) -> None:
        wake = self._wake
        while True:
            is_over = wake.wait(self._every_s)
            self.write(())
            if is_over or not self._waiting:
                # In this order: who adds a thing looks for the thread after that.
                self._thread = None
                if not self._waiting or is_over:
                    return
                self._thread = threading.current_thread()

    def pause(self) -> None:
        """Write what waits, and end the thread: a process that is to be forked should have none."""
        thread = self._thread
        if thread is not None and thread is not threading.current_thread():
            self._wake.set()
            thread.join(_PATIENCE_S)
            self._wake = threading.Event()
        self.write(())

    def flush_at_end(self) -> None:
        """Write what waits, unless another thread hangs while it writes."""
        if self._lock.acquire(timeout=_PATIENCE_S):
            try:
                self.write(())
            finally:
                self._lock.release()

    def after_fork(self) -> None:
        """In the child: what waits is the parent's."""
        self._waiting.clear()
        self._every_s = 0.0  # from now on at once: pools end their workers by a signal
        self._renew()


def flush_all() -> None:
    """Write everything that waits in this process."""
    _each(Burst.flush_at_end)


_known: weakref.WeakSet[Burst[Any]] = weakref.WeakSet()
_are_watched = False


def _watch_exits() -> None:
    global _are_watched  # noqa: PLW0603 - there is one process
    if _are_watched:
        return
    _are_watched = True
    atexit.register(flush_all)
    if hasattr(os, "register_at_fork"):
        os.register_at_fork(
            before=lambda: _each(Burst.pause), after_in_child=lambda: _each(Burst.after_fork)
        )
    leave = os._exit

    def _exit(status: int) -> None:
        flush_all()
        leave(status)

    _exit.__doc__ = leave.__doc__
    os._exit = _exit  # type: ignore[assignment]


def _each(do: Callable[[Burst[Any]], None]) -> None:
    for burst in list(_known):
        with contextlib.suppress(Exception):
            do(burst)
