"""Bringing the index up to date with the logs.

The first time all entries are read: from checkpoints where there are any, else one by one. Later
the journal tells what is new (`discovery`). What waits in the outbox of a clone is looked at each
time (`waiting`). A full refresh forgets everything first, reads nothing but the logs, and so
repairs anything.
"""

import logging
from collections.abc import Callable, Iterable, Iterator
from datetime import datetime
from typing import NamedTuple

from thence.errors import DataDamaged, NotFound, StorageError
from thence.index.connection import is_full
from thence.index.covering import begin, catch_up, cover
from thence.index.database import Index, ReadWaiting
from thence.index.discovery import Journal, Logs, Looked, follow, is_followable, walk
from thence.index.ingest import LogItem, wanted
from thence.index.waiting import Outbox, OutboxChange, outbox_change
from thence.model.ids import Digest
from thence.model.numbers import is_local
from thence.vault.checkpoints import MIN_ENTRIES, Checkpoints

__all__ = ["Journal", "Logs", "Outbox", "Refreshed", "refresh"]

_BATCH_ITEMS = 2_000
_BATCH_BYTES = 32 << 20
_RETRIES_OF_MISSING = 16

_log = logging.getLogger(__name__)

ReadContent = Callable[[Digest], bytes]


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


class _Sources(NamedTuple):
    """Where entries and contents come from."""

    logs: Logs
    journal: Journal
    read_content: ReadContent
    outbox: Outbox | None
    checkpoints: Checkpoints | None


def refresh(
    index: Index,
    logs: Logs,
    journal: Journal,
    read_content: ReadContent,
    *,
    clock: Callable[[], datetime],
    outbox: Outbox | None = None,
    checkpoints: Checkpoints | None = None,
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
        checkpoints: Of a project in a bucket: many entries in few objects, read by who has none,
            and written when there are many entries that none has.
        full: Forget everything and read it again, from the logs alone.

    Raises:
        StorageError: The store or the index cannot be read or written.
        DataDamaged: Two entries of a log claim one number, or the store says that it is damaged.
    """
    sources = _Sources(logs, journal, read_content, outbox, checkpoints)
    try:
        return _refresh(index, sources, clock, full=full)
    except StorageError as error:
        if index.in_memory or not is_full(error):
            raise
        # What is kept must be within reach on a full disk: there is no other way to make room.
        _log.warning("there is no room for the index %s; using memory", index.path)
        index.go_on_in_memory()
        return _refresh(index, sources, clock, full=full)
    except DataDamaged as error:
        if full:
            raise
        # Entries never change, so the index is of another project or damaged itself.
        _log.warning("the index does not fit the project and is rebuilt: %s", error)
        return _refresh(index, sources, clock, full=True)


def _refresh(
    index: Index, sources: _Sources, clock: Callable[[], datetime], *, full: bool
) -> Refreshed:
    begun = clock()
    if full:
        index.clear()
    # Looked at first and taken in last: what moves to its log meanwhile does not vanish.
    if sources.outbox is None:
        change = OutboxChange([], index.waiting())
    else:
        change = outbox_change(index, sources.outbox, clock)
    looked = _look(index, sources, begun, full=full)
    waiting = _apply(index, change, sources.read_content)
    _retry_missing(index, sources)
    index.mark_refreshed(begun)
    if sources.checkpoints is not None:
        cover(index, sources.logs, sources.checkpoints, begun)
    return Refreshed(looked.entries + waiting, looked.logs, looked.walked)


def _look(index: Index, sources: _Sources, now: datetime, *, full: bool) -> Looked:
    logs, checkpoints = sources.logs, sources.checkpoints

    def take(items: Iterable[LogItem]) -> int:
        return sum(
            index.ingest(batch, attachments)
            for batch, attachments in _batches(items, sources.read_content)
        )

    def prepare(announced: int) -> int:
        if checkpoints is None or announced < MIN_ENTRIES:
            return 0
        return catch_up(index, logs, checkpoints, take)

    begun, last = 0, index.refreshed_at
    if last is None and checkpoints is not None and not full:
        begun, last = begin(index, logs, checkpoints, take, now)
    if last is None or not is_followable(last, now):
        looked = walk(index, logs, take)
    else:
        looked = follow(index, logs, sources.journal, take, last=last, now=now, prepare=prepare)
    return looked._replace(entries=begun + looked.entries)


def _batches(
    items: Iterable[LogItem], read_content: ReadContent
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


def _apply(index: Index, change: OutboxChange, read_content: ReadContent) -> int:
    if change.gone:
        index.ingest_outbox([], gone=change.gone)
    found = {(one.item.log, one.item.number): one for one in change.found}
    return sum(
        index.ingest_outbox([found[item.log, item.number] for item in items], attachments)
        for items, attachments in _batches((one.item for one in change.found), read_content)
    )


def _read(read_content: ReadContent, digest: Digest) -> bytes | None:
    try:
        return read_content(digest)
    except (NotFound, DataDamaged) as error:
        _log.warning("%s cannot be read for the index: %s", digest.short, error.what)
        return None


def _retry_missing(index: Index, sources: _Sources) -> None:
    # A content may have been given back since, or was not at hand at a write-through. What stays
    # lost is asked for at each refresh, so only a few.
    for known in index.missing(_RETRIES_OF_MISSING):
        waits = sources.outbox is not None and is_local(known.number)
        place = sources.outbox if sources.outbox is not None and waits else sources.logs
        data = place.read(known.log, known.number)
        if data is None:
            continue
        item = LogItem(known.log, known.number, data)
        for items, attachments in _batches([item], sources.read_content):
            if attachments and waits:
                index.ingest_outbox([ReadWaiting(item, None)], attachments)
            elif attachments:
                index.ingest(items, attachments)
