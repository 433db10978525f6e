"""The outbox of a clone: entries that were made here and wait for a number of the home's.

A waiting entry lies at `outbox/<log>/<n>` with the bytes that it will have at home, its id
included, so that pushing it twice does nothing the second time. It leaves the outbox when it is in
the mirrored log. Positions count from 1 in each log, and begin again when none of it waits.
"""

import re
from collections.abc import Callable, Iterator
from datetime import datetime
from typing import NamedTuple

from thence.errors import AlreadyExists, NotFound
from thence.model.numbers import LOCAL, is_local, local
from thence.store.base import Store
from thence.vault.logs import Logs

__all__ = ["CloneLogs", "Outbox", "Waiting"]

_PREFIX = "outbox/"
_WAITING_KEY = re.compile(r"outbox/(refs/.+)/(\d{10})")


class Waiting(NamedTuple):
    """An entry in the outbox.

    Attributes:
        log: The log that it is for.
        number: Its place as long as it waits, beyond all numbers of the home's.
        modified_s: When it was put there, by the store's clock.
    """

    log: str
    number: int
    modified_s: float

    @property
    def key(self) -> str:
        """Where it lies."""
        return f"{_PREFIX}{self.log}/{self.number - LOCAL:010d}"


class Outbox:
    """What waits for the home. Several processes may put and remove at once.

    Args:
        store: The clone's own.
    """

    def __init__(self, store: Store) -> None:
        self._store = store

    def waiting(self, log: str | None = None) -> list[Waiting]:
        """What waits, in the order of logs and positions; of one log or of all.

        Raises:
            StorageError: The store failed.
        """
        prefix = _PREFIX if log is None else f"{_PREFIX}{log}/"
        found = []
        for info in self._store.list(prefix):
            match = _WAITING_KEY.fullmatch(info.key)
            # Below refs/artifacts/a/@ lies no other log, but below refs/artifacts/a there are many.
            if match and (log is None or match.group(1) == log):
                found.append(Waiting(match.group(1), local(int(match.group(2))), info.modified_s))
        return found

    def read(self, log: str, number: int) -> bytes | None:
        """The bytes of a waiting entry; None where it does not wait (any more).

        Raises:
            StorageError: The store failed.
        """
        try:
            return self._store.get(Waiting(log, number, 0.0).key)
        except NotFound:
            return None

    def put(self, log: str, number: int, data: bytes) -> bool:
        """Let an entry wait at a number; False where another one does.

        Raises:
            StorageError: The store failed; whether it is there is not known.
            Denied: The store may not be written to.
        """
        try:
            self._store.create(Waiting(log, number, 0.0).key, [data])
        except AlreadyExists:
            return self.read(log, number) == data
        return True

    def remove(self, log: str, number: int) -> None:
        """Take an entry out; no error where it is out.

        Raises:
            StorageError: The store failed.
            Denied: The store may not be written to.
        """
        self._store.delete(Waiting(log, number, 0.0).key)


class CloneLogs(Logs):
    """The logs as they will be when everything here is pushed and nobody else pushes before.

    Args:
        store: Where the mirrored logs are.
        outbox: What waits.
        clock: Tells the time of an entry.
        new_id: Makes the random id of an entry.
    """

    def __init__(
        self,
        store: Store,
        outbox: Outbox,
        *,
        clock: Callable[[], datetime],
        new_id: Callable[[], str],
    ) -> None:
        super().__init__(store, clock=clock, new_id=new_id)
        self._outbox = outbox

    def read(self, log: str, number: int) -> bytes | None:
        """The bytes of an entry, or None where there is none."""
        return self._outbox.read(log, number) if is_local(number) else super().read(log, number)

    def after(self, log: str, number: int) -> Iterator[tuple[int, bytes]]:
        """The entries that follow `number`, those of the outbox last, as (number, bytes)."""
        if not is_local(number):
            yield from super().after(log, number)
        for waiting in self._outbox.waiting(log):
            if waiting.number > number and (data := self._outbox.read(log, waiting.number)):
                yield waiting.number, data

    def tail(self, log: str, *, since: int = 0) -> int:
        """The number of the last entry, 0 for none."""
        waiting = self._outbox.waiting(log)
        return waiting[-1].number if waiting else super().tail(log, since=since)

    def all(self, prefix: str = "refs/") -> Iterator[tuple[str, int]]:
        """Every entry below a prefix as (log, number): those of the outbox after all others."""
        yield from super().all(prefix)
        for waiting in self._outbox.waiting():
            if waiting.log.startswith(prefix):
                yield waiting.log, waiting.number

    def _next(self, tail: int) -> int:
        return max(tail, LOCAL) + 1

    def _create(self, log: str, number: int, entry_id: str, data: bytes) -> bool:
        return self._outbox.put(log, number, data)
