"""What a clone cannot push: alias moves and versions that do not fit what others did at home.

A waiting alias move applies only where the home's alias still points at what it pointed at when it
was moved. Otherwise it leaves the outbox for `conflicts/<log>/<n>`, one object for all moves of
that alias that waited, an entry on each line: it is never merged, and moving the alias once more,
now in view of what the home has, settles it. Versions that collide with another kind or spelling of
their artifact stay in the outbox.
"""

import re
from contextlib import suppress
from datetime import datetime
from typing import NamedTuple, TypeAlias

from thence.errors import AlreadyExists, DataDamaged, NotFound
from thence.model.ids import Digest
from thence.model.names import Alias, ArtifactName
from thence.model.numbers import is_local
from thence.model.records import (
    AliasMove,
    Entry,
    Restored,
    Tombstone,
    Version,
    VersionEdit,
    decode_entry,
)
from thence.store.base import Store
from thence.vault.logs import entry_key
from thence.vault.outbox import Outbox
from thence.vault.turn import turn
from thence.vault.vault import Vault

__all__ = [
    "Conflicting",
    "ConflictingMove",
    "ConflictingVersions",
    "Shelf",
    "drop",
    "last_move",
    "list_conflicts",
    "outbox_of",
    "waiting_in",
]

_PREFIX = "conflicts/"
_KEY = re.compile(r"conflicts/(refs/.+)/(\d{10})")


class ConflictingMove(NamedTuple):
    """An alias was moved here, and meanwhile elsewhere at home.

    Attributes:
        log: The log of the alias.
        number: Names this conflict among those of its log, for `drop`.
        wanted: Where it was moved to here; None for nothing.
        previous: Where it pointed when it was first moved here.
        found: Where it points at home.
        moves: How many moves waited.
        at: When it was last moved here.
        by: Who did.
        note: What they said about it.
    """

    log: str
    number: int
    artifact: ArtifactName
    alias: Alias
    wanted: Digest | None
    previous: Digest | None
    found: Digest | None
    moves: int
    at: datetime
    by: str
    note: str | None


class ConflictingVersions(NamedTuple):
    """Versions that the home's artifact of that name cannot take.

    Attributes:
        log: The log of the versions.
        numbers: Of the entries of the outbox that wait in vain, in order.
        artifact: As it is spelled here.
        why: The reason, a sentence for people.
    """

    log: str
    numbers: tuple[int, ...]
    artifact: ArtifactName
    why: str


Conflicting: TypeAlias = ConflictingMove | ConflictingVersions


class WaitingEntry(NamedTuple):
    """An entry of the outbox, decoded."""

    number: int
    entry: Entry
    data: bytes


class Shelf:
    """The alias moves that were taken out of the outbox, by logs and numbers.

    Args:
        store: The clone's own.
    """

    def __init__(self, store: Store) -> None:
        self._store = store

    def all(self, log: str | None = None) -> list[tuple[str, int]]:
        """What is there, of one log or of all.

        Raises:
            StorageError: The store failed.
        """
        found = []
        for info in self._store.list(_PREFIX if log is None else f"{_PREFIX}{log}/"):
            match = _KEY.fullmatch(info.key)
            if match and (log is None or match.group(1) == log):
                found.append((match.group(1), int(match.group(2))))
        return found

    def read(self, log: str, number: int) -> list[bytes]:
        """The entries of the moves.

        Raises:
            NotFound: They are not there (any more).
            DataDamaged: There is an object with none, or its end was cut off.
            StorageError: The store failed.
        """
        key = _PREFIX + entry_key(log, number)
        data = self._store.get(key)
        entries = data.splitlines()
        if not entries or data.endswith(b"\n"):
            raise DataDamaged(
                f"a conflict that cannot be read: {key}",
                why="Its end was cut off." if entries else "It is empty.",
                hint=f"What waits there can be given up: thence outbox drop {log}",
                about=key,
            )
        return entries

    def put(self, log: str, entries: list[bytes]) -> None:
        """Keep moves, the last of them last.

        Raises:
            StorageError: The store failed; whether they are there is not known.
            Denied: The store may not be written to.
        """
        number = max((taken for _, taken in self.all(log)), default=0) + 1
        try:
            self._store.create(_PREFIX + entry_key(log, number), [b"\n".join(entries)])
        except AlreadyExists:
            # The answer to our own first try was lost: nobody else writes, it is our turn.
            return

    def remove(self, log: str, number: int) -> None:
        """Forget moves.

        Raises:
            StorageError: The store failed.
            Denied: The store may not be written to.
        """
        self._store.delete(_PREFIX + entry_key(log, number))


def outbox_of(clone: Vault) -> Outbox:
    """The outbox of a clone."""
    assert clone.outbox is not None, "only a clone has an outbox"
    return clone.outbox


