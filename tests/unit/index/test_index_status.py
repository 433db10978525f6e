from pathlib import Path

from index_samples import SampleLogs, run_id

from thence.index import Index, LogItem
from thence.index.connection import SCHEMA_VERSION
from thence.index.status import index_status, problems
from thence.model.ids import Digest
from thence.model.records import Finding


def test_the_status_counts_what_is_there(tmp_path: Path) -> None:
    logs = SampleLogs()
    logs.version("a")
    logs.delete(logs.version("a"))
    logs.version("b")
    logs.opened(run_id(1))
    logs.verdict(run_id(1), finding=Finding.REPRODUCED)
    with Index(tmp_path / "index.sqlite") as index:
        index.ingest(logs.items())
        found = index_status(index)
        index.mark_refreshed(logs.now)
        assert index_status(index).refreshed_at == logs.now
    assert found.path == str(tmp_path / "index.sqlite")
    assert found.schema_version == SCHEMA_VERSION
    assert found.size_bytes > 0
    assert (found.entries, found.logs, found.artifacts) == (6, 4, 2)
    assert (found.versions, found.deleted, found.runs, found.verdicts) == (2, 1, 1, 1)
    assert (found.problems, found.refreshed_at) == ({}, None)


def test_every_kind_of_problem_is_listed_with_its_place() -> None:
    logs = SampleLogs()
    run = f"refs/runs/{run_id(1)}"
    lost, garbled = Digest.of(b"lost"), logs.put(b"not a list\n")
    logs.sealed(run_id(1), files=lost, series=garbled)
    logs.version("a")
    (torn,) = [item for item in logs.items() if item.log != run]
    items = [
        *[item for item in logs.items() if item.log == run],
        torn._replace(data=torn.data[:30]),
        torn._replace(log="refs/artifacts/other/@", number=3),
    ]
    index = Index(":memory:")
    index.ingest(items, logs.contents)
    found = {(p.kind, p.log, p.number) for p in problems(index)}
    assert found == {
        ("missing", run, 1),
        ("damaged", run, 1),
        ("damaged", "refs/artifacts/a/@", 1),
        ("misplaced", "refs/artifacts/other/@", 3),
        ("gap", "refs/artifacts/other/@", 1),
    }
    assert index_status(index).problems == {"damaged": 2, "gap": 1, "misplaced": 1, "missing": 1}
    assert len(problems(index, limit=2)) == 2
    reasons = " ".join(p.reason for p in problems(index))
    assert lost.hex in reasons
    assert "The log has an entry 3 but no entry 1." in reasons


def test_problems_go_when_what_was_lost_is_found() -> None:
    logs = SampleLogs()
    for _ in range(3):
        logs.version("a")
    logs.sealed(run_id(1), files=logs.put(b""))
    items = logs.items()
    index = Index(":memory:")
    broken = [LogItem(items[1].log, items[1].number, b"{"), *items[2:]]
    index.ingest(broken)
    assert {p.kind for p in problems(index)} == {"gap", "damaged", "missing"}
    assert index.ingest(items, logs.contents) == 2
    assert problems(index) == []
