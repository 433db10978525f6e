"""Bringing the index up to date with the logs.

Problem: a reader cannot list a project of a million entries before each question, and the journal,
which says what changed, is only a hint: a writer may be slow between its hint and its entry, clocks
differ, and a hint may be lost.

So: the first time all entries are walked by one listing. Later the journal names the logs that
changed since 48 hours before the last refresh (docs/format/spec-1.md, section "Journal"), and of
each only what comes after the last entry known is read. Where the journal names so many logs that
looking at each would cost more than a listing, all entries are walked again. A full refresh forgets
everything first, and so repairs anything.
"""

import logging
from collections.abc import Callable, Iterable, Iterator
from datetime import datetime, timedelta
from itertools import groupby
from typing import NamedTuple, Protocol

from thence.errors import DataDamaged, NotFound
from thence.index.database import Index, ReadWaiting
from thence.index.ingest import LogItem, wanted
from thence.index.waiting import Outbox, OutboxChange, outbox_change
from thence.model.ids import Digest
from thence.model.numbers import is_local

__all__ = ["Journal", "Logs", "Outbox", "Refreshed", "refresh"]

_OVERLAP = timedelta(hours=48)
# A request for one log costs about as much as a listing of 1,000 keys in a bucket, and as a listing
# of 10 in a folder; between the two neither choice is ever very wrong.
_ENTRIES_LISTED_FOR_ONE_LOOK = 100
_FEW = 16
_BATCH_ITEMS = 2_000
_BATCH_BYTES = 32 << 20
_RETRIES_OF_MISSING = 16

_log = logging.getLogger(__name__)


class Logs(Protocol):
    """What is needed of the logs."""

    def read(self, log: str, number: int) -> bytes | None:
        """The bytes of one entry; None where there is none."""
        ...

    def after(self, log: str, number: int) -> Iterator[tuple[int, bytes]]:
        """The entries after `number`, in order, as raw bytes."""
        ...

    def all(self, prefix: str = "refs/") -> Iterator[tuple[str, int]]:
        """Log and number of every entry, sorted by key."""
        ...


class Journal(Protocol):
    """What is needed of the journal."""

    def since(self, moment: datetime) -> set[str]:
        """The logs that may have changed since."""
        ...


class Refreshed(NamedTuple):
    """What a refresh did.

    Attributes:
        entries: New entries.
        logs: Logs that were looked at.
        walked: True where all entries were listed.
    """

    entries: int
    logs: int
    walked: bool


def refresh(
    index: Index,
    logs: Logs,
    journal: Journal,
    read_content: Callable[[Digest], bytes],
    *,
    clock: Callable[[], datetime],
    outbox: Outbox | None = None,
    full: bool = False,
) -> Refreshed:
    """Take in what was written since the last time.

    Contents that are missing or damaged become rows in `problems`. Interrupted, it goes on where
    it was the next time.

    Args:
        index: What to bring up to date.
        logs: The numbered logs of the project.
        journal: Its hints.
        read_content: Reads a content, raising `NotFound` or `DataDamaged`.
        clock: The time now.
        outbox: Of a clone: what waits for the home.
        full: Forget everything and read it again.

    Raises:
        StorageError: The store or the index cannot be read or written.
        DataDamaged: Two entries of a log claim one number, or the store says that it is damaged.
    """
    begun = clock()
    if full:
        index.clear()
    last = index.refreshed_at
    candidates = None if last is None else _candidates(index, journal, last)
    try:
        # Looked at first and taken in last: what moves to its log meanwhile does not vanish.
        change = (
            OutboxChange([], index.waiting())
            if outbox is None
            else outbox_change(index, outbox, clock)
        )
        done = _refresh(index, logs, candidates, outbox, change, read_content)
    except DataDamaged as error:
        if full:
            raise
        # Entries never change, so the index is of another project or damaged itself.
        _log.warning("the index does not fit the project and is rebuilt: %s", error)
        return refresh(index, logs, journal, read_content, clock=clock, outbox=outbox, full=True)
    index.mark_refreshed(begun)
    return done


