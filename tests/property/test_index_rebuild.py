"""Whatever order, batches and repetitions entries come in, the tables are those of a rebuild."""

from collections.abc import Sequence
from datetime import UTC, datetime, timedelta
from typing import Any

import msgspec
import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from thence.errors import DataDamaged
from thence.index import Index, LogItem
from thence.index.ingest import rows, wanted
from thence.model import codec
from thence.model.ids import Digest, RunId
from thence.model.names import Alias, ArtifactName
from thence.model.records import (
    AliasMove,
    ArtifactEdit,
    FileRole,
    FileUse,
    Finding,
    Host,
    Kind,
    MetricPoint,
    Param,
    Record,
    RunEdit,
    RunOpened,
    RunSealed,
    RunStatus,
    SensorReport,
    Tombstone,
    Verdict,
    Version,
    VersionEdit,
    encode_entry_bytes,
    encode_lines,
    seal,
)

START = datetime(2026, 1, 1, tzinfo=UTC)
HOST = Host(name="box", system="Linux", release="6", machine="x86_64")
RUNS = [RunId(str(digit) * 20) for digit in range(2)]
SPELLINGS = ["data", "Data", "models/churn"]
KEYS = ["data", "models/churn"]
ALIASES = ["champion", "next"]
TREES = [Digest.of(text) for text in (b"one", b"two")]

CONTENTS = {
    Digest.of(data): data
    for data in (
        b"",
        encode_lines([FileUse(path="a.csv", role=FileRole.INPUT, size=3, digest=TREES[0])]),
        encode_lines([FileUse(path="b.csv", role=FileRole.OUTPUT, size=1 << 70)]),
        encode_lines([MetricPoint(name="loss", value=v, step=1) for v in (1.0, float("nan"))]),
        b"not a list\n",
    )
}

times = st.integers(0, 3).map(lambda seconds: START + timedelta(seconds=seconds))
notes = st.none() | st.sampled_from(["", "a note", "größer"])
tags = st.dictionaries(st.sampled_from(["team", "pii"]), st.sampled_from(["a", "b"]), max_size=2)
tag_edits = st.dictionaries(
    st.sampled_from(["team", "pii"]), st.none() | st.sampled_from(["c", "d"]), max_size=2
)
metrics = st.dictionaries(
    st.sampled_from(["auc", "loss"]),
    st.sampled_from([0.5, float("nan"), float("inf"), -0.0]),
    max_size=2,
)
names = st.sampled_from(SPELLINGS).map(ArtifactName)


def versions(name: st.SearchStrategy[ArtifactName]) -> st.SearchStrategy[Version]:
    return st.builds(
        Version,
        artifact=name,
        kind=st.sampled_from([Kind.DATASET, Kind.MODEL]),
        tree=st.sampled_from(TREES),
        size=st.sampled_from([0, 7, 1 << 64]),
        files=st.just(1),
        created=times,
        author=st.just("ann"),
        note=notes,
        tags=tags,
        run=st.none() | st.sampled_from(RUNS),
        metrics=metrics,
        metadata=st.just({"rows": 3}) | st.just({}),
    )


# Few distinct versions, so that edits and sources hit one that is there, or comes later.
POOL = [
    Version(
        artifact=ArtifactName(name),
        kind=Kind.DATASET,
        tree=TREES[number % 2],
        size=number,
        files=1,
        created=START + timedelta(seconds=number),
        author="ann",
        note=None if number else "first",
        tags={"team": "z"},
        metrics={"auc": 0.1 * number},
        sources=(Digest.of(b"lost"),) * number,
    )
    for name in SPELLINGS
    for number in range(3)
]
pooled = st.sampled_from(POOL)
digests = pooled.map(lambda version: version.digest)


def _run_fields() -> dict[str, Any]:
    return {
        "command": st.just(("python", "x.py")),
        "root": st.just("/r"),
        "cwd": st.just("."),
        "started": times,
        "author": st.just("ann"),
        "host": st.just(HOST),
        "name": notes,
        "experiment": notes,
        "note": notes,
        "tags": tags,
    }


