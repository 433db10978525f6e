"""Condemned packs: a notice that packs are about to be deleted, for those who write.

An object `gc/condemned/<n>`, *n* in ten decimal digits, says which packs somebody is about to
delete: canonical JSON with `packs` (ids, in hexadecimal digits), and `at` and `by` for people. It
is put before a pack is deleted, whoever deletes it: a collection, an erasure, a repair. The numbers
only grow, because the record with the highest one is never deleted. So a writer that remembers this
number knows whether packs may have gone since, also where their records are gone too.
"""

import re
from collections.abc import Callable, Iterable
from datetime import datetime
from typing import NamedTuple

import msgspec

from thence.errors import AlreadyExists, DataDamaged, NotFound
from thence.model import codec
from thence.store.base import ObjectInfo, Store
from thence.vault.parallel import ahead

__all__ = ["Condemned", "CondemnedPacks"]

_PREFIX = "gc/condemned/"
_KEY = re.compile(r"gc/condemned/(\d{10})")
_HEX = re.compile(r"[0-9a-f]{64}")
# A record without packs that says nothing else; so short that its size tells it from any other.
_EMPTY = codec.encode({"packs": []})
_AT_ONCE = 8
_TRIES = 100
# A record has some megabytes with these, and every session reads it.
_MOST_PACKS = 20_000


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


class _Record(msgspec.Struct, frozen=True, kw_only=True):
    packs: tuple[str, ...]
    at: datetime | None = None
    by: str = ""


class CondemnedPacks:
    """The records of a store. May be used from any thread.

    Args:
        store: Where they are.
        clock: Tells the time of a record.
        remote: Each call of the store takes a while.
    """

    def __init__(
        self, store: Store, *, clock: Callable[[], datetime], remote: bool = False
    ) -> None:
        self._store = store
        self._clock = clock
        self._at_once = _AT_ONCE if remote else 1
        self._known: dict[int, Condemned] = {}

    def read(self) -> tuple[Condemned, ...]:
        """All records, in the order of their numbers, by one listing; each is read once.

        Raises:
            DataDamaged: One of them cannot be read.
            StorageError: The store failed.
            Denied: It may not be read.
        """
        listed = [info for info in self._store.list(_PREFIX) if _KEY.fullmatch(info.key)]
        found = ahead(self._get, listed, at_once=self._at_once)
        records = tuple(one for one in found if one is not None)
        self._known = {one.number: one for one in records}
        return records

    def put(self, packs: Iterable[bytes], *, by: str) -> int:
        """Put a record, before any of these packs is deleted; the highest number of what was put.

        Who begins to write does not rely on these packs any more from now on, and who writes finds
        out before it names what lies in them, or right after.

        Raises:
            StorageError: The store failed; whether the record is there is not known.
            Denied: The store may not be written to.
        """
        ids = sorted(set(packs))
        number = 0
        for start in range(0, max(1, len(ids)), _MOST_PACKS):
            some = tuple(pack.hex() for pack in ids[start : start + _MOST_PACKS])
            record = _Record(packs=some, at=self._clock(), by=by)
            number = self._append(codec.encode(record) if some else _EMPTY)
        return number

    def remove(self, number: int) -> None:
        """Delete a record whose packs are gone, or are condemned by a later one.

        It must not be the one with the highest number.

        Raises:
            StorageError: The store failed.
            Denied: The store may not be written to.
        """
        self._store.delete(_key(number))

    def _append(self, data: bytes) -> int:
        for _ in range(_TRIES):
            last = 0
            for info in self._store.list(_PREFIX):
                if match := _KEY.fullmatch(info.key):
                    last = int(match.group(1))
            try:
                self._store.create(_key(last + 1), [data])
            except AlreadyExists:
                continue  # another one, or our own whose answer was lost: once more does no harm
            return last + 1
        raise AlreadyExists("packs could not be condemned: others were faster every time")

    def _get(self, info: ObjectInfo) -> Condemned | None:
        number = int(info.key.rpartition("/")[2])
        if info.size_bytes == len(_EMPTY):
            return Condemned(number, frozenset(), None, info.modified_s)
        if (known := self._known.get(number)) is not None and known.modified_s == info.modified_s:
            return known
        try:
            record = codec.decode(self._store.get(info.key), _Record)
        except NotFound:
            return None  # its packs are gone, and somebody has put a later record
        except DataDamaged as error:
            raise _damaged(info.key, error.why or error.what) from error
        if not all(_HEX.fullmatch(pack) for pack in record.packs):
            raise _damaged(info.key, "It names something that is no pack.")
        packs = frozenset(bytes.fromhex(pack) for pack in record.packs)
        return Condemned(number, packs, record.at, info.modified_s)


def _key(number: int) -> str:
    return f"{_PREFIX}{number:010d}"


def _damaged(key: str, why: str) -> DataDamaged:
    return DataDamaged(
        f"{key} cannot be read",
        why=why,
        hint="It says which packs are about to be deleted, so nothing is written while it cannot "
        "be read. Restore it, or delete it when nobody collects or writes.",
        about=key,
    )
