"""Append-only logs of numbered, immutable entries: everything that changes in a project.

To append is to create entry n+1 if nobody has. Logs have no gaps, and the first entry is 1.
"""

import re
from collections.abc import Callable, Iterator
from datetime import datetime
from typing import NamedTuple

from thence.errors import AlreadyExists, Conflict, DataDamaged, NotFound, StorageError
from thence.model.ids import RunId
from thence.model.names import Alias, ArtifactName
from thence.model.records import Entry, Record, decode_entry, encode_entry
from thence.store.base import Store

__all__ = [
    "Appended",
    "Logs",
    "alias_log",
    "edits_log",
    "entry_key",
    "parse_entry_key",
    "run_log",
    "versions_log",
]

_ENTRY_KEY = re.compile(r"(refs/.+)/(\d{10})")
_TRIES = 1000


class Appended(NamedTuple):
    """An entry that is in the log."""

    log: str
    number: int
    entry: Entry
    data: bytes


def versions_log(artifact: ArtifactName) -> str:
    """The log whose entry n is version n."""
    return f"refs/artifacts/{artifact.key}/@"


def edits_log(artifact: ArtifactName) -> str:
    """The log of edits and tombstones of an artifact."""
    return f"refs/artifacts/{artifact.key}/@edits"


def alias_log(artifact: ArtifactName, alias: Alias) -> str:
    """The log of an alias."""
    return f"refs/aliases/{artifact.key}/@{alias}"


def run_log(run: RunId) -> str:
    """The log of a run."""
    return f"refs/runs/{run}"


def entry_key(log: str, number: int) -> str:
    """Where entry `number` of a log lies."""
    return f"{log}/{number:010d}"


def parse_entry_key(key: str) -> tuple[str, int] | None:
    """(log, number) of an entry key; None where it is not one."""
    match = _ENTRY_KEY.fullmatch(key)
    return (match.group(1), int(match.group(2))) if match else None


class Logs:
    """The logs of a project.

    Args:
        store: Where they are.
        clock: Tells the time of an entry.
        new_id: Makes the random id of an entry.
    """

    def __init__(
        self, store: Store, *, clock: Callable[[], datetime], new_id: Callable[[], str]
    ) -> None:
        self._store = store
        self._clock = clock
        self._new_id = new_id
        self._tails: dict[str, int] = {}

    def read(self, log: str, number: int) -> bytes | None:
        """The bytes of an entry, or None where there is none."""
        try:
            return self._store.get(entry_key(log, number))
        except NotFound:
            return None

    def after(self, log: str, number: int) -> Iterator[tuple[int, bytes]]:
        """The entries that follow `number`, as (number, bytes)."""
        while (data := self.read(log, number + 1)) is not None:
            number += 1
            yield number, data

    def records(self, log: str) -> Iterator[Entry]:
        """All entries of a log, decoded.

        Raises:
            DataDamaged: An entry cannot be read.
        """
        for _, data in self.after(log, 0):
            yield decode_entry(data)

    def tail(self, log: str) -> int:
        """The number of the last entry, 0 for none: gallop and bisect, as there are no gaps."""
        low = self._tails.get(log, 0)
        step = 1
        while self._store.head(entry_key(log, low + step)) is not None:
            low += step
            step *= 2
        high = low + step
        while high - low > 1:
            middle = (low + high) // 2
            if self._store.head(entry_key(log, middle)) is not None:
                low = middle
            else:
                high = middle
        self._tails[log] = low
        return low

    def all(self, prefix: str = "refs/") -> Iterator[tuple[str, int]]:
        """Every entry below a prefix as (log, number), by one listing."""
        for info in self._store.list(prefix):
            if parsed := parse_entry_key(info.key):
                yield parsed

    def append(self, log: str, record: Record, *, by: str) -> Appended:
        """Append a record, whatever others append meanwhile.

        Raises:
            Conflict: Others were faster a thousand times.
            StorageError: The store failed; whether the entry is there is not known.
        """
        return self.append_if(log, lambda tail: record, by=by)

    def append_if(self, log: str, decide: Callable[[int], Record | None], *, by: str) -> Appended:
        """Append what `decide` makes of the current state of the log.

        Args:
            log: Which log.
            decide: Is told the number of the last entry, and called again whenever somebody else
                was faster. It may raise.
            by: The author.

        Raises:
            Conflict: Others were faster a thousand times, or `decide` returned None.
            StorageError: The store failed; whether the entry is there is not known.
        """
        entry_id = self._new_id()
        for _ in range(_TRIES):
            tail = self.tail(log)
            record = decide(tail)
            if record is None:
                raise Conflict(f"{log} changed meanwhile", about=log)
            number = tail + 1
            data = encode_entry(entry_id, self._clock(), by, record)
            if self._create(log, number, entry_id, data):
                self._tails[log] = number
                return Appended(log, number, decode_entry(data), data)
        raise Conflict(f"could not append to {log}", why="Others were faster every time.")

    def _create(self, log: str, number: int, entry_id: str, data: bytes) -> bool:
        """Create the entry; read back where the answer was lost or another was first."""
        key = entry_key(log, number)
        try:
            self._store.create(key, [data])
        except AlreadyExists:
            return self._is_mine(log, number, entry_id)
        except StorageError:
            if self._is_mine(log, number, entry_id):
                return True
            raise
        return True

    def _is_mine(self, log: str, number: int, entry_id: str) -> bool:
        data = self.read(log, number)
        if data is None:
            return False
        try:
            return decode_entry(data).id == entry_id
        except DataDamaged:
            return False