runs = st.sampled_from(RUNS)
contents = st.none() | st.sampled_from([*CONTENTS, Digest.of(b"lost")])
records_of_runs = st.one_of(
    st.builds(RunOpened, run=runs, **_run_fields()),
    st.builds(
        RunSealed,
        run=runs,
        **_run_fields(),
        ended=times,
        status=st.sampled_from([RunStatus.FINISHED, RunStatus.FAILED]),
        sensor=st.just(SensorReport(name="audit-hook", completeness="partial")),
        params=st.dictionaries(
            st.sampled_from(["lr", "deep"]),
            st.builds(
                Param, value=st.sampled_from([1, True, 10**400, "x"]), origin=st.just("argv")
            ),
            max_size=2,
        ),
        metrics=metrics,
        series=contents,
        files=contents,
        uses=st.lists(digests, max_size=2).map(tuple),
        makes=st.lists(digests, max_size=2).map(tuple),
    ),
    st.builds(RunEdit, run=runs, note=notes, tags=tag_edits),
    st.builds(
        Verdict,
        run=runs,
        finding=st.sampled_from(Finding),
        results=st.just(()),
        started=times,
        ended=times,
        author=st.just("rita"),
        host=st.just(HOST),
    ),
)
records_of_edits = st.one_of(
    st.builds(VersionEdit, version=digests, note=notes, tags=tag_edits, metrics=metrics),
    st.builds(ArtifactEdit, artifact=names, description=notes, tags=tag_edits),
    st.builds(Tombstone, version=digests, reason=st.sampled_from(["wrong", "private"])),
)
records_of_aliases = st.builds(
    AliasMove,
    artifact=names,
    alias=st.sampled_from(ALIASES).map(Alias),
    version=st.none() | digests,
    note=notes,
)

LOGS: list[tuple[str, st.SearchStrategy[Record]]] = [
    *((f"refs/artifacts/{key}/@", pooled | versions(names)) for key in KEYS),
    *((f"refs/artifacts/{key}/@edits", records_of_edits) for key in KEYS),
    *((f"refs/aliases/{key}/@{alias}", records_of_aliases) for key in KEYS for alias in ALIASES),
    *((f"refs/runs/{run}", records_of_runs) for run in RUNS),
    ("refs/elsewhere", pooled),
]
UNKNOWN = {"type": "blessing", "of": "the fleet", "größe": 1}


def encoded(
    record: Record | dict[str, Any], at: datetime, by: str, *, entry_id: str = "e"
) -> bytes:
    return encode_entry_bytes(entry_id, at, by, codec.encode(record))


@st.composite
def items(draw: st.DrawFn) -> list[LogItem]:
    """Logs without gaps, with a few entries that are damaged, unknown or misplaced."""
    # Few logs at a time, so that entries meet each other.
    logs = draw(
        st.lists(st.sampled_from(LOGS), min_size=1, max_size=3, unique_by=lambda log: log[0])
    )
    made: list[LogItem] = []
    numbers = dict.fromkeys((log for log, _ in logs), 0)
    for _ in range(draw(st.integers(0, 25))):
        log, records = draw(st.sampled_from(logs))
        numbers[log] += 1
        odd = draw(st.integers(0, 19))
        record = UNKNOWN if odd == 0 else draw(records)
        data = encoded(record, draw(times), draw(st.sampled_from(["ann", "bob"])))
        if odd == 1:
            data = draw(st.sampled_from([b"", b"{}", data[:-1], data.replace(b"{", b"{ ", 1)]))
        made.append(LogItem(log, numbers[log], data))
    return made


BOOKKEEPING = {"bookkeeping", "outbox", "hints", "segments", "coverage"}


def dump(index: Index) -> dict[str, list[tuple[Any, ...]]]:
    """Every row of every table and view, but for how far a refresh has come."""
    found = index.select("SELECT name FROM sqlite_master WHERE type IN ('table', 'view')")
    return {
        name: sorted(index.select(f"SELECT * FROM {name}"), key=repr)
        for (name,) in found
        if name not in BOOKKEEPING and not name.startswith("sqlite_")
    }


def rebuilt(entries: Sequence[LogItem]) -> dict[str, list[tuple[Any, ...]]]:
    with Index(":memory:") as index:
        index.ingest(sorted(entries), CONTENTS)
        return dump(index)


