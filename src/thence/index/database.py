"""The index as an object: one SQLite database, one connection, one lock."""

import logging
import sqlite3
from collections import defaultdict
from collections.abc import Iterable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from datetime import datetime
from pathlib import Path
from threading import RLock
from types import MappingProxyType
from typing import Any, NamedTuple, Self

from thence.errors import DataDamaged, StorageError
from thence.index import connection as opening
from thence.index.forget import forget
from thence.index.ingest import COLUMNS, LogItem, Row, SqlValue, rows
from thence.index.settle import Touched, settle, touched_by
from thence.model.codec import format_time
from thence.model.ids import Digest
from thence.model.numbers import LOCAL, is_local

__all__ = ["UNCOVERED", "Index", "KnownWaiting", "LogProgress", "ReadWaiting"]

_log = logging.getLogger(__name__)

UNCOVERED = "uncovered"
"""The row of bookkeeping that counts the entries since it was last set, see `covering`."""

_REFRESHED = "refreshed_at"
_OF_ENTRIES = {"entries", "entry_problems"}
_OF_CONTENTS = {"contents", "listed_files", "metric_points"}
_INSERTS: Mapping[str, str] = {
    table: "INSERT INTO {} ({}) VALUES ({}) ON CONFLICT DO NOTHING".format(  # noqa: S608
        table, ", ".join(columns), ", ".join("?" * len(columns))
    )
    for table, columns in COLUMNS.items()
}

# LOCAL as a literal, because a parameter would keep SQLite from the index of those that wait.
_WAITING = f"""
SELECT entries.log, entries.number, entries.digest, outbox.modified_s FROM entries
LEFT JOIN outbox ON outbox.log = entries.log AND outbox.number = entries.number
WHERE entries.number > {LOCAL}
UNION ALL
SELECT outbox.log, outbox.number, NULL, outbox.modified_s FROM outbox
LEFT JOIN entries ON entries.log = outbox.log AND entries.number = outbox.number
WHERE entries.log IS NULL
"""  # noqa: S608
_WAITING_IDS = (
    f"SELECT log, entry_id, number FROM entries"  # noqa: S608
    f" WHERE number > {LOCAL} AND entry_id IS NOT NULL"
)


class LogProgress(NamedTuple):
    """How much of a log the index holds, but for what waits in an outbox.

    Attributes:
        through: Entries 1 to this one are all there.
        last: The highest one that is there.
    """

    through: int
    last: int


class ReadWaiting(NamedTuple):
    """An entry that waits in the outbox, as it was read.

    Attributes:
        modified_s: The time of its object where that tells it from any other that may come to lie
            there; None where it is to be read again.
    """

    item: LogItem
    modified_s: float | None


class KnownWaiting(NamedTuple):
    """What the index knows of an object of the outbox.

    Attributes:
        digest: Of the entry in the tables; None where there is none, because it is in its log.
        modified_s: When the object was put there; None where it has to be read again.
    """

    digest: str | None
    modified_s: float | None


