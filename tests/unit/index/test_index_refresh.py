from collections.abc import Iterator
from datetime import timedelta
from pathlib import Path

import pytest
from bucket_samples import Bucket, calls
from index_samples import SampleLogs, run_id

from thence.errors import DataDamaged, StorageError
from thence.index import Index, LogItem, refresh
from thence.index.artifacts import artifact, artifacts
from thence.index.refresh import Refreshed
from thence.index.runs import run_files
from thence.index.status import problems
from thence.model.ids import Digest
from thence.model.names import ArtifactName
from thence.model.records import ArtifactEdit, FileRole, FileUse, Record, decode_entry, encode_lines
from thence.store.memory import MemoryStore
from thence.vault.journal import KEPT, Announced, Journal
from thence.vault.logs import Logs


def decode(item: LogItem) -> Record:
    record = decode_entry(item.data).record
    assert record is not None
    return record


def a_version(logs: SampleLogs, name: str) -> LogItem:
    """A version that nobody appended."""
    made = SampleLogs("made ")
    made.now = logs.now
    made.version(name)
    (item,) = made.items()
    return item


def up_to_date(index: Index, logs: SampleLogs, *, full: bool = False) -> Refreshed:
    return refresh(index, logs, logs.journal, logs.read_content, clock=logs.clock, full=full)


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
    logs.store.clear()
    # 51 hints of the two days before the last refresh are listed, and called like entries known.
    assert up_to_date(index, logs) == Refreshed(entries=1, logs=1, walked=False)
    assert (logs.reads, logs.listings) == (1, 0)
    assert calls(logs.store) == {"list": 1, "get": 1}
    assert artifact(index, ArtifactName("a")).latest == 51


def test_an_entry_that_comes_long_after_its_hint_is_found(index: Index) -> None:
    logs = SampleLogs()
    logs.version("a")
    up_to_date(index, logs)
    slow = logs.announce("refs/artifacts/b/@")
    for _ in range(4):
        logs.now += timedelta(hours=11)
        assert up_to_date(index, logs) == Refreshed(entries=0, logs=1, walked=False)
    item = a_version(logs, "b")
    logs.append(item.log, decode(item), entry_id=slow)
    assert up_to_date(index, logs).entries == 1


def test_a_damaged_hint_has_all_logs_listed_once(index: Index) -> None:
    logs = SampleLogs()
    logs.version("a")
    up_to_date(index, logs)
    logs.version("b")
    (hint,) = (info for info in logs.store.list("journal/") if b"/b/" in logs.store.get(info.key))
    logs.store.replace(hint.key, [b""])
    assert up_to_date(index, logs) == Refreshed(entries=1, logs=2, walked=True)
    assert up_to_date(index, logs).walked is False


def test_what_never_came_is_looked_for_everywhere_before_it_is_forgotten(index: Index) -> None:
    """As if a letter of the log in its hint were another one now."""
    logs = SampleLogs()
    logs.version("a")
    up_to_date(index, logs)
    entry_id = logs.announce("refs/artifacts/c/@")
    assert not up_to_date(index, logs).walked
    item = a_version(logs, "b")
    logs.append(item.log, decode(item), entry_id=entry_id)
    assert up_to_date(index, logs).entries == 0
    logs.now += timedelta(hours=50)
    assert up_to_date(index, logs) == Refreshed(entries=1, logs=2, walked=True)
    assert not up_to_date(index, logs).walked


def test_a_hint_whose_entry_never_comes_is_forgotten_after_two_days(index: Index) -> None:
    logs = SampleLogs()
    logs.version("a")
    up_to_date(index, logs)
    logs.announce("refs/artifacts/b/@")
    assert up_to_date(index, logs).logs == 1
    logs.store.clear()
    assert up_to_date(index, logs).logs == 1
    assert calls(logs.store) == {"list": 1}
    logs.now += timedelta(hours=50)
    up_to_date(index, logs)
    logs.reads = 0
    assert up_to_date(index, logs).logs == 0
    assert logs.reads == 0


def test_hints_are_forgotten_when_no_listing_gives_them(index: Index) -> None:
    logs = SampleLogs()
    logs.version("a")
    up_to_date(index, logs)
    for _ in range(10):
        logs.version("a")
        logs.now += timedelta(days=1)
        up_to_date(index, logs)
    assert index.select("SELECT COUNT(*) < 5 FROM hints") == [(1,)]