@settings(deadline=None, suppress_health_check=[HealthCheck.too_slow])
@given(entries=items(), data=st.data())
def test_order_batches_and_repetitions_leave_no_trace(
    entries: list[LogItem], data: st.DataObject
) -> None:
    repeated = entries and data.draw(st.lists(st.sampled_from(entries), max_size=10))
    order = data.draw(st.permutations([*entries, *repeated]))
    with Index(":memory:") as index:
        while order:
            size = data.draw(st.integers(1, len(order)))
            index.ingest(order[:size], CONTENTS)
            order = order[size:]
        assert dump(index) == rebuilt(entries)


@settings(deadline=None, suppress_health_check=[HealthCheck.too_slow])
@given(entries=items(), data=st.data())
def test_contents_may_come_before_or_after_or_in_pieces(
    entries: list[LogItem], data: st.DataObject
) -> None:
    order = data.draw(st.permutations(entries))
    with Index(":memory:") as index:
        for item in order:
            given_now = data.draw(st.sets(st.sampled_from(list(CONTENTS))))
            index.ingest([item], {digest: CONTENTS[digest] for digest in given_now})
        for item in order:
            index.ingest([item], {digest: CONTENTS.get(digest, b"") for digest in wanted(item)})
        assert dump(index) == rebuilt(entries)


@settings(deadline=None, suppress_health_check=[HealthCheck.too_slow])
@given(entries=items(), data=st.data())
def test_damaged_readings_leave_no_trace_of_their_order_nor_beside_a_sound_one(
    entries: list[LogItem], data: st.DataObject
) -> None:
    torn = [
        item._replace(data=b"torn" + item.data[: data.draw(st.integers(0, 3))])
        for item in data.draw(
            st.lists(st.sampled_from(entries), max_size=8) if entries else st.just([])
        )
    ]
    lost = data.draw(st.sets(st.sampled_from(torn))) if torn else set()
    places = {(item.log, item.number) for item in lost}
    left = [item for item in entries if (item.log, item.number) not in places]
    order = data.draw(st.permutations([*left, *torn]))
    with Index(":memory:") as index:
        while order:
            size = data.draw(st.integers(1, len(order)))
            index.ingest(order[:size], CONTENTS)
            order = order[size:]
        assert dump(index) == rebuilt([*torn, *left])


@given(
    st.binary(max_size=200),
    st.sampled_from(["refs/runs/" + RUNS[0], "refs/x", "", "refs/artifacts/a/@"]),
)
def test_no_bytes_crash(data: bytes, log: str) -> None:
    item = LogItem(log, 1, data)
    assert [row.table for row in rows(item, {})] == ["entries", "entry_problems"]
    assert wanted(item) == set()


json_values = st.recursive(
    st.none() | st.booleans() | st.integers() | st.floats() | st.text(),
    lambda inner: st.lists(inner, max_size=3) | st.dictionaries(st.text(), inner, max_size=3),
    max_leaves=8,
)


@settings(deadline=None)
@given(st.data())
def test_no_change_of_one_field_crashes(data: st.DataObject) -> None:
    """A record with one field replaced by anything is taken in, or becomes a problem."""
    record = data.draw(pooled | records_of_runs | records_of_edits | records_of_aliases)
    envelope = {"at": START, "by": "ann", "entry": "e", "record": record}
    plain = codec.to_plain(envelope)
    holder = data.draw(st.sampled_from([plain, plain["record"]]))
    holder[data.draw(st.sampled_from(sorted(holder)))] = codec.to_plain(data.draw(json_values))
    log = data.draw(
        st.sampled_from(
            [
                f"refs/runs/{RUNS[0]}",
                "refs/artifacts/data/@edits",
                "refs/artifacts/data/@",
                "refs/aliases/data/@next",
            ]
        )
    )
    raw = (
        msgspec.json.encode(plain)
        if data.draw(st.booleans())
        else seal({key: codec.encode(codec.from_plain(value)) for key, value in plain.items()})
    )
    with Index(":memory:") as index:
        assert index.ingest([LogItem(log, 1, raw)], CONTENTS) == 1
        assert index.select("SELECT COUNT(*) FROM entries") == [(1,)]


def test_two_sound_entries_with_one_number_are_refused() -> None:
    first, second = (
        LogItem("refs/artifacts/data/@", 1, encoded(POOL[n], START, "ann")) for n in (0, 1)
    )
    with Index(":memory:") as index:
        index.ingest([first])
        before = dump(index)
        with pytest.raises(DataDamaged, match="another entry 1"):
            index.ingest([second])
        assert dump(index) == before