class Index:
    """The tables of one project. May be used from any thread; calls wait for each other.

    Any number of processes may have the same file open. What is in it is a pure function of the
    entries and contents that were ingested: order, batches and repetitions leave no trace.
    """

    def __init__(self, path: Path | str) -> None:
        """Open the index, or create it.

        A file that is damaged or of another schema version is emptied: `refresh` fills it again.
        Where nothing can be written, the index is kept in memory, and `in_memory` says so.

        Args:
            path: The file, or ":memory:".

        Raises:
            InvalidInput: The file is a SQLite database of something else.
            StorageError: Another process holds it for too long, or the disk fails.
        """
        self._path = None if str(path) == ":memory:" else Path(path)
        self._lock = RLock()
        self._connection, self._is_in_file = opening.connect(self._path)

    @property
    def path(self) -> Path | None:
        """The file; None for an index that is in memory."""
        return self._path if self._is_in_file else None

    @property
    def in_memory(self) -> bool:
        """True where it goes when the process ends."""
        return not self._is_in_file

    def close(self) -> None:
        """Give the file back; may be called twice."""
        with self._lock, self._translated():
            self._connection.close()

    def go_on_in_memory(self) -> None:
        """Leave the file as it is, and go on in memory with what is in it.

        Raises:
            DataDamaged: The file is damaged.
            StorageError: It cannot be read.
        """
        with self._lock, self._translated():
            copied = opening.copy_in_memory(self._connection)
            self._connection.close()
            self._connection, self._is_in_file = copied, False

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *exception: object) -> None:
        self.close()

    def ingest(
        self,
        items: Iterable[LogItem],
        attachments: Mapping[Digest, bytes] = MappingProxyType({}),
    ) -> int:
        """Take in entries and the contents that they refer to, in one transaction.

        What is known already is passed over, so repeating is harmless. An entry that cannot be
        understood becomes a row in `problems`. Contents that are missing may come with the same
        entry later.

        Args:
            items: In any order.
            attachments: What `wanted` named, as far as it is at hand.

        Returns:
            How many of the entries were new.

        Raises:
            DataDamaged: The index holds a sound entry with the same number and other bytes (the
                project is not the one that was indexed), or its file is damaged.
            StorageError: It cannot be written.
        """
        with self._lock, self._transaction() as connection:
            return _take_in(connection, items, attachments)

    def ingest_outbox(
        self,
        found: Sequence[ReadWaiting],
        attachments: Mapping[Digest, bytes] = MappingProxyType({}),
        *,
        gone: Mapping[tuple[str, int], KnownWaiting] = MappingProxyType({}),
    ) -> int:
        """Take in what was read from the outbox and forget what is not there any more.

        Args:
            found: What was read.
            attachments: As for `ingest`.
            gone: Places where nothing waits any more, and what was known of each; where another
                entry was put meanwhile, it stays.

        Returns:
            How many of the entries were new.

        Raises:
            DataDamaged: The file of the index is damaged.
            StorageError: It cannot be written.
        """
        with self._lock, self._transaction() as connection:
            touched = Touched(set(), set(), set(), set())
            for (log, number), known in gone.items():
                connection.execute("DELETE FROM outbox WHERE log = ? AND number = ?", (log, number))
                if connection.execute(
                    "SELECT 1 FROM entries WHERE log = ? AND number = ? AND digest = ?",
                    (log, number, known.digest),
                ).fetchone():
                    touched.add(forget(connection, log, number))
            settle(connection, touched)
            new = _take_in(connection, [one.item for one in found], attachments)
            connection.executemany(
                "INSERT INTO outbox (log, number, modified_s) VALUES (?, ?, ?)",
                [
                    (one.item.log, one.item.number, one.modified_s)
                    for one in found
                    if one.modified_s is not None
                ],
            )
            return new

    def waiting(self) -> dict[tuple[str, int], KnownWaiting]:
        """What is known of the outbox, by log and number."""
        found = self.select(_WAITING)
        return {(log, number): KnownWaiting(*known) for log, number, *known in found}

    def clear(self) -> None:
        """Forget everything; a damaged file is replaced.

        Raises:
            StorageError: It cannot be written.
        """
        with self._lock:
            try:
                with self._transaction() as connection:
                    opening.empty(connection)
            except DataDamaged as error:
                if self._path is None:
                    raise
                _log.warning("the index %s is damaged and will be rebuilt: %s", self._path, error)
                self._replace(self._path)
                with self._transaction() as connection:
                    opening.empty(connection)

    def _replace(self, path: Path) -> None:
        try:
            with self._translated():
                self._connection.close()
                self._connection = opening.replace(path)
        except StorageError:
            raise
        except OSError as error:
            raise StorageError(
                "the damaged index cannot be replaced", why=str(error), about=str(path)
            ) from error

    def select(self, sql: str, parameters: Sequence[SqlValue] = ()) -> list[Any]:
        """The rows of a query; for the modules of this package, which know the tables.

        Raises:
            DataDamaged: The file is damaged.
            StorageError: It cannot be read.
        """
        with self._lock, self._translated():
            return self._connection.execute(sql, parameters).fetchall()

    def change(self, *statements: tuple[str, Iterable[Sequence[SqlValue]]]) -> None:
        """Carry out statements, each once for each of its parameters, in one transaction.

        For the modules of this package, and only for what is no function of the entries.

        Raises:
            DataDamaged: The file is damaged.
            StorageError: It cannot be written.
        """
        with self._lock, self._transaction() as connection:
            for sql, parameters in statements:
                connection.executemany(sql, parameters)

    def progress(self, log: str) -> LogProgress:
        """How much of a log is here; zeros for a log that is not known."""
        found = self.select("SELECT through, last FROM logs WHERE log = ?", (log,))
        return LogProgress(*found[0]) if found else LogProgress(0, 0)

    def missing(self, limit: int) -> list[LogItem]:
        """Entries of runs that refer to contents which were never given, the latest run first.

        Only `log` and `number` are filled in.
        """
        found = self.select(
            "SELECT DISTINCT 'refs/runs/' || state.run, state.number, state.started"
            " FROM missing_contents AS missing JOIN run_states AS state"
            " ON (missing.role = 'files' AND state.files = missing.digest)"
            " OR (missing.role = 'series' AND state.series = missing.digest)"
            " JOIN runs ON runs.run = state.run AND runs.tombstone IS NULL"
            " ORDER BY state.started DESC, state.run LIMIT ?",
            (limit,),
        )
        return [LogItem(log, number, b"") for log, number, _ in found]

    def uncovered(self) -> int:
        """How many entries may be in no checkpoint."""
        found = self.select("SELECT value FROM bookkeeping WHERE name = ?", (UNCOVERED,))
        return int(found[0][0]) if found else 0

    @property
    def refreshed_at(self) -> datetime | None:
        """When the last complete refresh began; None where there was none."""
        found = self.select("SELECT value FROM bookkeeping WHERE name = ?", (_REFRESHED,))
        return datetime.fromisoformat(found[0][0]) if found else None

    def mark_refreshed(self, moment: datetime) -> None:
        """Note that everything that was written before this moment is here.

        Raises:
            StorageError: It cannot be written.
        """
        with self._lock, self._transaction() as connection:
            connection.execute(
                "INSERT INTO bookkeeping (name, value) VALUES (?, ?)"
                " ON CONFLICT (name) DO UPDATE SET value = excluded.value",
                (_REFRESHED, format_time(moment)),
            )

    def compact(self) -> None:
        """Write the file anew, without what was deleted in it: SQLite leaves that in free pages.

        Raises:
            StorageError: It cannot be written, or others hold it for too long.
        """
        with self._lock, self._translated():
            self._connection.execute("VACUUM")
            self._connection.execute("PRAGMA wal_checkpoint(TRUNCATE)").fetchall()

    def mark_stale(self) -> None:
        """Let the next refresh look at everything: entries are about to come with no journal.

        Raises:
            StorageError: It cannot be written.
        """
        with self._lock, self._transaction() as connection:
            connection.execute("DELETE FROM bookkeeping WHERE name = ?", (_REFRESHED,))

    @contextmanager
    def _transaction(self) -> Iterator[sqlite3.Connection]:
        with self._translated():
            # IMMEDIATE takes the write lock while waiting is still possible; a transaction that
            # began by reading could only fail when it comes to write.
            self._connection.execute("BEGIN IMMEDIATE")
            try:
                yield self._connection
                self._connection.execute("COMMIT")
            except BaseException:
                if self._connection.in_transaction:
                    self._connection.execute("ROLLBACK")
                raise

    @contextmanager
    def _translated(self) -> Iterator[None]:
        with opening.translated(str(self._path or ":memory:")):
            try:
                yield
            except sqlite3.ProgrammingError as error:
                if "closed" not in str(error):
                    raise
                raise StorageError(
                    "the index is closed", why=str(error), hint="Open the project again."
                ) from error


