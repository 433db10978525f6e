"""Entries: what is read is what was written, bytes included, whoever wrote it."""

import hashlib
import json
from collections.abc import Callable
from datetime import UTC, datetime
from typing import Any

import msgspec
import pytest

from thence.errors import DataDamaged, InvalidInput
from thence.model import codec, records
from thence.model.ids import Digest, RunId
from thence.model.names import Alias, ArtifactName
from thence.model.records import (
    AliasMove,
    ArtifactEdit,
    Comparison,
    Erasure,
    ErasureLifted,
    FileRole,
    FileUse,
    Finding,
    Grade,
    Host,
    Kind,
    MetricPoint,
    Param,
    Record,
    Restored,
    RunEdit,
    RunOpened,
    RunRestored,
    RunSealed,
    RunStatus,
    RunTombstone,
    SensorReport,
    Tombstone,
    Verdict,
    Version,
    VersionEdit,
    Withheld,
    decode_entry,
    decode_lines,
    encode_entry,
    encode_entry_bytes,
    encode_lines,
    seal,
)

AT = datetime(2026, 11, 23, 10, 0, 0, 1, tzinfo=UTC)
D = Digest.of(b"")
RUN = RunId("0123456789abcdef0123")
HOST = Host(name="h", system="Linux", release="6", machine="x86_64")
VERSION = Version(
    artifact=ArtifactName("Data/ü"),
    kind=Kind.DATASET,
    tree=D,
    size=2**60,
    files=1,
    created=AT,
    author="a",
    tags={"$x": "y"},
    run=RUN,
    sources=(D,),
    metadata={"columns": ["a", {"$i": 1}], "nan": None, "deep": {"x": 1.5}},
    metrics={"auc": 0.91, "loss": float("inf")},
)
ALL: tuple[Record, ...] = (
    VERSION,
    VersionEdit(version=D, tags={"a": None, "b": "c"}, metrics={"m": -0.5}),
    ArtifactEdit(artifact=ArtifactName("a"), description=""),
    Tombstone(version=D, reason="wrong"),
    Restored(version=D),
    RunTombstone(run=RUN, reason="a mistake"),
    RunRestored(run=RUN, reason="needed"),
    Erasure(contents=(D,), reason="names of patients", versions=(D,), runs=(RUN,)),
    ErasureLifted(contents=(D,), reason="a mistake"),
    AliasMove(artifact=ArtifactName("a"), alias=Alias("best"), version=None),
    AliasMove(artifact=ArtifactName("a"), alias=Alias("best"), version=D, note="n"),
    RunOpened(run=RUN, command=("python",), root="/r", cwd=".", started=AT, author="a", host=HOST),
    RunSealed(
        run=RUN,
        command=("python", "x.py"),
        root="/r",
        cwd=".",
        started=AT,
        ended=AT,
        status=RunStatus.FAILED,
        author="a",
        host=HOST,
        sensor=SensorReport(name="seccomp", completeness="kernel-complete", not_seen=("x",)),
        params={"lr": Param(value=0.1, origin="argv"), "l": Param(value=[1, None], origin="log")},
        withheld=(Withheld(name="KEY", where="environment"),),
        series=D,
    ),
    RunEdit(run=RUN, note=""),
    Verdict(
        run=RUN,
        finding=Finding.DIFFERS,
        results=(Comparison(path="a", grade=Grade.DIFFERENT, detail="line 1"),),
        started=AT,
        ended=AT,
        author="a",
        host=HOST,
    ),
)


def envelope(**fields: Any) -> bytes:
    fields = {"at": AT, "by": "b", "entry": "e"} | fields
    return seal({key: codec.encode(value, depth=1) for key, value in fields.items()})


def summed(body: bytes) -> bytes:
    """The body with a sum that is right, whatever the body is."""
    return body[:-1] + f',"sum":"{hashlib.sha256(body).hexdigest()}"}}'.encode()


@pytest.mark.parametrize("record", ALL, ids=lambda record: str(record.__struct_config__.tag))
def test_entries_come_back(record: Record) -> None:
    data = encode_entry("id", AT, "me", record)
    entry = decode_entry(data)
    assert (entry.id, entry.at, entry.by, entry.record) == ("id", AT, "me", record)
    assert entry.record_bytes == codec.encode(record)
    assert entry.digest == record.digest == Digest.of(entry.record_bytes)


