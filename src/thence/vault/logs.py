"""Append-only logs of numbered, immutable entries: everything that changes in a project.

To append is to create entry n+1 if nobody has. Logs have no gaps, and the first entry is 1.
"""

import re
from collections.abc import Callable, Iterable, Iterator
from datetime import datetime
from typing import NamedTuple

from thence.errors import AlreadyExists, Conflict, DataDamaged, NotFound, StorageError
from thence.model.ids import RunId
from thence.model.names import Alias, ArtifactName
from thence.model.records import Entry, Record, decode_entry, encode_entry
from thence.store.base import Store
from thence.vault.parallel import ahead

__all__ = [
    "ERASURES",
    "Appended",
    "Logs",
    "alias_log",
    "edits_log",
    "entry_key",
    "parse_entry_key",
    "run_log",
    "versions_log",
    "versions_of",
]

ERASURES = "refs/erasures"
"""The log of what was erased in the whole project."""

_ENTRY_KEY = re.compile(r"(refs/.+)/(\d{10})")
_TRIES = 1000
_AT_ONCE = 16
_IN_FLIGHT = 16 * _AT_ONCE


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
    return f"refs/aliases/{artifact.key}/@{alias.key}"


def versions_of(alias: str) -> str:
    """The log of the versions that the moves in the log of an alias are about."""
    return f"refs/artifacts/{alias.removeprefix('refs/aliases/').rpartition('/')[0]}/@"


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
    """The logs of a project, as they lie in a store.

    Args:
        store: Where they are.
        clock: Tells the time of an entry.
        new_id: Makes the random id of an entry.
        at_once: How many entries to read at the same time; more than one where each takes a while.

    Attributes:
        known_tail: Tells how much of a log is known to be there, so that looking for its end need
            not begin at the beginning. Whoever has an index may set it.
    """

    def __init__(
        self,
        store: Store,
        *,
        clock: Callable[[], datetime],
        new_id: Callable[[], str],
        at_once: int = 1,
    ) -> None:
        self._store = store
        self._clock = clock
        self._new_id = new_id
        self._at_once = at_once
        self._tails: dict[str, int] = {}
        self.known_tail: Callable[[str], int] = lambda log: 0

    def read(self, log: str, number: int) -> bytes | None:
        """The bytes of an entry, or None where there is none."""
        try:
            return self._store.get(entry_key(log, number))
        except NotFound:
            return None

    def read_many(
        self, wanted: Iterable[tuple[str, int]]
    ) -> Iterator[tuple[str, int, bytes | None]]:
        """Many entries as (log, number, bytes or None), in the order in which they were wanted."""

        def read(place: tuple[str, int]) -> tuple[str, int, bytes | None]:
            return *place, self.read(*place)

        # A bounded number: a million entries must not all wait in memory.
        return ahead(read, wanted, at_once=self._at_once, queued=_IN_FLIGHT)

    def after(self, log: str, number: int) -> Iterator[tuple[int, bytes]]:
        """The entries that follow `number`, as (number, bytes).

        Where each takes a while, more and more of them are read at the same time.
        """
        window = 1
        while True:
            places = ((log, at) for at in range(number + 1, number + 1 + window))
            for _, at, data in self.read_many(places):
                if data is None:
                    return
                number = at
                yield number, data
            if self._at_once > 1:
                window = min(2 * window, _IN_FLIGHT)

    def records(self, log: str) -> Iterator[Entry]:
        """All entries of a log, decoded.

        Raises:
            DataDamaged: An entry cannot be read.
        """
        for _, data in self.after(log, 0):
            yield decode_entry(data)

    def tail(self, log: str, *, since: int = 0) -> int:
        """The number of the last entry, 0 for none: gallop and bisect, as there are no gaps.

        Args:
            log: Which log.
            since: The number of an entry that is known to be there.
        """
        low = max(since, self._tails.get(log, 0))
        if not low and (known := self.known_tail(log)) and (found := self._last(log, known)):
            self._tails[log] = found
            return found
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

    def _last(self, log: str, known: int) -> int:
        """The number of the last entry, by a listing that begins at a known one.

        0 where that one is not there: what was known is of another store, and an entry must not
        come after a gap.
        """
        last = 0
        for info in self._store.list(f"{log}/", after=entry_key(log, known - 1)):
            parsed = parse_entry_key(info.key)
            if parsed is None or parsed[0] != log:
                continue
            if not last and parsed[1] != known:
                return 0
            if last and parsed[1] != last + 1:
                raise DataDamaged(
                    f"{log} has no entry {last + 1}, but entry {parsed[1]}",
                    why="Logs have no gaps, so one was lost, and nothing may take its place.",
                    hint="Restore it from a mirror or a clone of this project, byte for byte.",
                    about=entry_key(log, last + 1),
                )
            last = parsed[1]
        return last

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

    def append_if(
        self,
        log: str,
        decide: Callable[[int], Record | None],
        *,
        by: str,
        entry_id: str | None = None,
        tail: int | None = None,
    ) -> Appended:
        """Append what `decide` makes of the current state of the log.

        Args:
            log: Which log.
            decide: Is told the number of the last entry, and called again whenever somebody else
                was faster. It may raise.
            by: The author.
            entry_id: The id of the entry, where it was announced before.
            tail: The number of the last entry, where it was looked at a moment ago.

        Raises:
            Conflict: Others were faster a thousand times, or `decide` returned None.
            StorageError: The store failed; whether the entry is there is not known.
        """
        own_id = entry_id or self._new_id()
        for _ in range(_TRIES):
            last, tail = self.tail(log) if tail is None else tail, None
            record = decide(last)
            if record is None:
                raise Conflict(f"{log} changed meanwhile", about=log)
            data = encode_entry(own_id, self._clock(), by, record)
            number = self._next(last)
            if self._create(log, number, own_id, data):
                return Appended(log, number, decode_entry(data), data)
        raise Conflict(f"could not append to {log}", why="Others were faster every time.")

    def append_bytes(
        self, log: str, entry: Entry, data: bytes, *, since: int, tries: int = _TRIES
    ) -> Appended:
        """Append an entry as it is; if a try before this one got there, that one counts.

        Args:
            log: Which log.
            entry: What is in the bytes.
            data: The bytes of the entry.
            since: The number of an entry that is there, or 0; up to it there is no earlier try.
            tries: How many numbers to try; with 1 it becomes entry `since` + 1, or none at all.

        Raises:
            Conflict: Others were faster each time.
            StorageError: The store failed; whether the entry is there is not known.
        """
        # From one number to the next, none left out: so two that append the same entry at once meet
        # at the same number, and one of them finds the other's.
        first = self._next(since)
        for number in range(first, first + tries):
            if self._create(log, number, entry.id, data):
                return Appended(log, number, entry, data)
        raise Conflict(f"could not append to {log}", why="Others were faster every time.")

    def _next(self, tail: int) -> int:
        """The number of the entry that follows one."""
        return tail + 1

    def _create(self, log: str, number: int, entry_id: str, data: bytes) -> bool:
        """Create the entry; read back where the answer was lost or another was first."""
        key = entry_key(log, number)
        try:
            self._store.create(key, [data])
        except AlreadyExists:
            if not self._is_mine(log, number, entry_id):
                return False
        except StorageError:
            if not self._is_mine(log, number, entry_id):
                raise
        self._tails[log] = max(number, self._tails.get(log, 0))
        return True

    def _is_mine(self, log: str, number: int, entry_id: str) -> bool:
        data = self.read(log, number)
        if data is None:
            return False
        try:
            return decode_entry(data).id == entry_id
        except DataDamaged:
            return False