def _take_in(
    connection: sqlite3.Connection, items: Iterable[LogItem], attachments: Mapping[Digest, bytes]
) -> int:
    touched = Touched(set(), set(), set(), set())
    entries: list[Row] = []
    others: list[Row] = []

    def take(item: LogItem, item_rows: list[Row], *, is_new: bool) -> None:
        if is_new:
            # At once, because the next item may be another reading of this entry.
            own = [row for row in item_rows if row.table in _OF_ENTRIES]
            _insert(connection, own)
            entries.append(own[0])
        others.extend(
            row
            for row in item_rows
            if row.table in _OF_CONTENTS or (is_new and row.table not in _OF_ENTRIES)
        )

    waiting: dict[tuple[str, int], LogItem] = {}
    superseded = _waiting_ids(connection)
    for item in items:
        if is_local(item.number):
            waiting[item.log, item.number] = item  # what was put there last is there
            continue
        item_rows = rows(item, attachments)
        is_new = _make_room(connection, item, item_rows)
        for number in superseded.pop((item.log, _entry_id(item_rows)), ()) if is_new else ():
            touched.add(forget(connection, item.log, number))
        take(item, item_rows, is_new=is_new)
    # After the numbered ones, which count where an entry is both there and in the outbox.
    for item in waiting.values():
        item_rows = rows(item, attachments)
        is_new = _make_room_waiting(connection, item, item_rows, touched)
        take(item, item_rows, is_new=is_new)
    _insert(connection, others)
    touched.add(touched_by([*entries, *others]))
    settle(connection, touched)
    if entries:
        connection.execute(
            "INSERT INTO bookkeeping (name, value) VALUES (?, ?) ON CONFLICT (name)"
            " DO UPDATE SET value = CAST(CAST(value AS BIGINT) + excluded.value AS TEXT)",
            (UNCOVERED, len(entries)),
        )
    return len(entries)


