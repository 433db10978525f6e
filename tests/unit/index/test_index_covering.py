"""A client that knows nothing begins with checkpoints, and trusts them no further than it must."""

from collections.abc import Sequence
from datetime import timedelta
from pathlib import Path
from typing import Any

import pytest
from bucket_samples import Bucket, Client
from index_samples import run_id

from thence.errors import Denied, StorageError
from thence.index import Index
from thence.index.refresh import Refreshed
from thence.index.status import problems
from thence.model.records import RunEdit, decode_entry, encode_entry_bytes
from thence.store.base import Bytes
from thence.store.memory import MemoryStore
from thence.store.wrap import Trace
from thence.vault.checkpoints import Checkpoints, Line
from thence.vault.journal import Announced


@pytest.fixture
def bucket(tmp_path: Path) -> Bucket:
    return Bucket(tmp_path)


def rows(index: Index) -> list[Any]:
    return index.select("SELECT log, number, digest FROM entries ORDER BY log, number")


def save_many(client: Client, count: int) -> None:
    for number in range(count):
        client.save(f"a{number % 10}")


def checkpoints_of(bucket: Bucket) -> list[str]:
    return Checkpoints(bucket.inner).names()


def test_a_cold_client_makes_few_requests(bucket: Bucket) -> None:
    ann = bucket.client()
    save_many(ann, 1000)
    ann.refresh()
    # Checkpoints, entries, and checkpoints again, before one is written.
    assert ann.calls == {"list": 3, "create": 1}
    cold = bucket.client()
    assert cold.refresh() == Refreshed(entries=1000, logs=0, walked=False)
    # The checkpoints, one of them, and the journal.
    assert cold.calls == {"list": 2, "get": 1}
    assert rows(cold.index) == rows(ann.index)
    cold.refresh()
    assert cold.calls == {"list": 1}


def test_without_checkpoints_it_makes_one_for_each_entry(tmp_path: Path) -> None:
    bucket = Bucket(tmp_path, with_checkpoints=False)
    ann = bucket.client()
    save_many(ann, 1000)
    cold = bucket.client()
    assert cold.refresh() == Refreshed(entries=1000, logs=10, walked=True)
    assert cold.calls == {"list": 1, "get": 1000}


def test_what_came_after_the_checkpoint_is_found_by_the_journal(bucket: Bucket) -> None:
    ann = bucket.client()
    save_many(ann, 300)
    ann.refresh()
    bucket.sample.now += timedelta(days=5)
    save_many(ann, 10)
    cold = bucket.client()
    assert cold.refresh() == Refreshed(entries=310, logs=10, walked=False)
    # A hint and an entry for each that is new.
    assert cold.calls == {"list": 2, "get": 1 + 20}


def test_a_slow_writer_is_not_missed_by_who_begins_with_a_checkpoint(bucket: Bucket) -> None:
    ann = bucket.client()
    entry_id = ann.new_id()
    log = "refs/artifacts/slow/@"
    ann.journal.note([Announced(entry_id, log)])
    bucket.sample.now += timedelta(hours=40)
    save_many(ann, 300)
    ann.refresh()
    record = bucket.sample.version("slow")
    ann.logs.append_if(log, lambda tail: record, by="ann", entry_id=entry_id)
    cold = bucket.client()
    assert cold.refresh().entries == 301


def test_little_is_not_worth_a_checkpoint_and_it_is_not_asked_for(bucket: Bucket) -> None:
    ann = bucket.client()
    save_many(ann, 255)
    ann.refresh()
    assert ann.calls == {"list": 2}
    assert checkpoints_of(bucket) == []


def test_many_clients_write_few_checkpoints(bucket: Bucket) -> None:
    clients = [bucket.client() for _ in range(3)]
    for turn in range(30):
        save_many(clients[turn % 3], 50)
        for client in clients:
            client.refresh()
    assert len(checkpoints_of(bucket)) <= 8
    cold = bucket.client()
    cold.refresh()
    assert cold.calls["get"] <= 8 + 2 * 255
    assert rows(cold.index) == rows(clients[0].index)
    entries = [(line.log, line.number) for line in Checkpoints(bucket.inner).entries()]
    assert len(entries) <= 1.2 * 1500


def test_who_reads_many_entries_of_somebody_else_takes_the_checkpoint(bucket: Bucket) -> None:
    ann, bob, cleo = bucket.client(), bucket.client(), bucket.client()
    for client in (ann, bob, cleo):
        client.refresh()
    announced = [Announced(ann.new_id(), f"refs/artifacts/b{n % 7}/@") for n in range(600)]
    ann.journal.note(announced)
    for entry_id, log in announced:
        record = bucket.sample.version(log.split("/")[2])
        ann.logs.append_if(log, lambda tail, r=record: r, by="ann", entry_id=entry_id)  # type: ignore[misc]
    bob.refresh()
    assert bob.calls == {"list": 3, "get": 1 + 600, "create": 1}
    assert cleo.refresh().entries == 600
    assert cleo.calls == {"list": 2, "get": 2}


