"""Condemned packs: a notice that packs are about to be deleted, for those who write.

An object `gc/condemned/<n>`, *n* in ten decimal digits, says which packs somebody is about to
delete: canonical JSON with `packs` (ids, in hexadecimal digits), and `at` and `by` for people. It
is put before a pack is deleted, whoever deletes it: a collection, an erasure, a repair. The numbers
only grow, because the record with the highest one is never deleted. So a writer that remembers this
number knows whether packs may have gone since, also where their records are gone too.
"""

from collections.abc import Iterable
from datetime import datetime
from typing import NamedTuple

from thence.vault.vault import Vault

__all__ = ["Condemned", "condemn", "read_condemned"]


class Condemned(NamedTuple):
    """A record of packs that are about to be deleted.

    Attributes:
        number: Of the record.
        packs: Their ids.
        at: When they were condemned, by the clock of who did; None where it does not say.
        modified_s: The same by the clock of the store.
    """

    number: int
    packs: frozenset[bytes]
    at: datetime | None
    modified_s: float


def read_condemned(vault: Vault) -> tuple[Condemned, ...]:
    """All records, in the order of their numbers.

    Raises:
        DataDamaged: One of them cannot be read.
        StorageError: The store failed.
        Denied: It may not be read.
    """
    raise NotImplementedError


def condemn(vault: Vault, packs: Iterable[bytes], *, by: str) -> int:
    """Put a record, to be called before any of these packs is deleted; its number.

    Who writes does not rely on these packs any more from now on, and who did finds out before (or,
    where it was on its way, after) it names what lies in them.

    Raises:
        StorageError: The store failed; whether the record is there is not known.
        Denied: The store may not be written to.
    """
    raise NotImplementedError
