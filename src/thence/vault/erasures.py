"""What was erased: contents that must not be there, and that nobody misses."""

from collections.abc import Mapping
from datetime import datetime
from types import MappingProxyType
from typing import NamedTuple
from weakref import WeakKeyDictionary

from thence.errors import NotFound
from thence.model.ids import Digest
from thence.model.records import Entry, Erasure, ErasureLifted, decode_entry
from thence.vault.logs import ERASURES
from thence.vault.vault import Vault

__all__ = ["ErasedBy", "erased", "erasures", "fold", "gone_for_good"]


class ErasedBy(NamedTuple):
    """Who erased a content, when and why."""

    at: datetime
    by: str
    reason: str

    def __str__(self) -> str:
        return f"{self.by} erased it on {self.at:%Y-%m-%d}: {self.reason}"


class _Known(NamedTuple):
    """What the log said when it was read last."""

    tail: int
    contents: Mapping[Digest, ErasedBy]


_known: WeakKeyDictionary[Vault, _Known] = WeakKeyDictionary()


def erased(vault: Vault) -> frozenset[Digest]:
    """The contents that were erased and may not come back; what waits in an outbox counts.

    Costs one request where nothing is new.

    Raises:
        DataDamaged: An entry cannot be read: nobody knows what must not be there.
        StorageError: The store failed.
        Denied: It may not be read.
    """
    return frozenset(erasures(vault))


def erasures(vault: Vault) -> Mapping[Digest, ErasedBy]:
    """The same, with who erased each, when and why.

    Raises:
        DataDamaged: An entry cannot be read: nobody knows what must not be there.
        StorageError: The store failed.
        Denied: It may not be read.
    """
    tail = vault.logs.tail(ERASURES)
    known = _known.get(vault)
    if known is None or known.tail != tail:
        found: dict[Digest, ErasedBy] = {}
        if tail:
            for _, data in vault.logs.after(ERASURES, 0):
                fold(found, decode_entry(data))
        known = _known[vault] = _Known(tail, MappingProxyType(found))
    return known.contents


def fold(found: dict[Digest, ErasedBy], entry: Entry) -> None:
    """Take in one more entry of the log: the last word on each content counts."""
    match entry.record:
        case Erasure(contents=contents, reason=reason):
            for digest in contents:
                found.setdefault(digest, ErasedBy(entry.at, entry.by, reason))
        case ErasureLifted(contents=contents):
            for digest in contents:
                found.pop(digest, None)


def gone_for_good(digest: Digest, what: str, told: ErasedBy) -> NotFound:
    """That something was erased, for who asks for it."""
    return NotFound(
        f"{what} was erased",
        why=str(told),
        hint="It is nowhere in this project any more, and cannot be given back.",
        about=str(digest),
    )
