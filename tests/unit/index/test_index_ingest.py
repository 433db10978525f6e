import sqlite3
from importlib.resources import files

import pytest
from index_samples import START, SampleLogs, run_id

from thence.index import Index
from thence.index.ingest import COLUMNS, LogItem, rows, wanted
from thence.index.status import problems
from thence.model import codec
from thence.model.ids import Digest
from thence.model.names import ArtifactName
from thence.model.records import (
    ArtifactEdit,
    MetricPoint,
    encode_entry_bytes,
    encode_lines,
)


def problem_of(item: LogItem) -> tuple[str, str]:
    (row,) = [row for row in rows(item, {}) if row.table == "entry_problems"]
    assert row.values[:2] == (item.log, item.number)
    return str(row.values[2]), str(row.values[3])


def test_columns_are_those_of_the_schema() -> None:
    connection = sqlite3.connect(":memory:")
    connection.executescript(files("thence.index").joinpath("schema.sql").read_text())
    for table, columns in COLUMNS.items():
        found = connection.execute(f"SELECT name FROM pragma_table_info('{table}')").fetchall()
        assert columns == tuple(name for (name,) in found), table
    connection.close()


def test_rows_are_a_pure_function() -> None:
    logs = SampleLogs()
    logs.version("a", tags={"x": "1"}, metrics={"auc": 1.0})
    logs.sealed(run_id(1), series=logs.put(encode_lines([MetricPoint(name="a", value=1.0)])))
    for item in logs.items():
        assert rows(item, logs.contents) == rows(item, dict(logs.contents))


def test_only_sealed_runs_want_contents() -> None:
    logs = SampleLogs()
    logs.version("a", card=Digest.of(b"card"), note='a "type":"sealed" note')
    logs.opened(run_id(1))
    logs.sealed(run_id(1), files=Digest.of(b"f"), series=Digest.of(b"s"), stdout=Digest.of(b"o"))
    logs.sealed(run_id(1))
    assert [wanted(item) for item in logs.items()] == [
        set(),
        set(),
        {Digest.of(b"f"), Digest.of(b"s")},
        set(),
    ]


def test_an_entry_that_is_damaged_is_a_problem() -> None:
    logs = SampleLogs()
    logs.version("a")
    (item,) = logs.items()
    kind, reason = problem_of(item._replace(data=item.data[:-5]))
    assert kind == "damaged"
    assert reason


def test_a_type_that_is_not_known_is_kept_visible_with_its_record() -> None:
    record = {"type": "blessing", "of": "the fleet"}
    data = encode_entry_bytes("e", START, "ann", codec.encode(record))
    item = LogItem("refs/runs/" + run_id(1), 1, data)
    kind, reason = problem_of(item)
    assert (kind, "'blessing'" in reason) == ("unknown", True)
    with Index(":memory:") as index:
        index.ingest([item])
        ((type_name, text),) = index.select("SELECT type, record FROM entries")
    assert (type_name, text.encode()) == ("blessing", codec.encode(record))


@pytest.mark.parametrize(
    "log",
    [
        "refs/artifacts/b/@",
        "refs/artifacts/a/@edits",
        "refs/aliases/a/@champion",
        "refs/runs/" + run_id(1),
        "refs/elsewhere",
        "artifacts/a/@",
    ],
)
def test_a_version_in_a_log_where_it_does_not_belong_is_a_problem(log: str) -> None:
    logs = SampleLogs()
    logs.version("a")
    (item,) = logs.items()
    assert problem_of(item._replace(log=log))[0] == "misplaced"


def test_each_kind_of_record_belongs_in_its_own_log_alone() -> None:
    logs = SampleLogs()
    version = logs.version("a")
    logs.edit(version, note="x")
    logs.edit_artifact("a", description="x")
    logs.delete(version)
    logs.move("a", "champion", version)
    logs.opened(run_id(1))
    logs.edit_run(run_id(1), note="x")
    logs.verdict(run_id(1), finding="reproduced")
    logs.sealed(run_id(1))
    with Index(":memory:") as index:
        index.ingest(logs.items())
        assert problems(index) == []
    moved = {
        "refs/artifacts/a/@": "refs/artifacts/z/@",
        "refs/artifacts/a/@edits": "refs/artifacts/a/@",
        "refs/aliases/a/@champion": "refs/aliases/a/@other",
        f"refs/runs/{run_id(1)}": f"refs/runs/{run_id(2)}",
    }
    for item in logs.items():
        assert problem_of(item._replace(log=moved[item.log]))[0] == "misplaced"


def test_an_edit_of_an_artifact_belongs_in_the_log_of_that_artifact() -> None:
    logs = SampleLogs()
    logs.append("refs/artifacts/b/@edits", ArtifactEdit(artifact=ArtifactName("a")))
    (item,) = logs.items()
    assert problem_of(item)[0] == "misplaced"


def test_a_number_that_a_database_cannot_hold_is_a_problem() -> None:
    logs = SampleLogs()
    logs.version("a", size=1 << 80)
    (item,) = logs.items()
    assert problem_of(item) == ("damaged", f"A number that is too large: {1 << 80}.")


def test_bytes_of_another_digest_are_not_taken_for_the_content() -> None:
    logs = SampleLogs()
    series = Digest.of(b"series")
    logs.sealed(run_id(1), series=series)
    (item,) = logs.items()
    forged = encode_lines([MetricPoint(name="auc", value=1.0)])
    assert not [row for row in rows(item, {series: forged}) if row.table == "contents"]


def test_nan_is_null_and_infinity_is_itself() -> None:
    logs = SampleLogs()
    logs.version("a", metrics={"x": float("nan"), "y": float("inf")})
    (item,) = logs.items()
    found = [row.values[-1] for row in rows(item, {}) if row.table == "version_metric_edits"]
    assert found == [None, float("inf")]
