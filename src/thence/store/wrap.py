"""Stores around a store: `Trace` records, `Retry` repeats, `ReadOnly` refuses."""

import logging
import random
import threading
import time
from collections import deque
from collections.abc import Callable, Iterator, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, NamedTuple, TypeVar

from thence.errors import Denied, StorageError
from thence.store.base import Bytes, ObjectInfo, Store, check_key

if TYPE_CHECKING:
    from tenacity import RetryCallState

__all__ = ["READS", "Around", "Counter", "Operation", "ReadOnly", "Retry", "Trace"]

_LOG = logging.getLogger(__name__)
_T = TypeVar("_T")
READS = frozenset({"get", "get_range", "head"})
"""The methods that bring something back and change nothing; a listing is no call of `_call`."""


class Operation(NamedTuple):
    """One call of a store.

    Attributes:
        name: The method: `get`, `create`, …
        key: The key; for `list` the prefix.
        size_bytes: Bytes that came back or were given; for `list` 0.
        seconds: How long it took; for `list` only the time inside the store.
        error: Name of the class of the error that it raised, or None.
    """

    name: str
    key: str
    size_bytes: int
    seconds: float
    error: str | None


class Counter(NamedTuple):
    """What all calls of one method come to."""

    calls: int = 0
    size_bytes: int = 0
    seconds: float = 0.0
    errors: int = 0


class Around:
    """A store around a store: every call but `list` and `url` goes through `_call`.

    Args:
        store: Where the calls go.
    """

    def __init__(self, store: Store) -> None:
        self._store = store

    def __repr__(self) -> str:
        return f"{type(self).__name__}({self._store!r})"

    @property
    def inner(self) -> Store:
        """The store inside."""
        return self._store

    @property
    def url(self) -> str:
        """The URL of the store inside."""
        return self._store.url

    def get(self, key: str) -> bytes:
        """As `Store.get`."""
        return self._call("get", key, lambda: self._store.get(key))

    def get_range(self, key: str, start: int, length: int) -> bytes:
        """As `Store.get_range`."""
        return self._call("get_range", key, lambda: self._store.get_range(key, start, length))

    def create(self, key: str, parts: Sequence[Bytes]) -> None:
        """As `Store.create`."""
        self._call("create", key, lambda: self._store.create(key, parts), parts)

    def create_from_file(self, key: str, path: Path) -> None:
        """As `Store.create_from_file`."""
        self._call("create_from_file", key, lambda: self._store.create_from_file(key, path), path)

    def replace(self, key: str, parts: Sequence[Bytes]) -> None:
        """As `Store.replace`."""
        self._call("replace", key, lambda: self._store.replace(key, parts), parts)

    def head(self, key: str) -> ObjectInfo | None:
        """As `Store.head`."""
        return self._call("head", key, lambda: self._store.head(key))

    def list(self, prefix: str = "", *, after: str = "") -> Iterator[ObjectInfo]:
        """As `Store.list`."""
        return self._store.list(prefix, after=after)

    def delete(self, key: str) -> None:
        """As `Store.delete`."""
        self._call("delete", key, lambda: self._store.delete(key))

    def _call(
        self, name: str, key: str, call: Callable[[], _T], sent: Sequence[Bytes] | Path = ()
    ) -> _T:
        """Do it, or not, or again; `sent` is what a write was given."""
        raise NotImplementedError


class Trace(Around):
    """Records every call, for tests that count requests and for `-v`.

    Args:
        store: Where the calls go.
        clock: Seconds, from any beginning.
        keep: How many of the latest operations to remember; the counters know all.
    """

    def __init__(
        self, store: Store, *, clock: Callable[[], float] = time.perf_counter, keep: int = 10_000
    ) -> None:
        super().__init__(store)
        self._clock = clock
        self._lock = threading.Lock()
        self._operations: deque[Operation] = deque(maxlen=keep)
        self._counters: dict[str, Counter] = {}

    @property
    def operations(self) -> tuple[Operation, ...]:
        """The latest operations, in the order in which they ended."""
        with self._lock:
            return tuple(self._operations)

    @property
    def counters(self) -> dict[str, Counter]:
        """Totals by method; methods that were never called are not in it."""
        with self._lock:
            return dict(self._counters)

    def clear(self) -> None:
        """Forget all operations and totals."""
        with self._lock:
            self._operations.clear()
            self._counters.clear()

    def list(self, prefix: str = "", *, after: str = "") -> Iterator[ObjectInfo]:
        """As `Store.list`; recorded when the last object was given, or the reader went away."""
        seconds = 0.0
        error: str | None = None
        found = self._store.list(prefix, after=after)
        try:
            while True:
                begun = self._clock()
                try:
                    info = next(found, None)
                except Exception as problem:
                    error = type(problem).__name__
                    raise
                finally:
                    seconds += self._clock() - begun
                if info is None:
                    return
                yield info
        finally:
            self._record(Operation("list", prefix, 0, seconds, error))

    def _call(
        self, name: str, key: str, call: Callable[[], _T], sent: Sequence[Bytes] | Path = ()
    ) -> _T:
        size = _size_of(sent)  # a file may be consumed
        begun = self._clock()
        try:
            result = call()
        except Exception as problem:
            seconds = self._clock() - begun
            self._record(Operation(name, key, 0, seconds, type(problem).__name__))
            raise
        seconds = self._clock() - begun
        size += len(result) if isinstance(result, bytes) else 0
        self._record(Operation(name, key, size, seconds, None))
        return result

    def _record(self, done: Operation) -> None:
        with self._lock:
            self._operations.append(done)
            so_far = self._counters.get(done.name, Counter())
            self._counters[done.name] = Counter(
                so_far.calls + 1,
                so_far.size_bytes + done.size_bytes,
                so_far.seconds + done.seconds,
                so_far.errors + (done.error is not None),
            )


