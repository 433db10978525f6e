from collections.abc import Iterator
from datetime import timedelta
from pathlib import Path

import pytest
from index_samples import SampleLogs, run_id

from thence.errors import DataDamaged, StorageError
from thence.index import Index, LogItem, refresh
from thence.index.artifacts import artifact, artifacts
from thence.index.refresh import Refreshed
from thence.index.runs import run_files
from thence.index.status import problems
from thence.model.ids import Digest
from thence.model.names import ArtifactName
from thence.model.records import FileRole, FileUse, encode_lines
from thence.store.memory import MemoryStore
from thence.vault.journal import Announced, Journal
from thence.vault.logs import Logs


def up_to_date(index: Index, logs: SampleLogs, *, full: bool = False) -> Refreshed:
    return refresh(index, logs, logs, logs.read_content, clock=logs.clock, full=full)


@pytest.fixture
def index() -> Iterator[Index]:
    with Index(":memory:") as opened:
        yield opened


def test_the_first_time_everything_is_walked(index: Index) -> None:
    logs = SampleLogs()
    logs.version("a")
    logs.version("b")
    assert up_to_date(index, logs) == Refreshed(entries=2, logs=2, walked=True)
    assert [found.name for found in artifacts(index)] == ["a", "b"]
    assert index.refreshed_at == logs.now


def test_later_only_what_is_new_is_read(index: Index) -> None:
    logs = SampleLogs()
    for _ in range(50):
        logs.version("a")
    logs.version("b")
    up_to_date(index, logs)
    logs.now += timedelta(days=3)
    logs.version("a")
    logs.reads = logs.listings = 0
    # Both logs changed within the two days before the last refresh.
    assert up_to_date(index, logs) == Refreshed(entries=1, logs=2, walked=False)
    assert (logs.reads, logs.listings) == (1, 0)
    assert artifact(index, ArtifactName("a")).latest == 51


def test_a_hint_older_than_the_last_refresh_still_counts_for_two_days(index: Index) -> None:
    logs = SampleLogs()
    logs.version("a")
    up_to_date(index, logs)
    slow = logs.now
    logs.now += timedelta(hours=47)
    up_to_date(index, logs)
    logs.version("b")
    # The writer of b gave its hint long ago and came to its entry only now.
    logs.hints[-1] = (slow, logs.hints[-1][1])
    assert up_to_date(index, logs).entries == 1


def test_an_entry_before_one_that_was_written_through_is_found(index: Index) -> None:
    logs = SampleLogs()
    logs.version("a")
    up_to_date(index, logs)
    logs.version("a")
    logs.version("a")
    log = "refs/artifacts/a/@"
    index.ingest([LogItem(log, 3, logs.entries[log][3])])
    assert {p.kind for p in problems(index)} == {"gap"}
    assert up_to_date(index, logs).entries == 1
    assert artifact(index, ArtifactName("a")).versions == 3


def test_a_journal_that_names_more_than_a_listing_costs_is_not_followed(index: Index) -> None:
    logs = SampleLogs()
    for number in range(30):
        logs.version(f"a{number}")
    up_to_date(index, logs)
    logs.version("b")
    assert up_to_date(index, logs) == Refreshed(entries=1, logs=31, walked=True)


def test_an_entry_that_is_lost_does_not_hide_those_after_it(index: Index) -> None:
    logs = SampleLogs()
    for _ in range(3):
        logs.version("a")
    del logs.entries["refs/artifacts/a/@"][2]
    assert up_to_date(index, logs).entries == 2
    assert [(p.kind, p.number) for p in problems(index)] == [("gap", 2)]
    assert artifact(index, ArtifactName("a")).latest == 3


def test_damaged_and_missing_contents_are_problems_and_come_back(index: Index) -> None:
    logs = SampleLogs()
    uses = [FileUse(path="a", role=FileRole.INPUT)]
    files = Digest.of(encode_lines(uses))
    logs.sealed(run_id(1), files=files)
    logs.version("a")
    up_to_date(index, logs)
    assert [p.kind for p in problems(index)] == ["missing"]
    logs.now += timedelta(days=9)
    logs.put(encode_lines(uses))
    assert up_to_date(index, logs).entries == 0
    assert problems(index) == []
    assert run_files(index, run_id(1)) == uses


def test_a_damaged_content_is_not_a_crash(index: Index) -> None:
    logs = SampleLogs()
    logs.sealed(run_id(1), files=Digest.of(b"x"))

    def read(digest: Digest) -> bytes:
        raise DataDamaged(f"the content {digest.short} is damaged")

    refresh(index, logs, logs, read, clock=logs.clock)
    assert [p.kind for p in problems(index)] == ["missing"]


def test_a_store_that_fails_is_an_error_and_the_next_time_goes_on(index: Index) -> None:
    logs = SampleLogs()
    logs.version("a")
    logs.sealed(run_id(1), files=logs.put(b""))

    def fail(digest: Digest) -> bytes:
        raise StorageError(f"no network for {digest.short}", transient=True)

    with pytest.raises(StorageError, match="no network"):
        refresh(index, logs, logs, fail, clock=logs.clock)
    assert index.refreshed_at is None
    assert up_to_date(index, logs) == Refreshed(entries=2, logs=2, walked=True)


def test_full_forgets_what_is_gone(index: Index) -> None:
    logs = SampleLogs()
    logs.version("a")
    logs.version("b")
    up_to_date(index, logs)
    del logs.entries["refs/artifacts/a/@"]
    up_to_date(index, logs)
    assert len(artifacts(index)) == 2
    assert up_to_date(index, logs, full=True) == Refreshed(entries=1, logs=1, walked=True)
    assert [found.name for found in artifacts(index)] == ["b"]


def test_an_index_of_another_project_is_rebuilt(index: Index) -> None:
    other, logs = SampleLogs(), SampleLogs()
    other.version("a", note="other")
    up_to_date(index, other)
    logs.version("a", note="ours")
    logs.version("a", note="ours")
    index.clear()
    index.ingest([LogItem("refs/artifacts/a/@", 2, other.entries["refs/artifacts/a/@"][1])])
    assert up_to_date(index, logs) == Refreshed(entries=2, logs=1, walked=True)
    assert problems(index) == []


def test_many_entries_go_in_by_batches(index: Index) -> None:
    logs = SampleLogs()
    for number in range(4500):
        logs.edit_artifact(f"a{number % 50}", description=str(number))
    assert up_to_date(index, logs).entries == 4500
    assert index.select("SELECT COUNT(*) FROM artifact_edits") == [(4500,)]


def test_the_logs_and_the_journal_of_the_vault_fit(tmp_path: Path) -> None:
    sample = SampleLogs()
    ids = iter(f"{number:032x}" for number in range(100))
    store = MemoryStore()
    logs = Logs(store, clock=sample.clock, new_id=lambda: next(ids))
    journal = Journal(store, clock=sample.clock, new_id=lambda: next(ids))

    def save(name: str) -> None:
        log = f"refs/artifacts/{name}/@"
        journal.note([Announced(next(ids), log)])
        logs.append(log, sample.version(name), by="ann")

    with Index(tmp_path / "index.sqlite") as index:

        def again() -> Refreshed:
            return refresh(index, logs, journal, sample.read_content, clock=sample.clock)

        save("a")
        assert again() == Refreshed(entries=1, logs=1, walked=True)
        sample.now += timedelta(days=5)
        save("a")
        save("b/c")
        assert again() == Refreshed(entries=2, logs=2, walked=False)
        assert [(a.name, a.latest) for a in artifacts(index)] == [("a", 2), ("b/c", 1)]
        assert problems(index) == []
