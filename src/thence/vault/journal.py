"""The journal: hints that say which logs changed lately, so that nobody has to list them all.

A hint is written before the entries that it announces, so a reader that finds a hint whose entries
are not there yet keeps it in mind. A hint that got lost is repaired by any full listing. Each line
of a hint is the id of an entry and the log that gets it; a hint for one entry is called like the
entry, so that who has the entry need not read the hint.
"""

from collections.abc import Callable, Iterable, Iterator, Sequence
from contextlib import suppress
from datetime import UTC, datetime, timedelta
from typing import NamedTuple

from thence.errors import AlreadyExists, InvalidInput, NotFound
from thence.store.base import Store, check_key
from thence.vault.parallel import ahead

__all__ = ["KEPT", "OVERLAP", "Announced", "Hint", "Journal", "decode_hint", "hour_of"]

OVERLAP = timedelta(hours=48)
"""A reader looks so far back from its last look: so slow a writer may be, and so wrong a clock."""
KEPT = timedelta(days=30)
"""Hints that are younger are not deleted; who looked last before then lists the logs instead."""

_PREFIX = "journal/"


class Announced(NamedTuple):
    """An entry that is about to be appended."""

    entry_id: str
    log: str


class Hint(NamedTuple):
    """A hint that has been read.

    Attributes:
        key: Where it lies.
        announced: What it announces; empty where it was swept meanwhile.
        whole: False where it is not what was written, so that it may have said more.
    """

    key: str
    announced: tuple[Announced, ...]
    whole: bool = True


class Journal:
    """The journal of a project.

    Args:
        store: Where it is.
        clock: Tells the hour that a hint is filed under.
        new_id: Makes the random name of a hint.
        at_once: How many hints to read at the same time; more than one where each takes a while.
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

    def note(self, announced: Sequence[Announced]) -> None:
        """Announce entries that are about to be appended."""
        name = announced[0].entry_id if len(announced) == 1 else self._new_id()
        hint = "".join(f"{one.entry_id} {one.log}\n" for one in announced)
        # The name is random: if it is taken, then by a try of ours whose answer was lost.
        with suppress(AlreadyExists):
            self._store.create(f"{_PREFIX}{_hour(self._clock())}/{name}", [hint.encode()])

    def list(self, since: datetime) -> list[str]:
        """The keys of the hints of a moment's hour and of all later ones, by one listing."""
        return [info.key for info in self._store.list(_PREFIX, after=f"{_PREFIX}{_hour(since)}")]

    def read(self, keys: Iterable[str]) -> Iterator[Hint]:
        """What hints announce, in the order of the keys.

        Hints are not signed and may say anything; what cannot be a log is passed over.
        """
        return ahead(self._read, keys, at_once=self._at_once)

    def since(self, moment: datetime) -> set[str]:
        """The logs that changed after a moment, and some that changed before; reads every hint."""
        return {one.log for hint in self.read(self.list(moment)) for one in hint.announced}

    def _read(self, key: str) -> Hint:
        try:
            data = self._store.get(key)
        except NotFound:
            return Hint(key, ())  # an old hint, swept meanwhile
        announced = decode_hint(data.decode("utf-8", "replace"))
        lines = "".join(f"{one.entry_id} {one.log}\n" for one in announced)
        whole = lines.encode() == data != b""
        if len(announced) == 1:  # or one of several that were cut off: that has another name
            whole &= announced[0].entry_id == key.rpartition("/")[2]
        return Hint(key, announced, whole)


def decode_hint(text: str) -> tuple[Announced, ...]:
    """What a hint announces; lines that are none are passed over."""
    found = []
    for line in text.split("\n"):
        entry_id, _, log = line.partition(" ")
        if entry_id and _is_log(log):
            found.append(Announced(entry_id, log))
    return tuple(found)


def hour_of(key: str) -> datetime | None:
    """The beginning of the hour that a hint is filed under; None where it is filed under none."""
    try:
        return datetime.strptime(key.split("/")[1], "%Y-%m-%dT%H").replace(tzinfo=UTC)
    except (IndexError, ValueError):
        return None


def _hour(moment: datetime) -> str:
    return moment.astimezone(UTC).strftime("%Y-%m-%dT%H")


def _is_log(text: str) -> bool:
    try:
        return check_key(text).startswith("refs/")
    except InvalidInput:
        return False