def test_deleting_the_checkpoints_loses_nothing(bucket: Bucket) -> None:
    ann = bucket.client()
    save_many(ann, 1000)
    ann.refresh()
    for name in checkpoints_of(bucket):
        bucket.inner.delete(f"index/{name}")
    cold = bucket.client()
    assert cold.refresh().walked
    assert rows(cold.index) == rows(ann.index)
    # Who walked writes what none has.
    assert len(checkpoints_of(bucket)) == 1
    again = bucket.client()
    assert again.refresh() == Refreshed(entries=1000, logs=0, walked=False)


def test_one_of_several_that_is_deleted_is_missed(bucket: Bucket) -> None:
    ann = bucket.client()
    for _ in range(3):
        save_many(ann, 300)
        ann.refresh()
        bucket.sample.now += timedelta(days=5)  # so that the journal alone does not tell
    for gone in range(3):
        names = checkpoints_of(bucket)
        data = bucket.inner.get(f"index/{names[gone]}")
        bucket.inner.delete(f"index/{names[gone]}")
        reader = bucket.client()
        reader.refresh()
        assert rows(reader.index) == rows(ann.index)
        for name in set(checkpoints_of(bucket)) - set(names):
            bucket.inner.delete(f"index/{name}")
        bucket.inner.replace(f"index/{names[gone]}", [data])


def test_a_damaged_checkpoint_is_passed_over(bucket: Bucket) -> None:
    ann = bucket.client()
    save_many(ann, 300)
    ann.refresh()
    (name,) = checkpoints_of(bucket)
    bucket.inner.replace(f"index/{name}", [bucket.inner.get(f"index/{name}")[:-9]])
    cold = bucket.client()
    assert cold.refresh().walked
    assert rows(cold.index) == rows(ann.index)
    assert problems(cold.index) == []


def forge(bucket: Bucket, client: Client, **other: Any) -> None:
    """A checkpoint with another entry 1 of a0 than the log has."""
    log = "refs/artifacts/a0/@"
    data = bucket.inner.get(f"{log}/0000000001")
    entry = decode_entry(data)
    forged = encode_entry_bytes("f" * 32, entry.at, "eve", entry.record_bytes)
    Checkpoints(bucket.inner).write(
        [Line(log, 1, forged)], after=None, through=bucket.sample.now + timedelta(days=365)
    )


def test_a_forged_checkpoint_is_found_when_the_log_is_seen(bucket: Bucket) -> None:
    ann = bucket.client()
    save_many(ann, 300)
    ann.refresh()
    forge(bucket, ann)
    cold = bucket.client()
    cold.refresh()
    full = bucket.client()
    full.refresh(full=True)
    assert rows(full.index) == rows(ann.index)
    # It names a time to come, and is not believed further than to now.
    ann.save("new")
    assert cold.refresh().entries == 1


def test_a_rebuild_reads_nothing_but_the_logs(bucket: Bucket) -> None:
    ann = bucket.client()
    save_many(ann, 300)
    ann.refresh()
    forge(bucket, ann)
    ann.refresh(full=True)
    assert "eve" not in {by for (by,) in ann.index.select("SELECT author FROM entries")}
    gets = [one.key for one in ann.store.operations if one.name == "get"]
    assert sum(key.startswith("refs/") for key in gets) == 300


def test_entries_that_cannot_be_read_or_are_of_a_later_time_go_through_unchanged(
    bucket: Bucket,
) -> None:
    ann = bucket.client()
    run = run_id(1)
    bucket.inner.create(f"refs/runs/{run}/0000000001", [b"torn \xff"])
    entry_id = ann.new_id()
    log = f"refs/runs/{run}"
    ann.logs.append_if(
        log, lambda tail: RunEdit(run=run, note="größer"), by="ann", entry_id=entry_id
    )
    save_many(ann, 300)
    ann.refresh(full=True)
    assert len(checkpoints_of(bucket)) == 1
    cold = bucket.client()
    assert not cold.refresh().walked
    assert rows(cold.index) == rows(ann.index)
    assert problems(cold.index) == problems(ann.index)
    assert cold.calls == {"list": 2, "get": 2}


class Refusing(MemoryStore):
    def __init__(self, inner: MemoryStore, error: type[StorageError] | type[Denied]) -> None:
        super().__init__()
        self.inner = inner
        self.error = error
        self.get, self.list, self.head = inner.get, inner.list, inner.head  # type: ignore[method-assign]

    def create(self, key: str, parts: Sequence[Bytes]) -> None:
        raise self.error("not here")


@pytest.mark.parametrize("error", [StorageError, Denied])
def test_who_cannot_write_reads_all_the_same(
    bucket: Bucket, error: type[StorageError] | type[Denied]
) -> None:
    ann = bucket.client()
    save_many(ann, 300)
    reader = Client(bucket, Trace(Refusing(bucket.inner, error)))
    assert reader.refresh().entries == 300
    assert checkpoints_of(bucket) == []
    reader.refresh()
    # One that may not write is not tried at each refresh, one that failed is.
    assert reader.calls == ({"list": 1} if error is Denied else {"list": 2, "create": 1})
