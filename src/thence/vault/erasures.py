"""What was erased: contents that must not be there, and that nobody misses."""

from collections.abc import Callable, Iterable, Mapping
from contextlib import suppress
from datetime import datetime
from types import MappingProxyType
from typing import TYPE_CHECKING, NamedTuple
from weakref import WeakKeyDictionary

from thence.errors import DataDamaged, Denied, NotFound
from thence.model.ids import Digest, RunId
from thence.model.records import Entry, Erasure, ErasureLifted, decode_entry
from thence.vault.logs import ERASURES

if TYPE_CHECKING:
    from thence.vault.vault import Vault

__all__ = [
    "ErasedBy",
    "erased",
    "erased_runs",
    "erased_somewhere",
    "erasures",
    "fold",
    "refusal_of",
    "why_absent",
]


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
    runs: frozenset[RunId]


_known: WeakKeyDictionary["Vault", _Known] = WeakKeyDictionary()


def erased(vault: "Vault") -> frozenset[Digest]:
    """The contents that were erased and may not come back; what waits in an outbox counts.

    Costs one request where nothing is new.

    Raises:
        DataDamaged: An entry cannot be read: nobody knows what must not be there.
        StorageError: The store failed.
        Denied: It may not be read.
    """
    return frozenset(erasures(vault))


def erasures(vault: "Vault") -> Mapping[Digest, ErasedBy]:
    """The same, with who erased each, when and why.

    Raises:
        DataDamaged: An entry cannot be read: nobody knows what must not be there.
        StorageError: The store failed.
        Denied: It may not be read.
    """
    return _read(vault).contents


def erased_runs(vault: "Vault") -> frozenset[RunId]:
    """The runs that were erased.

    Raises:
        DataDamaged: An entry cannot be read: nobody knows what must not be there.
        StorageError: The store failed.
        Denied: It may not be read.
    """
    return _read(vault).runs


def _read(vault: "Vault") -> _Known:
    tail = vault.logs.tail(ERASURES)
    known = _known.get(vault)
    if known is None or known.tail != tail:
        found: dict[Digest, ErasedBy] = {}
        runs: set[RunId] = set()
        if tail:
            for _, data in vault.logs.after(ERASURES, 0):
                fold(found, entry := decode_entry(data))
                if isinstance(entry.record, Erasure):
                    runs.update(entry.record.runs)
        known = _known[vault] = _Known(tail, MappingProxyType(found), frozenset(runs))
    return known


def erased_somewhere(vault: "Vault", others: Iterable["Vault"]) -> frozenset[Digest]:
    """What was erased as far as a vault and others of its project can tell, damaged as they are.

    Of an entry that cannot be read here, another vault's is taken; what waits here counts.

    Raises:
        StorageError: A store failed.
        Denied: It may not be read.
    """
    entries: dict[int, Entry] = {}
    for logs in (*(other.numbered for other in others), vault.logs):
        for log, number, data in logs.read_many(logs.all(ERASURES)):
            if data is not None and log == ERASURES:
                with suppress(DataDamaged):
                    entries[number] = decode_entry(data)
    found: dict[Digest, ErasedBy] = {}
    for number in sorted(entries):
        fold(found, entries[number])
    return frozenset(found)


def fold(found: dict[Digest, ErasedBy], entry: Entry) -> None:
    """Take in one more entry of the log: the last word on each content counts."""
    match entry.record:
        case Erasure(contents=contents, reason=reason):
            for digest in contents:
                found.setdefault(digest, ErasedBy(entry.at, entry.by, reason))
        case ErasureLifted(contents=contents):
            for digest in contents:
                found.pop(digest, None)


def why_absent(vault: "Vault", digest: Digest) -> NotFound | None:
    """That a content was erased, for who asks for it; None where it was not.

    Raises:
        DataDamaged: An entry cannot be read: nobody knows what must not be there.
        StorageError: The store failed.
        Denied: It may not be read.
    """
    told = erasures(vault).get(digest)
    if told is None:
        return None
    return NotFound(
        f"content {digest.short} was erased",
        why=str(told),
        hint="It is nowhere in this project any more, and cannot be given back.",
        about=str(digest),
    )


def refusal_of(vault: "Vault") -> Callable[[bytes], None]:
    """What refuses contents that were erased, by their ids, as of now.

    Raises:
        DataDamaged: An entry cannot be read: nobody knows what must not be there.
        StorageError: The store failed.
        Denied: It may not be read.
    """
    told = {digest.raw: one for digest, one in erasures(vault).items()}

    def refuse(wanted: bytes) -> None:
        if (one := told.get(wanted)) is None:
            return
        digest = Digest(wanted)
        raise Denied(
            f"content {digest.short} was erased, and must not come back",
            why=str(one),
            hint=f"If it may be kept after all: thence erase --lift {digest} --reason TEXT",
            about=str(digest),
        )

    return refuse