class Retry(Around):
    """Repeats what failed with a transient `StorageError`, after longer and longer pauses.

    A repeated `create` whose first answer was lost finds its own object and raises
    `AlreadyExists`: who creates must read back before it takes that for a lost race. A listing
    that fails goes on after the last object that it gave.

    Args:
        store: Where the calls go.
        budget_s: How long one call may go on in all; for a listing, how long without progress.
        first_pause_s: About how long the first pause is. Each is twice the one before.
        longest_pause_s: No pause is longer.
        sleep: What waits.
        jitter: A number in [0, 1); shortens each pause by up to half, so that many clients that
            failed together do not come back together.
        clock: Seconds, from any beginning.
    """

    def __init__(
        self,
        store: Store,
        *,
        budget_s: float = 60.0,
        first_pause_s: float = 0.1,
        longest_pause_s: float = 10.0,
        sleep: Callable[[float], None] = time.sleep,
        jitter: Callable[[], float] = random.random,
        clock: Callable[[], float] = time.monotonic,
    ) -> None:
        super().__init__(store)
        self._budget_s = budget_s
        self._first_pause_s = first_pause_s
        self._longest_pause_s = longest_pause_s
        self._sleep = sleep
        self._jitter = jitter
        self._clock = clock

    def list(self, prefix: str = "", *, after: str = "") -> Iterator[ObjectInfo]:
        """As `Store.list`."""
        last = after
        found: Iterator[ObjectInfo] | None = None

        def following() -> ObjectInfo | None:
            nonlocal found
            if found is None:
                found = self._store.list(prefix, after=last)
            try:
                return next(found, None)
            except StorageError:
                found = None  # an iterator that raised is at its end
                raise

        while (info := self._repeat(following)) is not None:
            last = info.key
            yield info

    def _call(
        self, name: str, key: str, call: Callable[[], _T], sent: Sequence[Bytes] | Path = ()
    ) -> _T:
        return self._repeat(call)

    def _repeat(self, call: Callable[[], _T]) -> _T:
        # tenacity takes 20 ms to import and 20 us per call, so only a failure gets to it.
        begun = self._clock()
        try:
            return call()
        except StorageError as error:
            if not error.transient:
                raise
            seen = [error]

        import tenacity

        def again() -> _T:
            if seen:
                raise seen.pop()
            return call()

        def is_over(state: "RetryCallState") -> bool:
            # idle_for adds up the pauses asked for, also where `sleep` does not really wait.
            spent = max(self._clock() - begun, state.idle_for)
            return spent + state.upcoming_sleep > self._budget_s

        return tenacity.Retrying(
            retry=tenacity.retry_if_exception(_is_transient),
            wait=self._pause,
            stop=is_over,
            sleep=self._sleep,
            before_sleep=_report,
            reraise=True,
        )(again)

    def _pause(self, state: "RetryCallState") -> float:
        doubled = self._first_pause_s * 2.0 ** min(state.attempt_number - 1, 60)
        return min(doubled, self._longest_pause_s) * (1.0 - self._jitter() / 2)


class ReadOnly(Around):
    """Refuses to write, with `Denied`; a file that it was given is left alone."""

    def _call(
        self, name: str, key: str, call: Callable[[], _T], sent: Sequence[Bytes] | Path = ()
    ) -> _T:
        if name in READS:
            return call()
        raise Denied(
            f"cannot {name.partition('_')[0]} {check_key(key)!r}",
            why=f"The store {self.url} was opened for reading only.",
            hint="Open it for writing, or write to another store.",
            about=key,
        )


def _size_of(sent: Sequence[Bytes] | Path) -> int:
    if not isinstance(sent, Path):
        return sum(memoryview(part).nbytes for part in sent)
    try:
        return sent.stat().st_size
    except OSError:
        return 0


def _is_transient(error: BaseException) -> bool:
    return isinstance(error, StorageError) and error.transient


def _report(state: "RetryCallState") -> None:
    error = state.outcome.exception() if state.outcome else None
    _LOG.info(
        "try %d failed, again in %.1f s: %r", state.attempt_number, state.upcoming_sleep, error
    )