def waiting_in(clone: Vault, log: str) -> list[WaitingEntry]:
    """The entries of one log that wait, in order.

    Raises:
        DataDamaged: One of them cannot be read.
        StorageError: The clone's store failed.
    """
    outbox = outbox_of(clone)
    found = []
    for one in outbox.waiting(log):
        if (data := outbox.read(log, one.number)) is None:
            continue
        try:
            found.append(WaitingEntry(one.number, decode_entry(data), data))
        except DataDamaged as error:
            raise DataDamaged(
                f"{one.key} cannot be read",
                why=error.why or error.what,
                hint=f"What waits there can be given up: thence outbox drop {log}",
                about=one.key,
            ) from error
    return found


def last_move(clone: Vault, log: str) -> Digest | None:
    """Where the home's alias points, as far as this clone knows.

    Raises:
        DataDamaged: The alias's log cannot be read.
        StorageError: The clone's store failed.
    """
    for number in range(clone.numbered.tail(log), 0, -1):
        data = clone.numbered.read(log, number)
        record = None if data is None else decode_entry(data).record
        if isinstance(record, AliasMove):
            return record.version
    return None


def list_conflicts(clone: Vault) -> tuple[Conflicting, ...]:
    """What cannot be pushed, by what the clone knows of its home.

    Raises:
        DataDamaged: What is kept of one cannot be read.
        StorageError: The clone's store failed.
    """
    return (*_moves(clone), *_versions(clone))


def drop(clone: Vault, log: str, number: int) -> int:
    """Give up an entry of the outbox, or a conflict; the number of entries that are gone.

    With a version go the edits that wait for it; alias moves to it are then reported as conflicts,
    when they are pushed.

    Raises:
        NotFound: Nothing of that number is there.
        DataDamaged: An edit that may wait for it cannot be read.
        StorageError: The clone's store failed.
    """
    with turn(clone):
        if not is_local(number):
            shelf = Shelf(clone.store)
            if (log, number) not in shelf.all(log):
                raise _nothing(log, number)
            gone = 1
            with suppress(DataDamaged):
                gone = len(shelf.read(log, number))
            shelf.remove(log, number)
            return gone
        outbox = outbox_of(clone)
        data = outbox.read(log, number)
        if data is None:
            raise _nothing(log, number)
        entry: Entry | None = None
        with suppress(DataDamaged):
            entry = decode_entry(data)
        gone = 0
        if entry is not None and isinstance(entry.record, Version):
            edits = f"{log}edits"
            for waiting in waiting_in(clone, edits):
                record = waiting.entry.record
                if not isinstance(record, VersionEdit | Tombstone | Restored):
                    continue
                if record.version == entry.digest:
                    outbox.remove(edits, waiting.number)
                    gone += 1
        outbox.remove(log, number)
        return gone + 1


def _nothing(log: str, number: int) -> NotFound:
    return NotFound(
        f"nothing of the number {number} waits for {log}",
        why="It was pushed or dropped already.",
        about=log,
    )


def _moves(clone: Vault) -> list[ConflictingMove]:
    shelf = Shelf(clone.store)
    settled = {waiting.log for waiting in outbox_of(clone).waiting()}
    found = []
    for log, number in shelf.all():
        if log in settled:
            continue  # moved once more since
        entries = [decode_entry(data) for data in shelf.read(log, number)]
        first, last = entries[0].record, entries[-1].record
        if isinstance(first, AliasMove) and isinstance(last, AliasMove):
            found.append(
                ConflictingMove(
                    log,
                    number,
                    last.artifact,
                    last.alias,
                    last.version,
                    first.previous,
                    last_move(clone, log),
                    len(entries),
                    entries[-1].at,
                    entries[-1].by,
                    last.note,
                )
            )
    return found


def _versions(clone: Vault) -> list[ConflictingVersions]:
    found = []
    for log in dict.fromkeys(one.log for one in outbox_of(clone).waiting()):
        if log.endswith("/@") and (tail := clone.numbered.tail(log)):
            data = clone.numbered.read(log, tail)
            home = None if data is None else decode_entry(data).record
            try:
                waiting = waiting_in(clone, log)
            except DataDamaged:
                continue  # a push says which; until then it can be listed, and dropped
            if isinstance(home, Version) and (clash := _clash(home, waiting)):
                found.append(clash._replace(log=log))
    return found


def _clash(home: Version, waiting: list[WaitingEntry]) -> ConflictingVersions | None:
    for index, one in enumerate(waiting):
        version = one.entry.record
        if not isinstance(version, Version):
            continue
        if version.artifact != home.artifact:
            why = f"At home it is spelled {home.artifact!r}."
        elif version.kind is not home.kind:
            why = f"At home it is a {home.kind}, here a {version.kind}."
        else:
            continue
        numbers = tuple(left.number for left in waiting[index:])
        return ConflictingVersions("", numbers, version.artifact, why)
    return None