def test_one_hint_may_announce_many_entries(index: Index) -> None:
    logs = SampleLogs()
    up_to_date(index, logs)
    announced = [Announced(f"{n:032x}", f"refs/artifacts/a{n % 3}/@edits") for n in range(30)]
    logs.journal.note([Announced("f" * 32, "refs/runs/never"), *announced])
    for entry_id, log in announced:
        edit = ArtifactEdit(artifact=ArtifactName(log.split("/")[2]), description=entry_id)
        logs.append(log, edit, entry_id=entry_id)
    logs.reads = 0
    logs.store.clear()
    assert up_to_date(index, logs) == Refreshed(entries=30, logs=4, walked=False)
    # The entries, and that which never comes.
    assert logs.reads == 31
    assert calls(logs.store) == {"list": 1, "get": 1}
    logs.reads = 0
    assert up_to_date(index, logs) == Refreshed(entries=0, logs=1, walked=False)
    assert logs.reads == 1


def test_who_looked_last_long_ago_walks(index: Index) -> None:
    logs = SampleLogs()
    logs.version("a")
    up_to_date(index, logs)
    logs.version("b")
    for info in list(logs.store.list("journal/")):
        logs.store.delete(info.key)
    logs.now += KEPT
    assert up_to_date(index, logs) == Refreshed(entries=1, logs=2, walked=True)


def test_an_entry_between_that_of_a_hint_and_the_last_one_known_is_taken_in(index: Index) -> None:
    logs = SampleLogs()
    logs.version("a")
    up_to_date(index, logs)
    # The hint of the second entry is lost, that of the third is not.
    second = a_version(logs, "a")
    logs.append(second.log, decode(second), entry_id="a" * 32)
    logs.version("a")
    assert up_to_date(index, logs).entries == 2


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
    for number in range(30):
        logs.version(f"b{number}")
    assert up_to_date(index, logs) == Refreshed(entries=30, logs=60, walked=True)
    logs.version("c")
    assert up_to_date(index, logs) == Refreshed(entries=1, logs=1, walked=False)


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

    refresh(index, logs, logs.journal, read, clock=logs.clock)
    assert [p.kind for p in problems(index)] == ["missing"]


def test_a_store_that_fails_is_an_error_and_the_next_time_goes_on(index: Index) -> None:
    logs = SampleLogs()
    logs.version("a")
    logs.sealed(run_id(1), files=logs.put(b""))

    def fail(digest: Digest) -> bytes:
        raise StorageError(f"no network for {digest.short}", transient=True)

    with pytest.raises(StorageError, match="no network"):
        refresh(index, logs, logs.journal, fail, clock=logs.clock)
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


@pytest.fixture
def bucket(tmp_path: Path) -> Bucket:
    return Bucket(tmp_path)


def test_a_refresh_where_nothing_happened_is_one_request(bucket: Bucket) -> None:
    ann, bob = bucket.client(), bucket.client()
    for number in range(40):
        ann.save(f"a{number % 7}", tell=number > 20)
    ann.refresh()
    assert bob.refresh() == Refreshed(entries=40, logs=7, walked=True)
    for client in (ann, bob):
        client.refresh()
        assert client.refresh() == Refreshed(entries=0, logs=0, walked=False)
        assert client.calls == {"list": 1}


def test_what_one_wrote_oneself_costs_no_request_more(bucket: Bucket) -> None:
    ann = bucket.client()
    ann.refresh()
    for number in range(40):
        ann.save(f"a{number}")
    assert ann.refresh() == Refreshed(entries=0, logs=0, walked=False)
    assert ann.calls == {"list": 1}


def test_what_somebody_else_wrote_costs_two_requests_more(bucket: Bucket) -> None:
    ann, bob = bucket.client(), bucket.client()
    ann.save("a")
    bob.refresh()
    for name in ("a", "new"):
        ann.save(name)
        assert bob.refresh() == Refreshed(entries=1, logs=1, walked=False)
        assert bob.calls == {"list": 1, "get": 2}
    ann.save("a")
    ann.save("a")
    ann.save("b")
    assert bob.refresh().entries == 3
    assert bob.calls == {"list": 1, "get": 6}
    assert artifact(bob.index, ArtifactName("a")).latest == 4


def test_the_logs_and_the_journal_of_the_vault_fit(tmp_path: Path) -> None:
    sample = SampleLogs()
    ids = iter(f"{number:032x}" for number in range(100))
    store = MemoryStore()
    logs = Logs(store, clock=sample.clock, new_id=lambda: next(ids))
    journal = Journal(store, clock=sample.clock, new_id=lambda: next(ids))

    def save(name: str) -> None:
        log, entry_id = f"refs/artifacts/{name}/@", next(ids)
        journal.note([Announced(entry_id, log)])
        record = sample.version(name)
        logs.append_if(log, lambda tail: record, by="ann", entry_id=entry_id)

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
