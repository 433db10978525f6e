"""The journal: hints that say which logs changed lately, so that nobody has to list them all.

A hint is written before the entry that it announces, so a reader that finds a hint whose entry is
not there yet keeps it in mind. A hint that got lost is repaired by any full listing.
"""

from collections.abc import Callable
from contextlib import suppress
from datetime import UTC, datetime, timedelta

from thence.errors import AlreadyExists, InvalidInput, NotFound
from thence.store.base import Store, check_key

__all__ = ["OVERLAP", "Journal"]

OVERLAP = timedelta(hours=48)


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

    def note(self, log: str) -> None:
        """Announce that a log is about to change."""
        hour = self._clock().astimezone(UTC).strftime("%Y-%m-%dT%H")
        # The name is random: if it is taken, then by a try of ours whose answer was lost.
        with suppress(AlreadyExists):
            self._store.create(f"journal/{hour}/{self._new_id()}", [log.encode()])

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
            if _is_log(hint):
                logs.add(hint)
        return logs


def _is_log(text: str) -> bool:
    try:
        return check_key(text).startswith("refs/")
    except InvalidInput:
        return False