def _waiting_ids(connection: sqlite3.Connection) -> dict[tuple[str, SqlValue], list[int]]:
    found: dict[tuple[str, SqlValue], list[int]] = defaultdict(list)
    for log, entry_id, number in connection.execute(_WAITING_IDS):
        found[log, entry_id].append(number)
    return found


def _entry_id(item_rows: Sequence[Row]) -> SqlValue:
    return item_rows[0].values[3]


def _make_room_waiting(
    connection: sqlite3.Connection, item: LogItem, item_rows: Sequence[Row], touched: Touched
) -> bool:
    """Whether the rows of this entry are to be inserted; removes what waited at its place."""
    place = (item.log, item.number)
    connection.execute("DELETE FROM outbox WHERE log = ? AND number = ?", place)
    known = connection.execute(
        "SELECT digest FROM entries WHERE log = ? AND number = ?", place
    ).fetchone()
    if known == (item_rows[0].values[2],):
        return False
    if known is not None:
        touched.add(forget(connection, *place))
    return not connection.execute(
        "SELECT 1 FROM entries WHERE entry_id = ? AND log = ? AND number <= ?",
        (_entry_id(item_rows), item.log, LOCAL),
    ).fetchone()


def _make_room(connection: sqlite3.Connection, item: LogItem, item_rows: Sequence[Row]) -> bool:
    """Whether the rows of this entry are to be inserted; removes a damaged reading of it."""
    known = connection.execute(
        "SELECT digest, type FROM entries WHERE log = ? AND number = ?", (item.log, item.number)
    ).fetchone()
    if known is None:
        return True
    known_digest, known_type = known
    digest, is_sound = item_rows[0].values[2], item_rows[0].values[5] is not None
    if known_digest == digest:
        return False
    if known_type is not None:
        if not is_sound:
            return False
        raise DataDamaged(
            f"another entry {item.number} of {item.log}",
            why="The index holds a different one, and entries never change.",
            hint="Rebuild the index: thence index rebuild",
            about=item.log,
        )
    # Of several damaged readings the smallest digest stays, so that order leaves no trace.
    if not is_sound and str(known_digest) < str(digest):
        return False
    for table in _OF_ENTRIES:
        connection.execute(
            f"DELETE FROM {table} WHERE log = ? AND number = ?",  # noqa: S608
            (item.log, item.number),
        )
    return True


def _insert(connection: sqlite3.Connection, found: Iterable[Row]) -> None:
    by_table: dict[str, list[tuple[SqlValue, ...]]] = defaultdict(list)
    for table, values in found:
        by_table[table].append(values)
    for table, values_list in by_table.items():
        connection.executemany(_INSERTS[table], values_list)
