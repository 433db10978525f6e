"""Checkpoints of the logs, as the index uses them: it begins with them, and writes what they lack.

What the checkpoints hold is remembered here, so that they are listed only when there may be enough
to write, and each is read once. They are believed as far as one who may write them is: an entry of
a checkpoint that contradicts the log is found as soon as both are seen, and then everything is read
from the logs. A full refresh reads nothing from them.
"""

import logging
from collections.abc import Callable, Iterable, Iterator
from datetime import datetime
from itertools import groupby
from typing import NamedTuple

from thence.errors import DataDamaged, Denied, StorageError
from thence.index.database import UNCOVERED, Index
from thence.index.discovery import Logs, Take
from thence.index.ingest import LogItem
from thence.model import codec
from thence.model.ids import Digest
from thence.model.numbers import LOCAL
from thence.model.records import decode_entry, encode_entry_bytes
from thence.vault.checkpoints import MIN_ENTRIES, Checkpoints, Line, Segment, load, reach

__all__ = ["begin", "catch_up", "cover"]

_TRIES = 3
_ADD_SEGMENT = "INSERT INTO segments (name, after, through) VALUES (?, ?, ?) ON CONFLICT DO NOTHING"

_log = logging.getLogger(__name__)


class _Read(NamedTuple):
    """A segment, and the last number of each log in it."""

    segment: Segment
    tails: dict[str, int]


def begin(
    index: Index, logs: Logs, checkpoints: Checkpoints, take: Take, now: datetime
) -> tuple[int, datetime | None]:
    """Fill an empty index from the checkpoints.

    Returns:
        How many entries were taken in, and until when all are here; None where that is not known.

    Raises:
        StorageError: The store or the index cannot be read or written.
    """
    taken, end = _take_new(index, logs, checkpoints, take, known={})
    return taken, None if end is None else min(end, now)


def catch_up(index: Index, logs: Logs, checkpoints: Checkpoints, take: Take) -> int:
    """Take in what is in checkpoints that were not read before; tells how many entries.

    Raises:
        StorageError: The store or the index cannot be read or written.
    """
    return _take_new(index, logs, checkpoints, take, known=_known(index))[0]


def _take_new(
    index: Index, logs: Logs, checkpoints: Checkpoints, take: Take, *, known: dict[str, Segment]
) -> tuple[int, datetime | None]:
    """How many entries were taken in, and until when all are here by the checkpoints."""
    taken = 0

    def use(lines: Iterable[Line]) -> None:
        nonlocal taken
        taken += take(_items(logs, lines))

    read = _read_new(checkpoints, known, use)
    end = _remember(index, read, known)
    _set_uncovered(index, _left(index))
    return taken, end


def cover(index: Index, logs: Logs, checkpoints: Checkpoints, now: datetime) -> None:
    """Write a checkpoint of the entries that none has, if there are many; never fails.

    Args:
        index: Has all entries that were there at `now`.
        logs: Gives the bytes of entries that the index cannot.
        checkpoints: Where to write.
        now: When the refresh began.
    """
    if index.uncovered() < MIN_ENTRIES:
        return
    try:
        _cover(index, logs, checkpoints, now)
    except Denied as error:
        _log.info("no checkpoint is written: %s", error.what)
        _set_uncovered(index, 0)  # not tried again until there are as many more
    except (StorageError, DataDamaged) as error:
        _log.info("no checkpoint is written: %s", error.what)


def _cover(index: Index, logs: Logs, checkpoints: Checkpoints, now: datetime) -> None:
    known = _known(index)
    # Their entries are not taken in: this index is complete without them.
    read = _read_new(checkpoints, known, lambda lines: _compare(index, lines))
    end = _remember(index, read, known)
    left = _left(index)
    _set_uncovered(index, left)
    if left < MIN_ENTRIES:
        return
    made = checkpoints.write(_lines(index, logs), after=end, through=now)
    if made is None:
        return  # somebody else was first; the next refresh reads it
    index.change(
        ("DELETE FROM coverage", [()]),
        ("INSERT INTO coverage (log, last) SELECT log, last FROM logs", [()]),
        (_ADD_SEGMENT, [_row(made)]),
    )
    _set_uncovered(index, 0)
    present = {**known, **{one.segment.name: one.segment for one in read}, made.name: made}
    for merged in checkpoints.merge(list(present.values())):
        index.change(
            ("DELETE FROM segments WHERE name = ?", [(name,) for name in merged.replaced]),
            (_ADD_SEGMENT, [_row(merged.made)]),
        )


def _read_new(
    checkpoints: Checkpoints, known: dict[str, Segment], use: Callable[[Iterable[Line]], None]
) -> list[_Read]:
    """Read the segments that are not known; those that are gone are taken out of `known`."""
    read: dict[str, _Read] = {}
    bad: set[str] = set()
    for _ in range(_TRIES):
        names = checkpoints.names()
        for name in known.keys() - set(names):
            del known[name]
        for name in read.keys() - set(names):
            del read[name]
        vanished = False
        wanted = [name for name in names if name not in {*known, *read, *bad}]
        for stored in checkpoints.read(wanted):
            if stored.data is None:
                vanished = True
                continue
            tails: dict[str, int] = {}
            try:
                loaded = load(stored.name, stored.data)
                use(_noted(loaded.lines, tails))
            except DataDamaged as error:
                _log.warning("a checkpoint is passed over: %s", error)
                bad.add(stored.name)
            else:
                read[stored.name] = _Read(loaded.segment, tails)
        if not vanished:
            break  # else somebody replaced some of them by others meanwhile
    return list(read.values())


