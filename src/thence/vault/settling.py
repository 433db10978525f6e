"""Settling the outbox: what is in the mirrored logs by now need not wait any longer.

To be done in one's turn, after the logs that something waits for were mirrored.
"""

from typing import NamedTuple

from thence.errors import DataDamaged
from thence.model.ids import Digest
from thence.model.records import AliasMove, decode_entry
from thence.vault.conflicts import Shelf, WaitingEntry, last_move, outbox_of, waiting_in
from thence.vault.vault import Vault

__all__ = ["Numbered", "Settled", "settle"]


class Numbered(NamedTuple):
    """An entry that waited and has its number now.

    Attributes:
        local: The number that it had in the outbox.
        number: The number that the home gave it.
    """

    log: str
    local: int
    number: int


class Settled(NamedTuple):
    """What left the outbox.

    Attributes:
        numbered: What the home has.
        moot: How many alias moves led where the home's alias is already.
        conflicts: How many alias moves do not apply any more.
    """

    numbered: tuple[Numbered, ...] = ()
    moot: int = 0
    conflicts: int = 0

    def plus(self, other: "Settled") -> "Settled":
        """Both together."""
        return Settled(
            self.numbered + other.numbered,
            self.moot + other.moot,
            self.conflicts + other.conflicts,
        )


class _Judged(NamedTuple):
    """Moves of one alias that wait: how many of the first are moot, and where conflicts begin."""

    moot: int
    conflicting: int


def settle(clone: Vault) -> Settled:
    """Take out of the outbox what is at home, and what cannot get there.

    Raises:
        DataDamaged: An entry that waits cannot be read.
        StorageError: The clone's store failed.
    """
    total = Settled()
    for log in dict.fromkeys(one.log for one in outbox_of(clone).waiting()):
        total = total.plus(_settle_log(clone, log))
    return total


def _settle_log(clone: Vault, log: str) -> Settled:
    outbox = outbox_of(clone)
    waiting = waiting_in(clone, log)
    at_home = _numbers(clone, log, waiting)
    numbered = []
    left = []
    for one in waiting:
        if (number := at_home.get(one.entry.id)) is None:
            left.append(one)
        else:
            outbox.remove(log, one.number)
            numbered.append(Numbered(log, one.number, number))
    if not log.startswith("refs/aliases/"):
        return Settled(tuple(numbered))
    moot, conflicts = _settle_moves(clone, log, left)
    return Settled(tuple(numbered), moot, conflicts)


def _numbers(clone: Vault, log: str, waiting: list[WaitingEntry]) -> dict[str, int]:
    """The numbers of those that are in the mirrored log, by their ids."""
    marks = {one.entry.id: f'"entry":"{one.entry.id}"'.encode() for one in waiting}
    found: dict[str, int] = {}
    for number, data in clone.numbered.after(log, 0):
        # Decoding 10,000 entries takes a second; looking for an id in them does not.
        for entry_id, mark in marks.items():
            if mark in data and _id(data) == entry_id:
                found.setdefault(entry_id, number)
    return found


def _id(data: bytes) -> str | None:
    try:
        return decode_entry(data).id
    except DataDamaged:
        return None


def _settle_moves(clone: Vault, log: str, waiting: list[WaitingEntry]) -> tuple[int, int]:
    """How many moves were moot, and how many conflict."""
    outbox, shelf = outbox_of(clone), Shelf(clone.store)
    # A crash may have kept moves here and left them in the outbox as well.
    kept = {number: shelf.read(log, number) for _, number in shelf.all(log)}
    again = {data for entries in kept.values() for data in entries}
    for one in waiting:
        if one.data in again:
            outbox.remove(log, one.number)
    waiting = [one for one in waiting if one.data not in again]
    if waiting:
        # Whoever moves the alias again has seen where the home's leads.
        for number in kept:
            shelf.remove(log, number)
    judged = _judge(waiting, last_move(clone, log))
    if bad := waiting[judged.conflicting :]:
        shelf.put(log, [one.data for one in bad])
    for one in (*waiting[: judged.moot], *bad):
        outbox.remove(log, one.number)
    return judged.moot, len(bad)


def _judge(waiting: list[WaitingEntry], current: Digest | None) -> _Judged:
    moves = [one.entry.record for one in waiting]
    begin = 0
    if moves and _previous(moves[0]) != current:
        there = [index for index, move in enumerate(moves) if _wanted(move) == current]
        begin = there[-1] + 1 if there else 0
    end = begin
    while end < len(moves) and _previous(moves[end]) == current:
        current = _wanted(moves[end])
        end += 1
    return _Judged(begin, end)


def _previous(record: object) -> Digest | None:
    return record.previous if isinstance(record, AliasMove) else None


def _wanted(record: object) -> Digest | None:
    return record.version if isinstance(record, AliasMove) else None
