"""The records of a project: frozen, immutable, named by the digest of their canonical bytes.

A log entry is an envelope around one record::

    {"at": time, "by": author, "entry": random id, "record": {"type": "version", ...}, "sum": …}

`sum` is the SHA-256 of the canonical bytes of all the others: an entry is its own witness.

What they say is in `version_records`, `run_records` with `run_facts`, and `verdicts`; all of it can
be imported from here.

Envelopes and records are copied as bytes and never encoded again, so fields that this version of
thence does not know survive a copy.
"""

from collections.abc import Iterable, Mapping
from datetime import datetime
from typing import Any, TypeVar

import msgspec

from thence.errors import DataDamaged
from thence.model import codec
from thence.model.ids import Digest
from thence.model.record import Record
from thence.model.run_facts import (
    Code,
    FileRole,
    FileUse,
    Host,
    MetricPoint,
    Param,
    RunStatus,
    SensorReport,
    Usage,
    Withheld,
)
from thence.model.run_records import RunEdit, RunOpened, RunRestored, RunSealed, RunTombstone
from thence.model.verdicts import Comparison, Finding, Grade, Isolation, Verdict
from thence.model.version_records import (
    AliasMove,
    ArtifactEdit,
    Erasure,
    ErasureLifted,
    Kind,
    Restored,
    Tombstone,
    Version,
    VersionEdit,
)

__all__ = [
    "AliasMove",
    "ArtifactEdit",
    "Code",
    "Comparison",
    "Entry",
    "Erasure",
    "ErasureLifted",
    "FileRole",
    "FileUse",
    "Finding",
    "Grade",
    "Host",
    "Isolation",
    "Kind",
    "MetricPoint",
    "Param",
    "Record",
    "Restored",
    "RunEdit",
    "RunOpened",
    "RunRestored",
    "RunSealed",
    "RunStatus",
    "RunTombstone",
    "SensorReport",
    "Tombstone",
    "Usage",
    "Verdict",
    "Version",
    "VersionEdit",
    "Withheld",
    "decode_entry",
    "decode_lines",
    "encode_entry",
    "encode_entry_bytes",
    "encode_lines",
    "seal",
]


T = TypeVar("T", bound=msgspec.Struct)

_RECORDS: Mapping[str, type[Record]] = {
    str(kind.__struct_config__.tag): kind
    for kind in (
        Version,
        VersionEdit,
        ArtifactEdit,
        Tombstone,
        Restored,
        AliasMove,
        RunOpened,
        RunSealed,
        RunEdit,
        RunTombstone,
        RunRestored,
        Verdict,
        Erasure,
        ErasureLifted,
    )
}


class Entry(msgspec.Struct, frozen=True, kw_only=True):
    """One entry of a log, as it was read.

    Attributes:
        id: Random; equal ids are one append, however often it was tried.
        record: The record, or None where its type is not known to this version of thence.
        record_bytes: The canonical bytes of the record.
    """

    id: str
    at: datetime
    by: str
    record: Record | None
    record_bytes: bytes

    @property
    def digest(self) -> Digest:
        """The identity of the record in it."""
        return Digest.of(self.record_bytes)


class _Envelope(msgspec.Struct):
    at: datetime
    by: str
    entry: str
    record: dict[str, Any]


_SUM = "sum"


def encode_entry(entry_id: str, at: datetime, by: str, record: Record) -> bytes:
    """The bytes of a log entry."""
    return encode_entry_bytes(entry_id, at, by, codec.encode(record, depth=1))


def encode_entry_bytes(entry_id: str, at: datetime, by: str, record_bytes: bytes) -> bytes:
    """The bytes of a log entry around a record that is copied as it is.

    Args:
        entry_id: Random; equal ids are one append.
        at: When it is appended.
        by: Who appends it.
        record_bytes: Canonical bytes, `Entry.record_bytes` of another entry.
    """
    return seal(
        {
            "at": codec.encode(at),
            "by": codec.encode(by),
            "entry": codec.encode(entry_id),
            "record": record_bytes,
        }
    )


def seal(fields: Mapping[str, bytes]) -> bytes:
    """The bytes of an envelope: its fields, encoded already, and the sum of them all."""
    digest = Digest.of(codec.join(fields))
    return codec.join({**fields, _SUM: codec.encode(digest.hex)})


def decode_entry(data: bytes) -> Entry:
    """Read a log entry.

    Raises:
        DataDamaged: It is not one.
    """
    # One entry has one spelling: no key twice, nothing that another reader would take otherwise.
    try:
        members = codec.members(data)
        _check_sum(members)
        envelope = codec.convert({key: one.value for key, one in members.items()}, _Envelope)
        kind = _RECORDS.get(str(envelope.record.get("type")))
        record = None if kind is None else codec.convert(envelope.record, kind)
    except DataDamaged as error:
        raise DataDamaged(
            "a log entry that cannot be read",
            why=f"It is damaged: {': '.join(filter(None, (error.what, error.why)))}",
        ) from error
    return Entry(
        id=envelope.entry,
        at=envelope.at,
        by=envelope.by,
        record=record,
        record_bytes=members["record"].data,
    )


def _check_sum(members: Mapping[str, codec.Member]) -> None:
    """Check the sum of an envelope.

    Raises:
        DataDamaged: There is none, or that of other bytes.
    """
    fields = {key: member.data for key, member in members.items() if key != _SUM}
    if _SUM not in members:
        raise DataDamaged("it has no sum")
    if members[_SUM].value != Digest.of(codec.join(fields)).hex:
        raise DataDamaged("its sum is that of other bytes")


def encode_lines(items: Iterable[msgspec.Struct]) -> bytes:
    """Structs as canonical JSON, one a line."""
    return b"".join(codec.encode(item) + b"\n" for item in items)


def decode_lines(data: bytes, shape: type[T]) -> list[T]:
    """The inverse of `encode_lines`.

    Raises:
        DataDamaged: A line is not of that shape.
    """
    return [codec.decode(line, shape) for line in data.splitlines() if line]