def _noted(lines: Iterable[Line], tails: dict[str, int]) -> Iterator[Line]:
    for line in lines:
        tails[line.log] = max(line.number, tails.get(line.log, 0))
        yield line


def _items(logs: Logs, lines: Iterable[Line]) -> Iterator[LogItem]:
    unreadable: list[tuple[str, int]] = []
    for line in lines:
        if line.data is None:
            unreadable.append((line.log, line.number))
        else:
            yield LogItem(line.log, line.number, line.data)
    for log, number, data in logs.read_many(unreadable):
        if data is not None:
            yield LogItem(log, number, data)


def _compare(index: Index, lines: Iterable[Line]) -> None:
    for log, of_log in groupby(lines, key=lambda line: line.log):
        known = dict(index.select("SELECT number, digest FROM entries WHERE log = ?", (log,)))
        for line in of_log:
            digest = known.get(line.number)
            if line.data is not None and digest not in {None, Digest.of(line.data).hex}:
                raise DataDamaged(
                    f"a checkpoint has another entry {line.number} of {log} than the log",
                    hint="Delete the checkpoints: all of index/ in the store.",
                    about=log,
                )


def _remember(index: Index, read: list[_Read], known: dict[str, Segment]) -> datetime | None:
    """Note what is in the segments, and tell until when they have all entries."""
    before = reach(_known(index).values())
    present = [*known.values(), *(one.segment for one in read)]
    end = reach(present)
    if before is not None and (end is None or end < before):
        # Some were deleted: what was in them is in none now, and which that is, nobody noted.
        known.clear()
        present = [one.segment for one in read]
        end = reach(present)
        index.change(("DELETE FROM coverage", [()]), ("DELETE FROM segments", [()]))
    connected = [one for one in present if end is not None and _is_reached(one, end)]
    names = {one.name for one in connected}
    index.change(
        ("DELETE FROM segments", [()]),
        (_ADD_SEGMENT, [_row(one) for one in connected]),
        (
            "INSERT INTO coverage (log, last) VALUES (?, ?)"
            " ON CONFLICT (log) DO UPDATE SET last ="
            " CASE WHEN excluded.last > coverage.last THEN excluded.last ELSE coverage.last END",
            [tail for one in read if one.segment.name in names for tail in one.tails.items()],
        ),
    )
    return end


def _known(index: Index) -> dict[str, Segment]:
    return {
        name: Segment(name, _time(after), datetime.fromisoformat(through))
        for name, after, through in index.select("SELECT name, after, through FROM segments")
    }


def _is_reached(segment: Segment, end: datetime) -> bool:
    return segment.after is None or segment.after <= end


def _left(index: Index) -> int:
    """How many entries are in no checkpoint."""
    ((left,),) = index.select(
        "SELECT COALESCE(SUM(logs.last - COALESCE(coverage.last, 0)), 0) FROM logs"
        " LEFT JOIN coverage ON coverage.log = logs.log"
        " WHERE logs.last > COALESCE(coverage.last, 0)"
    )
    return int(left)


def _lines(index: Index, logs: Logs) -> Iterator[Line]:
    for log, last in index.select(
        "SELECT logs.log, COALESCE(coverage.last, 0) FROM logs"
        " LEFT JOIN coverage ON coverage.log = logs.log"
        " WHERE logs.last > COALESCE(coverage.last, 0) ORDER BY logs.log"
    ):
        for number, *row in index.select(
            "SELECT number, digest, entry_id, at, author, record FROM entries"
            " WHERE log = ? AND number > ? AND number <= ? ORDER BY number",
            (log, last, LOCAL),
        ):
            yield Line(log, number, _bytes(*row) or _looked_up(logs, log, number))


def _bytes(
    digest: str, entry_id: str | None, at: str | None, author: str | None, record: str | None
) -> bytes | None:
    """The bytes of an entry made again from its row, if they are the same to the last bit."""
    if entry_id is None or at is None or author is None or record is None:
        return None
    data = encode_entry_bytes(entry_id, datetime.fromisoformat(at), author, record.encode())
    return data if Digest.of(data).hex == digest else None


def _looked_up(logs: Logs, log: str, number: int) -> bytes | None:
    data = logs.read(log, number)
    try:
        return data if data is not None and decode_entry(data) else None
    except DataDamaged:
        return None


def _row(segment: Segment) -> tuple[str, str | None, str]:
    after = None if segment.after is None else codec.format_time(segment.after)
    return segment.name, after, codec.format_time(segment.through)


def _time(text: str | None) -> datetime | None:
    return None if text is None else datetime.fromisoformat(text)


def _set_uncovered(index: Index, count: int) -> None:
    index.change(
        (
            "INSERT INTO bookkeeping (name, value) VALUES (?, ?)"
            " ON CONFLICT (name) DO UPDATE SET value = excluded.value",
            [(UNCOVERED, str(count))],
        )
    )
