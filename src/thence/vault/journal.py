"""The journal: hints that say which logs changed lately, so that nobody has to list them all.

A hint is written before the entries that it announces, so a reader that finds a hint whose entries
are not there yet keeps it in mind. A hint that got lost is repaired by any full listing. Each line
of a hint is the id of an entry and the log that gets it; a hint for one entry is called like the
entry, so that who has the entry need not read the hint.
"""

from collections.abc import Callable, Sequence
from contextlib import suppress
from datetime import UTC, datetime, timedelta
from typing import NamedTuple

from thence.errors import AlreadyExists, InvalidInput, NotFound
from thence.store.base import Store, check_key

__all__ = ["OVERLAP", "Announced", "Journal"]

OVERLAP = timedelta(hours=48)


class Announced(NamedTuple):
    """An entry that is about to be appended."""

    entry_id: str
    log: str


class Journal:
    """The journal of a project.

    Args:
        store: Where it is.
        clock: Tells the hour that a hint is filed under.
        new_id: Makes the random name of a hint.
    """

    def __init__(
        self, store: Store, *, clock: Callable[[], datetime], new_id: Callable[[], str]
    ) -> None:
        self._store = store
        self._clock = clock
        self._new_id = new_id

    def note(self, announced: Sequence[Announced]) -> None:
        """Announce entries that are about to be appended."""
        hour = self._clock().astimezone(UTC).strftime("%Y-%m-%dT%H")
        name = announced[0].entry_id if len(announced) == 1 else self._new_id()
        hint = "".join(f"{one.entry_id} {one.log}\n" for one in announced)
        # The name is random: if it is taken, then by a try of ours whose answer was lost.
        with suppress(AlreadyExists):
            self._store.create(f"journal/{hour}/{name}", [hint.encode()])

    def since(self, moment: datetime) -> set[str]:
        """The logs that changed after a moment, and some that changed before.

        Hints are not signed and may say anything; what cannot be a log is passed over.
        """
        hour = moment.astimezone(UTC).strftime("%Y-%m-%dT%H")
        logs = set()
        for info in self._store.list("journal/", after=f"journal/{hour}"):
            try:
                hint = self._store.get(info.key).decode("utf-8", "replace")
            except NotFound:
                continue  # an old hint, swept meanwhile
            for line in hint.splitlines():
                log = line.partition(" ")[2]
                if _is_log(log):
                    logs.add(log)
        return logs


def _is_log(text: str) -> bool:
    try:
        return check_key(text).startswith("refs/")
    except InvalidInput:
        return False