def test_every_record_has_a_case_here() -> None:
    assert {type(record) for record in ALL} == set(Record.__subclasses__())
    assert {str(record.__struct_config__.tag) for record in ALL} == set(records._RECORDS)


def test_the_bytes_of_an_entry_are_pinned() -> None:
    assert (
        encode_entry("e1", AT, "me", Tombstone(version=D, reason="ü"))
        == (
            '{"at":"2026-11-23T10:00:00.000001Z","by":"me","entry":"e1",'
            f'"record":{{"reason":"ü","type":"tombstone","version":"{D}"}},'
            f'"sum":"feb045dec297885f66b2b796dc60ee0d7ad594fc747a4de2675b3af81e0c3c4d"}}'
        ).encode()
    )


def test_the_sum_is_that_of_all_other_bytes() -> None:
    data = encode_entry("e1", AT, "me", Tombstone(version=D, reason="ü"))
    body, tail = data[:-74] + b"}", data[-74:]
    assert tail == f',"sum":"{hashlib.sha256(body).hexdigest()}"}}'.encode()


def test_every_changed_digit_of_an_entry_is_noticed() -> None:
    """Also those that leave canonical JSON: another time, another author, another reason."""
    data = encode_entry("e1", AT, "me", Tombstone(version=D, reason="good"))
    for position in range(len(data)):
        for bit in range(8):
            other = bytearray(data)
            other[position] ^= 1 << bit
            with pytest.raises(DataDamaged):
                decode_entry(bytes(other))


@pytest.mark.parametrize(
    "change",
    [
        lambda fields: {},
        lambda fields: {"sum": "0" * 64},
        lambda fields: {"sum": hashlib.sha256(codec.encode(fields)).hexdigest().upper()},
        lambda fields: {"sum": None},
        lambda fields: {"sum": {"sha256": hashlib.sha256(codec.encode(fields)).hexdigest()}},
    ],
)
def test_an_entry_needs_the_right_sum(change: Callable[[dict[str, Any]], dict[str, Any]]) -> None:
    fields = {"at": AT, "by": "b", "entry": "e", "record": {"x": 1}}
    with pytest.raises(DataDamaged) as caught:
        decode_entry(codec.encode(fields | change(fields)))
    assert caught.value.what == "a log entry that cannot be read"
    assert "sum" in caught.value.why


def test_a_new_entry_around_a_record_leaves_its_bytes_alone() -> None:
    record = {**codec.to_plain(Tombstone(version=D, reason="r")), "new": {"deep": [1.0]}}
    first = decode_entry(envelope(record=record))
    second = decode_entry(encode_entry_bytes("e2", AT, "she", first.record_bytes))
    assert (second.id, second.by) == ("e2", "she")
    assert second.record_bytes == first.record_bytes
    assert second.digest == first.digest


def test_nothing_is_written_that_cannot_be_read_for_its_depth() -> None:
    deep: list[Any] = []
    for _ in range(98):
        deep = [deep]
    edit = VersionEdit(version=D, metadata={"x": deep[0]})
    assert decode_entry(encode_entry("e", AT, "b", edit)).record == edit
    with pytest.raises(InvalidInput):
        encode_entry("e", AT, "b", VersionEdit(version=D, metadata={"x": deep}))


def test_fields_of_a_newer_version_survive_in_the_bytes() -> None:
    record = {**codec.to_plain(Tombstone(version=D, reason="r")), "new": {"deep": [1.0]}}
    for later in ({"later": 1}, {"zeta": [1.5]}, {"$odd": {"$f": 1}}):
        entry = decode_entry(envelope(record=record, **later))
        assert entry.record == Tombstone(version=D, reason="r")
    assert entry.record == Tombstone(version=D, reason="r")
    assert json.loads(entry.record_bytes) == record
    assert entry.digest == Digest.of(codec.encode(record))
    assert entry.record is not None
    assert entry.digest != entry.record.digest  # as the docstring of Record.digest warns


def test_records_of_a_newer_version_are_kept_unread() -> None:
    for record in ({"type": "vote", "x": 1}, {"x": 1}, {"type": 5}, {}):
        entry = decode_entry(envelope(record=record))
        assert entry.record is None
        assert entry.record_bytes == codec.encode(record)


GOOD = codec.encode({"at": AT, "by": "b", "entry": "e", "record": Tombstone(version=D, reason="r")})


