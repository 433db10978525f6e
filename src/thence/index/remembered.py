"""What the index remembers of the logs: entries never change, so whatever differs is damage."""

from collections.abc import Iterator
from typing import NamedTuple

from thence.index.database import Index
from thence.model.numbers import LOCAL

__all__ = ["Remembered", "remembered"]

_BATCH = 10_000


class Remembered(NamedTuple):
    """An entry as it was when it was read first.

    Attributes:
        prefix: The first 8 bytes of the SHA-256 of its bytes.
    """

    log: str
    number: int
    prefix: int


def remembered(index: Index) -> Iterator[Remembered]:
    """All entries that have numbers of the home's, by log and number.

    Raises:
        DataDamaged: The index is damaged.
        StorageError: It cannot be read.
    """
    log, number = "", 0
    while True:
        rows = index.select(
            "SELECT log, number, digest FROM entries"
            " WHERE (log, number) > (?, ?) AND number <= ? ORDER BY log, number LIMIT ?",
            (log, number, LOCAL, _BATCH),
        )
        for log, number, digest in rows:
            yield Remembered(log, number, int(digest[:16], 16))
        if len(rows) < _BATCH:
            return
