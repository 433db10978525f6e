"""Finding the entries that the index does not have, with as few requests as may be.

Problem: a reader cannot list a project of a million entries before each question. The journal says
what changed, but only as hints: a writer may be slow between its hint and its entry, clocks differ,
a hint may be lost; and reading a hundred hints of one's own to find nothing new costs more than the
question itself.

So: one listing names the hints since 48 hours before the last look (docs/format/spec-1.md, section
"Journal"). Those that were settled before, or are called like an entry that is here, are not read.
What the others announce is looked for at the ends of the logs that they name, many at a time, and
is kept in mind until it is found or 48 hours old. Where that costs more than listing everything, or
where hints may have been swept since the last look, all entries are walked.
"""

from collections import defaultdict
from collections.abc import Callable, Iterable, Iterator, Sequence
from datetime import datetime, timedelta
from itertools import chain, groupby
from typing import Any, NamedTuple, Protocol

from thence.errors import DataDamaged
from thence.index.database import Index
from thence.index.ingest import LogItem
from thence.model.numbers import LOCAL
from thence.model.records import decode_entry
from thence.vault.journal import KEPT, OVERLAP, Announced, decode_hint, hour_of

__all__ = ["Journal", "Logs", "Looked", "follow", "is_followable", "walk"]

# A request for one hint costs about as much as a listing of 1,000 keys in a bucket, and as a
# listing of 10 in a folder; between the two neither choice is ever very wrong.
_ENTRIES_LISTED_FOR_ONE_LOOK = 100
_FEW = 16
_CHUNK = 500
_GAPS = 64
_MOST_AT_ONCE = 4_096


class Logs(Protocol):
    """What is needed of the logs."""

    def read(self, log: str, number: int) -> bytes | None:
        """The bytes of one entry; None where there is none."""
        ...

    def read_many(
        self, wanted: Iterable[tuple[str, int]]
    ) -> Iterator[tuple[str, int, bytes | None]]:
        """Many entries as (log, number, bytes or None), in the order in which they are wanted."""
        ...

    def all(self, prefix: str = "refs/") -> Iterator[tuple[str, int]]:
        """Log and number of every entry, sorted by key."""
        ...


class HintRead(Protocol):
    """A hint that has been read."""

    @property
    def key(self) -> str:
        """Where it lies."""
        ...

    @property
    def announced(self) -> Sequence[Announced]:
        """The entries that it announces."""
        ...

    @property
    def whole(self) -> bool:
        """False where it is not what was written."""
        ...


class Journal(Protocol):
    """What is needed of the journal."""

    def list(self, since: datetime) -> list[str]:
        """The keys of the hints of a moment's hour and of all later ones."""
        ...

    def read(self, keys: Iterable[str]) -> Iterator[HintRead]:
        """What hints announce."""
        ...


class Looked(NamedTuple):
    """What a look at the logs came to.

    Attributes:
        entries: New entries.
        logs: How many logs were looked at.
        walked: True where all entries were listed.
    """

    entries: int
    logs: int
    walked: bool


Take = Callable[[Iterable[LogItem]], int]
"""Takes entries into the index and tells how many were new."""


def is_followable(last: datetime, now: datetime) -> bool:
    """Whether all hints since the last look are still there, and filed where one looks for them.

    Who looked while its clock was ahead, and has it set right since, would look too late.
    """
    return -OVERLAP / 2 < now - last < KEPT - OVERLAP


def walk(index: Index, logs: Logs, take: Take) -> Looked:
    """List all entries, and take in those that are not here.

    Raises:
        StorageError: The store or the index cannot be read or written.
    """
    seen: set[str] = set()

    def unknown() -> Iterator[tuple[str, int]]:
        for log, listed in groupby(logs.all(), key=lambda found: found[0]):
            seen.add(log)
            # After a gap also those that are here: where they differ, the index is wrong.
            through = index.progress(log).through
            for _, number in listed:
                if number > through:
                    yield log, number

    entries = take(_items(logs.read_many(unknown())))
    return Looked(entries, len(seen), walked=True)


def follow(
    index: Index,
    logs: Logs,
    journal: Journal,
    take: Take,
    *,
    last: datetime,
    now: datetime,
    prepare: Callable[[int], int] = lambda announced: 0,
) -> Looked:
    """Take in what the journal announces and the index does not have.

    Args:
        index: What to bring up to date.
        logs: The logs of the project.
        journal: Its hints.
        take: Takes entries into the index.
        last: When the last look began.
        now: When this one begins.
        prepare: Told how many entries are announced; may take in some of them by a cheaper way,
            and tells how many.

    Raises:
        StorageError: The store or the index cannot be read or written.
    """
    listed = journal.list(last - OVERLAP)
    known = dict(index.select("SELECT hint, pending FROM hints"))
    unseen = [key for key in listed if key not in known]
    have = _entries_here(index, (key.rpartition("/")[2] for key in unseen))
    to_read = [key for key in unseen if key.rpartition("/")[2] not in have]
    if _costs_more_than_a_walk(index, len(to_read)):
        return walk(index, logs, take)

    hints = {key: decode_hint(lines) for key, lines in known.items() if lines is not None}
    read = list(journal.read(to_read))
    hints |= {hint.key: tuple(hint.announced) for hint in read}
    pending = _pending(index, hints)
    prepared = prepare(sum(map(len, pending.values())))
    if prepared:
        pending = _pending(index, pending)
    wanted: dict[str, set[str]] = defaultdict(set)
    for one in chain.from_iterable(pending.values()):
        wanted[one.log].add(one.entry_id)
    entries = 0
    asked = {log: set(ids) for log, ids in wanted.items()}
    while asked:
        entries += take(_round(index, logs, asked))
    left = _pending(index, pending)
    _keep(index, unseen, left, now)
    if all(hint.whole for hint in read) and all(_is_alive(key, now) for key in left):
        return Looked(prepared + entries, len(wanted), walked=False)
    # What a damaged hint told of nobody knows, nor why what was announced never came.
    looked = walk(index, logs, take)
    return looked._replace(entries=prepared + entries + looked.entries)