def _candidates(index: Index, journal: Journal, last: datetime) -> set[str] | None:
    found = journal.since(last - _OVERLAP)
    if len(found) <= _FEW:
        return found
    limit = len(found) * _ENTRIES_LISTED_FOR_ONE_LOOK
    ((counted,),) = index.select(
        "SELECT COUNT(*) FROM (SELECT 1 FROM entries LIMIT ?) AS some", (limit + 1,)
    )
    return None if counted <= limit else found


def _refresh(
    index: Index,
    logs: Logs,
    candidates: set[str] | None,
    outbox: Outbox | None,
    change: OutboxChange,
    read_content: Callable[[Digest], bytes],
) -> Refreshed:
    seen: set[str] = set()
    news = _walk(index, logs, seen) if candidates is None else _look(index, logs, candidates, seen)
    entries = 0
    for items, attachments in _batches(news, read_content):
        entries += index.ingest(items, attachments)
    entries += _apply(index, change, read_content)
    _retry_missing(index, logs, outbox, read_content)
    return Refreshed(entries, len(seen), candidates is None)


def _walk(index: Index, logs: Logs, seen: set[str]) -> Iterator[LogItem]:
    for log, listed in groupby(logs.all(), key=lambda found: found[0]):
        seen.add(log)
        through = index.progress(log).through
        for _, number in listed:
            # Not `logs.after`, which would stop at an entry that is lost.
            if number > through and (data := logs.read(log, number)) is not None:
                yield LogItem(log, number, data)


def _look(index: Index, logs: Logs, candidates: set[str], seen: set[str]) -> Iterator[LogItem]:
    for log in sorted(candidates):
        seen.add(log)
        for number, data in logs.after(log, index.progress(log).through):
            yield LogItem(log, number, data)


def _batches(
    items: Iterable[LogItem], read_content: Callable[[Digest], bytes]
) -> Iterator[tuple[list[LogItem], dict[Digest, bytes]]]:
    batch: list[LogItem] = []
    attachments: dict[Digest, bytes] = {}
    size = 0
    for item in items:
        batch.append(item)
        size += len(item.data)
        for digest in wanted(item) - attachments.keys():
            if (data := _read(read_content, digest)) is not None:
                attachments[digest] = data
                size += len(data)
        if len(batch) >= _BATCH_ITEMS or size >= _BATCH_BYTES:
            yield batch, attachments
            batch, attachments, size = [], {}, 0
    if batch:
        yield batch, attachments


def _apply(index: Index, change: OutboxChange, read_content: Callable[[Digest], bytes]) -> int:
    index.ingest_outbox([], gone=change.gone)
    left = {(one.item.log, one.item.number): one for one in change.found}
    return sum(
        index.ingest_outbox([left[item.log, item.number] for item in items], attachments)
        for items, attachments in _batches((one.item for one in change.found), read_content)
    )


def _read(read_content: Callable[[Digest], bytes], digest: Digest) -> bytes | None:
    try:
        return read_content(digest)
    except (NotFound, DataDamaged) as error:
        _log.warning("%s cannot be read for the index: %s", digest.short, error.what)
        return None


def _retry_missing(
    index: Index,
    logs: Logs,
    outbox: Outbox | None,
    read_content: Callable[[Digest], bytes],
) -> None:
    # A content may have been given back since, or was not at hand at a write-through. What stays
    # lost is asked for at each refresh, so only a few.
    for known in index.missing(_RETRIES_OF_MISSING):
        place = outbox if outbox is not None and is_local(known.number) else logs
        data = place.read(known.log, known.number)
        if data is None:
            continue
        item = LogItem(known.log, known.number, data)
        for items, attachments in _batches([item], read_content):
            if attachments and not is_local(known.number):
                index.ingest(items, attachments)
            elif attachments:
                index.ingest_outbox([ReadWaiting(one, None) for one in items], attachments)