def test_what_the_next_test_changes_is_good() -> None:
    assert summed(GOOD) == encode_entry("e", AT, "b", Tombstone(version=D, reason="r"))


@pytest.mark.parametrize(
    "body",
    [
        GOOD.replace(b":", b": ", 1),
        GOOD.replace(b'"by":"b",', b""),
        GOOD.replace(b'"by":"b",', b'"by":5,'),
        GOOD.replace(b'"by":"b",', b'"by":"b","by":"b",'),
        GOOD.replace(b'"at"', b'"zat"'),
        GOOD.replace(b'"reason":"r"', b'"reason":"\\u0072"'),
        GOOD.replace(b'"reason":"r"', b'"reason":5'),
        GOOD.replace(b'"reason":"r"', b'"reason":"\\ud800"'),
        GOOD.replace(b'"reason":"r"', b'"reason":"\xff"'),
        GOOD.replace(b'"reason":"r"', b'"reason":"r","reason":"r"'),
        GOOD.replace(b'"reason":"r"', b'"n":1e400,"reason":"r"'),
        GOOD.replace(b'"reason":"r"', b'"n":1e5,"reason":"r"'),
        GOOD.replace(b'"reason":"r"', b'"n":NaN,"reason":"r"'),
        GOOD.replace(b'"reason":"r"', b'"n":{"$i":"5"},"reason":"r"'),
        GOOD.replace(b'"reason":"r"', b'"n":9007199254740993,"reason":"r"'),
        GOOD.replace(b'"reason":"r"', b'"n":-0,"reason":"r"'),
        GOOD.replace(b'"reason":"r"', b'"n":{"$z":0},"reason":"r"'),
        GOOD.replace(b'"type":"tombstone",', b'"type":"version",'),
        GOOD.replace(b'"reason":"r"', b'"n":' + b"[" * 100 + b"]" * 100 + b',"reason":"r"'),
        GOOD.replace(b'"reason":"r"', b'"n":' + b"[" * 9999 + b"]" * 9999 + b',"reason":"r"'),
        b'{"at":"x","by":"b","entry":"e","record":{}}',
        codec.encode({"at": AT, "by": "b", "entry": "e", "record": []}),
    ],
)
def test_an_entry_that_is_not_canonical_is_damaged(body: bytes) -> None:
    assert body != GOOD
    with pytest.raises(DataDamaged):
        decode_entry(summed(body))


@pytest.mark.parametrize(
    "data",
    [
        b"",
        b"[]",
        b"5",
        b'{"$f":"NaN"}',
        GOOD,
        summed(GOOD)[:-1],
        summed(GOOD) + b" ",
        summed(GOOD) + b"\n",
        b"\xef\xbb\xbf" + summed(GOOD),
        summed(GOOD).decode().encode("utf-16"),
    ],
)
def test_what_is_no_entry_is_damaged(data: bytes) -> None:
    with pytest.raises(DataDamaged):
        decode_entry(data)


def test_lines_come_back() -> None:
    uses = [
        FileUse(path="a\nb\u2028c", role=FileRole.INPUT, size=1, digest=D),
        FileUse(path="x", role=FileRole.OUTPUT, executable=True, why_not_kept="secret"),
    ]
    data = encode_lines(uses)
    assert data.count(b"\n") == 2
    assert decode_lines(data, FileUse) == uses
    points = [MetricPoint(name="loss", value=-0.0, step=0, at=AT), MetricPoint(name="l", value=1.0)]
    assert decode_lines(encode_lines(points), MetricPoint) == points
    assert decode_lines(b"", MetricPoint) == []


def test_a_damaged_line_is_called_that() -> None:
    with pytest.raises(DataDamaged):
        decode_lines(b'{"name":"a","value":1.0}\n{"name":', MetricPoint)


def test_the_exit_status_of_a_verdict() -> None:
    assert [finding.exit_status for finding in Finding] == [0, 0, 7, 3]


def test_a_run_knows_how_long_it_took() -> None:
    sealed = next(record for record in ALL if isinstance(record, RunSealed))
    assert isinstance(sealed, RunSealed)
    assert sealed.duration_s == 0
    later = msgspec.structs.replace(sealed, ended=AT.replace(second=5))
    assert later.duration_s == 5


def test_records_are_frozen() -> None:
    with pytest.raises(AttributeError):
        VERSION.size = 1  # type: ignore[misc]