def _costs_more_than_a_walk(index: Index, hints: int) -> bool:
    if hints <= _FEW:
        return False
    limit = hints * _ENTRIES_LISTED_FOR_ONE_LOOK
    ((counted,),) = index.select(
        "SELECT COUNT(*) FROM (SELECT 1 FROM entries LIMIT ?) AS some", (limit + 1,)
    )
    return bool(counted <= limit)


def _pending(
    index: Index, hints: dict[str, tuple[Announced, ...]]
) -> dict[str, tuple[Announced, ...]]:
    """Of what hints announce, that which is not here; hints with nothing left are left out."""
    every = {one.entry_id for announced in hints.values() for one in announced}
    have = _entries_here(index, every)
    left = {
        key: tuple(one for one in announced if one.entry_id not in have)
        for key, announced in hints.items()
    }
    return {key: announced for key, announced in left.items() if announced}


def _entries_here(index: Index, ids: Iterable[str]) -> set[str]:
    found: set[str] = set()
    wanted = list(ids)
    for start in range(0, len(wanted), _CHUNK):
        chunk = wanted[start : start + _CHUNK]
        marks = ", ".join("?" * len(chunk))
        found.update(
            entry_id
            for (entry_id,) in index.select(
                "SELECT entry_id FROM entries"  # noqa: S608
                f" WHERE entry_id IN ({marks}) AND number <= ?",
                [*chunk, LOCAL],
            )
        )
    return found


def _round(index: Index, logs: Logs, asked: dict[str, set[str]]) -> Iterator[LogItem]:
    """One request for each entry that may be there; `asked` keeps the logs that have more."""
    places: list[tuple[str, int]] = []
    batch = sorted(asked)[:_MOST_AT_ONCE]
    for log in batch:
        through, last = index.progress(log)
        places += ((log, number) for number in _missing(index, log, through, last))
        # As many as are announced: with one entry it is not looked whether there is another.
        places += ((log, last + 1 + n) for n in range(min(len(asked[log]), _MOST_AT_ONCE)))
    tails = {log: index.progress(log).last for log in batch}
    for log, number, data in logs.read_many(places):
        if data is not None:
            asked.get(log, set()).discard(_entry_id(data))
            yield LogItem(log, number, data)
        elif number > tails[log]:
            asked.pop(log, None)
    for log in batch:
        if not asked.get(log, True):
            del asked[log]


def _missing(index: Index, log: str, through: int, last: int) -> list[int]:
    """Numbers between those that are here, the first few: they were lost, or come late."""
    if through >= last:
        return []
    here = {
        number
        for (number,) in index.select(
            "SELECT number FROM entries WHERE log = ? AND number > ? AND number <= ?",
            (log, through, min(last, through + 2 * _GAPS)),
        )
    }
    numbers = range(through + 1, min(last, through + 2 * _GAPS))
    return [number for number in numbers if number not in here][:_GAPS]


def _entry_id(data: bytes) -> str:
    try:
        return decode_entry(data).id
    except DataDamaged:
        return ""


def _items(found: Iterable[tuple[str, int, bytes | None]]) -> Iterator[LogItem]:
    for log, number, data in found:
        if data is not None:
            yield LogItem(log, number, data)


def _is_alive(key: str, now: datetime) -> bool:
    """Whether a hint is so young that what it announces may still come."""
    hour = hour_of(key)
    return hour is not None and abs(now - hour) < OVERLAP + timedelta(hours=1)


def _keep(
    index: Index, seen: list[str], pending: dict[str, tuple[Announced, ...]], now: datetime
) -> None:
    """Note which hints need not be read again, and forget those that no listing gives any more."""
    # From the next look on, hints are listed from here.
    oldest = (now - OVERLAP - timedelta(hours=1)).strftime("journal/%Y-%m-%dT%H")
    rows: list[tuple[Any, ...]] = []
    for key in {*seen, *pending}:
        left = pending.get(key, ()) if _is_alive(key, now) else ()
        rows.append((key, "".join(f"{one.entry_id} {one.log}\n" for one in left) or None))
    settled = [
        (key,)
        for (key,) in index.select("SELECT hint FROM hints WHERE pending IS NOT NULL")
        if key not in pending
    ]
    index.change(
        (
            "INSERT INTO hints (hint, pending) VALUES (?, ?)"
            " ON CONFLICT (hint) DO UPDATE SET pending = excluded.pending",
            rows,
        ),
        ("UPDATE hints SET pending = NULL WHERE hint = ?", settled),
        ("DELETE FROM hints WHERE hint < ?", [(oldest,)]),
    )
