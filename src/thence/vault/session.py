"""Sessions: what somebody who writes knew of condemned packs when they began.

Who names content must know that nobody was about to delete it. That is a comparison of numbers
(see `thence.vault.condemned`), if the session began before anything was looked up. On a folder it
holds a lock too, as long as anybody has the session: `thence gc --grace 0` waits for nobody, and so
refuses where somebody writes.
"""

import errno
import fcntl
import gc
import os
import time
import weakref
from collections.abc import Callable, Collection, Iterable, Iterator
from contextlib import contextmanager
from datetime import datetime
from pathlib import Path
from typing import NamedTuple

from thence.errors import Conflict
from thence.store.base import Store
from thence.store.failures import failure_of, failures_of
from thence.store.local import LocalStore
from thence.store.wrap import Around
from thence.vault.condemned import Condemned

__all__ = ["Moment", "Session", "alone", "boot_s", "now", "share"]

# The store sweeps files in `tmp/`, not folders.
_LOCK = Path("tmp", "locks", "writers")
# There are no locks, or nothing may be written there anyway.
_NO_LOCKS = {
    errno.ENOLCK, errno.ENOSYS, errno.EOPNOTSUPP, errno.EROFS, errno.EACCES, errno.EPERM,
}  # fmt: skip


def boot_s() -> float:
    """Seconds of a clock that nobody sets and that counts while the machine sleeps."""
    return time.clock_gettime(getattr(time, "CLOCK_BOOTTIME", time.CLOCK_MONOTONIC))


class Moment(NamedTuple):
    """A time by two clocks, neither of which is right for sure: one is set, one may stop."""

    wall_s: float
    boot_s: float

    def since(self, earlier: "Moment") -> float:
        """Seconds since another moment, by the clock that says more."""
        return max(self.wall_s - earlier.wall_s, self.boot_s - earlier.boot_s)


def now(clock: Callable[[], datetime], boot: Callable[[], float] = boot_s) -> Moment:
    """This moment."""
    return Moment(clock().timestamp(), boot())


class Session:
    """What somebody who writes may rely on. Immutable; may be used from any thread.

    Args:
        records: The records of condemned packs when it began.
        lock: A descriptor that is closed when nobody has the session any more.

    Attributes:
        number: The highest number of a record by then; 0 for none.
        condemned: The packs that were condemned by then.
    """

    def __init__(self, records: Iterable[Condemned] = (), *, lock: int | None = None) -> None:
        known = tuple(records)
        self.number = max((one.number for one in known), default=0)
        self.condemned = frozenset[bytes]().union(*(one.packs for one in known))
        self._release = None if lock is None else weakref.finalize(self, os.close, lock)

    def release(self) -> None:
        """Let go of the lock: what was written is named by now, or given up.

        Who forgets it blocks others until the interpreter clears away what nobody has any more.
        """
        if self._release is not None:
            self._release()

    def still_holds(self, records: Collection[Condemned]) -> bool:
        """Whether, by these records, all that was found or put in it is in packs that stay.

        False also where it cannot be told.
        """
        newer = {one.number: one for one in records if one.number > self.number}
        last = max((one.number for one in records), default=0)
        if last < self.number or len(newer) != last - self.number:
            return False  # records came and went, or the store was put back
        return all(one.packs <= self.condemned for one in newer.values())


def share(store: Store) -> int | None:
    """Say that somebody writes to a folder; a descriptor to close when nobody does any more.

    Waits while somebody collects there without a period of grace. None where the store is no
    folder, or one in which nobody can hold locks.

    Raises:
        StorageError: The disk is full, or fails.
    """
    path = _lock_of(store)
    if path is None:
        return None
    try:
        # A shared lock needs no right to write: the file may have been made by a colleague.
        descriptor = _open(path, os.O_RDONLY)
        try:
            fcntl.flock(descriptor, fcntl.LOCK_SH)
        except BaseException:
            os.close(descriptor)
            raise
    except OSError as error:
        if error.errno in _NO_LOCKS:
            return None
        raise failure_of(error, "say that somebody writes", about=str(path)) from error
    return descriptor


@contextmanager
def alone(store: Store) -> Iterator[None]:
    """See that nobody writes to a folder, and that nobody begins to; nothing for other stores.

    Raises:
        Conflict: Somebody writes.
        StorageError: The folder cannot hold locks.
        Denied: It may not be written to.
    """
    path = _lock_of(store)
    if path is None:
        yield
        return
    with failures_of("lock out other writers", about=str(path)):
        descriptor = _open(path, os.O_RDWR)
    try:
        with failures_of("lock out other writers", about=str(path)):
            try:
                _lock_alone(descriptor)
            except BlockingIOError as error:
                raise Conflict(
                    f"somebody writes to {store.url}",
                    why="A collection without a period of grace must be alone.",
                    hint="Repeat it when they are done, or give a period: --grace 24h.",
                    about=store.url,
                ) from error
        yield
    finally:
        os.close(descriptor)


def _lock_alone(descriptor: int) -> None:
    try:
        fcntl.flock(descriptor, fcntl.LOCK_EX | fcntl.LOCK_NB)
    except BlockingIOError:
        # Sessions of this process that nobody has any more may not have been cleared away yet.
        gc.collect()
        fcntl.flock(descriptor, fcntl.LOCK_EX | fcntl.LOCK_NB)


def _open(path: Path, how: int) -> int:
    path.parent.mkdir(parents=True, exist_ok=True)
    try:
        return os.open(path, how | os.O_CREAT | os.O_CLOEXEC, 0o666)
    except PermissionError:
        # Of a colleague. On most file systems a lock needs no right to write.
        return os.open(path, os.O_RDONLY | os.O_CLOEXEC)


def _lock_of(store: Store) -> Path | None:
    while isinstance(store, Around):
        store = store.inner
    return store.root / _LOCK if isinstance(store, LocalStore) else None
