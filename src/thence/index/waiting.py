"""What waits in the outbox of a clone, as rows beside those of the numbered logs.

Problem: the outbox changes in ways that a log never does. Entries go away, because they were pushed
or given up, and another one may then lie at the same place. While a push goes on an entry is in its
log and still in the outbox, and after a crash for long.

So: the whole outbox is listed at each refresh, which in a clone is a local listing. An object is
read where its time is not the one that it had when it was read before; a time so young that another
object could have it too does not count. An entry whose id is in its log has no rows as a waiting
one. The list is made before the logs are looked at and applied after them: what moves meanwhile is
seen twice, which does no harm, and never not at all.
"""

from collections.abc import Callable, Sequence
from datetime import datetime
from typing import NamedTuple, Protocol

from thence.index.database import Index, KnownWaiting, ReadWaiting
from thence.index.ingest import LogItem

__all__ = ["Outbox", "OutboxChange", "Waiting", "outbox_change"]

# Clocks of file systems advance in steps; FAT's, the coarsest, of two seconds.
_TICK_S = 2.0


class Waiting(Protocol):
    """An object in the outbox."""

    @property
    def log(self) -> str:
        """The log that it is for."""
        ...

    @property
    def number(self) -> int:
        """Its place, beyond `LOCAL`."""
        ...

    @property
    def modified_s(self) -> float:
        """When it was put there."""
        ...


class Outbox(Protocol):
    """What is needed of the outbox."""

    def waiting(self) -> Sequence[Waiting]:
        """All that waits."""
        ...

    def read(self, log: str, number: int) -> bytes | None:
        """The bytes of an entry; None where it does not wait any more."""
        ...


class OutboxChange(NamedTuple):
    """What the index does not know yet of an outbox.

    Attributes:
        found: Entries that were put there.
        gone: Places where nothing waits any more.
    """

    found: list[ReadWaiting]
    gone: dict[tuple[str, int], KnownWaiting]


def outbox_change(index: Index, outbox: Outbox, clock: Callable[[], datetime]) -> OutboxChange:
    """Look at the outbox, without changing the index.

    Raises:
        StorageError: The outbox or the index cannot be read.
        DataDamaged: The file of the index is damaged.
    """
    # Before the listing: what another process takes in after it is not taken for gone.
    gone = index.waiting()
    now_s = clock().timestamp()
    found: list[ReadWaiting] = []
    for one in outbox.waiting():
        known = gone.pop((one.log, one.number), None)
        if known is not None and known.modified_s == one.modified_s:
            continue
        data = outbox.read(one.log, one.number)
        if data is None:
            if known is not None:
                gone[one.log, one.number] = known
            continue
        # Another object can get the same time as long as the clock has not gone on.
        is_old = one.modified_s < now_s - _TICK_S
        item = LogItem(one.log, one.number, data)
        found.append(ReadWaiting(item, one.modified_s if is_old else None))
    return OutboxChange(found, gone)
